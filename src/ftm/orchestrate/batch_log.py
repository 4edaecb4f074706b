"""What the last job of a batch, or of a later stage, logged, wherever it ran."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from ftm.analysis.attempt_records import list_attempts
from ftm.core.errors import JobError, OrchestratorError
from ftm.core.layout import batch_id
from ftm.core.quarter import Quarter
from ftm.jobs.batch_queue import BatchQueue
from ftm.jobs.batch_words import describe_job
from ftm.jobs.cloudwatch import CloudWatchLogs
from ftm.storage.claims import claimed_jobs
from ftm.storage.object_store import ObjectStore
from ftm.storage.run_reader import RunRecords, list_runs, read_run
from ftm.storage.run_records import JobRecord


def read_batch_log(
    store: ObjectStore,
    quarter: Quarter,
    run_id: str | None,
    which: int | str,
    *,
    tail: int | None = None,
    queue: Callable[[], BatchQueue],
    logs: Callable[[], CloudWatchLogs],
) -> Iterator[str]:
    """Lines of a job's log, oldest first; those from CloudWatch begin with their time, UTC.

    Args:
        store: where the run is.
        quarter: which.
        run_id: which run; None: the newest that was submitted.
        which: number of the batch, 0-based, or a stage after map.
        tail: only so many lines, the last ones; None: all.
        queue: asked where a job logs that has not been seen to end.
        logs: CloudWatch, for jobs of AWS Batch.

    Raises:
        OrchestratorError: no such run or batch, or it has logged nothing yet.
        JobError: the log cannot be read.
    """
    run = _find(store, quarter, run_id)
    if isinstance(which, str):
        batch, attempts = which, _attempts_at(store, run, which)
    else:
        batch = _batch(run, which)
        attempts = [r for r in list_attempts(store, run.layout) if batch in r.batch_ids]
    if attempts and attempts[-1].backend == "batch":
        address = _address(store, run, attempts[-1], batch, queue())
        yield from _from_cloudwatch(address, logs(), tail)
        return
    outcome = run.outcomes.get(batch)
    path = Path(outcome.log) if outcome and outcome.log else _local_log(store, attempts, batch)
    lines = _from_file(path, batch)
    yield from lines if tail is None else deque(lines, maxlen=tail)


def _batch(run: RunRecords, number: int) -> str:
    batch = batch_id(run.layout.quarter, number)
    if batch not in {line.batch_id for line in run.batches}:
        raise OrchestratorError(
            f"run {run.spec.run_id} of {run.spec.quarter} has no batch {number}; its batches are 0 "
            f"to {len(run.batches) - 1}"
        )
    return batch


def _attempts_at(store: ObjectStore, run: RunRecords, stage: str) -> list[JobRecord]:
    attempts = list_attempts(store, run.layout, stage)
    if not attempts:
        raise OrchestratorError(
            f"stage {stage} of run {run.spec.run_id} was not submitted to AWS Batch; where it ran "
            "in the process of a command, that command said how it went"
        )
    return attempts


def _find(store: ObjectStore, quarter: Quarter, run_id: str | None) -> RunRecords:
    if run_id is not None:
        return read_run(store, quarter, run_id)
    submitted = [r for r in list_runs(store, quarter) if list_attempts(store, r.layout)]
    if not submitted:
        raise OrchestratorError(
            f"{quarter} has no run in {store.url}; run `ftm run-quarter --quarter {quarter}`"
        )
    return submitted[-1]


def _address(
    store: ObjectStore, run: RunRecords, record: JobRecord, batch: str, queue: BatchQueue
) -> str:
    """Where a batch's job logs: AWS says it while it knows the job, the outcome afterwards."""
    claim = claimed_jobs(store, run.layout, stage=record.stage, attempt=record.attempt)
    if claim is not None:
        alone = len(record.batch_ids) == 1
        job = claim.job_id if alone else f"{claim.job_id}:{record.batch_ids.index(batch)}"
        for detail in queue.describe([job]):
            status = describe_job(detail, batch)
            if status.log:
                return status.log
            why = status.reason or f"`ftm watch --quarter {run.spec.quarter}` says why it waits"
            raise OrchestratorError(
                f"the job of {batch} is {status.state.value} and has logged nothing: {why}"
            )
    outcome = run.outcomes.get(batch)
    if outcome is None or not outcome.log:
        raise OrchestratorError(f"the job of {batch} has logged nothing")
    return outcome.log


def _from_cloudwatch(address: str, logs: CloudWatchLogs, tail: int | None) -> Iterator[str]:
    for at_ms, line in logs.lines(address) if tail is None else logs.last(address, tail):
        at = datetime.fromtimestamp(at_ms / 1000, UTC)
        yield f"{at:%Y-%m-%dT%H:%M:%S}Z {line}"


def _local_log(store: ObjectStore, attempts: list[JobRecord], batch: str) -> Path:
    if store.folder is None or not attempts:
        raise OrchestratorError(
            f"{batch} ran in local processes, and its log is not in the store; the command that "
            "ran it said where its logs are"
        )
    return store.folder / "logs" / attempts[-1].name / f"{batch}.log"


def _from_file(path: Path, batch: str) -> Iterator[str]:
    try:
        with path.open(errors="replace") as lines:
            yield from (line.rstrip("\n") for line in lines)
    except OSError as error:
        raise JobError(f"the log of {batch} cannot be read: {path}: {error.strerror}") from error
