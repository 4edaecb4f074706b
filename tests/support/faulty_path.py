"""All stages in this process, over any endpoint, so that the store may fail below each of them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from ftm.analysis.loaders import load_topics
from ftm.analysis.results import load_panel
from ftm.care.verify import verify_quarter
from ftm.connectors.s3_connector import S3TranscriptConnector
from ftm.core.errors import FtmError
from ftm.core.layout import RunLayout
from ftm.core.quarter import Quarter
from ftm.core.settings import Settings
from ftm.jobs.base import JobBackend, JobState, JobStatus, StageJobs
from ftm.mapping.stop_signal import StopSignal
from ftm.orchestrate.quarter_orchestrator import QuarterOrchestrator
from ftm.orchestrate.stages import StageSpan
from ftm.reduce.link_quarters import link_quarters
from ftm.storage.object_store import ObjectStore
from ftm.storage.retrying import RetryPolicy
from ftm.wiring import get_model_fingerprint
from ftm.worker import map_batch
from tests.support.business_firms import QUARTER
from tests.support.fake_source import FakeSource
from tests.support.planted_run import Planted, plant_run
from tests.support.planted_stages import FIRMS, run_span
from tests.support.prefetch_quarter import firms, prefetch
from tests.support.runs import noop_settings

PATIENT = RetryPolicy(first_contact_s=60.0, later_s=60.0, wait_s=0.002, stall_s=20.0)
"""Bears much and waits little; a slow machine is not taken for a fault."""
HURRIED = replace(PATIENT, stall_s=1.0)
"""The same where requests stall on purpose."""

NEXT = QUARTER.next()
BEGAN = datetime(2023, 4, 3, 12, tzinfo=UTC)
PREFETCHED = firms(9)


@dataclass
class InProcess(JobBackend):
    """Map workers in this process, one batch after the other, on submit.

    Args:
        settings: of a worker, but for what the environment of the jobs says.
    """

    settings: Settings
    ended: dict[str, list[JobStatus]] = field(default_factory=dict)

    def submit(self, jobs: StageJobs) -> str:
        variables = jobs.environment
        told = {
            "quarter": variables["QUARTER"],
            "run_id": variables["FTM_RUN_ID"],
            "manifest_key": variables["MANIFEST_S3_KEY"],
            "data_source": "s3",
        }
        self.ended[jobs.name] = [self._work(told, batch) for batch in jobs.batch_ids]
        return jobs.name

    def _work(self, told: dict[str, Any], batch: str) -> JobStatus:
        try:
            map_batch(self.settings.model_copy(update={**told, "batch_id": batch}), StopSignal())
        except FtmError as error:
            return JobStatus(batch, JobState.FAILED, f"exit 1: {error}", 1, n_attempts=1)
        return JobStatus(batch, JobState.SUCCEEDED, exit_code=0, n_attempts=1)

    def poll(self, handle: str) -> list[JobStatus]:
        return self.ended[handle]

    def cancel(self, handle: str, reason: str) -> None:
        raise AssertionError((handle, reason))

    def close(self) -> None:
        return


def do_prefetch(store: ObjectStore) -> object:
    """Nine firms in chunks of four and parts of two."""
    return prefetch(store, FakeSource(PREFETCHED))


def do_map(store: ObjectStore, endpoint: str) -> object:
    """`ftm run-quarter --to map` with no-op models, its workers included."""
    settings = noop_settings(store=store.url, aws_endpoint_url=endpoint)
    return QuarterOrchestrator(
        store,
        InProcess(settings),
        settings=settings,
        fingerprint=get_model_fingerprint,
        clock=lambda: BEGAN,
        poll_s=0,
    ).run_quarter("2023Q1", batch_size=3, span=StageSpan(last="map"))


def plant_two(store: ObjectStore) -> None:
    """Two quarters whose map stage is complete."""
    plant_run(store, FIRMS)
    plant_run(store, FIRMS[::-1], quarter=NEXT)


def do_stages(store: ObjectStore) -> object:
    """Reduce, name, package and publish two quarters, then link them."""
    for quarter in (QUARTER, NEXT):
        run_span(Planted(store, RunLayout(quarter, "planted-run"), {}))
    return link_quarters(store, [QUARTER, NEXT])


def read_prefetched(store: ObjectStore) -> dict[str, Any]:
    """What the connector reads of the prefetched quarter."""
    with S3TranscriptConnector(store=store, quarter="2023Q1") as connector:
        return {f.firm_id: [s.raw_text for s in f.sentences] for f in connector.iter_firms()}


def read_results(store: ObjectStore) -> tuple[str, str]:
    """What loaders read of the published quarters."""
    return load_topics(QUARTER, store).to_json(), load_panel([QUARTER, NEXT], store).to_json()


def problems(store: ObjectStore, quarter: Quarter) -> list[str]:
    """What `ftm verify --deep` finds."""
    return [str(fault) for fault in verify_quarter(store, quarter, deep=True).faults]


def last_words(work: Callable[[], object]) -> str:
    """What the user reads when it stops, one line; empty when it does not.

    An error that is no line of ftm's own goes through, and so ends the test.
    """
    try:
        work()
    except FtmError as error:
        said = str(error)
    else:
        said = ""
    assert "\n" not in said, said
    return said


def until_done(work: Callable[[], object], *, at_most: int = 40) -> list[str]:
    """Run it again as a user would, as long as it stops; its last words each time."""
    said: list[str] = []
    while words := last_words(work):
        said.append(words)
        assert len(said) < at_most, said
    return said


def settled(store: ObjectStore) -> dict[str, object]:
    """Every object but records of attempts, without how long things took."""
    later = re.compile(r"/jobs/|/map_([2-9]|\d\d+)\.jsonl$")
    keys = [info.key for info in store.list() if not later.search(info.key)]
    found: dict[str, object] = {key: store.get(key) for key in keys}
    for key, data in found.items():
        if key.endswith(".json") and isinstance(data, bytes) and data[:2] != b"\x1f\x8b":
            found[key] = _timeless(json.loads(data))
    return found


_TIMES = {"seconds", "stage_seconds"}


def _timeless(value: object) -> object:
    if isinstance(value, dict):
        return {k: _timeless(v) for k, v in value.items() if k not in _TIMES}
    return [_timeless(v) for v in value] if isinstance(value, list) else value
