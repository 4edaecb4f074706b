"""`ftm doctor`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import click

from ftm.cli.named_store import runnable

if TYPE_CHECKING:
    from ftm.care.checks import Finding

_MARKS = {"ok": "✓", "warning": "!", "failed": "✗", "skipped": "-"}
_PLAIN_MARKS = {"ok": "+", "warning": "!", "failed": "x", "skipped": "-"}


@click.command()
@click.option("--store", metavar="URL", help="s3://bucket[/prefix] or file:///folder.")
@click.option(
    "--wrds",
    "log_in",
    is_flag=True,
    help="Log in to WRDS, once (a Duo push will come), and say which tables the account reads.",
)
@click.option("--json", "as_json", is_flag=True, help="As JSON, for programs.")
def doctor(log_in: bool, as_json: bool, **given: Any) -> None:
    """Check everything ftm needs, and say what to do about what is missing.

    One line a check: in order, to know of, failed, or not set up here. Writes nothing but one
    small object, which it deletes again; submits nothing, and does not log in to WRDS unless told
    to. Exit code 1 if something failed.

    \b
    ftm doctor
    ftm doctor --wrds
    ftm doctor --store s3://your-bucket --json > doctor.json
    """
    from ftm.care.checks import run_checks
    from ftm.core.progress import OnlyMessages
    from ftm.wiring import get_checks

    checks = get_checks(given, log_in=log_in, notify=OnlyMessages().message)
    found = []
    for finding in run_checks(checks):
        found.append(finding)
        if not as_json:
            click.echo(_line(finding))
    if as_json:
        click.echo(_as_json(found))
    if any(finding.mark == "failed" for finding in found):
        click.get_current_context().exit(1)


def _line(finding: Finding) -> str:
    """One line, in what the terminal can show."""
    encoding = getattr(sys.stdout, "encoding", None) or "ascii"
    try:
        "".join(_MARKS.values()).encode(encoding)
        marks = _MARKS
    except UnicodeEncodeError:
        marks = _PLAIN_MARKS
    text = f"{marks[finding.mark]} {finding.what}: {runnable(finding.text)}"
    return text.encode(encoding, "replace").decode(encoding)


def _as_json(found: Iterable[Finding]) -> str:
    lines = [{"check": f.what, "mark": f.mark, "text": runnable(f.text)} for f in found]
    return json.dumps({"ok": all(f["mark"] != "failed" for f in lines), "checks": lines}, indent=2)
