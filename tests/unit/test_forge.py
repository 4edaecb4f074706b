"""What the tests' own forge of processes promises."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tests.support.forge import Forge, Forged

ENDS_AT = """
import sys, time

def main():
    while time.time() < float(sys.argv[1]):
        pass
    return 3
"""


def test_both_ends_of_two_that_end_at_once_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where two signals meet no end is lost: it was in one of a hundred pairs."""
    (tmp_path / "at_once.py").write_text(ENDS_AT)
    monkeypatch.syspath_prepend(tmp_path)
    with Forge() as forge, Path(os.devnull).open("w") as nothing:

        def start(at: float) -> Forged:
            return forge.start(
                *("at_once", str(at)),
                environment=os.environ,
                cwd=tmp_path,
                stdout=nothing,
                stderr=nothing,
            )

        for _ in range(60):
            at = time.time() + 0.05
            assert [each.wait(10) for each in (start(at), start(at))] == [3, 3]
