"""A password typed at a terminal: asked for in sight, never shown, and the echo comes back."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import resource
import select
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cli import ROOT, ftm_environment, run_ftm
from tests.support.postgres import PostgresServer
from tests.support.prefetch_quarter import QUARTER
from tests.support.tiny_wrds import TinyWRDS

pytestmark = pytest.mark.slow

PASSWORD = "plant-typed-7f3a9c"
PREFETCH = ("prefetch", "--quarter", QUARTER, "--workers", "1", "--json")
QUESTION = "WRDS password of "


@pytest.fixture(scope="module")
def wrds(postgres: PostgresServer) -> Iterator[PostgresServer]:
    """Four firms."""
    tiny = TinyWRDS().vintage()
    for firm in range(1, 5):
        tiny.firm(firm)
        tiny.turn(firm, 0, f"Demand of firm {firm} grew in this region.")
    with tiny.served(postgres) as server:
        yield server


@pytest.fixture
def role(wrds: PostgresServer) -> Iterator[PostgresServer]:
    """A role whose password is typed."""
    with wrds.role(schemas=["ciq", "crsp"], password=PASSWORD) as found:
        yield found


@pytest.fixture
def variables(role: PostgresServer, tmp_path: Path) -> dict[str, str]:
    """What points the command at the server and the store; no password anywhere."""
    return {
        "FTM_WRDS_HOST": role.host,
        "FTM_WRDS_PORT": str(role.port),
        "FTM_WRDS_DBNAME": role.dbname,
        "FTM_WRDS_SSLMODE": "disable",
        "WRDS_USERNAME": role.user,
        "FTM_STORE": f"file://{tmp_path}",
        "PGPASSFILE": str(tmp_path / "none"),
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none"),
        "AWS_CONFIG_FILE": str(tmp_path / "none"),
    }


def _at_a_terminal() -> None:
    """Where a crash would leave a core, if the system lets it."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    most = resource.getrlimit(resource.RLIMIT_CORE)[1]
    resource.setrlimit(resource.RLIMIT_CORE, (most, most))


class Terminal:
    """`ftm …` at a terminal of its own, stdout apart; a context manager."""

    def __init__(self, *arguments: str, **variables: str) -> None:
        self._ours, theirs = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "ftm.cli.main", *arguments],
            env=ftm_environment(**variables),
            cwd=ROOT,
            stdin=theirs,
            stdout=subprocess.PIPE,
            stderr=theirs,
            start_new_session=True,
            preexec_fn=_at_a_terminal,
        )
        self._theirs = theirs  # kept open, so that its settings can be asked for at the end
        self.shown = ""

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_error: object) -> None:
        self.process.kill()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()
        os.close(self._theirs)
        os.close(self._ours)

    def watch(self, until: str = "", *, for_s: float = 60) -> None:
        """Read what is shown, until that is there, the process has ended or the time is up."""
        deadline = time.monotonic() + for_s
        while time.monotonic() < deadline and not (until and until in self.shown):
            if select.select([self._ours], [], [], 0.1)[0]:
                self.shown += os.read(self._ours, 4096).decode(errors="replace")
            elif self.process.poll() is not None:
                return

    def type(self, text: str) -> None:
        """As a person does."""
        os.write(self._ours, text.encode())

    @property
    def echoes(self) -> bool:
        """Whether the shell's next line would be seen."""
        return bool(termios.tcgetattr(self._theirs)[3] & termios.ECHO)


def begin(role: PostgresServer, variables: dict[str, str]) -> None:
    """A quarter that is planned and has a firm of four, so that a rerun only fetches."""
    done = run_ftm(*PREFETCH, "--limit", "1", **variables, WRDS_PASSWORD=PASSWORD)
    assert done.returncode == 0, done.stderr
    assert role.logins(role.user) == 1


@pytest.mark.parametrize("resumed", [pytest.param(False, marks=pytest.mark.exhaustive), True])
def test_a_typed_password_is_not_shown(
    role: PostgresServer, variables: dict[str, str], tmp_path: Path, resumed: bool
) -> None:
    """The question is the last thing on the terminal until it is answered; no bar paints over."""
    if resumed:
        begin(role, variables)
    with Terminal(*PREFETCH, **variables) as terminal:
        terminal.watch(QUESTION)
        terminal.watch(for_s=1)
        assert terminal.shown.endswith(f"{QUESTION}{role.user}: ")
        assert not terminal.echoes
        assert resource.prlimit(terminal.process.pid, resource.RLIMIT_CORE)[0] == 0
        terminal.type(f"{PASSWORD}\n")
        terminal.watch()
        out, _ = terminal.process.communicate(timeout=60)
        assert terminal.process.returncode == 0, terminal.shown
        assert terminal.echoes
    assert json.loads(out)["n_firms"] == 4
    assert role.logins(role.user) == 1 + resumed
    assert PASSWORD not in terminal.shown + out.decode()
    kept = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not [path for path in kept if PASSWORD.encode() in path.read_bytes()]


@pytest.mark.parametrize(
    ("key", "resumed"),
    [
        ("\x03", True),
        *(
            pytest.param(*given, marks=pytest.mark.exhaustive)
            for given in (("\x03", False), ("\x04", True), ("\x04", False))
        ),
    ],
)
def test_leaving_the_question(
    role: PostgresServer, variables: dict[str, str], key: str, resumed: bool
) -> None:
    """Ctrl-C and Ctrl-D: one line, no login, and the terminal echoes again."""
    if resumed:
        begin(role, variables)
    with Terminal(*PREFETCH, **variables) as terminal:
        terminal.watch(QUESTION)
        terminal.watch(for_s=0.5)
        terminal.type(key)
        terminal.watch(for_s=20)
        assert terminal.process.wait(20) == 130, terminal.shown
        assert terminal.echoes
    assert "stopped; run the same command again to resume" in terminal.shown
    assert "Traceback" not in terminal.shown
    assert role.logins(role.user) == resumed
