"""One login, one transaction, typed rows."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from ftm.connectors.database_call import CANCEL_S, DatabaseCalls, ask_to_cancel, cut
from ftm.connectors.wrds_credentials import Notify, find_credentials
from ftm.connectors.wrds_login import LoginTimes, log_in
from ftm.core.errors import (
    WRDSConnectionError,
    WRDSConnectionLostError,
    WRDSPermissionError,
    WRDSQueryError,
)
from ftm.core.settings import Settings

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Engine

FETCH_ROWS = 500
"""Rows a server-side cursor brings per round trip."""

# https://www.postgresql.org/docs/current/errcodes-appendix.html
_DENIED = {"42501", "42P01", "3F000", "42703"}
_PASSING = ("40", "53", "55", "57014")
"""Conflicts on a replica, out of memory or slots, locks, a timeout: later it may work."""
_NOTICE_DEATH = (
    "SELECT set_config(name, '5s', false) FROM pg_settings"
    " WHERE name = 'client_connection_check_interval'"
)
"""Since PostgreSQL 14, where the system can: else a killed client's query runs to its end."""
_LOGGED_AS = "ftm"
_CLOSED = "this WRDS session is closed; open a new connector"
_RESUME = "what is stored is safe: run the same command again to resume (one new Duo push)"

Row = tuple[Any, ...]
Attach = Callable[[Settings], Callable[["Engine"], Any]]
"""Makes what wraps an engine into the object a user knows: a `wrds.Connection`."""


class WRDSSession:
    """The one connection to WRDS; logs in at the first query, never again.

    Args:
        settings: where PostgreSQL is and who logs in.
        attach: makes the `wrds.Connection` around the engine.
        given: a `wrds.Connection` the user already opened; it stays the user's to close.
        notify: told what a person should know while waiting.
        times: deadlines of the login, and when a silent server is spoken of.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        attach: Attach,
        given: Any = None,
        notify: Notify | None = None,
        times: LoginTimes | None = None,
    ) -> None:
        self._settings = settings
        self._attach = attach
        self._wrds = given
        self._owned = given is None
        self._notify = notify
        self._times = times
        self._logins = 0
        self._connection: Connection | None = None
        self._raw: Any = None  # psycopg2's own connection, once it stands
        self._is_handed_over = False
        self._lost = False
        self._calls = DatabaseCalls(
            "WRDS",
            notify=notify,
            silent_s=(times or LoginTimes()).silent_s,
            give_up=self._give_up,
        )

    @property
    def where(self) -> tuple[str, str]:
        """Host and database, as the manifest records them."""
        if self._owned:
            return self._settings.wrds_host, self._settings.wrds_dbname
        url = self._open().engine.url
        return str(url.host or ""), str(url.database or "")

    @property
    def state(self) -> str:
        """Where the server is and whether ftm is logged in, for people; asks nothing."""
        if not self._owned:
            return "on a given connection"
        here = self._settings
        inside = (
            "connection lost" if self._lost else "logged in" if self._connection else "no login"
        )
        return f"at {here.wrds_host}:{here.wrds_port}/{here.wrds_dbname}: {inside}"

    def log_in(self) -> None:
        """Log in now, on this thread, unless that is done; else the first query does."""
        self._open()

    def rows(self, statement: str, parameters: Mapping[str, Any] | None = None) -> Iterator[Row]:
        """Run a query and stream its rows, in the one transaction.

        Raises:
            WRDSConnectionLostError: the connection was cut, now or earlier.
            WRDSPermissionError: the account may not read what the query names.
            WRDSQueryError: the server refused the query.
        """
        import sqlalchemy as sa

        connection = self._open()
        with self._translated():
            # Options of the statement, not of the connection, where they would stay for ever.
            result = self._calls.run(
                lambda: connection.execute(
                    sa.text(statement),
                    dict(parameters or {}),
                    execution_options={"stream_results": True, "max_row_buffer": FETCH_ROWS},
                )
            )
        try:
            while True:
                with self._translated():
                    batch = self._calls.run(lambda: result.fetchmany(FETCH_ROWS))
                if not batch:
                    return
                yield from (tuple(row) for row in batch)
        finally:
            self._close_cursor(result)

    def readable(self, statement: str) -> str | None:
        """Whether a query runs: None if it does, else why not; the session stays usable."""
        try:
            list(self.rows(statement))
        except WRDSQueryError as error:
            with self._translated():
                # Not on this thread: Ctrl-C in the middle of it ends in an error of SQLAlchemy.
                self._calls.run(self._open().rollback)
            if getattr(error, "pgcode", None) in _DENIED:
                return str(error.__cause__ or error).splitlines()[0]
            raise
        return None

    def close(self) -> None:
        """End the transaction, and the login too if it is ours.

        A query that still runs on another thread is cancelled, not waited for, and raises there.
        A connection that is gone is no error: whatever it still owed was told by its query.
        """
        import sqlalchemy as sa

        connection, self._connection = self._connection, None
        if connection is None or self._lost:
            return
        self._give_up()
        with suppress(sa.exc.SQLAlchemyError, WRDSConnectionError):
            if self._owned:
                self._calls.run_within(CANCEL_S, self._wrds.close)
                return
            connection.rollback()
            connection.execution_options(isolation_level="AUTOCOMMIT")

    def _give_up(self) -> None:
        """End the call that runs, if one does: by a cancellation, else by cutting what is ours."""
        if self._calls.ended():
            return
        ask_to_cancel(self._raw)
        if not self._calls.ended(CANCEL_S) and self._owned:
            cut(self._raw)
            self._calls.ended(CANCEL_S)

    def _open(self) -> Connection:
        if self._lost:
            raise WRDSConnectionLostError(f"the connection to WRDS was lost; {_RESUME}")
        if self._connection is None:
            if self._owned:
                if self._wrds is not None:
                    raise WRDSConnectionError(_CLOSED)
                # First: nobody is to approve a push for a package that is missing.
                attach = self._attach(self._settings)
                with self._translated(opening=True), self._dropped_if_broken_off():
                    self._raw = self._log_in()
                    # SQLAlchemy asks the server what it is: that may take as long as any query.
                    self._wrds = self._calls.run(lambda: attach(self._engine()))
            connection = getattr(self._wrds, "connection", None)
            if connection is None:
                raise WRDSConnectionError(
                    "the given wrds.Connection is not connected; call its connect(), or let"
                    " WRDSConnector() log in"
                )
            with self._translated(opening=True), self._dropped_if_broken_off():
                self._raw = connection.connection.dbapi_connection
                # The dialect's first look at the server began a transaction.
                self._calls.run(connection.rollback)
                if self._owned:
                    self._calls.run(lambda: _ask_to_notice_death(connection))
                self._connection = connection.execution_options(isolation_level="REPEATABLE READ")
        return self._connection

    @contextmanager
    def _dropped_if_broken_off(self) -> Iterator[None]:
        """Leave no login of ours behind at the server that nobody could end any more."""
        import psycopg2

        try:
            yield
        except BaseException:
            if self._owned and self._raw is not None:
                self._wrds = None
                # A call that still runs was cancelled, and the connection cut.
                with suppress(psycopg2.Error):
                    if self._calls.ended():
                        self._calls.run_within(CANCEL_S, self._raw.close)
            raise

    def _engine(self) -> Engine:
        import sqlalchemy as sa
        from sqlalchemy.pool import NullPool

        # It logs a traceback of its own when a cursor cannot be closed, as after every cut.
        logging.getLogger(f"sqlalchemy.pool.impl.NullPool.{_LOGGED_AS}").setLevel(logging.CRITICAL)
        return sa.create_engine(
            "postgresql+psycopg2://",
            creator=self._hand_over,
            poolclass=NullPool,
            pool_logging_name=_LOGGED_AS,
        )

    def _hand_over(self) -> Any:
        """The engine's creator: SQLAlchemy would log in again after a cut, and must not."""
        if self._is_handed_over:
            self._lost = True
            raise WRDSConnectionLostError(f"the connection to WRDS was lost; {_RESUME}")
        self._is_handed_over = True
        return self._raw

    def _log_in(self) -> Any:
        """Here and not on a thread of its own: it may ask for a password."""
        if self._logins:
            raise WRDSConnectionError(
                "the login to WRDS failed or was stopped before and is not tried again, for every"
                " attempt may send a Duo push; mend what it said and make a new connector"
            )
        credentials = find_credentials(self._settings, notify=self._notify)
        self._logins += 1
        return log_in(self._settings, credentials, notify=self._notify, times=self._times)

    @contextmanager
    def _translated(self, *, opening: bool = False) -> Iterator[None]:
        """SQLAlchemy's errors as ftm's, without the statement and its parameters."""
        import sqlalchemy as sa

        try:
            yield
        except sa.exc.DBAPIError as error:
            if self._connection is None and not opening:
                raise WRDSConnectionError(_CLOSED) from None
            cause = error.orig
            code = getattr(cause, "pgcode", None)
            text = str(cause).strip().splitlines()
            first = text[0] if text else type(cause).__name__
            if error.connection_invalidated or (code or "08").startswith(("08", "57P")):
                self._lost = True
                raise WRDSConnectionLostError(
                    f"the connection to WRDS was lost: {first}; {_RESUME}"
                ) from None
            kind = WRDSPermissionError if code == "42501" else WRDSQueryError
            hint = f"; {_RESUME}" if (code or "").startswith(_PASSING) else ""
            wrapped = kind(f"WRDS refused a query: {first}{hint}")
            wrapped.pgcode = code  # type: ignore[attr-defined]
            raise wrapped from cause

    def _close_cursor(self, result: Any) -> None:
        import sqlalchemy as sa

        try:
            result.close()
        except (sa.exc.SQLAlchemyError, WRDSConnectionError):
            # A lost connection, or a transaction that already failed: told by the query itself.
            self._lost = self._lost or bool(self._connection and self._connection.invalidated)


def _ask_to_notice_death(connection: Connection) -> None:
    """Have the server end a query whose client is gone, if it knows how to."""
    import sqlalchemy as sa

    try:
        connection.exec_driver_sql(_NOTICE_DEATH)
        connection.commit()
    except sa.exc.DBAPIError as error:
        if error.connection_invalidated:
            raise
        connection.rollback()
