"""WRDS that fails in the middle: one login, one line, and a rerun that asks only for the rest."""

from __future__ import annotations

import logging
import random
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import psycopg2
import pytest

from ftm.connectors.discovery import PlanOptions
from ftm.connectors.wrds_connector import WRDSConnector
from ftm.core.errors import WRDSConnectionError, WRDSConnectionLostError, WRDSError
from ftm.core.quarter import Quarter
from ftm.prefetch.prefetcher import WRDSPrefetcher
from ftm.storage.checkpoint import decode_session
from ftm.storage.lease import decode_document
from ftm.storage.object_store import ObjectStore, open_store
from tests.support.cli import run_ftm
from tests.support.cutting_proxy import CuttingProxy
from tests.support.fake_source import FakePreprocessor
from tests.support.faulty_path import last_words
from tests.support.postgres import PostgresServer
from tests.support.prefetch_quarter import LAYOUT, QUARTER, Clock, Lines, everything
from tests.support.tiny_wrds import TinyWRDS

N_FIRMS = 80
BAD = 50
"""A transcript in the third of four chunks: transcripts come sorted as texts."""

SABOTAGE = """
CREATE TABLE ciq.sabotage (transcript int, sleep_s float, code text, message text);
CREATE FUNCTION ciq.trip(asked float, said text) RETURNS text LANGUAGE plpgsql SECURITY DEFINER AS
$$ DECLARE found ciq.sabotage; BEGIN
  SELECT * INTO found FROM ciq.sabotage WHERE transcript = asked;
  IF found.sleep_s > 0 THEN PERFORM pg_sleep(found.sleep_s); END IF;
  IF found.code <> '' THEN RAISE EXCEPTION '%', found.message USING ERRCODE = found.code; END IF;
  RETURN said;
END $$;
ALTER TABLE ciq.ciqtranscriptcomponent RENAME TO kept;
CREATE VIEW ciq.ciqtranscriptcomponent AS SELECT transcriptcomponentid, transcriptid,
  componentorder, transcriptcomponenttypeid, transcriptpersonid,
  ciq.trip(transcriptid::float, componenttext) AS componenttext FROM ciq.kept;
"""


@pytest.fixture(scope="module")
def wrds(postgres: PostgresServer) -> Iterator[PostgresServer]:
    """More firms than are read ahead, and a way to fail at a transcript of one's choice."""
    tiny = TinyWRDS().vintage()
    for firm in range(1, N_FIRMS + 1):
        tiny.firm(firm)
        for order in range(3):
            tiny.turn(firm, order, f"Demand of firm {firm} grew in region {order} this quarter.")
    with tiny.served(postgres) as server:
        server.execute(SABOTAGE)
        yield server


@pytest.fixture
def role(wrds: PostgresServer) -> Iterator[PostgresServer]:
    """A role whose logins are counted and whose statements are logged."""
    wrds.execute("TRUNCATE ciq.sabotage")
    with wrds.role(schemas=["ciq", "crsp"]) as found:
        wrds.execute(f"ALTER ROLE {found.user} SET log_statement = 'all'")
        yield found


@pytest.fixture(scope="module")
def whole(wrds: PostgresServer) -> dict[str, bytes]:
    """What a prefetch leaves that nothing disturbs."""
    store = open_store("memory://")
    with wrds.role(schemas=["ciq", "crsp"]) as found:
        run(store, found)
    return everything(store)


@dataclass
class At(Lines):
    """A progress that does something once, at its sixth firm."""

    what: Callable[[], object] = lambda: None
    done: list[bool] = field(default_factory=list)

    def advance(self, *, firms: int = 0, sentences: int = 0) -> None:
        """See Progress."""
        super().advance(firms=firms, sentences=sentences)
        if self.n_firms >= 6 and not self.done:
            self.done.append(True)
            self.what()


def run(
    store: ObjectStore, role: PostgresServer, what: Callable[[], object] = lambda: None
) -> object:
    """A prefetch of four chunks, as one command."""
    with WRDSPrefetcher(
        lambda: WRDSConnector(settings=role.settings(), clock=Clock(), notify=lambda _: None),
        store,
        FakePreprocessor(),
        chunk_size=20,
        checkpoint_interval=4,
        clock=Clock(),
        progress=At(what=what),
    ) as prefetcher:
        return prefetcher.prefetch_quarter(QUARTER)


def durable(store: ObjectStore) -> set[str]:
    """Firms that the checkpoint names."""
    key = LAYOUT.checkpoint
    if not store.exists(key):
        return set()
    session = decode_session(decode_document(store.get(key), key=key), key=key)
    return session.durable() if session else set()


def asked_for(role: PostgresServer, since: int) -> list[str]:
    """Transcripts whose turns the server was asked for, as its log has it; ids are the firms'."""
    log = role.log.read_text()[since:]
    lists = re.findall(r"unnest\(CAST\(ARRAY\[([\d,]+)\] AS bigint\[\]\)\) WITH ORDINALITY", log)
    return [number for each in lists for number in each.split(",")]


def finishes(
    store: ObjectStore, role: PostgresServer, whole: dict[str, bytes], *, kept: int
) -> None:
    """A rerun takes one login more, asks for no firm that is kept, and ends with the same bytes."""
    done = durable(store)
    assert len(done) >= kept
    logins, since = role.logins(role.user), len(role.log.read_text())
    run(store, role)
    assert role.logins(role.user) - logins == 1
    assert sorted(asked_for(role, since)) == sorted({str(n) for n in range(1, N_FIRMS + 1)} - done)
    assert everything(store) == whole


def sabotage(wrds: PostgresServer, code: str = "", message: str = "", sleep_s: float = 0) -> None:
    """Let the transcript fail, or come late."""
    wrds.execute("INSERT INTO ciq.sabotage VALUES (%s, %s, %s, %s)", BAD, sleep_s, code, message)


def conflict(wrds: PostgresServer, role: PostgresServer) -> Callable[[], object]:
    """A replica that catches up with its master cancels what is in the way."""
    sabotage(wrds, "40001", "canceling statement due to conflict with recovery")
    return lambda: None


def statement_timeout(wrds: PostgresServer, role: PostgresServer) -> Callable[[], object]:
    """A row takes longer than the server lets a statement take."""
    wrds.execute(f"ALTER ROLE {role.user} SET statement_timeout = '2s'")
    sabotage(wrds, sleep_s=20)
    return lambda: None


def idle(wrds: PostgresServer, role: PostgresServer) -> Callable[[], object]:
    """The text step takes longer than the server lets a transaction rest."""
    wrds.execute(f"ALTER ROLE {role.user} SET idle_in_transaction_session_timeout = '1s'")
    return lambda: time.sleep(3)


def restart(wrds: PostgresServer, role: PostgresServer) -> Callable[[], object]:
    """Every connection is ended."""
    return wrds.restart


def broken_off(wrds: PostgresServer, role: PostgresServer) -> Callable[[], object]:
    """This connection is ended."""
    return lambda: end_sessions(wrds, role)


def end_sessions(wrds: PostgresServer, role: PostgresServer) -> None:
    """As an administrator does."""
    wrds.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", role.user
    )


Fault = Callable[[PostgresServer, PostgresServer], Callable[[], object]]


@pytest.mark.parametrize(
    ("fault", "told", "kept"),
    [
        (conflict, "conflict with recovery", 40),
        (statement_timeout, "statement timeout", 40),
        (idle, "the connection to WRDS was lost", 6),
        (restart, "the connection to WRDS was lost", 6),
        (broken_off, "the connection to WRDS was lost", 6),
    ],
)
def test_a_server_that_fails_in_the_middle(
    wrds: PostgresServer,
    role: PostgresServer,
    whole: dict[str, bytes],
    fault: Fault,
    told: str,
    kept: int,
) -> None:
    """One login, one line with what to do, and what was delivered is kept."""
    store = open_store("memory://")
    with pytest.raises(WRDSError, match=told) as caught:
        run(store, role, fault(wrds, role))
    assert "\n" not in str(caught.value)
    assert "run the same command again to resume" in str(caught.value)
    assert role.logins(role.user) == 1
    wrds.execute("TRUNCATE ciq.sabotage")
    wrds.execute(f"ALTER ROLE {role.user} RESET ALL")
    wrds.execute(f"ALTER ROLE {role.user} SET log_statement = 'all'")
    finishes(store, role, whole, kept=kept)


@pytest.mark.parametrize("how", ["PASSWORD 'an0ther'", "VALID UNTIL '2020-01-01'"])
def test_a_password_that_is_of_no_use_any_more(
    wrds: PostgresServer, role: PostgresServer, whole: dict[str, bytes], how: str
) -> None:
    """The rerun is refused once, and says so; with the new one it goes on where it was."""

    def change() -> None:
        wrds.execute(f"ALTER ROLE {role.user} {how}")
        end_sessions(wrds, role)

    store = open_store("memory://")
    with pytest.raises(WRDSConnectionLostError):
        run(store, role, change)
    before, connections = store.get(LAYOUT.checkpoint), role.connections()
    with pytest.raises(WRDSConnectionError, match="wrong or expired password"):
        run(store, role)
    wrds_connections = role.connections() - connections
    assert (wrds_connections, role.logins(role.user)) == (1, 1)
    assert (
        decode_document(before, key="")["session"]
        == (decode_document(store.get(LAYOUT.checkpoint), key="")["session"])
    )
    wrds.execute(f"ALTER ROLE {role.user} PASSWORD 'n3w' VALID UNTIL 'infinity'")
    finishes(store, replace(role, password="n3w"), whole, kept=6)


def test_too_many_connections(
    wrds: PostgresServer, role: PostgresServer, whole: dict[str, bytes]
) -> None:
    """Another program of the same user holds the only one: one attempt, and what to close."""
    wrds.execute(f"ALTER ROLE {role.user} CONNECTION LIMIT 1")
    other = psycopg2.connect(
        host=role.host, port=role.port, user=role.user, password=role.password, dbname=role.dbname
    )
    store, connections = open_store("memory://"), role.connections()
    with pytest.raises(WRDSConnectionError, match=r"too many connections.*close what else is"):
        run(store, role)
    assert role.connections() - connections == 1
    other.close()
    while wrds.execute("SELECT 1 FROM pg_stat_activity WHERE usename = %s", role.user):
        time.sleep(0.02)
    finishes(store, role, whole, kept=0)


def test_a_slow_server_is_waited_for(
    wrds: PostgresServer, role: PostgresServer, whole: dict[str, bytes]
) -> None:
    """However long a row takes: one login, the same bytes."""
    wrds.execute("INSERT INTO ciq.sabotage SELECT n, 0.005, '', '' FROM generate_series(1, 80) n")
    store = open_store("memory://")
    run(store, role)
    assert role.logins(role.user) == 1
    assert everything(store) == whole


def cut_and_finish(
    role: PostgresServer, whole: dict[str, bytes], *, cut_after: int, reset: bool
) -> bool:
    """A prefetch that is cut there, and the one after it; whether it stopped the first one."""
    store = open_store("memory://")
    logins, since = role.logins(role.user), len(role.log.read_text())
    with CuttingProxy(role.port, cut_after=cut_after, reset=reset) as proxy:
        said = last_words(lambda: run(store, replace(role, port=proxy.port)))
        assert "run the same command again" in said or not said
        assert proxy.n_connections == 1
    assert role.logins(role.user) - logins <= 1
    assert len(asked_for(role, since)) == len(set(asked_for(role, since)))
    if store.exists(LAYOUT.checkpoint):
        finishes(store, role, whole, kept=0)
    else:
        run(store, role)
        assert everything(store) == whole
    return bool(said)


def answer_bytes(role: PostgresServer) -> int:
    """What the server sends in a prefetch."""
    with CuttingProxy(role.port) as proxy:
        run(open_store("memory://"), replace(role, port=proxy.port))
        return proxy.n_bytes


def test_a_connection_cut_at_a_random_byte(role: PostgresServer, whole: dict[str, bytes]) -> None:
    """Wherever it is, in a row, in an answer, by FIN or RST: no second connection, none lost."""
    total, rng = answer_bytes(role), random.Random(5)
    stopped = [
        cut_and_finish(role, whole, cut_after=rng.randrange(2000, total), reset=n % 2 == 0)
        for n in range(6)
    ]
    assert stopped.count(True) >= 5  # behind the last row a cut disturbs nobody


@pytest.mark.exhaustive
def test_a_connection_cut_at_many_bytes(role: PostgresServer, whole: dict[str, bytes]) -> None:
    """The same a hundred times."""
    total, rng = answer_bytes(role), random.Random(6)
    stopped = [
        cut_and_finish(role, whole, cut_after=rng.randrange(1, total), reset=n % 2 == 0)
        for n in range(100)
    ]
    assert stopped.count(True) >= 90


def test_a_connection_cut_while_it_is_opened(
    role: PostgresServer, caplog: pytest.LogCaptureFixture
) -> None:
    """From the login's first byte to the first question's answer: one of ftm's errors, no log."""
    for cut_after in range(1, 4000, 97):
        with (
            CuttingProxy(role.port, cut_after=cut_after, reset=cut_after % 2 == 0) as proxy,
            WRDSConnector(settings=replace(role, port=proxy.port).settings()) as connector,
        ):
            with pytest.raises(WRDSConnectionError, match="run the same command again"):
                connector.discover(Quarter.parse(QUARTER), PlanOptions())
            with pytest.raises(WRDSConnectionError):
                connector.discover(Quarter.parse(QUARTER), PlanOptions())
            assert proxy.n_connections == 1, cut_after
    assert caplog.records == []


def test_the_command_says_one_line(role: PostgresServer, tmp_path: Path) -> None:
    """`ftm prefetch`, cut while SQLAlchemy opens its session, and again in the middle: exit 1."""
    told = {
        "FTM_WRDS_HOST": role.host,
        "FTM_WRDS_DBNAME": role.dbname,
        "FTM_WRDS_SSLMODE": "disable",
        "WRDS_USERNAME": role.user,
        "WRDS_PASSWORD": role.password,
        "FTM_STORE": f"file://{tmp_path}",
        "FTM_PREFETCH_CHECKPOINT": "5",
    }
    command = ("prefetch", "--quarter", QUARTER, "--workers", "1")
    for cut_after in (900, 30_000):
        with CuttingProxy(role.port, cut_after=cut_after) as proxy:
            done = run_ftm(*command, FTM_WRDS_PORT=str(proxy.port), **told)
        assert done.returncode == 1
        assert "Traceback" not in done.stderr
        errors = [line for line in done.stderr.splitlines() if line.startswith("ftm: ")]
        assert len(errors) == 1, done.stderr
        assert "run the same command again to resume" in errors[0]
    assert role.logins(role.user) == 2


def test_sqlalchemy_keeps_its_tracebacks_to_itself(role: PostgresServer) -> None:
    """Now and then a cut leaves a cursor that cannot be closed; the user has our line already."""
    with WRDSConnector(settings=role.settings()) as connector:
        connector.discover(Quarter.parse(QUARTER), PlanOptions())
        assert not connector._session._wrds.engine.pool.logger.isEnabledFor(logging.ERROR)
