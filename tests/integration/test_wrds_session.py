"""The one login: counted in the server's log, refused twice, lost without a word being lost."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import sqlalchemy as sa
import wrds as wrds_package
from psycopg2.extensions import get_wait_callback
from pydantic import SecretStr

from ftm.connectors.discovery import PlanOptions, firm_calls
from ftm.connectors.wrds_connector import WRDSConnector
from ftm.connectors.wrds_credentials import Credentials, find_credentials
from ftm.connectors.wrds_login import LoginTimes, log_in
from ftm.core.errors import (
    ConfigError,
    FtmError,
    PreprocessingError,
    UnknownFirmError,
    WRDSConnectionError,
)
from ftm.core.quarter import Quarter
from ftm.core.records import FirmCall, FirmTurns
from ftm.core.settings import Settings
from ftm.demo.wrds_tables import COMPONENT, PERSON
from ftm.wiring import get_data_connector
from tests.support.postgres import PostgresServer
from tests.support.tiny_wrds import CALL_DAY, TinyWRDS
from tests.support.whole_turns import WholeTurns

QUARTER = Quarter(2023, 1)


def three_firms() -> TinyWRDS:
    """Two firms with turns and one without."""
    tiny = TinyWRDS().vintage().firm(1).firm(2).firm(3)
    tiny.turn(1, 1, "Second.").turn(1, 0, "First.", speaker="Operator", kind=1)
    return tiny.turn(2, 0, None).turn(2, 1, "Tail.", person=0, kind=7)


@pytest.fixture(scope="module")
def server(postgres: PostgresServer) -> Iterator[PostgresServer]:
    """Three firms, read only."""
    with three_firms().served(postgres) as served:
        yield served


@pytest.fixture
def role(server: PostgresServer) -> Iterator[PostgresServer]:
    """A fresh role per test, so that its logins can be counted."""
    with server.role(schemas=["ciq", "crsp"], password="pa:ss\\w'ord %s") as found:
        yield found


def test_discovery_and_fetch_take_one_login(role: PostgresServer) -> None:
    """Two quarters' discovery, two fetches and a firm list use one connection and one login."""
    connections = role.connections()
    with WRDSConnector(settings=role.settings()) as wrds:
        wrds.discover(Quarter(2022, 4), PlanOptions())
        calls = firm_calls(wrds.discover(QUARTER, PlanOptions()).calls)
        assert len(list(wrds.iter_turns(calls))) == len(list(wrds.iter_turns(calls))) == 3
        assert wrds.get_firm_ids_in_range(CALL_DAY, CALL_DAY) == ["1", "2", "3"]
    assert role.logins(role.user) == 1
    assert role.connections() - connections == 1


def test_nothing_logs_in_before_it_must(role: PostgresServer) -> None:
    """Making and closing a connector sends no push."""
    with WRDSConnector(settings=role.settings(), quarter="2023Q1") as wrds:
        assert list(wrds.iter_turns([])) == []
        assert len(wrds.fetch_transcripts([])) == 0
        assert list(wrds.iter_firms([])) == []
    assert role.logins(role.user) == 0


def test_a_closed_connector_stays_closed(role: PostgresServer) -> None:
    """After close nothing logs in again; closing twice is fine."""
    wrds = WRDSConnector(settings=role.settings())
    wrds.discover(QUARTER, PlanOptions())
    wrds.close()
    wrds.close()
    with pytest.raises(WRDSConnectionError, match="closed"):
        wrds.discover(QUARTER, PlanOptions())
    assert role.logins(role.user) == 1


def test_a_stream_that_outlives_its_connector_is_told_so(postgres: PostgresServer) -> None:
    """Nothing was lost: the connector was closed, and that is what the stream says."""
    tiny = TinyWRDS().vintage().firm(1).firm(2)
    for order in range(600):
        tiny.turn(1, order, "Word.")
    with tiny.served(postgres) as server, WRDSConnector(settings=server.settings()) as wrds:
        calls = firm_calls(wrds.discover(QUARTER, PlanOptions()).calls)
        rows = wrds.iter_turns([calls[1], calls[0]])
        next(rows)
        wrds.close()
        with pytest.raises(WRDSConnectionError, match="session is closed"):
            list(rows)


def test_turns_are_typed_and_grouped(server: PostgresServer) -> None:
    """Turns come in component order, NULL as "", with section and speaker type."""
    with WRDSConnector(settings=server.settings()) as wrds:
        calls = firm_calls(wrds.discover(QUARTER, PlanOptions()).calls)
        first, second, third = wrds.iter_turns(calls[::-1][::-1])
    assert [t.raw_text for t in first.turns] == ["First.", "Second."]
    assert [t.section for t in first.turns] == ["presentation", "qa"]
    assert [t.speaker_type for t in first.turns] == ["Operator", "Executives"]
    assert [t.person_id for t in first.turns] == ["7", "7"]
    assert [t.raw_text for t in second.turns] == ["", "Tail."]
    unnamed = second.turns[1]
    assert (unnamed.speaker_type, unnamed.speaker_name) == ("Operator", "")
    assert unnamed.component_type == "Question and Answer Operator Message"
    assert third.turns == ()


def test_turns_come_in_the_order_of_the_calls(server: PostgresServer) -> None:
    """Whatever the order asked for, and though two firms may share one transcript."""
    with WRDSConnector(settings=server.settings()) as wrds:
        calls = firm_calls(wrds.discover(QUARTER, PlanOptions()).calls)
        joint = FirmCall("9", "Partner", "1", 5, "000009", CALL_DAY, None)
        asked = [joint, *calls[::-1]]
        firms = list(wrds.iter_turns(asked))
    assert [firm.call for firm in firms] == asked
    assert firms[0].turns == firms[-1].turns != ()


def test_two_persons_for_a_component_do_not_multiply_it(postgres: PostgresServer) -> None:
    """A component that the person view holds twice is one turn."""
    tiny = TinyWRDS().vintage().firm(1).turn(1, 0, "Once.", person=2)
    with tiny.served(postgres) as server, WRDSConnector(settings=server.settings()) as wrds:
        calls = firm_calls(wrds.discover(QUARTER, PlanOptions()).calls)
        (firm,) = wrds.iter_turns(calls)
    assert [turn.raw_text for turn in firm.turns] == ["Once."]


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize(
    ("winner", "loser"),
    [
        ({"speakertypename": "Analysts", "transcriptpersonid": 9}, {}),
        ({}, {"speakertypename": None, "transcriptpersonid": 1}),
        ({"transcriptpersonid": 6}, {"transcriptpersonname": "Aa"}),
        ({}, {"transcriptpersonname": "Bob"}),
    ],
    ids=["type", "a-type-before-none", "id", "name"],
)
def test_which_of_two_persons_a_component_has(
    postgres: PostgresServer, winner: dict[str, Any], loser: dict[str, Any], reverse: bool
) -> None:
    """The first by speaker type, then by id, then by name; not the first that the server has."""
    tiny = TinyWRDS().vintage().firm(1).turn(1, 0, "Once.", person=2)
    people = tiny.rows[PERSON]
    people[0] |= {"transcriptpersonname": "Al", **winner}
    people[1] |= loser
    if reverse:
        people.reverse()
    with tiny.served(postgres) as server, WRDSConnector(settings=server.settings()) as wrds:
        (firm,) = wrds.iter_turns(firm_calls(wrds.discover(QUARTER, PlanOptions()).calls))
    expected = ("Al", winner.get("speakertypename", "Executives"))
    assert [(turn.speaker_name, turn.speaker_type) for turn in firm.turns] == [expected]


def test_turns_follow_their_order_not_their_ids(postgres: PostgresServer) -> None:
    """Component ids that fall while the order rises change nothing."""
    tiny = TinyWRDS().vintage().firm(1)
    for order, text in enumerate(("First.", "Second.", "Third.")):
        tiny.turn(1, order, text)
    for row in (*tiny.rows[COMPONENT], *tiny.rows[PERSON]):
        row["transcriptcomponentid"] = 199 - row["transcriptcomponentid"]
    with tiny.served(postgres) as server, WRDSConnector(settings=server.settings()) as wrds:
        (firm,) = wrds.iter_turns(firm_calls(wrds.discover(QUARTER, PlanOptions()).calls))
    found = [(turn.component_order, turn.raw_text) for turn in firm.turns]
    assert found == [(0, "First."), (1, "Second."), (2, "Third.")]


def test_a_users_own_connection_is_used_and_left_open(role: PostgresServer) -> None:
    """A given `wrds.Connection` serves everything, and works as before afterwards."""
    own = _own_connection(role)
    with WRDSConnector(own, settings=role.settings(wrds_password=None)) as wrds:
        found = wrds.discover(QUARTER, PlanOptions())
        assert len(list(wrds.iter_turns(firm_calls(found.calls)))) == 3
        assert (found.source.host, found.source.database) == (role.host, role.dbname)
    assert own.connection.connection.dbapi_connection.autocommit
    assert list(own.raw_sql("SELECT 1 AS one")["one"]) == [1]
    own.close()
    assert role.logins(role.user) == 1


def _own_connection(role: PostgresServer) -> Any:
    """A `wrds.Connection` as a user opens it."""
    url = sa.URL.create("postgresql", role.user, role.password, role.host, role.port, role.dbname)
    own = wrds_package.Connection(autoconnect=False)
    own.engine = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    own.connection = own.engine.connect()
    return own


def test_a_connection_that_was_never_opened(role: PostgresServer) -> None:
    """A given `wrds.Connection` that is not connected is said to be so."""
    wrds = WRDSConnector(wrds_package.Connection(autoconnect=False), settings=role.settings())
    with pytest.raises(WRDSConnectionError, match="not connected"):
        wrds.discover(QUARTER, PlanOptions())
    wrds.close()


def test_a_socket_needs_no_password(server: PostgresServer) -> None:
    """A host that starts with / is a socket directory, and no credentials are looked for."""
    settings = server.settings(wrds_host=server.socket_dir, wrds_password=None)
    settings = settings.model_copy(update={"wrds_password": None, "wrds_sslmode": "require"})
    with WRDSConnector(settings=settings) as wrds:
        assert len(wrds.get_firm_ids_in_range(CALL_DAY, CALL_DAY)) == 3


def test_a_wrong_password_is_tried_once(role: PostgresServer) -> None:
    """The refusal is told, no second attempt is made, and no password is shown."""
    connections = role.connections()
    with (
        WRDSConnector(settings=role.settings(wrds_password="wr0ng-secret")) as wrds,
        pytest.raises(WRDSConnectionError, match="wrong or expired password") as caught,
    ):
        wrds.discover(QUARTER, PlanOptions())
    assert role.connections() - connections == 1
    assert "wr0ng-secret" not in _everything(caught.value)
    assert role.user in str(caught.value)
    for _ in range(2):
        with pytest.raises(WRDSConnectionError, match="before and is not tried again"):
            wrds.discover(QUARTER, PlanOptions())
    assert role.connections() - connections == 1


def test_an_open_end_is_a_day_like_any_other(role: PostgresServer) -> None:
    """9999-12-31, as people write it: there is no day after it."""
    with WRDSConnector(settings=role.settings()) as wrds:
        assert len(wrds.get_firm_ids_in_range(CALL_DAY, "9999-12-31")) == 3


@pytest.mark.parametrize("password", ["plant\0word", "plant\udce9word"])
def test_a_password_that_is_no_text(role: PostgresServer, password: str) -> None:
    """As Secrets Manager may hold one: told as a failed login, without it."""
    given = Credentials(role.user, SecretStr(password))
    with pytest.raises(WRDSConnectionError, match="login at") as caught:
        log_in(role.settings(), given)
    assert "plant" not in _everything(caught.value)


def test_without_credentials_no_lost_connection_is_spoken_of(
    role: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asked again, a connector that never logged in says what is missing; given that, it works."""
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    password_file = tmp_path / "pgpass"
    settings = role.settings(pgpassfile=password_file).model_copy(update={"wrds_password": None})
    with WRDSConnector(settings=settings) as wrds:
        for _ in range(2):
            with pytest.raises(WRDSConnectionError, match="no WRDS credentials"):
                wrds.discover(QUARTER, PlanOptions())
        password = role.password.replace("\\", "\\\\").replace(":", "\\:")
        password_file.write_text(f"*:*:*:*:{password}\n")
        password_file.chmod(0o600)
        assert len(wrds.get_firm_ids_in_range(CALL_DAY, CALL_DAY)) == 3


def _everything(error: BaseException | None) -> str:
    """What a log of this error could show, or a debugger: the variables of every frame."""
    text = ""
    while error is not None:
        text += f"{error!s}{error!r}{error.__dict__}"
        frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
        ours = [frame for frame in frames if frame.f_code.co_filename != __file__]
        text += "".join(repr(list(frame.f_locals.values())) for frame in ours)
        error = error.__cause__ or error.__context__
    return text


def test_no_server(role: PostgresServer) -> None:
    """Nothing listens: one line with the address, at once."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with pytest.raises(WRDSConnectionError, match=f"no PostgreSQL at 127.0.0.1:{port}"):
        _log_in(role.settings(wrds_port=port))


def test_no_such_host(role: PostgresServer) -> None:
    """A host name that does not exist is named."""
    with pytest.raises(WRDSConnectionError, match=r"no such host: 'nowhere\.invalid'"):
        _log_in(role.settings(wrds_host="nowhere.invalid"))


def test_no_such_database(role: PostgresServer) -> None:
    """A database the server does not have is named, with the setting that names it."""
    told = f"^no database 'elsewhere' at {role.host}:{role.port}; check FTM_WRDS_DBNAME$"
    with pytest.raises(WRDSConnectionError, match=told):
        _log_in(role.settings(wrds_dbname="elsewhere"))


@pytest.mark.parametrize("mode", ["require", "verify-full"])
def test_a_server_without_tls(role: PostgresServer, mode: str) -> None:
    """The setting that asks for TLS is named, and what a server of one's own may need."""
    with pytest.raises(WRDSConnectionError, match=f"FTM_WRDS_SSLMODE={mode}: .*disable$") as caught:
        _log_in(role.settings(wrds_sslmode=mode))
    assert role.logins(role.user) == 0
    assert len(str(caught.value).splitlines()) == 1


def test_whatever_else_the_server_says_is_told_in_one_line(
    role: PostgresServer, server: PostgresServer
) -> None:
    """As the server says it, without libpq's double space."""
    server.execute(f"ALTER ROLE {role.user} CONNECTION LIMIT 0")
    told = f'^login at .* failed: FATAL: too many connections for role "{role.user}"; close'
    with pytest.raises(WRDSConnectionError, match=told):
        _log_in(role.settings())


def test_other_threads_connections_are_left_alone_by_a_login(
    role: PostgresServer, server: PostgresServer
) -> None:
    """A query of another thread outlasts the deadline of a login that is pending meanwhile."""
    other = server.connect()
    found: list[Any] = []

    def ask() -> None:
        _wait_for(lambda: get_wait_callback() is not None)
        with other.cursor() as cursor:
            cursor.execute("SELECT 'slept' FROM pg_sleep(1.5)")
            found.extend(cursor.fetchall())

    asking = threading.Thread(target=ask)
    asking.start()
    with silent_server() as port, pytest.raises(WRDSConnectionError, match="not finished within"):
        _log_in(role.settings(wrds_port=port), times=LoginTimes(login_s=0.5))
    asking.join(30)
    other.close()
    assert found == [("slept",)]
    assert get_wait_callback() is None


def _log_in(settings: Settings, **given: Any) -> Any:
    return log_in(settings, find_credentials(settings), **given)


@contextmanager
def silent_server(backlog: int = 5) -> Iterator[int]:
    """Accepts TCP (while the backlog lasts) and never says a word, as while Duo is pending."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(backlog)
        yield listener.getsockname()[1]


def test_a_pending_push_is_mentioned_once_and_not_waited_for_for_ever(
    role: PostgresServer,
) -> None:
    """A login the server does not answer is announced, then ended with what to do."""
    said: list[str] = []
    times = LoginTimes(connect_s=5, login_s=0.8, quiet_s=0.1)
    with (
        silent_server() as port,
        pytest.raises(WRDSConnectionError, match="Duo push approved") as caught,
    ):
        _log_in(role.settings(wrds_port=port), notify=said.append, times=times)
    before_any_escape = role.password.partition("\\")[0]
    assert before_any_escape not in _everything(caught.value)
    assert len(said) == 1
    assert "Duo" in said[0]


def test_a_host_that_swallows_packets(role: PostgresServer) -> None:
    """TCP that never connects ends by its own, shorter deadline."""
    times = LoginTimes(connect_s=0.5, login_s=60)
    with silent_server(0) as port:
        full = [socket.socket() for _ in range(3)]  # fill the backlog: further SYNs go unanswered
        for one in full:
            one.setblocking(False)
            one.connect_ex(("127.0.0.1", port))
        with pytest.raises(WRDSConnectionError, match="does not answer"):
            _log_in(role.settings(wrds_port=port), times=times)
        for one in full:
            one.close()


@pytest.mark.parametrize("mode", ["prefer", "allow", "foo", "Require"])
def test_no_sslmode_that_may_log_in_twice(role: PostgresServer, mode: str) -> None:
    """The modes prefer and allow try again without TLS after a refusal; they are no choice."""
    told = f"FTM_WRDS_SSLMODE '{mode}' .*: use require, verify-ca, verify-full or disable; .*Duo"
    with pytest.raises(ConfigError, match=told):
        role.settings(wrds_sslmode=mode)


def test_the_environment_leads_to_no_other_host(
    role: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostgreSQL's own variables do not divert the login."""
    for name, value in {"PGHOSTADDR": "192.0.2.1", "PGHOST": "nowhere.invalid", "PGPORT": "1",
                        "PGUSER": "nobody", "PGDATABASE": "none", "PGSSLMODE": "require",
                        "PGPASSWORD": "wrong"}.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    connection = _log_in(role.settings())
    assert connection.info.user == role.user
    connection.close()


def test_a_connection_cut_in_mid_stream(role: PostgresServer, server: PostgresServer) -> None:
    """The cut is told with how to resume; no new login is made, then or later."""
    with WRDSConnector(settings=role.settings()) as wrds:
        calls = firm_calls(wrds.discover(QUARTER, PlanOptions()).calls)
        server.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s",
                       role.user)  # fmt: skip
        for _ in range(2):
            with pytest.raises(WRDSConnectionError, match="run the same command again"):
                list(wrds.iter_turns(calls))
    assert role.logins(role.user) == 1


@pytest.mark.parametrize("whose", ["ours", "the user's"])
def test_a_connection_cut_after_the_last_row_is_closed_in_silence(
    role: PostgresServer, server: PostgresServer, whose: str
) -> None:
    """Everything was read, so nothing is wrong: closing says nothing, and logs in no more."""
    own = _own_connection(role) if whose == "the user's" else None
    with WRDSConnector(own, settings=role.settings()) as wrds:
        calls = firm_calls(wrds.discover(QUARTER, PlanOptions()).calls)
        assert len(list(wrds.iter_turns(calls))) == 3
        server.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s",
                       role.user)  # fmt: skip
    assert role.logins(role.user) == 1


@pytest.mark.parametrize("whose", ["ours", "the user's"])
def test_closing_does_not_wait_for_a_query_that_runs(
    role: PostgresServer, server: PostgresServer, whose: str
) -> None:
    """The query is cancelled on the server, and the thread that asked gets one of ftm's errors."""
    own = _own_connection(role) if whose == "the user's" else None
    wrds = WRDSConnector(own, settings=role.settings())
    list(wrds._session.rows("SELECT 1"))
    errors: list[BaseException] = []

    def ask() -> None:
        try:
            list(wrds._session.rows("SELECT pg_sleep(300)"))
        except BaseException as error:  # noqa: BLE001 - looked at below
            errors.append(error)

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    _wait_for(lambda: _n_sleeping(server, role.user) == 1)
    closing = threading.Thread(target=wrds.close, daemon=True)
    closing.start()
    for thread in (closing, asking):
        thread.join(60)
        assert not thread.is_alive()
    assert [type(error) for error in errors] == [WRDSConnectionError]
    assert "session is closed" in str(errors[0])
    assert _n_sleeping(server, role.user) == 0


def _n_sleeping(server: PostgresServer, user: str) -> int:
    statement = (
        "SELECT count(*) FROM pg_stat_activity WHERE usename = %s AND wait_event = 'PgSleep'"
    )
    ((n,),) = server.execute(statement, user)
    return int(n)


def _wait_for(ready: Callable[[], bool], timeout_s: float = 30) -> None:
    end = time.monotonic() + timeout_s
    while not ready():
        assert time.monotonic() < end, "never came about"
        time.sleep(0.02)


def test_the_engine_cannot_log_in_twice(role: PostgresServer) -> None:
    """Even asked directly, as SQLAlchemy does after a cut, the engine makes no second login."""
    with WRDSConnector(settings=role.settings()) as wrds:
        wrds.discover(QUARTER, PlanOptions())
        engine = wrds._session._wrds.engine
        with pytest.raises(WRDSConnectionError, match="was lost"):
            engine.connect()
    assert role.logins(role.user) == 1


def test_firms_before_a_cut_are_whole(postgres: PostgresServer) -> None:
    """When the server goes in the middle of a stream, only complete firms were handed over."""
    tiny = TinyWRDS().vintage()
    for firm in range(1, 41):
        tiny.firm(firm)
        for order in range(40):
            tiny.turn(firm, order, f"Turn {order} of {firm}. " + "word " * 400)
    with (
        tiny.served(postgres) as server,
        server.role(schemas=["ciq", "crsp"]) as role,
        WRDSConnector(settings=role.settings()) as wrds,
    ):
        calls = firm_calls(wrds.discover(QUARTER, PlanOptions()).calls)
        stream, firms = wrds.iter_turns(calls), []
        firms.append(next(stream))
        server.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s",
                       role.user)  # fmt: skip
        with pytest.raises(WRDSConnectionError, match="was lost"):
            firms.extend(stream)
        assert 1 <= len(firms) < 40
        assert all(len(firm.turns) == 40 for firm in firms)
        assert role.logins(role.user) == 1


def test_a_stream_may_be_left_early(server: PostgresServer) -> None:
    """Breaking off a stream leaves the session fit for the next question."""
    with WRDSConnector(settings=server.settings()) as wrds:
        calls = firm_calls(wrds.discover(QUARTER, PlanOptions()).calls)
        next(wrds.iter_turns(calls))
        assert len(list(wrds.iter_turns(calls))) == 3


def test_all_questions_see_one_state_of_the_data(postgres: PostgresServer) -> None:
    """What WRDS changes while a prefetch runs is not seen: one snapshot from plan to text."""
    with three_firms().served(postgres) as server, WRDSConnector(settings=server.settings()) as w:
        calls = firm_calls(w.discover(QUARTER, PlanOptions()).calls)
        server.execute("UPDATE ciq.ciqtranscriptcomponent SET componenttext = 'Revised.'")
        (first, *_) = w.iter_turns(calls)
    assert first.turns[0].raw_text == "First."


def test_turns_can_be_read_on_another_thread(server: PostgresServer) -> None:
    """A reader thread may stream while the main thread works on what came."""
    with WRDSConnector(settings=server.settings()) as wrds:
        calls = firm_calls(wrds.discover(QUARTER, PlanOptions()).calls)
        firms: list[FirmTurns] = []
        reader = threading.Thread(target=lambda: firms.extend(wrds.iter_turns(calls)))
        reader.start()
        reader.join()
    assert len(firms) == 3


def test_fetch_gives_sentences_of_the_firms_asked_for(server: PostgresServer) -> None:
    """None means all, ids mean these, an empty list none; firms without text are left out."""
    with WRDSConnector(settings=server.settings(), quarter="2023Q1", pipeline=WholeTurns()) as wrds:
        everything = wrds.fetch_transcripts(None, date(2023, 1, 1), date(2023, 3, 31))
        some = wrds.fetch_transcripts(["2"])
        streamed = list(wrds.iter_firms())
        assert wrds.get_available_firm_ids() == ["1", "2", "3"]
        assert wrds.fetch_transcripts(None, date(2023, 2, 16), date(2023, 3, 31)).firms == {}
    assert list(everything.firms) == ["1", "2"]
    assert list(everything) == streamed
    assert list(some.firms) == ["2"]
    assert everything["1"].metadata == {
        "permno": 501, "gvkey": "000001", "transcript_id": "1", "earnings_call_date": CALL_DAY,
        "quarter": "2023Q1", "link_date": date(2010, 1, 1), "n_components": 2,
    }  # fmt: skip


def test_the_pipeline_of_the_settings_is_loaded(postgres: PostgresServer) -> None:
    """Without a pipeline of its own, the connector preprocesses as FTM_NLP says."""
    pytest.importorskip("spacy")
    tiny = TinyWRDS().vintage().firm(1).turn(1, 0, "Cloud revenue doubled. Margins rose sharply.")
    with (
        tiny.served(postgres) as server,
        WRDSConnector(settings=server.settings(nlp="rules"), quarter="2023Q1") as wrds,
    ):
        (firm,) = wrds.fetch_transcripts(["1"])
    assert [s.raw_text for s in firm.sentences] == [
        "Cloud revenue doubled.", "Margins rose sharply.",
    ]  # fmt: skip
    assert [s.sentence_id for s in firm.sentences] == ["1_1_0000", "1_1_0001"]


def test_dates_may_be_texts(server: PostgresServer) -> None:
    """ISO texts, moments and dates mean the same days, the last one included."""
    with WRDSConnector(settings=server.settings(), pipeline=WholeTurns()) as wrds:
        assert wrds.get_firm_ids_in_range("2023-02-15", "2023-02-15") == ["1", "2", "3"]
        moments = pd.Timestamp("2023-02-15 09:00"), pd.Timestamp("2023-02-15 10:00")
        assert wrds.get_firm_ids_in_range(*moments) == ["1", "2", "3"]
        assert wrds.get_firm_ids_in_range("2023-01-01", date(2023, 2, 14)) == []
        assert list(wrds.fetch_transcripts(["2"], "2023-01-01", "2023-03-31").firms) == ["2"]


@pytest.mark.parametrize(
    ("start", "end", "told"),
    [
        ("1 March 2023", "2023-03-31", "'1 March 2023' is no date; write it like 2023-03-31"),
        ("2023-01-01", 20230331, "20230331 is no date"),
        ("", "2023-03-31", "'' is no date"),
        ("2023-03-31", "2023-01-01", "run backwards: from 2023-03-31 to 2023-01-01"),
    ],
)
def test_dates_of_no_use_are_refused_before_the_login(
    role: PostgresServer, start: Any, end: Any, told: str
) -> None:
    """What is no date is shown, with how to write one; so are dates that run backwards."""
    with WRDSConnector(settings=role.settings(), quarter="2023Q1") as wrds:
        for ask in (wrds.get_firm_ids_in_range, partial(wrds.fetch_transcripts, None)):
            with pytest.raises(ConfigError, match=told):
                ask(start, end)
    assert role.logins(role.user) == 0


def test_a_notebook_shows_what_a_connector_is_of(role: PostgresServer) -> None:
    """Quarter, server and whether it is logged in; no user, no password, and no login for it."""
    place = f"at {role.host}:{role.port}/{role.dbname}"
    with WRDSConnector(settings=role.settings(), quarter="2023Q1") as wrds:
        assert repr(wrds) == f"<WRDSConnector 2023Q1 {place}: no login>"
        assert role.logins(role.user) == 0
        wrds.get_available_firm_ids()
        assert repr(wrds) == f"<WRDSConnector 2023Q1 {place}: logged in>"
    own = WRDSConnector(wrds_package.Connection(autoconnect=False), settings=role.settings())
    assert repr(own) == "<WRDSConnector of no quarter on a given connection>"


def test_wiring_passes_the_quarter_on(
    server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The quarter asked for counts, whatever QUARTER says; without one QUARTER does."""
    monkeypatch.setenv("QUARTER", "2016Q2")
    with get_data_connector("wrds", "2023Q1", settings=server.settings()) as wrds:
        assert wrds.get_available_firm_ids() == ["1", "2", "3"]
    with get_data_connector("wrds", settings=server.settings()) as wrds:
        assert wrds.get_available_firm_ids() == []


def test_unknown_firms_are_named(server: PostgresServer) -> None:
    """An id without a linked call is an error that names it, not silence."""
    with (
        WRDSConnector(settings=server.settings(), quarter="2023Q1", pipeline=WholeTurns()) as wrds,
        pytest.raises(UnknownFirmError, match="4711") as caught,
    ):
        wrds.fetch_transcripts(["1", "4711"])
    assert caught.value.firm_ids == ("4711",)


def test_a_firm_whose_text_fails_is_an_error_in_a_fetch(server: PostgresServer) -> None:
    """A fetch does not hand over fewer firms than it could; it stops and names the firm."""
    with (
        WRDSConnector(settings=server.settings(), quarter="2023Q1", pipeline=WholeTurns("2")) as w,
        pytest.raises(PreprocessingError, match="firm 2: the text is broken"),
    ):
        w.fetch_transcripts(None)


@pytest.mark.parametrize("ids", ["12", [1]], ids=["a text", "a number"])
def test_ids_of_the_wrong_type_are_refused_before_the_login(role: PostgresServer, ids: Any) -> None:
    """The text '12' is no list of the firms 1 and 2."""
    with WRDSConnector(settings=role.settings(), quarter="2023Q1") as wrds:
        for ask in (wrds.fetch_transcripts, lambda ids: list(wrds.iter_firms(ids))):
            with pytest.raises(ConfigError, match=r"give a list|is no text"):
                ask(ids)
    assert role.logins(role.user) == 0


def test_without_dates_or_quarter_nothing_is_guessed(role: PostgresServer) -> None:
    """A fetch that does not say which calls is refused before any login."""
    with (
        WRDSConnector(settings=role.settings()) as wrds,
        pytest.raises(ConfigError, match="which calls"),
    ):
        wrds.fetch_transcripts(None)
    assert role.logins(role.user) == 0


def test_the_password_shows_up_nowhere(
    role: PostgresServer, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """Not in logs at the lowest level, output, process arguments, URLs or reprs."""
    caplog.set_level(logging.DEBUG)
    said: list[str] = []
    settings = role.settings()
    with WRDSConnector(settings=settings, notify=said.append) as wrds:
        wrds.discover(QUARTER, PlanOptions())
        held = wrds._session._wrds
        shown = f"{held.engine.url}{held.__dict__}{settings!r}{find_credentials(settings)!r}"
        arguments = Path("/proc/self/cmdline")
        shown += arguments.read_text() if arguments.exists() else ""
        try:
            list(wrds._session.rows("SELECT nonsense FROM nowhere"))
        except FtmError as error:
            shown += _everything(error)
    output = capfd.readouterr()
    assert "nowhere" in shown
    for text in (caplog.text, output.out, output.err, shown, *said):
        assert role.password not in text
        assert "pa%3Ass" not in text


def test_off_a_terminal_nobody_is_asked(role: PostgresServer, tmp_path: Path) -> None:
    """Without credentials and without a terminal: one error that says what to set, no hang."""
    code = (
        "from ftm.connectors.wrds_connector import WRDSConnector\n"
        "from ftm.core.errors import WRDSConnectionError\n"
        "try: WRDSConnector(quarter='2023Q1').get_available_firm_ids()\n"
        "except WRDSConnectionError as error: print(error)\n"
    )
    environment = {
        "PATH": os.environ["PATH"], "HOME": str(tmp_path), "AWS_EC2_METADATA_DISABLED": "true",
        "FTM_WRDS_HOST": role.host, "FTM_WRDS_PORT": str(role.port),
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        cwd=tmp_path,
        text=True,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
        check=True,
    )
    for name in ("WRDS_USERNAME", "WRDS_PASSWORD", "~/.pgpass", "'wrds-credentials'"):
        assert name in done.stdout
    assert role.logins("None") == 0


def test_credentials_repr_hides_the_password(role: PostgresServer) -> None:
    """Printing credentials, as a debugger would, shows stars."""
    found = find_credentials(role.settings())
    assert isinstance(found, Credentials)
    assert role.password not in repr(found)


def test_what_a_person_should_know_goes_to_stderr_unless_told_elsewhere(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """In a notebook a pending push, or a password that is of no use, must be seen."""
    settings = Settings.load(
        wrds_host="127.0.0.1", wrds_port=1, wrds_password="secret", pgpassfile=tmp_path / "none"
    ).model_copy(update={"wrds_username": None})
    for notify in (None, lambda _: None):
        with (
            pytest.raises(WRDSConnectionError),
            WRDSConnector(settings=settings, quarter="2023Q1", notify=notify) as wrds,
        ):
            wrds.get_available_firm_ids()
        said = capsys.readouterr().err
        assert ("WRDS_PASSWORD is ignored" in said) is (notify is None)
        assert "secret" not in said
