"""WRDS that says nothing: waited for, spoken of, left when asked, given up when it is gone."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from sqlalchemy.engine import Engine, RootTransaction

from ftm.connectors import wrds_session
from ftm.connectors.wrds_connector import WRDSConnector
from ftm.connectors.wrds_login import LoginTimes
from ftm.connectors.wrds_session import _NOTICE_DEATH, WRDSSession
from ftm.core.errors import WRDSConnectionError, WRDSConnectionLostError
from ftm.core.settings import Settings
from tests.support.batch_runs import wait_until
from tests.support.cutting_proxy import CuttingProxy
from tests.support.postgres import PostgresServer

LONG = "SELECT pg_sleep(60)"


@pytest.fixture
def role(postgres: PostgresServer) -> Iterator[PostgresServer]:
    """A fresh role, so that its queries can be told from others'."""
    with postgres.role() as found:
        yield found


def opened(role: PostgresServer, told: list[str], **times: float) -> WRDSSession:
    """A session that is logged in."""
    given = LoginTimes(**times)  # type: ignore[arg-type]
    connector = WRDSConnector(settings=role.settings(), notify=told.append, times=given)
    assert list(connector._session.rows("SELECT 1")) == [(1,)]
    return connector._session


def soon(what: Callable[[], object]) -> None:
    """Do it in half a second, when the query is under way."""
    threading.Timer(0.5, what).start()


def queries(role: PostgresServer) -> list[object]:
    """What still runs for the role."""
    return role.execute(
        "SELECT query FROM pg_stat_activity"
        " WHERE state = 'active' AND usename = current_user AND pid <> pg_backend_pid()"
    )


def swallow_packets(connection: socket.socket) -> None:
    """Let the kernel drop whatever comes for it, acknowledgements too, as a dead network does."""
    drop_all = ctypes.create_string_buffer(struct.pack("HBBI", 6, 0, 0, 0))
    program = struct.pack("HL", 1, ctypes.addressof(drop_all))
    connection.setsockopt(socket.SOL_SOCKET, 26, program)  # SO_ATTACH_FILTER


def test_a_dead_network_is_noticed_within_two_minutes(role: PostgresServer) -> None:
    """As the kernel has it: probes after a minute of rest, an end to what is not acknowledged."""
    session = opened(role, [])
    with socket.socket(fileno=os.dup(session._raw.fileno())) as each:
        assert each.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        tcp = ("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT", "TCP_USER_TIMEOUT")
        found = [each.getsockopt(socket.IPPROTO_TCP, getattr(socket, name)) for name in tcp]
    assert found == [60, 15, 4, 120_000]
    session.close()


@pytest.mark.parametrize("asked", ["before", "while"])
def test_a_network_that_drops_everything(role: PostgresServer, asked: str) -> None:
    """No RST, no FIN: the connection is lost by its deadline, whoever was to speak next."""
    session = opened(role, [], dead_s=2)
    with socket.socket(fileno=os.dup(session._raw.fileno())) as each:
        if asked == "before":
            swallow_packets(each)
        else:
            soon(lambda: swallow_packets(each))
        started = time.monotonic()
        with pytest.raises(WRDSConnectionLostError, match="run the same command again to resume"):
            list(session.rows(LONG))
    assert time.monotonic() - started < 20
    session.close()


def test_a_long_query_is_spoken_of_and_waited_for(role: PostgresServer) -> None:
    """Rarer and rarer, and what it brings in the end is taken; a quick one goes without a word."""
    told: list[str] = []
    session = opened(role, told, silent_s=0.2)
    assert not told
    assert [row[1:] for row in session.rows("SELECT pg_sleep(1), 7")] == [(7,)]
    assert len(told) == 2
    assert all("has sent nothing for" in line for line in told)
    session.close()


def test_ctrl_c_ends_a_query_that_runs(role: PostgresServer) -> None:
    """At once, here and on the server; without it, libpq would wait for the query's end."""
    session = opened(role, [])
    soon(lambda: os.kill(os.getpid(), signal.SIGINT))
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        list(session.rows(LONG))
    session.close()
    assert time.monotonic() - started < 2.5
    assert not queries(role)


def test_ctrl_c_while_a_refused_query_is_rolled_back(
    role: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the middle of SQLAlchemy's own code it would end in an AssertionError of it."""
    session = opened(role, [])
    roll_back = RootTransaction._do_rollback

    def struck(transaction: RootTransaction) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.2)
        roll_back(transaction)

    monkeypatch.setattr(RootTransaction, "_do_rollback", struck)
    with pytest.raises(KeyboardInterrupt):
        session.readable("SELECT 1 FROM nowhere")
    monkeypatch.undo()
    session.close()


def test_a_killed_process_leaves_no_query_at_the_server(role: PostgresServer) -> None:
    """SIGKILL: nobody is left to cancel it, and WRDS allows a user few connections."""
    code = f"""
import sys
from ftm.connectors.wrds_connector import WRDSConnector
from ftm.core.settings import Settings
given = dict(zip(("wrds_host", "wrds_port", "wrds_dbname", "wrds_username"), sys.argv[1:]))
session = WRDSConnector(settings=Settings.load(wrds_sslmode="disable", **given))._session
list(session.rows({LONG!r}))
"""
    where = (role.host, str(role.port), role.dbname, role.user)
    password = {"WRDS_PASSWORD": role.password}
    with subprocess.Popen(
        [sys.executable, "-c", code, *where], env=os.environ | password
    ) as process:
        wait_until(lambda: bool(queries(role)), limit_s=30)
        process.kill()
    wait_until(lambda: not queries(role), limit_s=30)


def test_a_server_that_cannot_notice_a_death_is_used_as_it_is(
    role: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An old one does not know the setting, some systems refuse it."""
    isolation = "SELECT current_setting('transaction_isolation')"
    for asked in (_NOTICE_DEATH.replace("client_", "no_"), _NOTICE_DEATH.replace("5s", "-5s")):
        monkeypatch.setattr(wrds_session, "_NOTICE_DEATH", asked)
        session = opened(role, [])
        assert list(session.rows(isolation)) == [("repeatable read",)]
        session.close()


def test_ctrl_c_with_a_server_that_answers_no_more(role: PostgresServer) -> None:
    """Not even a cancellation: the process does not stand still, and the connection is cut."""
    ticks: list[float] = []
    with CuttingProxy(role.port) as proxy:
        session = opened(replace(role, port=proxy.port), [])
        proxy.hangs = True
        soon(lambda: os.kill(os.getpid(), signal.SIGINT))
        stop = threading.Event()
        clock = threading.Thread(target=lambda: _tick(ticks, stop))
        clock.start()
        with pytest.raises(KeyboardInterrupt):
            list(session.rows(LONG))
        session.close()
        stop.set()
        clock.join()
        proxy.hangs = False
    assert ticks[-1] - ticks[0] < 12
    assert max(after - before for before, after in pairwise(ticks)) < 2


@pytest.mark.parametrize("answers", [False, True])
def test_ctrl_c_right_after_the_login(role: PostgresServer, answers: bool) -> None:
    """SQLAlchemy's first questions are waited for like any other; left, no login stays behind."""
    told: list[str] = []
    with CuttingProxy(role.port) as proxy:
        times = LoginTimes(silent_s=0.2)
        settings = replace(role, port=proxy.port).settings()
        session = WRDSConnector(settings=settings, notify=told.append, times=times)._session
        prepare, started = session._attach, [0.0]

        def slowly(settings: Settings) -> Callable[[Engine], Any]:
            attach = prepare(settings)

            def hang_then_attach(engine: Engine) -> Any:
                proxy.hangs = not answers
                started[0] = time.monotonic()
                soon(lambda: os.kill(os.getpid(), signal.SIGINT))
                if answers:
                    time.sleep(1)
                return attach(engine)

            return hang_then_attach

        session._attach = slowly
        with pytest.raises(KeyboardInterrupt):
            session.log_in()
        assert time.monotonic() - started[0] < 10
        with pytest.raises(WRDSConnectionError, match="stopped before and is not tried again"):
            session.log_in()
        proxy.hangs = False
        wait_until(lambda: not logins(role), limit_s=10)
    assert "WRDS has sent nothing" in told[-1]


def logins(role: PostgresServer) -> list[object]:
    """What the role has open at the server."""
    return role.execute(
        "SELECT pid FROM pg_stat_activity WHERE usename = current_user"
        " AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
    )


def test_a_missing_package_is_found_before_the_login(role: PostgresServer) -> None:
    """Nobody approves a push for nothing, and after installing it the same connector works."""
    session = WRDSConnector(settings=role.settings())._session
    prepare = session._attach

    def missing(_settings: Settings) -> Callable[[Engine], Any]:
        raise ModuleNotFoundError("No module named 'wrds'")

    session._attach = missing
    with pytest.raises(ModuleNotFoundError):
        session.log_in()
    session._attach = prepare
    session.log_in()
    session.close()


def _tick(ticks: list[float], stop: threading.Event) -> None:
    while not stop.wait(0.05):
        ticks.append(time.monotonic())


def test_closing_with_a_server_that_answers_no_more(role: PostgresServer) -> None:
    """The goodbye is not waited for either."""
    with CuttingProxy(role.port) as proxy:
        session = opened(replace(role, port=proxy.port), [])
        proxy.hangs = True
        started = time.monotonic()
        session.close()
        assert time.monotonic() - started < 8
        proxy.hangs = False
