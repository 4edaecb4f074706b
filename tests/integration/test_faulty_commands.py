"""`ftm` as a process, and the workers it starts, on a store that fails at some of its requests."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd
import pytest

from ftm.analysis.loaders import load_sentences, load_topics
from ftm.storage.object_store import ObjectStore, open_store
from tests.support.business_firms import QUARTER
from tests.support.cli import run_ftm
from tests.support.faulty_proxy import FaultyProxy
from tests.support.quarters import write_quarter
from tests.support.s3_server import Bucket, S3Server

RUN = ("run-quarter", "--quarter", "2023Q1", "--backend", "local", "--batch-size", "3")
MOST_RUNS = 15


def quarter_in(server: S3Server) -> Bucket:
    """A bucket with seven firms in three chunks."""
    bucket = server.new_bucket()
    store = open_store(bucket.url, endpoint_url=server.url)
    write_quarter(store, 7, firms_per_chunk=3, n_sentences=45)
    return bucket


def results(bucket: Bucket) -> list[pd.DataFrame]:
    """What readers get, but for the time of the run."""
    store: ObjectStore = open_store(bucket.url, endpoint_url=bucket.server.url)
    tables = [load_topics(QUARTER, store), load_sentences(QUARTER, store)]
    return [
        table.drop(columns=["processing_timestamp", "run_id"], errors="ignore") for table in tables
    ]


def run_until_done(endpoint: str, bucket: Bucket) -> list[str]:
    """The same command again for as long as it stops; its last line each time."""
    variables = {**bucket.environment, "AWS_ENDPOINT_URL": endpoint, "FTM_POLL_S": "0.2"}
    said: list[str] = []
    while True:
        done = run_ftm(*RUN, **variables)
        assert "Traceback" not in done.stderr, done.stderr
        if done.returncode == 0:
            return said
        assert done.returncode == 1, done.stderr
        said.append(done.stderr.splitlines()[-1])
        assert said[-1].startswith("ftm: ")
        assert len(said) < MOST_RUNS, said


@pytest.fixture(scope="module")
def faultless(s3_server: S3Server) -> list[pd.DataFrame]:
    """What the commands make of a store that does not fail."""
    bucket = quarter_in(s3_server)
    assert run_until_done(s3_server.url, bucket) == []
    return results(bucket)


@pytest.fixture(autouse=True)
def _forget(s3_server: S3Server) -> Iterator[None]:
    yield
    s3_server.reset()


@pytest.mark.parametrize(
    ("rate", "seed"),
    [
        (0.05, 1),
        *(
            pytest.param(rate, seed, marks=pytest.mark.exhaustive)
            for rate in (0.01, 0.05, 0.2)
            for seed in (2, 3)
        ),
    ],
)
def test_a_run_with_its_own_workers_on_a_store_that_fails(
    s3_server: S3Server, faultless: list[pd.DataFrame], rate: float, seed: int
) -> None:
    """To the end, or one line and again: the tables of a store that does not fail, and no damage.

    Up to 5 % nothing stops at all.
    """
    bucket = quarter_in(s3_server)
    with FaultyProxy(s3_server.url, rate=rate, seed=seed) as proxy:
        said = run_until_done(proxy.url, bucket)
        assert proxy.n_requests > 100
        assert proxy.n_faults > 0.3 * rate * proxy.n_requests
    if rate <= 0.05:
        assert said == []
    for found, expected in zip(results(bucket), faultless, strict=True):
        pd.testing.assert_frame_equal(found, expected)
    checked = run_ftm("verify", "--quarter", "2023Q1", "--deep", **bucket.environment)
    assert checked.returncode == 0, checked.stdout
