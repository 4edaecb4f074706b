"""Bad input to the real command: one clear line on stderr, a non-zero exit, nothing lost."""

from __future__ import annotations

import gzip
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from ftm.demo.synthetic import SyntheticWRDS
from ftm.demo.wrds_tables import load_tables
from ftm.storage.object_store import ObjectStore, open_store
from tests.support.cli import run_ftm, start_ftm
from tests.support.postgres import PostgresServer
from tests.support.prefetch_quarter import LAYOUT, QUARTER
from tests.support.quarters import write_quarter
from tests.support.s3_server import Bucket, error
from tests.support.stores import resize_disk

pytestmark = pytest.mark.slow

PREFETCH = ("prefetch", "--quarter", QUARTER, "--chunk-size", "7", "--workers", "1")


@dataclass(frozen=True)
class Bench:
    """A server with a synthetic quarter and a store for one test."""

    wrds: PostgresServer
    folder: Path

    def variables(self, **more: str) -> dict[str, str]:
        """What points the command at them."""
        return {
            "FTM_WRDS_HOST": self.wrds.host,
            "FTM_WRDS_PORT": str(self.wrds.port),
            "FTM_WRDS_DBNAME": self.wrds.dbname,
            "FTM_WRDS_SSLMODE": "disable",
            "WRDS_USERNAME": self.wrds.user,
            "WRDS_PASSWORD": self.wrds.password,
            "FTM_STORE": f"file://{self.folder}",
            "FTM_PREFETCH_CHECKPOINT": "3",
            **more,
        }

    def refused(self, *arguments: str, code: int = 1, **variables: str) -> str:
        """The one line with which the command refuses, without the password in it."""
        done = run_ftm(*(arguments or PREFETCH), **self.variables(**variables))
        assert (done.returncode, done.stdout) == (code, ""), done.stderr
        (line,) = done.stderr.splitlines()
        assert line.startswith("ftm: ")
        assert self.wrds.password not in line
        return line


@pytest.fixture(scope="module")
def wrds(postgres: PostgresServer, demo_wrds: SyntheticWRDS) -> Iterator[PostgresServer]:
    """The synthetic quarters in a database of their own."""
    with postgres.database() as server:
        connection = server.connect()
        load_tables(connection, demo_wrds.tables, layout=demo_wrds.layout)
        connection.close()
        yield server


@pytest.fixture
def bench(wrds: PostgresServer, tmp_path: Path) -> Bench:
    """A store that is not there yet."""
    return Bench(wrds, tmp_path / "store")


def is_untouched(folder: Path) -> bool:
    """Whether nothing was stored: lock files and empty folders are no objects."""
    return not folder.exists() or not list(open_store(f"file://{folder}").list("prefetch"))


# --- the store


@pytest.mark.parametrize(
    "url",
    [
        "ftp://host/x",
        "/plain/path",
        "file://relative/x",
        "s3://",
        f"file:///{'y' * 300}",
        "file:///a%00b",
    ],
)
def test_a_store_that_is_none(bench: Bench, url: str) -> None:
    """Wrong usage, said before any login, with the value and what a store looks like."""
    before = bench.wrds.connections()
    line = bench.refused(code=2, FTM_STORE=url)
    assert url in line
    assert "s3://bucket" in line or "file:///" in line
    assert bench.wrds.connections() == before


def test_a_store_that_cannot_be_made_or_is_not_there(bench: Bench) -> None:
    """Neither prefetching nor looking leaves a folder, and nobody logs in."""
    before = bench.wrds.connections()
    assert "/proc/none/x" in bench.refused(FTM_STORE="file:///proc/none/x")
    for command in ("status", "run-quarter", "attrition", "preprocess"):
        line = bench.refused(command, "--quarter", QUARTER)
        assert str(bench.folder) in line
        assert "ftm prefetch" in line
    assert "ftm prefetch" in bench.refused(*PREFETCH, "--check-revisions")
    assert not bench.folder.exists()
    assert bench.wrds.connections() == before


def test_a_bucket_that_cannot_be_written_sends_no_push(bench: Bench, s3: Bucket) -> None:
    """No such bucket, access denied, and a role that may read but not write."""
    before = bench.wrds.connections()
    gone = {**s3.environment, "FTM_STORE": "s3://ftm-there-is-none"}
    assert "no bucket 'ftm-there-is-none'" in bench.refused(**gone)

    s3.server.script = lambda _method, _path, _ask: error("403 Forbidden", "AccessDenied")
    assert "access denied" in bench.refused(**s3.environment)

    def read_only(method: str, _path: str, ask: Callable[[], object]) -> object:
        return error("403 Forbidden", "AccessDenied") if method == "PUT" else ask()

    s3.server.script = read_only  # type: ignore[assignment]
    assert "s3:PutObject" in bench.refused(**s3.environment)
    assert bench.wrds.connections() == before


def test_a_disk_that_fills_up_and_is_freed(bench: Bench, small_disk: Path) -> None:
    """The last line says so; with more room the same command completes, once per firm."""
    settings = bench.variables(FTM_STORE=f"file://{small_disk}")
    full = run_ftm(*PREFETCH, **settings)
    assert full.returncode == 1
    assert full.stdout == ""
    assert "the disk is full" in full.stderr.splitlines()[-1]
    assert "Traceback" not in full.stderr
    resize_disk(small_disk, "8m")
    done = run_ftm(*PREFETCH, "--json", **settings)
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert (summary["complete"], summary["failed"]) == (True, {})


# --- WRDS


def test_no_server_no_password_no_right(bench: Bench, wrds: PostgresServer) -> None:
    """Each login failure is told apart, tried once, and leaves nothing in the store."""
    assert "no PostgreSQL at 127.0.0.1:1" in bench.refused(FTM_WRDS_PORT="1")
    with wrds.role(schemas=["crsp"]) as role:
        mine = {"WRDS_USERNAME": role.user, "WRDS_PASSWORD": "wr0ng"}
        line = bench.refused(**mine)
        assert "wrong or expired password" in line
        assert "wr0ng" not in line
        assert role.logins(role.user) == 0
        line = bench.refused(**{**mine, "WRDS_PASSWORD": role.password})
        assert "cannot read the detail table 'wrds_transcript_detail'" in line
        assert "permission denied" in line
        assert role.logins(role.user) == 1
    assert is_untouched(bench.folder)


def test_no_credentials_off_a_terminal(bench: Bench, tmp_path: Path) -> None:
    """No prompt and no hang: the line names every place where credentials may be."""
    settings = bench.variables(HOME=str(tmp_path), AWS_EC2_METADATA_DISABLED="true")
    del settings["WRDS_USERNAME"], settings["WRDS_PASSWORD"]
    before = bench.wrds.connections()
    done = run_ftm(*PREFETCH, cwd=tmp_path, **settings)
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert all(name in line for name in ("WRDS_USERNAME", "~/.pgpass", "wrds-credentials"))
    assert bench.wrds.connections() == before


# --- what is asked for


def test_an_unknown_text_pipeline_says_how_to_install_it(bench: Bench) -> None:
    """Before any login."""
    before = bench.wrds.connections()
    line = bench.refused(FTM_NLP="en_nothing_sm")
    assert "en_nothing_sm" in line
    assert "python -m spacy download en_nothing_sm" in line
    assert bench.wrds.connections() == before


def test_unknown_firms_are_named_and_nothing_is_stored(bench: Bench) -> None:
    """An id without a call in the quarter; those asked for beside it are not fetched either."""
    line = bench.refused(*PREFETCH, "--firms", "999999999")
    assert "999999999" in line
    assert is_untouched(bench.folder)


def test_chunks_of_another_text_pipeline_stay_closed(bench: Bench) -> None:
    """No login; the line names the difference and all three ways on."""
    store = filled(bench)
    before, connections = {i.key: i.etag for i in store.list()}, bench.wrds.connections()
    line = bench.refused()
    assert "'none' there, 'rules' here" in line
    for way in ("--nlp", f"`ftm preprocess --quarter {QUARTER}`", "--refresh"):
        assert way in line
    assert {i.key: i.etag for i in store.list("prefetch")} == {
        key: etag for key, etag in before.items() if key.startswith("prefetch")
    }
    assert bench.wrds.connections() == connections


# --- damage


def filled(bench: Bench) -> ObjectStore:
    """The store with a quarter of three small firms, made by another text pipeline."""
    store = open_store(f"file://{bench.folder}")
    write_quarter(store, 3)
    return store


def truncated(data: bytes) -> bytes:
    """The first half."""
    return data[: len(data) // 2]


def flipped(data: bytes) -> bytes:
    """One bit of the middle."""
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


def newer(data: bytes) -> bytes:
    """The manifest of a later ftm."""
    fields = json.loads(gzip.decompress(data))
    return json.dumps({**fields, "schema_version": 99}).encode()


def bad_footer(data: bytes) -> bytes:
    """One bit of the Parquet footer."""
    at = len(data) - 40
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


@pytest.mark.parametrize("damage", [truncated, flipped, newer])
def test_a_manifest_that_cannot_be_read(bench: Bench, damage: Callable[[bytes], bytes]) -> None:
    """Every command names it and what to do; none touches it."""
    store = filled(bench)
    data = damage(store.get(LAYOUT.manifest))
    store.put(LAYOUT.manifest, data)
    for command in ("prefetch", "run-quarter"):  # status shows what it can, see its own tests
        line = bench.refused(command, "--quarter", QUARTER)
        assert LAYOUT.manifest in line
        assert ("schema_version 99" if damage is newer else "damaged") in line
    assert store.get(LAYOUT.manifest) == data


@pytest.mark.parametrize("damage", [truncated, flipped, bad_footer])
def test_a_chunk_that_is_not_what_was_recorded(
    bench: Bench, damage: Callable[[bytes], bytes]
) -> None:
    """A run names the chunk; shown afterwards, too, and mended, the same run completes."""
    store = filled(bench)
    key = LAYOUT.key("chunk_0000.parquet")
    good = store.get(key)
    store.put(key, damage(good))
    failed = run_ftm("run-quarter", "--quarter", QUARTER, **bench.variables())
    assert (failed.returncode, failed.stdout) == (1, "")
    assert "chunk_0000.parquet" in failed.stderr.splitlines()[-1]
    store.put(key, good)
    assert run_ftm("run-quarter", "--quarter", QUARTER, **bench.variables()).returncode == 0

    store.put(key, damage(good))
    show = run_ftm("show", "--quarter", QUARTER, "--firm", "100001", **bench.variables())
    assert (show.returncode, show.stdout) == (1, "")
    *fetched_again, line = show.stderr.splitlines()
    assert line.startswith("ftm: ")
    assert "chunk_0000.parquet is damaged" in line
    assert all("fetching it again" in text for text in fetched_again)


# --- the keyboard


def running(group: int) -> list[str]:
    """Names of the processes of a group that run; one that is dead but not reaped does not."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            name, _, rest = stat.read_text().rpartition(") ")
            state, _, pgrp = rest.split()[:3]
            if int(pgrp) == group and state != "Z":
                found.append(name)
    return found


def test_ctrl_c_stops_every_process_and_the_next_command_resumes(bench: Bench) -> None:
    """Exit code 130 and one last line; no worker stays, the lock is free, nothing is lost."""
    command = ("prefetch", "--quarter", QUARTER, "--chunk-size", "7", "--workers", "2", "--json")
    process = start_ftm(*command, **bench.variables())
    parts = bench.folder / LAYOUT.parts
    while process.poll() is None and not (parts.exists() and list(parts.iterdir())):
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert said.splitlines()[-1] == "ftm: stopped; run the same command again to resume"
    assert "Traceback" not in said
    deadline = time.monotonic() + 10
    while left := running(process.pid):
        assert time.monotonic() < deadline, left
        time.sleep(0.05)
    done = run_ftm(*command, **bench.variables())
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert (summary["complete"], summary["resumed"]) == (True, True)
