"""The records of a stage's attempts: what one is to do, how it ended, and what to make of that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress

from ftm.analysis.attempt_records import find_attempt, has_outcome
from ftm.core.errors import BatchFailedError, CorruptObjectError, OrchestratorError
from ftm.core.quarter import Quarter
from ftm.jobs.base import STAGE_WIDE_EXIT, JobState, JobStatus
from ftm.orchestrate.run_plan import RunPlan, put_once
from ftm.orchestrate.run_watch import ProgressReader
from ftm.storage.object_store import ObjectStore
from ftm.storage.run_reader import STAGE, RunRecords, list_runs, read_run
from ftm.storage.run_records import (
    BatchLine,
    BatchOutcome,
    JobRecord,
    StageOutcome,
    decode_outcome,
    encode_batches,
)

_BROKEN = (JobState.FAILED, JobState.CANCELLED)


def claim_attempt(
    store: ObjectStore,
    plan: RunPlan,
    attempt: int,
    pending: Sequence[BatchLine],
    *,
    name: str,
    backend: str,
    asked: Mapping[str, str],
) -> JobRecord:
    """Put an attempt of stage map on record, its batch manifest first.

    The first attempt's lists every batch: it defines the run.

    Args:
        store: where the run is.
        plan: the run.
        attempt: its number, or a later one where that is taken.
        pending: what a later attempt than the first is to do.
        name: of the jobs, but for the attempt's number.
        backend: where they are going to be submitted.
        asked: see JobRecord.
    """
    lines = plan.batches if attempt == 1 else pending
    data = encode_batches(list(lines))
    if not put_once(store, plan.layout.batch_manifest(attempt), data):
        return claim_attempt(
            store, plan, attempt + 1, pending, name=name, backend=backend, asked=asked
        )
    record = JobRecord(
        name=f"{name}-{attempt}",
        stage=STAGE,
        attempt=attempt,
        batch_ids=[line.batch_id for line in lines],
        backend=backend,
        asked=dict(asked),
    )
    key = plan.layout.jobs(STAGE, attempt)
    put_once(store, key, record.encode(key))
    return record


def claim_job(store: ObjectStore, plan: RunPlan, record: JobRecord) -> JobRecord:
    """Put an attempt of a later stage on record, under a later number where its own is taken."""
    key = plan.layout.jobs(record.stage, record.attempt)
    if put_once(store, key, record.encode(key)):
        return record
    number = record.attempt + 1
    name = f"{record.name.rpartition('-')[0]}-{number}"
    return claim_job(store, plan, record.model_copy(update={"attempt": number, "name": name}))


def record_outcome(
    store: ObjectStore, plan: RunPlan, record: JobRecord, statuses: Sequence[JobStatus]
) -> list[BatchOutcome]:
    """Write how an attempt's jobs ended; what is on record already stays, and is returned.

    Somebody who watched to the end knows better than one who comes when AWS has forgotten.
    """
    key = plan.layout.outcome(record.stage, record.attempt)
    if store.exists(key):
        with suppress(CorruptObjectError):
            return decode_outcome(store.get(key), key=store.name(key)).batches
    sizes = {batch.batch_id: len(batch.firm_ids) for batch in plan.batches}
    batches = [
        BatchOutcome(
            batch_id=status.batch_id,
            state=status.state.value,
            reason=status.reason,
            exit_code=status.exit_code,
            log=status.log,
            n_attempts=status.n_attempts,
            seconds=status.seconds,
            n_firms=sizes.get(status.batch_id, 0),
        )
        for status in statuses
    ]
    outcome = StageOutcome(name=record.name, batches=batches)
    store.put(key, outcome.encode(key))
    return batches


def raise_failures(store: ObjectStore, plan: RunPlan, ends: Sequence[BatchOutcome]) -> None:
    """Raise if the run is not complete.

    Raises:
        BatchFailedError: a batch is not complete, or its job failed.
    """
    progress = ProgressReader(store, plan.layout).read()
    ended = {end.batch_id: end for end in ends}
    broken = {end.batch_id for end in ends if end.state in _BROKEN}
    complete = {batch_id for batch_id, record in progress.items() if record.complete}
    failed = [b.batch_id for b in plan.batches if b.batch_id not in complete - broken]
    if not failed:
        return
    _raise_if_stage_wide(plan, ends, failed)
    first = ended.get(failed[0])
    reason = (first.reason if first else "") or "its job ended without completing it"
    log = f" (log: {first.log})" if first and first.log else ""
    raise BatchFailedError(
        f"{len(failed)} of {len(plan.batches)} batches of run {plan.spec.run_id} failed: "
        f"{failed[0]}: {reason}{log}; what is done is kept: mend the cause and run the "
        "same command again",
        batch_ids=tuple(failed),
    )


def _raise_if_stage_wide(
    plan: RunPlan, ends: Sequence[BatchOutcome], failed: Sequence[str]
) -> None:
    told = [end for end in ends if end.exit_code == STAGE_WIDE_EXIT]
    if not told or any(end.state == JobState.SUCCEEDED for end in ends):
        return
    log = f" (log: {told[0].log})" if told[0].log else ""
    raise BatchFailedError(
        f"run {plan.spec.run_id} was stopped, since every batch would fail alike: "
        f"{told[0].batch_id}: {told[0].reason}{log}; mend it and run the same command again",
        batch_ids=tuple(failed),
    )


def raise_if_failed(plan: RunPlan, stage: str, end: BatchOutcome) -> None:
    """Raise if the one job of a stage did not succeed.

    Raises:
        BatchFailedError: says why.
    """
    if end.state not in _BROKEN:
        return
    log = f" (log: {end.log})" if end.log else ""
    raise BatchFailedError(
        f"stage {stage} of run {plan.spec.run_id} {end.state}: {end.reason or 'no reason is given'}"
        f"{log}; what is done is kept: mend the cause and run the same command again",
        batch_ids=(stage,),
    )


def find_submitted(
    store: ObjectStore, quarter: Quarter, run_id: str | None, *, backend: str
) -> tuple[RunRecords, JobRecord]:
    """The run asked for, else the newest whose jobs have not been seen to end, and the attempt.

    Raises:
        OrchestratorError: there is none; says what there is.
    """
    runs = [read_run(store, quarter, run_id)] if run_id else list_runs(store, quarter)
    for run in reversed(runs):
        record = find_attempt(store, run.layout, backend)
        if record is not None and (run_id or not has_outcome(store, run.layout, record)):
            return run, record
    if run_id:
        raise OrchestratorError(
            f"run {run_id} of {quarter} was not submitted to AWS Batch; local jobs end with the "
            "command that started them: run that again"
        )
    raise OrchestratorError(
        f"no run of {quarter} has jobs in AWS Batch to come back to; `ftm status --quarter "
        f"{quarter}` says what there is"
    )
