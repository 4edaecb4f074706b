"""Names that come to WRDS later, and reach the terminal before they reach the store."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pytest

from ftm.cli.progress import LineProgress
from ftm.cli.run_progress import LineWatcher
from tests.support.cli import run_ftm
from tests.support.hostile import NAMES, OBEYED
from tests.support.postgres import PostgresServer
from tests.support.tiny_wrds import TinyWRDS

QUARTER = "2023Q1"


def told(server: PostgresServer, folder: Path, *flags: str) -> str:
    """What `ftm prefetch` says."""
    where = {
        "FTM_WRDS_HOST": server.host,
        "FTM_WRDS_PORT": str(server.port),
        "FTM_WRDS_DBNAME": server.dbname,
        "FTM_WRDS_SSLMODE": "disable",
        "WRDS_USERNAME": server.user,
        "WRDS_PASSWORD": server.password,
        "FTM_STORE": f"file://{folder}",
    }
    done = run_ftm("prefetch", "--quarter", QUARTER, "--workers", "1", *flags, **where)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def quarter(*names: str) -> TinyWRDS:
    """Firms of these names."""
    tiny = TinyWRDS().vintage()
    for firm, name in enumerate(names, 1):
        tiny.firm(firm, companyname=name).turn(firm, 0, "Demand grew in all our regions.")
    return tiny


@pytest.mark.slow
def test_a_terminal_obeys_no_name_of_a_revision(postgres: PostgresServer, tmp_path: Path) -> None:
    """`--check-revisions` shows names that no stage has seen yet."""
    with quarter("Acme").served(postgres) as server:
        told(server, tmp_path)
    with quarter("Acme", NAMES[1], NAMES[3]).served(postgres) as server:
        said = told(server, tmp_path, "--check-revisions")
    assert "Ansi" in said
    assert not OBEYED.search(said)


@pytest.mark.parametrize("make", [LineProgress, LineWatcher])
def test_no_line_in_a_log_is_obeyed(make: Callable[[io.StringIO], LineProgress]) -> None:
    """Errors quote what they met; a log is read at a terminal, too."""
    stream = io.StringIO()
    make(stream).message(f"firm 7 failed: {NAMES[1]}")
    assert "Ansi" in stream.getvalue()
    assert not OBEYED.search(stream.getvalue())
