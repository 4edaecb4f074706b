"""The exit codes of `ftm`, as a shell sees them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ftm.cli.main import COMMANDS


def ftm(*args: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own, away from any ftm.toml and any setting."""
    return subprocess.run(
        [sys.executable, "-m", "ftm.cli.main", *args],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": os.environ.get("PYTHONPATH", "")},
    )


def test_help_lists_every_command_and_exits_0(tmp_path: Path) -> None:
    """`ftm --help` is the way in: it names all commands."""
    done = ftm("--help", cwd=tmp_path)
    assert done.returncode == 0
    assert all(f"  {name} " in done.stdout for name in COMMANDS)


def test_the_bare_command_shows_the_help(tmp_path: Path) -> None:
    """`ftm` alone asks for what `ftm --help` shows, line by line on stdout."""
    bare, asked = ftm(cwd=tmp_path), ftm("--help", cwd=tmp_path)
    assert (bare.returncode, bare.stderr) == (0, "")
    assert bare.stdout == asked.stdout


@pytest.mark.parametrize(
    "args",
    [
        ["prefetch", "--quarter", "2023Q5"],
        ["prefetch", "--quarter", "2023q1"],
        ["run-quarter", "--quarter", "2023-1"],
        ["run-quarter", "--quarter", "2023Q1", "--batch-size", "0"],
        ["prefetch"],
        ["no-such-command"],
        ["status", "--no-such-flag"],
        ["prefetch", "--quarter", "2023Q1"],
        ["run-quarter", "--quarter", "2023Q1"],
        ["status", "--quarter", "2023Q1"],
        ["run-quarter", "--quarter", "2023Q1", "--store", "ftp://x"],
    ],
)
def test_wrong_usage_is_one_line_and_exit_2(args: list[str], tmp_path: Path) -> None:
    """A malformed quarter or flag, and no store, are the caller's to mend."""
    done = ftm(*args, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("ftm: ")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "args",
    [
        ["quarters", "--store", "file:///proc/nothing-here/x"],
        ["run-quarter", "--quarter", "2023Q1", "--store", "file://{tmp}"],
    ],
)
def test_a_known_failure_is_one_line_and_exit_1(args: list[str], tmp_path: Path) -> None:
    """A store that cannot be made, a quarter that is not there: what failed and what to do."""
    done = ftm(*(arg.format(tmp=tmp_path) for arg in args), cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("ftm: ")
    assert len(done.stderr.splitlines()) == 1
