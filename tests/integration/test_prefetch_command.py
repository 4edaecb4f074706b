"""`ftm prefetch` as a real process, on a real PostgreSQL, killed for real."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from ftm.core.schemas import CALLS
from ftm.demo.synthetic import SyntheticWRDS
from ftm.demo.wrds_tables import load_tables
from ftm.storage.lease import Writer
from ftm.storage.manifest import load_manifest
from ftm.storage.object_store import ObjectStore, open_store
from ftm.storage.open_lease import open_leased
from ftm.storage.parquet import from_bytes
from tests.support.cli import run_ftm, start_ftm
from tests.support.forge import Started
from tests.support.postgres import PostgresServer
from tests.support.prefetch_quarter import LAYOUT, QUARTER, Clock
from tests.support.s3_server import Bucket

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wrds(postgres: PostgresServer, demo_wrds: SyntheticWRDS) -> Iterator[PostgresServer]:
    """The synthetic quarters in a database of their own."""
    with postgres.database() as server:
        connection = server.connect()
        load_tables(connection, demo_wrds.tables, layout=demo_wrds.layout)
        connection.close()
        yield server


def variables(wrds: PostgresServer, store: str, **more: str) -> dict[str, str]:
    """What points the command at the server and the store."""
    return {
        "FTM_WRDS_HOST": wrds.host,
        "FTM_WRDS_PORT": str(wrds.port),
        "FTM_WRDS_DBNAME": wrds.dbname,
        "FTM_WRDS_SSLMODE": "disable",
        "WRDS_USERNAME": wrds.user,
        "WRDS_PASSWORD": wrds.password,
        "FTM_STORE": store,
        "FTM_PREFETCH_CHECKPOINT": "3",
        **more,
    }


PREFETCH = ("prefetch", "--quarter", QUARTER, "--chunk-size", "7", "--workers", "1", "--json")


def contents(store: ObjectStore) -> dict[str, Any]:
    """Every object of the quarter; the manifest decoded, without its two times of day."""
    found: dict[str, Any] = {info.key: store.get(info.key) for info in store.list("prefetch")}
    fields = load_manifest(store, QUARTER).model_dump()
    fields["created_at"] = fields["source"]["extracted_at"] = ""
    return {**found, LAYOUT.manifest: fields}


@pytest.fixture(scope="module")
def whole(
    wrds: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What an uninterrupted prefetch leaves, and its summary."""
    url = f"file://{tmp_path_factory.mktemp('whole')}"
    done = run_ftm(*PREFETCH, **variables(wrds, url))
    assert done.returncode == 0, done.stderr
    return contents(open_store(url)), json.loads(done.stdout)


def test_every_firm_with_a_call_ends_in_exactly_one_place(
    whole: tuple[dict[str, Any], dict[str, Any]], demo_wrds: SyntheticWRDS
) -> None:
    """The plan holds what the synthetic quarter expects, and each kept firm is accounted for."""
    objects, summary = whole
    plan = from_bytes(objects[LAYOUT.key("calls.parquet")], CALLS).to_pylist()
    expected = [row for row in demo_wrds.expected.to_pylist() if row["quarter"] == QUARTER]
    kept = {row["firm_id"] for row in plan if row["kept"]}
    assert len(kept) == summary["n_planned"] > 12
    assert {row["firm_id"] for row in plan} == {str(row["firm_id"]) for row in expected}
    manifest = objects[LAYOUT.manifest]
    places = [manifest["firm_to_chunk"], manifest["skipped"], manifest["failed"]]
    assert sorted(firm for place in places for firm in place) == sorted(kept)
    assert manifest["complete"]
    assert manifest["skipped"], "the synthetic quarter has firms without text"


def test_killed_for_real_at_random_moments_and_rerun_gives_the_same_bytes(
    wrds: PostgresServer, whole: tuple[dict[str, Any], dict[str, Any]], tmp_path: Path
) -> None:
    """SIGKILL whenever another part is durable; the last process finishes what the first began."""
    store = open_store(f"file://{tmp_path}")
    settings = variables(wrds, f"file://{tmp_path}")
    for n_durable in (1, 4):
        process = start_ftm(*PREFETCH, **settings)
        wait_for_parts(process, tmp_path, n_durable)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert store.exists(LAYOUT.checkpoint)
    done = run_ftm(*PREFETCH, **settings)
    assert done.returncode == 0, done.stderr
    assert "taking over" in done.stderr
    assert "taking up an unfinished prefetch" in done.stderr
    assert json.loads(done.stdout)["resumed"] is True
    assert contents(store) == whole[0]


def wait_for_parts(process: Started, folder: Path, n: int) -> None:
    """Until so many parts were named since the start of the prefetch, or the process is over."""
    checkpoint = folder / LAYOUT.checkpoint
    deadline = time.monotonic() + 90
    while process.poll() is None and time.monotonic() < deadline:
        text = checkpoint.read_text() if checkpoint.exists() else "{}"
        session = json.loads(text).get("session") or {}
        # Parts are numbered by thousands for each second, from the beginning of the session on.
        if session.get("parts") or session.get("chunks"):
            begun = datetime.fromisoformat(session["created_at"]).timestamp()
            if session["n_parts"] - 1000 * int(begun) >= n:
                return
        time.sleep(0.01)
    pytest.fail(f"no {n} parts: {process.communicate()}")


def test_sigterm_stops_cleanly_and_says_how_to_go_on(
    wrds: PostgresServer, whole: tuple[dict[str, Any], dict[str, Any]], s3: Bucket
) -> None:
    """On S3 too: the lease is given up at once, and the next process resumes to the same bytes."""
    settings = variables(wrds, s3.url, **s3.environment)
    store = open_store(s3.url, endpoint_url=s3.server.url)
    process = start_ftm(*PREFETCH, **settings)
    while process.poll() is None and not list(store.list(LAYOUT.parts)):
        time.sleep(0.05)
    process.terminate()
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130, said
    assert said.strip().endswith("run the same command again to resume")
    assert json.loads(store.get(LAYOUT.checkpoint))["lease"] is None
    done = run_ftm(*PREFETCH, **settings)
    assert done.returncode == 0, done.stderr
    assert contents(store) == whole[0]


def test_two_quarters_take_one_login_and_a_repeat_takes_none(
    wrds: PostgresServer, tmp_path: Path
) -> None:
    """However many quarters a command reads; without anything pending no server is needed."""
    settings = variables(wrds, f"file://{tmp_path}", FTM_PREFETCH_CHECKPOINT="100")
    command = ("prefetch", "--quarters", "2022Q4..2023Q1", "--workers", "1", "--json")
    before = wrds.connections()
    done = run_ftm(*command, **settings)
    assert done.returncode == 0, done.stderr
    assert wrds.connections() - before == 1
    first = [json.loads(line) for line in done.stdout.splitlines()]
    assert [summary["quarter"] for summary in first] == ["2022Q4", "2023Q1"]

    again = run_ftm(*command, **{**settings, "FTM_WRDS_PORT": "1"})
    assert again.returncode == 0, again.stderr
    repeated = [json.loads(line) for line in again.stdout.splitlines()]
    assert repeated == [summary | {"n_new_firms": 0, "n_tried": 0} for summary in first]


def test_a_second_prefetch_while_one_runs_is_refused(wrds: PostgresServer, tmp_path: Path) -> None:
    """One line that names the writer, exit code 1, no login, nothing changed."""
    store = open_store(f"file://{tmp_path}")
    lease = open_leased(
        store,
        LAYOUT.checkpoint,
        lock_name=f"prefetch of {QUARTER}",
        writer=Writer.current(),
        clock=Clock(),
        say=lambda _: None,
    )
    lease.acquire()
    before = wrds.connections()
    done = run_ftm(*PREFETCH, **variables(wrds, f"file://{tmp_path}"))
    lease.release()
    assert done.returncode == 1
    assert done.stderr.startswith(f"ftm: prefetch of {QUARTER} is being written by ")
    assert len(done.stderr.splitlines()) == 1
    assert wrds.connections() == before
    assert list(store.list("prefetch")) == []


def test_a_dry_run_reports_and_writes_nothing(wrds: PostgresServer, tmp_path: Path) -> None:
    """What the plan keeps and what is pending, before anything is stored."""
    done = run_ftm(*PREFETCH, "--dry-run", "--limit", "4", **variables(wrds, f"file://{tmp_path}"))
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["n_planned"] > len(report["pending"]) == 4
    assert report["is_stored"] is False
    assert sum(report["reasons"].values()) + report["n_planned"] == report["n_calls"]
    assert list(tmp_path.iterdir()) == []
