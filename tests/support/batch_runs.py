"""A run on AWS Batch as a researcher sees it: a bucket, an environment, what came out."""

from __future__ import annotations

import time
from collections.abc import Callable

import pyarrow as pa
import pytest

from ftm.core.layout import RunLayout
from ftm.core.settings import Settings
from ftm.storage.claims import claimed_jobs
from ftm.storage.object_store import ObjectStore, open_store
from ftm.storage.run_reader import iter_parts, list_runs
from ftm.storage.run_records import JobClaim
from tests.support.batch import Cluster
from tests.support.business_firms import QUARTER
from tests.support.quarters import write_quarter
from tests.support.runs import noop_settings
from tests.support.s3_server import Bucket

RUN = ("run-quarter", "--quarter", "2023Q1", "--batch-size", "3", "--backend", "batch")
LOCAL = ("run-quarter", "--quarter", "2023Q1", "--batch-size", "3", "--no-publish")
BATCH = "2023Q1_batch_000"
SECRET = "sk-do-not-tell-4711"


@pytest.fixture
def batch_store(s3: Bucket) -> ObjectStore:
    """Seven firms in three chunks, in a bucket."""
    opened = open_store(s3.url, endpoint_url=s3.server.url)
    write_quarter(opened, 7, firms_per_chunk=3, n_sentences=45)
    return opened


@pytest.fixture
def batch_variables(cluster: Cluster, batch_store: ObjectStore) -> dict[str, str]:
    """The environment of a researcher who submits to the cluster."""
    return {**cluster.variables, "FTM_STORE": batch_store.url, "FTM_POLL_S": "0.2"}


def settings_of(variables: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The same in this process."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return noop_settings()


def layout_of(store: ObjectStore) -> RunLayout:
    """Keys of the only run."""
    (run,) = list_runs(store, QUARTER)
    return run.layout


def claimed_id(store: ObjectStore) -> str:
    """The jobs on record of the first attempt."""
    claim = claimed_jobs(store, layout_of(store), stage="map", attempt=1)
    assert claim is not None
    return claim.job_id


def forget(store: ObjectStore) -> None:
    """Let the jobs on record be old ones."""
    old = JobClaim(job_id=claimed_id(store), claimed_at="2023-04-01T00:00:00+00:00")
    store.put(layout_of(store).job_claim("map", 1), old.encode())


def wait_until(condition: Callable[[], bool], limit_s: float = 60) -> None:
    """Look again and again."""
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def tables(store: ObjectStore, run_number: int) -> dict[str, list[tuple[str, pa.Table]]]:
    """What a run's parts hold, batch by batch, but for the time the run began."""
    run = list_runs(store, QUARTER)[run_number]
    return {
        dataset: [
            (batch, table.drop_columns(set(table.column_names) & {"processing_timestamp"}))
            for batch, table in iter_parts(store, run, dataset)
        ]
        for dataset in ("firm-topics", "firm-sentences")
    }
