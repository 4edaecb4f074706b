"""Which runs of a quarter are at rest: nothing of them is going to be written by a job."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from ftm.core.quarter import Quarter
from ftm.storage.object_store import ObjectInfo, ObjectStore
from ftm.storage.run_reader import RunRecords, list_runs
from ftm.storage.run_records import JobRecord, decode_job
from ftm.storage.stage_records import STAGES


def runs_at_rest(
    store: ObjectStore, quarter: Quarter, *, without: Collection[str] = ()
) -> set[str]:
    """Ids of runs but some, complete, that no job may be at; a command may still be.

    Raises:
        CorruptObjectError: a record of a run cannot be read.
    """
    runs = list_runs(store, quarter, without=without)
    return {r.spec.run_id for r in runs if r.is_complete and not may_have_jobs(store, r)}


def may_have_jobs(store: ObjectStore, run: RunRecords) -> bool:
    """Whether a job may be at it: one whose end is not on record, and whose work is not done.

    Jobs that ended unseen look as if they went on.

    Raises:
        CorruptObjectError: a record of jobs cannot be read.
    """
    return any(not _is_done(store, run, record, info) for record, info in _unseen(store, run))


def _unseen(store: ObjectStore, run: RunRecords) -> Iterator[tuple[JobRecord, ObjectInfo]]:
    """The last attempt of every stage, where nobody has seen it end."""
    infos = {info.key: info for info in store.list(f"{run.layout.root}/jobs")}
    last: dict[str, tuple[JobRecord, ObjectInfo]] = {}
    for key, info in infos.items():
        if key.endswith(".outcome.json"):
            continue
        record = decode_job(store.get(key), key=store.name(key))
        if record.stage not in last or last[record.stage][0].attempt < record.attempt:
            last[record.stage] = (record, info)
    for record, info in last.values():
        if run.layout.outcome(record.stage, record.attempt) not in infos:
            yield record, info


def _is_done(store: ObjectStore, run: RunRecords, record: JobRecord, info: ObjectInfo) -> bool:
    if record.stage == STAGES[0]:
        batches = [run.progress_of(each) for each in record.batch_ids]
        # A later attempt at complete batches is there for the firms that failed in them.
        retries = record.attempt > 1
        return all(each.complete and not (retries and each.failed) for each in batches)
    # One that was made before the job was asked for is of other themes, or names.
    made = store.head(run.layout.stage_record(record.stage))
    return made is not None and made.modified >= info.modified
