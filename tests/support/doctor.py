"""What `ftm doctor` finds, in this process: the fixture `doctor`."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ftm.care.checks import Finding, run_checks
from ftm.wiring import get_checks

Doctor = Callable[..., "Report"]


@dataclass
class Report:
    """What the doctor found, and what it said while looking."""

    findings: list[Finding]
    told: list[str] = field(default_factory=list)

    def marks(self, what: str) -> list[str]:
        """How a check ended, line by line."""
        return [str(finding.mark) for finding in self.findings if finding.what == what]

    def mark(self, what: str) -> str:
        """How a check of one line ended."""
        (found,) = self.marks(what)
        return found

    def text(self, what: str) -> str:
        """What a check said."""
        return " / ".join(finding.text for finding in self.findings if finding.what == what)

    def wrong(self) -> set[str]:
        """Names of the failed checks."""
        return {finding.what for finding in self.findings if finding.mark == "failed"}


@pytest.fixture
def listener() -> Iterator[int]:
    """The port of something that takes TCP connections."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server.getsockname()[1]


@pytest.fixture
def quiet(listener: int, tmp_path: Path) -> dict[str, str]:
    """Variables with which nothing but the store is left to find fault with."""
    return {
        "FTM_WRDS_HOST": "127.0.0.1",
        "FTM_WRDS_PORT": str(listener),
        "WRDS_USERNAME": "me",
        "WRDS_PASSWORD": "planted-wrds-password",
        "PGPASSFILE": str(tmp_path / "no-pgpass"),
        "FTM_DEVICE": "cpu",
    }


@pytest.fixture
def doctor(quiet: Mapping[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Doctor:
    """Looks at everything, in this process, in an empty folder, with these variables."""
    monkeypatch.chdir(tmp_path)
    for name in [n for n in os.environ if n.startswith(("FTM_", "AWS_", "WRDS_", "S3_"))]:
        monkeypatch.delenv(name)

    def look(*, log_in: bool = False, **variables: str) -> Report:
        for name, value in {**quiet, **variables}.items():
            monkeypatch.setenv(name, value)
        told: list[str] = []
        checks = get_checks({}, log_in=log_in, notify=told.append)
        return Report(list(run_checks(checks)), told)

    return look
