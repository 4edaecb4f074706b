"""Checks of WRDS: host, credentials, and only if asked for a login."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from ftm.care.checks import Check, Finding, failed, ok, skipped
from ftm.connectors.wrds_credentials import Notify, stored_credentials
from ftm.core.errors import WRDSPermissionError
from ftm.core.settings import Settings

if TYPE_CHECKING:
    from ftm.connectors.wrds_connector import WRDSConnector

HOST = "WRDS host"
PACKAGES = "WRDS packages"
CREDENTIALS = "WRDS credentials"
LOGIN = "WRDS login"
CONNECT_TIMEOUT_S = 5.0


def host(settings: Settings, *, timeout_s: float = CONNECT_TIMEOUT_S) -> Check:
    """Whether something listens there; the connection is closed before any login."""
    where = f"{settings.wrds_host}:{settings.wrds_port}"
    to_check = "check FTM_WRDS_HOST, FTM_WRDS_PORT and whether this network lets PostgreSQL out"

    def look() -> Iterator[Finding]:
        if settings.wrds_host.startswith("/"):
            yield _socket_folder(settings)
            return
        try:
            with socket.create_connection((settings.wrds_host, settings.wrds_port), timeout_s):
                yield ok(HOST, f"{where} takes connections (no login was tried)")
        except socket.gaierror:
            name = settings.wrds_host
            yield failed(HOST, f"no such host: {name!r}; check FTM_WRDS_HOST and the network")
        except TimeoutError:
            yield failed(HOST, f"{where} does not answer within {timeout_s:g} s; {to_check}")
        except OSError as error:
            why = (error.strerror or str(error)).lower()
            yield failed(HOST, f"{where} cannot be reached ({why}); {to_check}")

    return Check(HOST, look)


def _socket_folder(settings: Settings) -> Finding:
    path = Path(settings.wrds_host) / f".s.PGSQL.{settings.wrds_port}"
    if path.is_socket():
        return ok(HOST, f"the socket {path} is there")
    return failed(HOST, f"there is no socket {path}; check FTM_WRDS_HOST and FTM_WRDS_PORT")


def packages() -> Check:
    """What reading WRDS needs to be installed."""

    def look() -> Iterator[Finding]:
        if missing := [name for name in ("wrds", "psycopg2") if find_spec(name) is None]:
            told = f"not installed: {', '.join(missing)}"
            yield skipped(PACKAGES, f"{told}; `pip install 'ftm[prefetch]'` to prefetch from here")
        else:
            yield ok(PACKAGES, "installed")

    return Check(PACKAGES, look)


def credentials(settings: Settings) -> Check:
    """Which source has a login; nobody is asked, nothing of it is shown."""

    def look() -> Iterator[Finding]:
        tried: list[str] = []
        unusable: list[str] = []
        found = stored_credentials(settings, tried, unusable.append)
        if found is not None:
            yield ok(CREDENTIALS, f"found in {found.source}")
            return
        how = (
            "set WRDS_USERNAME and WRDS_PASSWORD or write ~/.pgpass; "
            "at a terminal `ftm prefetch` asks"
        )
        if unusable:
            yield failed(CREDENTIALS, f"{'; '.join(unusable)}; else {how}")
        else:
            looked = f"; {'; '.join(tried)}" if tried else ""
            yield skipped(CREDENTIALS, f"not set up, skipped ({how}{looked})")

    return Check(CREDENTIALS, look)


def login(
    connect: Callable[[], AbstractContextManager[WRDSConnector]], where: str, notify: Notify
) -> Check:
    """Log in, once, and say which tables this account reads.

    Args:
        connect: makes a connector that has not logged in.
        where: host and port.
        notify: told of the Duo push that is to come.
    """

    def look() -> Iterator[Finding]:
        notify(f"logging in at {where}, once: if your phone shows a Duo push, approve it")
        with connect() as connector:
            found = connector.look_for_tables()
        yield ok(LOGIN, f"logged in at {where}")
        for key, name in found.items():
            what = f"WRDS {key} table"
            if isinstance(name, WRDSPermissionError):
                yield failed(what, str(name))
            else:
                yield ok(what, f"{name} can be read")

    return Check(LOGIN, look, (HOST, PACKAGES))
