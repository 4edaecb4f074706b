"""The Python that README and docs show, run as it stands on a small quarter."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ftm import S3TranscriptConnector
from tests.support.cli import ROOT
from tests.support.demo_quarter import DemoQuarter


def shown(page: str) -> list[str]:
    """The Python blocks of a page, in order."""
    text = (ROOT / page).read_text("utf-8")
    return re.findall(r"^```python\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


def test_the_python_that_is_shown_runs(
    demo_quarter: DemoQuarter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prefetch and run first, then read; only the names of store and firm are put in."""
    url = f"file://{tmp_path / 'store'}"
    for name, value in demo_quarter.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("FTM_EMBEDDING_MODEL", "noop")
    monkeypatch.chdir(tmp_path)
    read, prefetch, run = shown("docs/python.md")
    for block in (prefetch, run, read):
        assert "file:///data/ftm" in block
        exec(block.replace("file:///data/ftm", url), {})

    (block,) = shown("README.md")
    firm = S3TranscriptConnector(store=url, quarter="2023Q1").get_available_firm_ids()[0]
    for word, real in (
        ('bucket="your-bucket"', f'store="{url}"'),
        ("s3://your-bucket", url),
        ("112350", firm),
    ):
        assert word in block
        block = block.replace(word, real)
    exec(block, {})
