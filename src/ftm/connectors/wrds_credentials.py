"""Where the WRDS user name and password come from, in one fixed order."""

from __future__ import annotations

import getpass
import json
import logging
import os
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from ftm.core.errors import WRDSConnectionError
from ftm.core.settings import Settings

SECRET_NAME = "wrds-credentials"  # noqa: S105 - the name of a secret, not a secret
"""Secrets Manager secret: JSON with `username` and `password`."""

Notify = Callable[[str], None]
Prompt = Callable[[str, bool], str]
"""Asks a person: text shown, and whether the answer is hidden."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """A WRDS login; `password` is None where a socket needs none. The repr hides it."""

    username: str
    password: SecretStr | None
    source: str = field(default="", compare=False, repr=False)
    """Where it was found, for people."""


def find_credentials(
    settings: Settings, *, notify: Notify | None = None, prompt: Prompt | None = None
) -> Credentials:
    """The first source that has a login for this host.

    Environment, the password file, Secrets Manager, then a person, if one sits at a terminal.

    Args:
        settings: host, port, database, and what the environment gave.
        notify: told of a password that is there but cannot be used.
        prompt: how to ask; None: the terminal, if there is one.

    Raises:
        WRDSConnectionError: no source has one; the message says what to set.
    """
    tried: list[str] = []
    found = stored_credentials(settings, tried, notify) or _from_person(settings, prompt)
    if found is not None:
        return found
    raise WRDSConnectionError(
        f"no WRDS credentials for {settings.wrds_host}:{settings.wrds_port}: set WRDS_USERNAME and"
        " WRDS_PASSWORD, or add a line to ~/.pgpass (host:port:database:user:password, chmod 600),"
        f" or create the Secrets Manager secret {SECRET_NAME!r}; there is no terminal to ask at"
        + (f" ({'; '.join(tried)})" if tried else "")
    )


def stored_credentials(
    settings: Settings, tried: list[str], notify: Notify | None = None
) -> Credentials | None:
    """What find_credentials finds before it would ask a person; None if nothing.

    Args:
        settings: see find_credentials.
        tried: gets a line for every source that was looked at and did not help.
        notify: see find_credentials.
    """
    if settings.wrds_username and settings.wrds_password:
        named = "WRDS_USERNAME and WRDS_PASSWORD"
        return Credentials(settings.wrds_username, settings.wrds_password, named)
    if settings.wrds_password and not settings.wrds_host.startswith("/"):
        _ignore("WRDS_PASSWORD is ignored: set WRDS_USERNAME too", tried, notify)
    found = _from_pgpass(settings, tried, notify) or _socket_login(settings)
    return found or _from_secrets_manager(settings, tried)


def _socket_login(settings: Settings) -> Credentials | None:
    """A socket directory trusts whoever may open it, so a password is not asked for."""
    if not settings.wrds_host.startswith("/"):
        return None
    user = settings.wrds_username or getpass.getuser()
    return Credentials(user, settings.wrds_password, "the socket folder, which asks for none")


def _from_pgpass(settings: Settings, tried: list[str], notify: Notify | None) -> Credentials | None:
    path = settings.pgpassfile or _default_pgpass()
    if not path.is_file():
        return None
    if os.name == "posix" and path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        mode = stat.S_IMODE(path.stat().st_mode)
        problem = f"{path} is ignored: others can read it (mode {mode:04o}); run chmod 600 {path}"
        _ignore(problem, tried, notify)
        return None
    host = "localhost" if settings.wrds_host.startswith("/") else settings.wrds_host
    target = (host, str(settings.wrds_port), settings.wrds_dbname, settings.wrds_username)
    # libpq takes any bytes: a line in another encoding must not hide the others.
    for line in path.read_text(encoding="utf-8", errors="surrogateescape").splitlines():
        if (found := _match(line, target)) is not None:
            if _is_utf8(line):
                return replace(found, source=str(path))
            _ignore(f"a line of {path} is ignored: save the file as UTF-8", tried, notify)
    tried.append(f"no line of {path} fits {':'.join(part or '*' for part in target)}")
    return None


def _ignore(problem: str, tried: list[str], notify: Notify | None) -> None:
    """Say that something is there and of no use, now and in the error should nothing else do."""
    tried.append(problem)
    if notify:
        notify(problem)


def _is_utf8(text: str) -> bool:
    """Whether nothing in it stands for a byte that could not be decoded."""
    return not any("\udc80" <= char <= "\udcff" for char in text)


def _default_pgpass() -> Path:
    """Where libpq looks for the password file."""
    if os.name == "nt":
        return Path.home() / "AppData" / "Roaming" / "postgresql" / "pgpass.conf"
    return Path.home() / ".pgpass"


def _match(line: str, target: tuple[str, str, str, str | None]) -> Credentials | None:
    """The login of one line of a password file, if it fits; a `*` field fits anything.

    Without a user name in `target`, the line's own is taken.
    """
    fields = list(_split(line)) if not line.startswith("#") else []
    if len(fields) < 5 or not fields[4][1]:
        return None
    wild = [raw == "*" for raw, _ in fields]
    values = [value for _, value in fields]
    for i, wanted in enumerate(target):
        if not wild[i] and wanted is not None and values[i] != wanted:
            return None
    username = target[3] or (None if wild[3] else values[3])
    return Credentials(username, SecretStr(values[4])) if username else None


def _split(line: str) -> Iterator[tuple[str, str]]:
    r"""Fields of a password file line, as written and unescaped: `\:` is a colon, `\\` one `\`."""
    raw, value, escaped = "", "", False
    for char in line.rstrip("\r\n"):
        if not escaped and char == ":":
            yield raw, value
            raw, value = "", ""
            continue
        raw += char
        escaped = char == "\\" and not escaped
        if not escaped:
            value += char
    yield raw, value


def _from_secrets_manager(settings: Settings, tried: list[str]) -> Credentials | None:
    """The secret, if this machine has AWS credentials and a region at all."""
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        session = boto3.Session(region_name=settings.aws_region)
        if session.get_credentials() is None:
            tried.append("no AWS credentials to read Secrets Manager with")
            return None
        config = Config(connect_timeout=5, read_timeout=10, retries={"max_attempts": 2})
        client = session.client(
            "secretsmanager", endpoint_url=settings.aws_endpoint_url, config=config
        )
        with _unlogged_answers():
            text = client.get_secret_value(SecretId=SECRET_NAME)["SecretString"]
    except ClientError as error:
        code = error.response["Error"]["Code"]
        tried.append(f"Secrets Manager answered {code} for {SECRET_NAME!r}")
        return None
    except (BotoCoreError, KeyError, ValueError) as error:
        tried.append(f"Secrets Manager cannot be asked: {type(error).__name__}")
        return None
    return _parse_secret(text, settings, tried)


@contextmanager
def _unlogged_answers() -> Iterator[None]:
    """At DEBUG botocore logs what the service answers: here, the password."""
    parsers = logging.getLogger("botocore.parsers")

    def refuse(_record: logging.LogRecord) -> bool:
        return False

    parsers.addFilter(refuse)
    try:
        yield
    finally:
        parsers.removeFilter(refuse)


def _parse_secret(text: str, settings: Settings, tried: list[str]) -> Credentials | None:
    try:
        secret: Any = json.loads(text)
        username, password = str(secret["username"]), str(secret["password"])
    except (ValueError, KeyError, TypeError):
        # Not chained: the parser's message would quote the secret.
        tried.append(f"secret {SECRET_NAME!r} is not JSON with username and password")
        return None
    if settings.wrds_username not in (None, username):
        tried.append(f"secret {SECRET_NAME!r} is for another user than WRDS_USERNAME")
        return None
    return Credentials(username, SecretStr(password), f"Secrets Manager, {SECRET_NAME!r}")


def _from_person(settings: Settings, prompt: Prompt | None) -> Credentials | None:
    if prompt is None:
        if not (sys.stdin and sys.stdin.isatty() and sys.stderr.isatty()):
            return None
        prompt = _ask_terminal
    username = settings.wrds_username or prompt("WRDS user name: ", False)
    password = prompt(f"WRDS password of {username}: ", True) if username else ""
    return Credentials(username, SecretStr(password)) if password else None


def _ask_terminal(text: str, hidden: bool) -> str:
    """Ask on stderr, for stdout carries results."""
    if hidden:
        return getpass.getpass(text)
    sys.stderr.write(text)
    sys.stderr.flush()
    return sys.stdin.readline().strip()
