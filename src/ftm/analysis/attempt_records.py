"""What is on record of a run's attempts: what each is to do, and whether it was seen to end."""

from __future__ import annotations

from ftm.core.layout import RunLayout
from ftm.storage.object_store import ObjectStore
from ftm.storage.run_reader import STAGE
from ftm.storage.run_records import JobRecord, decode_job
from ftm.storage.stage_records import STAGES


def last_attempt(store: ObjectStore, layout: RunLayout, stage: str = STAGE) -> JobRecord | None:
    """What was last put on record to be submitted; None before the first."""
    return next(reversed(list_attempts(store, layout, stage)), None)


def list_attempts(store: ObjectStore, layout: RunLayout, stage: str = STAGE) -> list[JobRecord]:
    """What was put on record to be submitted of a stage, oldest first."""
    of_stage = [record for record in _records(store, layout) if record.stage == stage]
    return sorted(of_stage, key=lambda record: record.attempt)


def _records(store: ObjectStore, layout: RunLayout) -> list[JobRecord]:
    keys = [info.key for info in store.list(f"{layout.root}/jobs")]
    return [
        decode_job(store.get(key), key=store.name(key))
        for key in keys
        if not key.endswith(".outcome.json")
    ]


def has_outcome(store: ObjectStore, layout: RunLayout, record: JobRecord) -> bool:
    """Whether it is on record how the attempt ended."""
    return store.exists(layout.outcome(record.stage, record.attempt))


def find_attempt(store: ObjectStore, layout: RunLayout, backend: str) -> JobRecord | None:
    """The attempt to come back to: one not seen to end, else the last of the last stage.

    Args:
        store: where the run is.
        layout: the run's keys.
        backend: only attempts submitted there count.
    """
    last: dict[str, JobRecord] = {}
    for record in sorted(_records(store, layout), key=lambda each: each.attempt):
        last[record.stage] = record
    there = [last[stage] for stage in reversed(STAGES) if stage in last]
    there = [record for record in there if record.backend == backend]
    running = [record for record in there if not has_outcome(store, layout, record)]
    return next(iter(running + there), None)


def is_unwatched(store: ObjectStore, layout: RunLayout) -> bool:
    """Whether jobs were submitted to AWS Batch that nobody has seen to end."""
    record = find_attempt(store, layout, "batch")
    return record is not None and not has_outcome(store, layout, record)
