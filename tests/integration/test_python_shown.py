"""The Python that README and docs show, run as it stands on a small quarter."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from ftm import S3TranscriptConnector
from tests.support.cli import ROOT, ftm_environment
from tests.support.demo_quarter import DemoQuarter


def shown(page: str) -> list[str]:
    """The Python blocks of a page, in order."""
    text = (ROOT / page).read_text("utf-8")
    return re.findall(r"^```python\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


def run_script(code: str, folder: Path, **environment: str) -> None:
    """Save it and run it, as a reader would."""
    script = folder / "shown.py"
    script.write_text(code, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(script)],
        env=ftm_environment(**environment),
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr


def test_the_python_that_is_shown_runs(demo_quarter: DemoQuarter, tmp_path: Path) -> None:
    """Prefetch and run first, then read; only the names of store and firm are put in."""
    url = f"file://{tmp_path / 'store'}"
    environment = {**demo_quarter.environment(), "FTM_EMBEDDING_MODEL": "noop"}
    read, prefetch, run = shown("docs/python.md")
    for block in (prefetch, run, read):
        assert "file:///data/ftm" in block
        run_script(block.replace("file:///data/ftm", url), tmp_path, **environment)

    (block,) = shown("README.md")
    firm = S3TranscriptConnector(store=url, quarter="2023Q1").get_available_firm_ids()[0]
    for word, real in (
        ('bucket="your-bucket"', f'store="{url}"'),
        ("s3://your-bucket", url),
        ("112350", firm),
    ):
        assert word in block
        block = block.replace(word, real)
    run_script(block, tmp_path, **environment)
