"""`ftm doctor` on a laptop, and on a real PostgreSQL for WRDS."""

from __future__ import annotations

import json
import socket
import sys
from pathlib import Path

import pytest

from tests.support.cli import run_ftm
from tests.support.doctor import Doctor
from tests.support.postgres import PostgresServer
from tests.support.tiny_wrds import TinyWRDS

# A laptop


def test_a_laptop_is_in_order(doctor: Doctor, tmp_path: Path) -> None:
    """A folder, no AWS: everything of AWS is one skipped line, nothing failed, nothing left."""
    (tmp_path / "store").mkdir()
    found = doctor(FTM_STORE=f"file://{tmp_path}/store")
    assert found.wrong() == set()
    assert found.mark("store") == found.mark("writing") == found.mark("text pipeline") == "ok"
    assert found.mark("AWS") == found.mark("AWS Batch") == "skipped"
    assert found.mark("embedding model") == found.mark("device") == "ok"
    assert list((tmp_path / "store").iterdir()) == []


def test_a_folder_that_is_not_there(doctor: Doctor, tmp_path: Path) -> None:
    """It is said and not made; whether it can be written is not asked."""
    found = doctor(FTM_STORE=f"file://{tmp_path}/sotre")
    assert found.wrong() == {"store"}
    assert "is not a folder" in found.text("store")
    assert found.text("writing") == "skipped because store failed"
    assert not (tmp_path / "sotre").exists()


def test_no_store_at_all(doctor: Doctor) -> None:
    """The one setting that has no default."""
    found = doctor()
    assert found.wrong() == {"store"}
    assert "FTM_STORE" in found.text("store")


def test_settings_that_cannot_be_read(doctor: Doctor) -> None:
    """One line says which, the others why they are left out; ftm's own version is told."""
    found = doctor(FTM_SEED="many")
    assert found.wrong() == {"settings"}
    assert "FTM_SEED 'many'" in found.text("settings")
    assert found.mark("ftm") == "ok"
    assert {f.mark for f in found.findings[2:]} == {"skipped"}


def test_models_that_are_not_there(doctor: Doctor, tmp_path: Path) -> None:
    """A spaCy model, a folder with a model, a GPU: each is told, none hides another."""
    found = doctor(
        FTM_STORE=f"file://{tmp_path}",
        FTM_NLP="en_core_web_xxl",
        FTM_EMBEDDING_MODEL="/no/such/model",
        FTM_DEVICE="tpu",
    )
    assert found.wrong() == {"text pipeline", "embedding model", "device"}
    assert "python -m spacy download en_core_web_xxl" in found.text("text pipeline")


def test_a_model_of_the_hub_is_not_downloaded(
    doctor: Doctor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first run would: that is worth a word, no failure."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    found = doctor(FTM_STORE=f"file://{tmp_path}", FTM_EMBEDDING_MODEL="all-mpnet-base-v2")
    assert found.mark("embedding model") == "warning"
    assert not (tmp_path / "hub").exists()


@pytest.mark.parametrize(
    ("missing", "skipped"),
    [
        ("torch", {"embedding model", "device"}),
        ("spacy", {"text pipeline"}),
        ("wrds", {"WRDS packages"}),
    ],
)
def test_what_is_not_installed_is_skipped(
    doctor: Doctor,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    missing: str,
    skipped: set[str],
) -> None:
    """A machine that only prefetches has no torch, one that only computes neither of the others."""
    monkeypatch.setitem(sys.modules, missing, None)
    found = doctor(FTM_STORE=f"file://{tmp_path}")
    assert found.wrong() == set()
    assert {f.what for f in found.findings if f.mark == "skipped"} == {"AWS", "AWS Batch", *skipped}
    assert all("pip install 'ftm[" in found.text(what) for what in skipped)


# WRDS


def test_a_host_that_does_not_listen(doctor: Doctor, tmp_path: Path) -> None:
    """Refused and unknown are told apart; with --wrds no login is tried."""
    with socket.socket() as closed_port:
        closed_port.bind(("127.0.0.1", 0))
        port = closed_port.getsockname()[1]
    found = doctor(FTM_STORE=f"file://{tmp_path}", FTM_WRDS_PORT=str(port), log_in=True)
    assert found.wrong() == {"WRDS host"}
    assert "refused" in found.text("WRDS host")
    assert found.text("WRDS login") == "skipped because WRDS host failed"
    assert found.told == []
    found = doctor(FTM_STORE=f"file://{tmp_path}", FTM_WRDS_HOST="no-such-host.invalid")
    assert "no such host: 'no-such-host.invalid'" in found.text("WRDS host")


def test_a_host_that_listens_gets_a_connection_and_no_byte(doctor: Doctor, tmp_path: Path) -> None:
    """No login, so no Duo push."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        server.settimeout(5)
        port = server.getsockname()[1]
        found = doctor(FTM_STORE=f"file://{tmp_path}", FTM_WRDS_PORT=str(port))
        connection, _ = server.accept()
        with connection:
            connection.settimeout(5)
            assert connection.recv(1) == b""
    assert found.mark("WRDS host") == "ok"
    assert found.marks("WRDS login") == []


def test_credentials_of_wrds_by_source(doctor: Doctor, tmp_path: Path) -> None:
    """The source is named, what it holds is not; one that cannot be used is a failure."""
    store = f"file://{tmp_path}"
    found = doctor(FTM_STORE=store)
    assert found.text("WRDS credentials") == "found in WRDS_USERNAME and WRDS_PASSWORD"
    pgpass = tmp_path / "pgpass"
    pgpass.write_text("*:*:*:planted-user:planted-password\n")
    pgpass.chmod(0o600)
    empty = {"WRDS_USERNAME": "", "WRDS_PASSWORD": "", "PGPASSFILE": str(pgpass)}
    assert doctor(FTM_STORE=store, **empty).text("WRDS credentials") == f"found in {pgpass}"
    pgpass.chmod(0o644)
    found = doctor(FTM_STORE=store, **empty)
    assert found.mark("WRDS credentials") == "failed"
    assert f"chmod 600 {pgpass}" in found.text("WRDS credentials")
    pgpass.unlink()
    found = doctor(FTM_STORE=store, **empty)
    assert found.mark("WRDS credentials") == "skipped"
    assert "set WRDS_USERNAME" in found.text("WRDS credentials")


def test_one_login_if_asked_for_and_the_tables_it_reads(
    doctor: Doctor, postgres: PostgresServer, tmp_path: Path
) -> None:
    """None without --wrds, one with it, announced; a table the account cannot read is told."""
    with (
        TinyWRDS().vintage().firm(1).turn(1, 0, "Hello.").served(postgres) as server,
        server.role(schemas=["ciq"]) as role,
    ):
        variables = {
            "FTM_STORE": f"file://{tmp_path}",
            "FTM_WRDS_PORT": str(role.port),
            "FTM_WRDS_DBNAME": role.dbname,
            "FTM_WRDS_SSLMODE": "disable",
            "WRDS_USERNAME": role.user,
            "WRDS_PASSWORD": role.password,
        }
        assert doctor(**variables).wrong() == set()
        assert role.logins(role.user) == 0
        found = doctor(log_in=True, **variables)
        assert role.logins(role.user) == 1
    assert found.mark("WRDS login") == found.mark("WRDS detail table") == "ok"
    assert found.text("WRDS gvkey table") == "ciq.wrds_gvkey can be read"
    assert found.wrong() == {"WRDS link table"}
    assert "crsp.ccmxpf_lnkhist" in found.text("WRDS link table")
    assert len([line for line in found.told if "Duo push" in line]) == 1
    assert role.password not in str(found)


def test_a_refused_login_is_not_tried_again(
    doctor: Doctor, postgres: PostgresServer, tmp_path: Path
) -> None:
    """Every attempt may send a push."""
    before = postgres.connections()
    found = doctor(
        log_in=True,
        FTM_STORE=f"file://{tmp_path}",
        FTM_WRDS_PORT=str(postgres.port),
        FTM_WRDS_SSLMODE="disable",
    )
    assert found.wrong() == {"WRDS login"}
    assert "refused the login of 'me'" in found.text("WRDS login")
    assert postgres.connections() - before == 2, "the look at the host, and the login"


# The command


def test_the_command_as_json_and_in_ascii(quiet: dict[str, str], tmp_path: Path) -> None:
    """JSON has a mark and a text a check; a terminal without ✓ gets +; both exit 0."""
    variables = {**quiet, "FTM_STORE": f"file://{tmp_path}"}
    done = run_ftm("doctor", "--json", cwd=tmp_path, **variables)
    found = json.loads(done.stdout)
    assert (done.returncode, found["ok"]) == (0, True), done.stdout
    assert {tuple(sorted(each)) for each in found["checks"]} == {("check", "mark", "text")}
    done = run_ftm("doctor", cwd=tmp_path, **{**variables, "PYTHONIOENCODING": "ascii"})
    assert (done.returncode, done.stdout.isascii()) == (0, True)
    assert f"+ store: file://{tmp_path} is there" in done.stdout.splitlines()
