"""The embedded PostgreSQL: real, private, and gone when its owner is."""

from __future__ import annotations

import contextlib
import signal
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from ftm.demo.embedded_postgres import EmbeddedPostgres, embedded_postgres
from tests.support.demo_quarter import DemoQuarter

SERVE = """
import time
from ftm.demo.embedded_postgres import embedded_postgres
with embedded_postgres() as server:
    print(server.host, flush=True)
    time.sleep(120)
"""


def count(server: EmbeddedPostgres, table: str) -> int:
    """Rows of a table."""
    with contextlib.closing(server.connect()) as connection, connection.cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM {table}")
        (number,) = cursor.fetchone()
        return int(number)


def test_it_holds_what_was_loaded(demo_quarter: DemoQuarter) -> None:
    """Every row of every table arrives."""
    for name in ("ciq.wrds_transcript_detail", "ciq.ciqtranscriptcomponent", "ciq.wrds_gvkey"):
        assert count(demo_quarter.server, name) == demo_quarter.data.tables[name].num_rows


def test_it_is_gone_after_an_error_and_left_its_surroundings_alone() -> None:
    """The folder goes, and the permissions of the temporary directory are what they were."""
    parent = Path(tempfile.gettempdir())
    before = stat.S_IMODE(parent.stat().st_mode)
    with contextlib.suppress(ZeroDivisionError), embedded_postgres() as server:
        assert stat.S_IMODE(Path(server.host).stat().st_mode) == 0o700
        raise ZeroDivisionError
    assert not Path(server.host).exists()
    assert stat.S_IMODE(parent.stat().st_mode) == before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=lambda s: s.name)
def test_it_does_not_outlive_a_killed_process(number: signal.Signals) -> None:
    """Killed in whatever way, the process takes server and folder with it."""
    with subprocess.Popen(
        [sys.executable, "-c", SERVE], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        folder = Path(process.stdout.readline().strip())
        pid = int((folder / "data" / "postmaster.pid").read_text().splitlines()[0])
        process.send_signal(number)
    deadline = time.monotonic() + 30
    while (folder.exists() or is_alive(pid)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not folder.exists()
    assert not is_alive(pid)


def is_alive(pid: int) -> bool:
    """Whether a process of this id runs (a zombie does not)."""
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
