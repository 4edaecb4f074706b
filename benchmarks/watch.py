"""An array job of 10,000 children, the most AWS Batch takes, submitted and watched to its end.

    python -m benchmarks.watch [--children 10000] [--seconds 300]

`ftm run-quarter` as a process against the tests' Batch service and moto. A child does what a worker
tells the others, no topics: it puts the record that says its batch is complete; the pace is chosen
so that all take about the seconds asked for. Figures: what the watching command takes, and calls.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import threading
import time
from collections import Counter

from tests.support.batch_jobs import REGION, Ended, Job
from tests.support.batch_service import BatchService
from tests.support.quarters import write_quarter
from tests.support.s3_server import CREDENTIALS, Bucket, S3Server

from benchmarks._command import calls_of, run
from benchmarks._report import Line, report
from ftm.core.layout import RunLayout
from ftm.core.quarter import Quarter
from ftm.storage.object_store import ObjectStore, open_store
from ftm.storage.run_reader import list_runs
from ftm.storage.run_records import BatchLine, BatchProgress, decode_batches

QUARTER = "2023Q1"
SLOTS = 16
WATCH_GB = 0.6


class Workers:
    """Children that complete their batch after so many seconds.

    Args:
        store: where the run is.
        seconds: of one child.
    """

    def __init__(self, store: ObjectStore, seconds: float) -> None:
        self._store = store
        self._seconds = seconds
        self._lock = threading.Lock()
        self._lines: list[BatchLine] = []

    def __call__(self, job: Job) -> Ended:
        """One attempt."""
        job.status_ = "RUNNING"
        time.sleep(self._seconds)
        told = job.environment
        with self._lock:
            if not self._lines:
                self._lines = decode_batches(self._store.get(told["MANIFEST_S3_KEY"]), key="lines")
        line = self._lines[int(told["AWS_BATCH_JOB_ARRAY_INDEX"])]
        record = BatchProgress(
            batch_id=line.batch_id, done=list(line.firm_ids), complete=True, job_id=job.job_id
        )
        layout = RunLayout(Quarter.parse(told["QUARTER"]), told["FTM_RUN_ID"])
        key = layout.progress(line.batch_id)
        self._store.put(key, record.encode(key))
        return Ended(0)


def batch_calls(server: S3Server) -> Counter[str]:
    """Calls of AWS Batch that went to the simulated service, since the last time."""
    paths = (request.path for request in server.traffic)
    return Counter(path.removeprefix("/v1/") for path in paths if path.startswith("/v1/"))


def watch(bucket: Bucket, n_children: int, seconds: float) -> list[Line]:
    """Submit, watch, and look again when all is over."""
    server = bucket.server
    store = open_store(bucket.url, endpoint_url=server.url)
    write_quarter(store, n_children, n_sentences=1)
    with (
        BatchService(
            server, slots=SLOTS, runner=Workers(store, seconds * SLOTS / n_children)
        ) as service,
        tempfile.TemporaryDirectory() as home,
    ):
        environment = {
            **bucket.environment,
            "HOME": home,
            "AWS_REGION": REGION,
            "FTM_BATCH_QUEUE": service.make_queue(),
            "FTM_BATCH_JOB_DEFINITION": service.define_job(),
            "FTM_EMBEDDING_MODEL": "noop",
        }
        server.traffic.clear()
        quarter = ("--quarter", QUARTER, "--backend", "batch", "--batch-size", "1", "--to", "map")
        done = run("-m", "ftm.cli.main", "run-quarter", *quarter, environment=environment)
        asked = batch_calls(server)
        n_calls = len(server.traffic) - asked.total()
        calls = calls_of(server)
        again = run("-m", "ftm.cli.main", "status", "--quarter", QUARTER, environment=environment)
        looked = calls_of(server)
    (found,) = list_runs(store, Quarter.parse(QUARTER))
    assert found.is_complete
    assert len(found.batches) == n_children
    words = ", ".join(f"{n:,} {name}" for name, n in sorted(asked.items()))
    return [
        Line(f"{n_children:,} children watched: seconds", done.seconds, form=",.0f",
             detail=f"{done.processor_s:,.0f} s of processor"),
        Line("the watching command, GB", done.peak_gb, ("<=", WATCH_GB)),
        Line("calls of AWS Batch", asked.total(), form=",.0f", detail=words),
        Line("calls of S3, a PUT of every child included", n_calls, form=",.0f", detail=calls),
        Line("ftm status afterwards: seconds", again.seconds, detail=looked),
    ]  # fmt: skip


def main() -> int:
    """Measure and print; 1 if a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--children", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=300.0)
    asked = parser.parse_args()
    os.environ.update(CREDENTIALS)
    with S3Server() as server:
        return report(watch(server.new_bucket(), asked.children, asked.seconds))


if __name__ == "__main__":
    sys.exit(main())
