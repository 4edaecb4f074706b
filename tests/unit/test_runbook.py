"""The runbook quotes what the code says, and knows the failures that the AWS path can name."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from ftm.storage.retrying import WAIT_MAX_S, RetryPolicy

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "runbook.md").read_text("utf-8")

FOREIGN = {
    "exec format error": "the kernel's, in a job's log",
    "AWS answers TooManyRequestsException": "AWS's code in ftm's sentence",
    "MISCONFIGURATION:": "AWS's",
    "CAPACITY:": "AWS's",
    "ACTION_REQUIRED": "AWS's",
    "access denied (403)": "a number in ftm's sentence",
    "no job has started for 10 minutes:": "a number in ftm's sentence",
}
"""Quoted, but not found word by word in a message of ours."""


def texts() -> list[str]:
    """Every text of the code, with an ellipsis for what is filled in."""
    found = []
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
            elif isinstance(node, ast.JoinedStr):
                parts = [
                    str(part.value) if isinstance(part, ast.Constant) else "…"
                    for part in node.values
                ]
                found.append("".join(parts))
    return found


def quoted() -> list[str]:
    """Fragments between the ellipses of what the first column of the tables quotes."""
    cells = re.findall(r"^\| (`.*?) \|", PAGE, flags=re.MULTILINE)
    spans = [span for cell in cells for span in re.findall(r"`([^`]+)`", cell)]
    fragments = [part.strip(" ;,:") for span in spans for part in span.split("…")]
    return sorted({f for f in fragments if len(f) > 5})


TEXTS = texts()


def test_the_bounds_of_retries_are_those_of_the_code() -> None:
    """Every other test has bounds of its own; users read these, and wait."""
    policy, text = RetryPolicy(), " ".join(PAGE.split())
    assert (policy.first_contact_s, policy.later_s, policy.stall_s) == (6, 120, 30)
    assert "beginning within two minutes (six seconds for a store that has not answered" in text
    assert f"at most {policy.attempts} times" in text
    assert f"waits of {policy.wait_s} s that double up to {WAIT_MAX_S:.0f} s" in text
    assert f"A try ends after {policy.stall_s:.0f} s without a byte" in text


@pytest.mark.parametrize("fragment", quoted())
def test_what_the_runbook_quotes_is_said_by_the_code(fragment: str) -> None:
    """Who searches the page for a message finds it."""
    if any(known.strip(" ;,:") == fragment for known in FOREIGN):
        return
    assert any(fragment in text for text in TEXTS), fragment


def test_the_search_finds_something() -> None:
    """The lists above are not empty by mistake."""
    assert len(quoted()) > 40
    assert len(TEXTS) > 2000
