"""The `ftm` command as a process of its own, with nothing of this shell's settings."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from ftm.jobs.local import inherited
from tests.support.runs import NOOP_MODEL

ROOT = Path(__file__).parents[2]


def ftm_environment(**variables: str) -> dict[str, str]:
    """What a process needs to run, no-op models, and these variables."""
    return {**inherited(os.environ), **NOOP_MODEL, "COLUMNS": "100", **variables}


def run_ftm(
    *arguments: str, cwd: Path | None = None, limit_s: float = 120, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run `ftm …` to its end."""
    return subprocess.run(
        [sys.executable, "-m", "ftm.cli.main", *arguments],
        env=ftm_environment(**variables),
        cwd=cwd or ROOT,
        capture_output=True,
        text=True,
        timeout=limit_s,
        check=False,
    )


def start_ftm(*arguments: str, **variables: str) -> subprocess.Popen[str]:
    """Start `ftm …` in a session of its own, as a terminal would."""
    return subprocess.Popen(
        [sys.executable, "-m", "ftm.cli.main", *arguments],
        env=ftm_environment(**variables),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
