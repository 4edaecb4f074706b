"""Where credentials come from: environment, password file, Secrets Manager, a person."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftm.connectors.wrds_credentials import (
    SECRET_NAME,
    Credentials,
    _match,
    _split,
    find_credentials,
)
from ftm.core.errors import WRDSConnectionError
from ftm.core.settings import Settings
from tests.support.s3_server import CREDENTIALS, S3Server

HOST = "wrds-pgdata.wharton.upenn.edu"


@pytest.fixture(autouse=True)
def no_aws(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A home without a password file and a machine without AWS."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "WRDS_USERNAME",
                 "WRDS_PASSWORD", "PGPASSFILE"):  # fmt: skip
        monkeypatch.delenv(name, raising=False)


def pgpass(folder: Path, *lines: str, mode: int = 0o600) -> Path:
    """A password file with these lines."""
    path = folder / ".pgpass"
    path.write_text("\n".join(lines) + "\n")
    path.chmod(mode)
    return path


def found(**settings: Any) -> tuple[str, str | None]:
    """User name and password that these settings lead to."""
    login = find_credentials(Settings.load(**settings))
    return login.username, login.password.get_secret_value() if login.password else None


def test_the_environment_comes_first(tmp_path: Path) -> None:
    """WRDS_USERNAME and WRDS_PASSWORD win over a password file."""
    pgpass(tmp_path, f"{HOST}:9737:wrds:ada:from-file")
    assert found(wrds_username="ada", wrds_password="from-env") == ("ada", "from-env")


def test_the_password_file_fills_in(tmp_path: Path) -> None:
    r"""The first fitting line counts; colons and backslashes come unescaped, comments go."""
    pgpass(
        tmp_path, "# my logins", f"{HOST}:9999:wrds:ada:other-port", "too:short",
        f"{HOST}:9737:wrds:ada:pa\\:ss\\\\word", f"{HOST}:9737:wrds:ada:second",
    )  # fmt: skip
    assert found(wrds_username="ada") == ("ada", "pa:ss\\word")
    assert found() == ("ada", "pa:ss\\word")


def test_stars_in_the_password_file(tmp_path: Path) -> None:
    """A star fits anything, an escaped star only a star; a star is no user name."""
    pgpass(tmp_path, "*:*:*:\\*:no", "*:*:*:*:any")
    assert found(wrds_username="ada") == ("ada", "any")
    pgpass(tmp_path, "*:*:*:*:any")
    with pytest.raises(WRDSConnectionError):
        found()


def test_another_password_file(tmp_path: Path) -> None:
    """PGPASSFILE names another file."""
    path = pgpass(tmp_path, "*:*:*:eve:secret").rename(tmp_path / "elsewhere")
    assert found(pgpassfile=path) == ("eve", "secret")


@pytest.mark.skipif(os.name != "posix", reason="file modes are a POSIX matter")
def test_a_readable_password_file_is_ignored(tmp_path: Path) -> None:
    """As with libpq: a password file that others can read is not used, and that is said."""
    pgpass(tmp_path, "*:*:*:ada:secret", mode=0o640)
    said: list[str] = []
    with pytest.raises(WRDSConnectionError, match="chmod 600") as caught:
        find_credentials(Settings.load(wrds_username="ada"), notify=said.append)
    assert "mode 0640" in said[0]
    assert "secret" not in f"{said}{caught.value}".replace("secret 'wrds", "")


@pytest.mark.parametrize("strange", [b"# caf\xe9", b"elsewhere:1:db:ada:p\xe4ss"])
def test_a_line_in_another_encoding_hides_no_other(tmp_path: Path, strange: bytes) -> None:
    """As with libpq, what is not UTF-8 matters only in the line that fits."""
    path = pgpass(tmp_path)
    path.write_bytes(strange + b"\n*:*:*:ada:caf\xc3\xa9\n")
    assert found(wrds_username="ada") == ("ada", "café")


def test_a_password_in_another_encoding_is_named_not_shown(tmp_path: Path) -> None:
    """It cannot be sent as it is meant, so the fix is told."""
    pgpass(tmp_path).write_bytes(b"*:*:*:ada:s3cr3t\xe4\n")
    said: list[str] = []
    with pytest.raises(WRDSConnectionError, match="save the file as UTF-8") as caught:
        find_credentials(Settings.load(wrds_username="ada"), notify=said.append)
    assert "save the file as UTF-8" in said[0]
    assert "s3cr3t" not in f"{said}{caught.value}"


def test_a_password_without_a_user_name_is_said_to_be_ignored(tmp_path: Path) -> None:
    """Whether another source has a login or none; a socket uses it with the user's own name."""
    said: list[str] = []
    settings = Settings.load(wrds_password="s3cr3t")
    with pytest.raises(WRDSConnectionError, match="WRDS_PASSWORD is ignored: set WRDS_USERNAME"):
        find_credentials(settings, notify=said.append)
    pgpass(tmp_path, "*:*:*:eve:in-file")
    assert find_credentials(settings, notify=said.append).username == "eve"
    on_socket = Settings.load(wrds_password="s3cr3t", wrds_host="/run/pg")
    find_credentials(on_socket, notify=said.append)
    assert said == ["WRDS_PASSWORD is ignored: set WRDS_USERNAME too"] * 2


def test_sockets_are_localhost_to_the_password_file(tmp_path: Path) -> None:
    """A socket directory needs no line, and uses the localhost line if there is one."""
    assert found(wrds_host="/run/pg", wrds_username="ada") == ("ada", None)
    assert found(wrds_host="/run/pg")[0]
    pgpass(tmp_path, "localhost:9737:wrds:eve:local")
    assert found(wrds_host="/run/pg") == ("eve", "local")


@pytest.fixture
def aws(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Secrets Manager, answered by the session's server: moto's state is the process's."""
    for name, value in {**CREDENTIALS, "AWS_ENDPOINT_URL": s3_server.url}.items():
        monkeypatch.setenv(name, value)
    client = boto3.client("secretsmanager", endpoint_url=s3_server.url, region_name="us-east-1")
    yield client
    client.delete_secret(SecretId=SECRET_NAME, ForceDeleteWithoutRecovery=True)


def test_the_secret_comes_after_the_file(aws: Any, tmp_path: Path) -> None:
    """Secrets Manager is asked when neither environment nor file has a login."""
    aws.create_secret(
        Name=SECRET_NAME, SecretString=json.dumps({"username": "ada", "password": "in-aws"})
    )
    assert found() == ("ada", "in-aws")
    assert found(wrds_username="ada") == ("ada", "in-aws")
    with pytest.raises(WRDSConnectionError, match="another user"):
        found(wrds_username="eve")
    pgpass(tmp_path, "*:*:*:ada:in-file")
    assert found() == ("ada", "in-file")


@pytest.mark.parametrize("text", ["not json s3cr3t", '{"user": "s3cr3t"}', '["s3cr3t"]'])
def test_a_malformed_secret_is_named_not_shown(aws: Any, text: str) -> None:
    """A secret of another shape is told as such, without its content."""
    aws.create_secret(Name=SECRET_NAME, SecretString=text)
    with pytest.raises(WRDSConnectionError, match="is not JSON with") as caught:
        found()
    assert "s3cr3t" not in str(caught.value)
    assert caught.value.__context__ is None


def test_no_secret(aws: Any) -> None:
    """With AWS but without the secret, the error says what AWS answered."""
    with pytest.raises(WRDSConnectionError, match="ResourceNotFoundException"):
        found()


def test_a_person_is_asked_last() -> None:
    """The prompt asks for what is missing, the password hidden; no answer is no login."""
    asked: list[tuple[str, bool]] = []

    def answer(text: str, hidden: bool) -> str:
        asked.append((text, hidden))
        return "typed" if hidden else "ada"

    login = find_credentials(Settings.load(), prompt=answer)
    assert isinstance(login, Credentials)
    assert (login.username, login.password.get_secret_value()) == ("ada", "typed")  # type: ignore[union-attr]
    assert [hidden for _, hidden in asked] == [False, True]
    find_credentials(Settings.load(wrds_username="eve"), prompt=answer)
    assert asked[2:] == [("WRDS password of eve: ", True)]
    with pytest.raises(WRDSConnectionError):
        find_credentials(Settings.load(), prompt=lambda _text, _hidden: "")
    texts: list[str] = []

    def nobody(text: str, _hidden: bool) -> str:
        texts.append(text)
        return ""

    with pytest.raises(WRDSConnectionError):
        find_credentials(Settings.load(), prompt=nobody)
    assert texts == ["WRDS user name: "]


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace(":", "\\:")


@given(st.lists(st.text(st.characters(exclude_characters="\n\r")), min_size=1, max_size=6))
def test_password_file_fields_survive_escaping(fields: list[str]) -> None:
    """Whatever is escaped into a line comes out of it."""
    line = ":".join(map(_escape, fields))
    assert [value for _, value in _split(line)] == fields


@given(st.text(st.characters(exclude_characters="\n\r"), min_size=1))
def test_any_password_can_stand_in_the_file(password: str) -> None:
    """Any one-line password is read back as it is, and never shown by a repr."""
    login = _match(f"h:1:d:u:{_escape(password)}", ("h", "1", "d", None))
    assert login is not None
    assert login.password is not None
    assert login.password.get_secret_value() == password
    assert repr(login) == "Credentials(username='u', password=SecretStr('**********'))"
