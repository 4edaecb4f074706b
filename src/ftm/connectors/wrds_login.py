"""Opening the one connection: one TCP connection, one login, and a word while Duo is pending."""

from __future__ import annotations

import select
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ftm.connectors.wrds_credentials import Credentials, Notify
from ftm.core.errors import WRDSConnectionError
from ftm.core.settings import Settings

CONNECT_TIMEOUT_S = 20.0
LOGIN_TIMEOUT_S = 120.0
"""A person has to find a phone and approve the push within this time."""
QUIET_S = 2.0
"""A login that takes longer than this is most likely waiting for Duo."""
SILENT_S = 60.0
"""A query that brings nothing for so long is spoken of, and waited for."""
DEAD_S = 120
"""A host that acknowledges nothing for so long is gone: a laptop's lid, a cable, a NAT's table."""

_GLOBAL = threading.Lock()  # psycopg2 has one wait callback for the whole process


@dataclass(frozen=True, slots=True)
class LoginTimes:
    """Seconds: until TCP is connected, until the login is through, before Duo is mentioned.

    Afterwards: before a silent query is mentioned, until a host that acknowledges nothing is gone.
    """

    connect_s: float = CONNECT_TIMEOUT_S
    login_s: float = LOGIN_TIMEOUT_S
    quiet_s: float = QUIET_S
    silent_s: float = SILENT_S
    dead_s: int = DEAD_S


def log_in(
    settings: Settings,
    credentials: Credentials,
    *,
    notify: Notify | None = None,
    times: LoginTimes | None = None,
) -> Any:
    """Open a psycopg2 connection, once.

    libpq's own connect timeout covers the login too, so it would cut off a person reaching for
    a phone; and its blocking connect cannot be interrupted. Hence psycopg2's wait callback, which
    the whole process shares: while the login is pending, other threads' connections wait as ever,
    but psycopg2 refuses them COPY and large objects.

    Raises:
        WRDSConnectionError: no such host, refused, timed out, or the login was refused; nothing
            is tried a second time, for every attempt may send a push.
    """
    import psycopg2
    from psycopg2.extensions import get_wait_callback, set_wait_callback

    times = times or LoginTimes()
    failure: BaseException
    with _GLOBAL:
        before = get_wait_callback()
        waiter = _Waiter(settings, notify, times, others=before)
        set_wait_callback(waiter)
        try:
            return psycopg2.connect(**_arguments(settings, credentials, times.dead_s))
        except (psycopg2.Error, ValueError) as error:  # a password with NUL, or bytes of no UTF-8
            failure = _explain(error, settings, credentials)
        except (WRDSConnectionError, KeyboardInterrupt) as error:
            failure = error.with_traceback(None)
        finally:
            set_wait_callback(before)
    # Not from within `except`: psycopg2's frames hold the password, and a debugger or a crash
    # reporter that follows the traceback or the context would show it.
    raise failure


def _arguments(settings: Settings, credentials: Credentials, dead_s: int) -> dict[str, Any]:
    """What libpq needs, with everything pinned that it would else take from the environment."""
    on_socket = settings.wrds_host.startswith("/")
    secret = credentials.password
    return {
        "host": settings.wrds_host,
        "hostaddr": "",  # PGHOSTADDR would lead to another machine
        "port": settings.wrds_port,
        "dbname": settings.wrds_dbname,
        "user": credentials.username,
        "password": secret.get_secret_value() if secret else "",
        "sslmode": "disable" if on_socket else settings.wrds_sslmode,
        "gssencmode": "disable",  # else libpq may try a first connection with Kerberos
        "target_session_attrs": "any",
        "connect_timeout": 0,
        "application_name": "ftm",
        "keepalives_idle": max(dead_s // 2, 1),
        "keepalives_interval": max(dead_s // 8, 1),
        "keepalives_count": 4,
        # Keepalives are not sent while a question waits for its acknowledgement.
        "tcp_user_timeout": dead_s * 1000,
    }


class _Waiter:
    """psycopg2's wait callback: waits for the socket with two deadlines, and speaks up.

    For connections of other threads than the one it was made on, it is the callback `others`, or
    waits without a deadline.
    """

    def __init__(
        self,
        settings: Settings,
        notify: Notify | None,
        times: LoginTimes,
        *,
        others: Callable[[Any], object] | None,
    ) -> None:
        self._thread = threading.get_ident()
        self._others = others
        self._where = f"{settings.wrds_host}:{settings.wrds_port}"
        self._notify = notify
        self._times = times
        self._started = time.monotonic()
        self._login_started: float | None = None

    def __call__(self, connection: Any) -> None:
        from psycopg2 import extensions as pg
        from psycopg2.extras import wait_select

        if threading.get_ident() != self._thread:
            (self._others or wait_select)(connection)
            return
        while True:
            state = connection.poll()
            if state == pg.POLL_OK:
                return
            if state == pg.POLL_READ and self._login_started is None:
                # The server is being waited for, so TCP stands and the login is under way.
                self._login_started = time.monotonic()
            reads = [connection.fileno()] if state == pg.POLL_READ else []
            writes = [connection.fileno()] if state == pg.POLL_WRITE else []
            self._wait(lambda r=reads, w=writes: any(select.select(r, w, [], 0.2)))  # type: ignore[misc]

    def _wait(self, ready: Callable[[], bool]) -> None:
        while not ready():
            now = time.monotonic()
            if self._login_started is None:
                if now - self._started > self._times.connect_s:
                    raise WRDSConnectionError(
                        f"{self._where} does not answer: no connection within"
                        f" {self._times.connect_s:g} s; check FTM_WRDS_HOST, FTM_WRDS_PORT and"
                        " whether this network lets PostgreSQL out"
                    )
                continue
            waited = now - self._login_started
            if waited > self._times.login_s:
                raise WRDSConnectionError(
                    f"login at {self._where} not finished within {self._times.login_s:g} s: was"
                    " the Duo push approved? Run the same command again for a new push"
                )
            if waited > self._times.quiet_s and self._notify:
                self._notify(
                    f"waiting for {self._where}: if your phone shows a Duo push, approve it"
                )
                self._notify = None


def _explain(error: Exception, settings: Settings, credentials: Credentials) -> WRDSConnectionError:
    """What went wrong, in words, without anything secret; never chained to libpq's text."""
    text = str(error).strip()
    if credentials.password and (secret := credentials.password.get_secret_value()):
        text = text.replace(secret, "***")
    where = f"{settings.wrds_host}:{settings.wrds_port}"
    if "translate host name" in text.lower():
        return WRDSConnectionError(f"no such host: {settings.wrds_host!r}; check FTM_WRDS_HOST")
    # What follows the address, which may hold any word; of several addresses the last's.
    why = text.rpartition(" failed: ")[2]
    return WRDSConnectionError(_tell(why, where, settings, credentials.username))


def _tell(why: str, where: str, settings: Settings, username: str) -> str:
    """The reason libpq gave, with what to do about it."""
    first, lowered = _first_line(why), why.lower()
    if "refused" in lowered or "no such file" in lowered or "unreachable" in lowered:
        return f"no PostgreSQL at {where}: {first}; check FTM_WRDS_HOST and FTM_WRDS_PORT"
    if "authentication failed" in lowered or "no password supplied" in lowered:
        return (
            f"{where} refused the login of {username!r}: wrong or expired password, or the"
            " Duo push was not approved; check WRDS_USERNAME and WRDS_PASSWORD or ~/.pgpass."
            " Nothing was tried a second time"
        )
    if lowered.startswith("fatal") and "database" in lowered and "does not exist" in lowered:
        return f"no database {settings.wrds_dbname!r} at {where}; check FTM_WRDS_DBNAME"
    if "pg_hba.conf" in lowered and "no encryption" not in lowered:
        return f"{where} lets {username!r} not in from here: {first}; ask whoever runs it"
    if "ssl" in lowered or "certificate" in lowered or "no encryption" in lowered:
        return (
            f"no login at {where} with FTM_WRDS_SSLMODE={settings.wrds_sslmode}: {first}; WRDS"
            " takes require, a server of your own may need disable"
        )
    fix = next((fix for words, fix in _FIXES.items() if words in lowered), "")
    return f"login at {where} failed: {first}{fix}"


_FIXES = {
    "too many connections": "; close what else is connected to WRDS in your name (a notebook, SAS,"
    " another ftm), then run the same command again",
    "remaining connection slots": "; WRDS is busy: run the same command again later",
    "the database system is": "; it is being restarted: run the same command again in a minute",
    "closed the connection": "; run the same command again",
}
"""What PostgreSQL says: what to do."""


def _first_line(text: str) -> str:
    return " ".join(text.splitlines()[0].split()) if text else "the server closed the connection"
