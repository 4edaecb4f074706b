"""What is on record of a run's attempts: what each is to do, and whether it was seen to end."""

from __future__ import annotations

from ftm.core.layout import RunLayout
from ftm.storage.object_store import ObjectStore
from ftm.storage.run_reader import STAGE
from ftm.storage.run_records import JobRecord, decode_job


def last_attempt(store: ObjectStore, layout: RunLayout) -> JobRecord | None:
    """What was last put on record to be submitted; None before the first."""
    return next(reversed(list_attempts(store, layout)), None)


def list_attempts(store: ObjectStore, layout: RunLayout) -> list[JobRecord]:
    """What was put on record to be submitted, oldest first."""
    keys = [info.key for info in store.list(f"{layout.root}/jobs")]
    records = [
        decode_job(store.get(key), key=store.name(key))
        for key in keys
        if not key.endswith(".outcome.json")
    ]
    of_stage = [record for record in records if record.stage == STAGE]
    return sorted(of_stage, key=lambda record: record.attempt)


def has_outcome(store: ObjectStore, layout: RunLayout, record: JobRecord) -> bool:
    """Whether it is on record how the attempt ended."""
    return store.exists(layout.outcome(STAGE, record.attempt))


def is_unwatched(store: ObjectStore, layout: RunLayout) -> bool:
    """Whether jobs were submitted to AWS Batch that nobody has seen to end."""
    record = last_attempt(store, layout)
    return (
        record is not None and record.backend == "batch" and not has_outcome(store, layout, record)
    )
