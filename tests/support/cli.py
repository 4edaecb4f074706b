"""The `ftm` command as a process of its own, with nothing of this shell's settings."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryFile

from ftm.jobs.local import inherited
from tests.support.forge import Started, forge
from tests.support.runs import NOOP_MODEL

ROOT = Path(__file__).parents[2]
_READ_AT_START = ("PYTHON", "LC_", "LANG")


def ftm_environment(**variables: str) -> dict[str, str]:
    """What a process needs to run, no-op models, and these variables."""
    return {**inherited(os.environ), **NOOP_MODEL, "COLUMNS": "100", **variables}


def run_ftm(
    *arguments: str, cwd: Path | None = None, limit_s: float = 120, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run `ftm …` to its end, in a process forked from one that has imported it.

    What Python reads when it starts, such as PYTHONIOENCODING, needs a process that starts.
    """
    if any(name.startswith(_READ_AT_START) for name in variables):
        return _run_cold(*arguments, cwd=cwd or ROOT, limit_s=limit_s, **variables)
    with TemporaryFile("w+") as out, TemporaryFile("w+") as err:
        process = forge().start(
            *("ftm.cli.main", *arguments),
            environment=ftm_environment(**variables),
            cwd=cwd or ROOT,
            stdout=out,
            stderr=err,
        )
        try:
            code = process.wait(limit_s)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        for file in (out, err):
            file.seek(0)
        return subprocess.CompletedProcess(arguments, code, out.read(), err.read())


def _run_cold(
    *arguments: str, cwd: Path, limit_s: float, **variables: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ftm.cli.main", *arguments],
        env=ftm_environment(**variables),
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=limit_s,
        check=False,
    )


def start_ftm(*arguments: str, **variables: str) -> Started:
    """Start `ftm …` in a session of its own, as a terminal would; forked like `run_ftm`'s."""
    return forge().start_piped(
        *("ftm.cli.main", *arguments),
        environment=ftm_environment(**variables),
        cwd=ROOT,
        new_session=True,
    )
