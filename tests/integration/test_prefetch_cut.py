"""The one connection cut in the middle of a chunk, on a real PostgreSQL."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ftm.connectors.wrds_connector import WRDSConnector
from ftm.core.errors import WRDSConnectionLostError
from ftm.prefetch.prefetcher import WRDSPrefetcher
from ftm.storage.manifest import load_manifest
from ftm.storage.object_store import ObjectStore, open_store
from ftm.wiring import get_orchestrator
from tests.support.cli import ROOT, ftm_environment, run_ftm, start_ftm
from tests.support.fake_source import FakePreprocessor
from tests.support.postgres import PostgresServer
from tests.support.prefetch_quarter import LAYOUT, QUARTER, Clock, Lines
from tests.support.tiny_wrds import TinyWRDS

N_FIRMS = 200
SPEECH = "Demand for our freight services grew in the northern region this quarter. " * 12


@pytest.fixture(scope="module")
def wrds(postgres: PostgresServer) -> Iterator[PostgresServer]:
    """More firms than a reader reads ahead, so that a cut finds it in the middle of a query."""
    tiny = TinyWRDS().vintage()
    for firm in range(1, N_FIRMS + 1):
        tiny.firm(firm)
        for order in range(10):
            tiny.turn(firm, order, SPEECH)
    with tiny.served(postgres) as server:
        yield server


@pytest.fixture
def role(wrds: PostgresServer) -> Iterator[PostgresServer]:
    """A fresh role per test, so that its logins can be counted."""
    with wrds.role(schemas=["ciq", "crsp"]) as found:
        yield found


def cut(wrds: PostgresServer, role: PostgresServer) -> None:
    """End every session of the role, as an administrator or a broken line would."""
    wrds.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", role.user
    )


@dataclass
class CutAt(Lines):
    """A progress that cuts the connection at the sixth firm, once."""

    servers: tuple[PostgresServer, PostgresServer] | None = None
    n_questions: int = 0

    def advance(self, *, firms: int = 0, sentences: int = 0) -> None:
        """See Progress."""
        super().advance(firms=firms, sentences=sentences)
        if self.servers is not None and self.n_firms == 6:
            cut(*self.servers)

    def answer(self, reply: bool) -> bool:
        """Count the question and give the answer."""
        self.n_questions += 1
        return reply


def prefetcher(
    store: ObjectStore, role: PostgresServer, told: CutAt, reply: bool | None
) -> WRDSPrefetcher:
    """A prefetcher whose user answers so; None: there is no user."""
    return WRDSPrefetcher(
        lambda: WRDSConnector(settings=role.settings(), clock=Clock()),
        store,
        FakePreprocessor(),
        checkpoint_interval=20,
        clock=Clock(),
        progress=told,
        ask=None if reply is None else lambda _question: told.answer(reply),
    )


def contents(store: ObjectStore) -> dict[str, object]:
    """Every object; the manifest decoded."""
    found: dict[str, object] = {info.key: store.get(info.key) for info in store.list()}
    return {**found, LAYOUT.manifest: load_manifest(store, QUARTER)}


def test_after_a_yes_a_new_login_reads_only_what_is_unfinished(
    wrds: PostgresServer, role: PostgresServer
) -> None:
    """One question, one more login, and the bytes of a prefetch that was not cut."""
    whole, store = open_store("memory://"), open_store("memory://")
    with prefetcher(whole, role, CutAt(), None) as each:
        each.prefetch_quarter(QUARTER)
    before = role.logins(role.user)

    told = CutAt(servers=(wrds, role))
    with prefetcher(store, role, told, True) as each:
        summary = each.prefetch_quarter(QUARTER)
    assert (summary.complete, summary.n_firms) == (True, N_FIRMS)
    assert role.logins(role.user) - before == 2
    assert told.n_questions == 1
    (_, first), (total, second) = told.started
    assert (first, total) == (0, N_FIRMS)
    assert 20 <= second < N_FIRMS, "firms of whole parts are not read again"
    assert contents(store) == contents(whole)


@pytest.mark.parametrize("reply", [False, None])
def test_without_a_yes_nobody_logs_in_again(
    wrds: PostgresServer, role: PostgresServer, reply: bool | None
) -> None:
    """A no, or nobody to ask, stops with the hint; what is in whole parts is kept."""
    store = open_store("memory://")
    told = CutAt(servers=(wrds, role))
    with (
        prefetcher(store, role, told, reply) as each,
        pytest.raises(WRDSConnectionLostError, match="run the same command again to resume"),
    ):
        each.prefetch_quarter(QUARTER)
    assert role.logins(role.user) == 1
    assert told.n_questions == (reply is False)
    assert json.loads(store.get(LAYOUT.checkpoint))["session"]["parts"]


def test_a_part_damaged_after_the_cut_is_read_again_with_the_rest(
    wrds: PostgresServer, role: PostgresServer
) -> None:
    """By the real queries: its firms and those not tried, no others, and the bytes are the same."""
    whole, store = open_store("memory://"), open_store("memory://")
    with prefetcher(whole, role, CutAt(), None) as each:
        each.prefetch_quarter(QUARTER)
    with (
        prefetcher(store, role, CutAt(servers=(wrds, role)), None) as each,
        pytest.raises(WRDSConnectionLostError),
    ):
        each.prefetch_quarter(QUARTER)
    first, *others = json.loads(store.get(LAYOUT.checkpoint))["session"]["parts"]
    key = LAYOUT.key(first["components"]["file"])
    store.put(key, store.get(key)[:-1])

    told = CutAt()
    with prefetcher(store, role, told, None) as each:
        each.prefetch_quarter(QUARTER)
    assert any(f"{store.name(key)} is damaged; its 20 firms" in line for line in told.messages)
    assert told.n_firms == N_FIRMS - sum(part["n_attempted"] for part in others)
    assert contents(store) == contents(whole)


def variables(role: PostgresServer, folder: Path) -> dict[str, str]:
    """What points the command at the server and the store."""
    return {
        "FTM_WRDS_HOST": role.host,
        "FTM_WRDS_PORT": str(role.port),
        "FTM_WRDS_DBNAME": role.dbname,
        "FTM_WRDS_SSLMODE": "disable",
        "WRDS_USERNAME": role.user,
        "WRDS_PASSWORD": role.password,
        "FTM_STORE": f"file://{folder}",
        "FTM_PREFETCH_CHECKPOINT": "5",
    }


PREFETCH = ("prefetch", "--quarter", QUARTER, "--workers", "1", "--json")


def wait_for_a_part(folder: Path) -> None:
    """Until the checkpoint names a part."""
    checkpoint = folder / LAYOUT.checkpoint
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        text = checkpoint.read_text() if checkpoint.exists() else "{}"
        if (json.loads(text).get("session") or {}).get("parts"):
            return
        time.sleep(0.005)
    pytest.fail("no part was written")


@pytest.mark.slow
def test_off_a_terminal_the_command_stops_and_a_rerun_completes(
    wrds: PostgresServer, role: PostgresServer, tmp_path: Path
) -> None:
    """Exit code 1, the last line says how to resume; the rerun reads the rest with one login."""
    settings = variables(role, tmp_path)
    process = start_ftm(*PREFETCH, **settings)
    wait_for_a_part(tmp_path)
    cut(wrds, role)
    out, said = process.communicate(timeout=60)
    assert (process.returncode, out) == (1, "")
    last = said.splitlines()[-1]
    assert last.startswith("ftm: the connection to WRDS was lost")
    assert "run the same command again" in last
    assert role.logins(role.user) == 1

    done = run_ftm(*PREFETCH, **settings)
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert (summary["resumed"], summary["complete"], summary["n_firms"]) == (True, True, N_FIRMS)
    assert role.logins(role.user) == 2


@pytest.mark.slow
@pytest.mark.parametrize(("reply", "code", "logins"), [(b"y\n", 0, 2), (b"n\n", 1, 1)])
def test_on_a_terminal_the_command_asks(
    wrds: PostgresServer,
    role: PostgresServer,
    tmp_path: Path,
    reply: bytes,
    code: int,
    logins: int,
) -> None:
    """A person is asked before the second push, and the answer decides."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "ftm.cli.main", *PREFETCH],
        env=ftm_environment(**variables(role, tmp_path)),
        cwd=ROOT,
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    wait_for_a_part(tmp_path)
    cut(wrds, role)
    said = read_until(ours, "[y/N]")
    assert "one new Duo push" in " ".join(said.split())
    assert role.logins(role.user) == 1
    os.write(ours, reply)
    read_until(ours, "\0")
    out, _ = process.communicate(timeout=60)
    os.close(ours)
    assert process.returncode == code
    assert role.logins(role.user) == logins
    assert (json.loads(out)["n_firms"] == N_FIRMS) if code == 0 else (out == b"")


def read_until(terminal: int, text: str) -> str:
    """What the terminal shows, until it shows the text or its process has ended."""
    shown = b""
    while text.encode() not in shown:
        try:
            shown += os.read(terminal, 4096)
        except OSError:  # how Linux says that nobody has the other side open any more
            break
    return shown.decode(errors="replace")


@pytest.mark.slow
def test_an_orchestrator_prefetches_with_one_login(role: PostgresServer, tmp_path: Path) -> None:
    """`run_prefetch` of `get_orchestrator`, as a notebook uses it; leaving the block logs out."""
    settings = role.settings(store=f"file://{tmp_path}")
    with get_orchestrator(settings) as orchestrator:
        assert not orchestrator.prefetch_exists(QUARTER)
        for firm, n_firms in (("1", 1), ("2", 2)):
            assert orchestrator.run_prefetch(QUARTER, firm_ids=[firm]).n_firms == n_firms
        assert orchestrator.get_prefetch_firm_ids(QUARTER) == ["1", "2"]
    assert role.logins(role.user) == 1
