"""Submits a stage's batches, watches them and records how they ended."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from ftm.analysis.run_reader import STAGE
from ftm.core.errors import BatchFailedError, FtmError
from ftm.core.layout import RunLayout
from ftm.core.settings import Settings, variables
from ftm.jobs.base import STAGE_WIDE_EXIT, JobBackend, JobState, JobStatus, StageJobs
from ftm.orchestrate.run_plan import RunPlan, put_once
from ftm.orchestrate.run_watch import ProgressReader, RunWatcher, view_batches
from ftm.storage.object_store import ObjectStore
from ftm.storage.run_records import (
    BatchLine,
    BatchOutcome,
    JobRecord,
    StageOutcome,
    decode_job,
    encode_batches,
)

_NOT_FOR_WORKERS = ("WRDS_", "FTM_WRDS_", "PGPASSFILE", "LLM_", "S3_BUCKET")

_BROKEN = (JobState.FAILED, JobState.CANCELLED)


@dataclass(frozen=True, slots=True)
class Attempt:
    """Jobs that were submitted: the record of what they work on, and the backend's handle."""

    record: JobRecord
    handle: str


class StageRunner:
    """Runs the map stage of a planned run.

    Every attempt leaves, in this order, its batch manifest and its job record, both put if
    absent, before anything is submitted; its outcome after the last job ended.

    Args:
        store: where the records go.
        backend: where batches run.
        watcher: told how it goes.
        poll_s: seconds between two looks at the jobs.
    """

    def __init__(
        self,
        store: ObjectStore,
        backend: JobBackend,
        *,
        watcher: RunWatcher,
        poll_s: float,
    ) -> None:
        self._store = store
        self._backend = backend
        self._watcher = watcher
        self._poll_s = poll_s

    def submit(self, plan: RunPlan, pending: Sequence[BatchLine], settings: Settings) -> Attempt:
        """The jobs of the last attempt if they still run, else a new attempt at `pending`.

        Args:
            plan: the run.
            pending: its batches with something to do.
            settings: what workers get, but for secrets and what is not theirs.
        """
        last = self._last_attempt(plan.layout)
        if last is not None and (handle := self._still_running(last)):
            return Attempt(last, handle)
        record = self._claim(plan, (last.attempt if last else 0) + 1, pending)
        put_once(self._store, plan.layout.jobs(STAGE, record.attempt), record.encode())
        jobs = StageJobs(
            name=record.name,
            stage=STAGE,
            batch_ids=tuple(record.batch_ids),
            environment=self._environment(plan, record.attempt, settings),
            tags={"project": "ftm", "quarter": str(plan.quarter), "run": plan.spec.run_id},
        )
        return Attempt(record, self._backend.submit(jobs))

    def watch(self, plan: RunPlan, attempt: Attempt) -> None:
        """Wait for the attempt's jobs, then record how they ended.

        Raises:
            BatchFailedError: a batch of the run is not complete, or a job of this attempt failed,
                even one that was to retry firms of a batch complete without them.
        """
        statuses = self._wait(plan, attempt)
        self._record_outcome(plan.layout, attempt.record, statuses)
        self._raise_failures(plan, statuses)

    def _last_attempt(self, layout: RunLayout) -> JobRecord | None:
        keys = [info.key for info in self._store.list(f"{layout.root}/jobs")]
        records = [
            decode_job(self._store.get(key), key=self._store.name(key))
            for key in keys
            if not key.endswith(".outcome.json")
        ]
        of_stage = [record for record in records if record.stage == STAGE]
        return max(of_stage, key=lambda record: record.attempt, default=None)

    def _still_running(self, record: JobRecord) -> str | None:
        handle = self._backend.find(record.name)
        if handle is None or all(s.state.is_final for s in self._backend.poll(handle)):
            return None
        return handle

    def _claim(self, plan: RunPlan, attempt: int, pending: Sequence[BatchLine]) -> JobRecord:
        """Write the attempt's batch manifest. The first lists every batch: it defines the run."""
        lines = plan.batches if attempt == 1 else pending
        data = encode_batches(list(lines))
        if not put_once(self._store, plan.layout.batch_manifest(attempt), data):
            return self._claim(plan, attempt + 1, pending)
        return JobRecord(
            name=f"ftm-{plan.quarter}-{plan.spec.run_id}-{STAGE}-{attempt}",
            stage=STAGE,
            attempt=attempt,
            batch_ids=[line.batch_id for line in lines],
        )

    def _environment(self, plan: RunPlan, attempt: int, settings: Settings) -> dict[str, str]:
        given = {
            name: value
            for name, value in variables(settings).items()
            if not name.startswith(_NOT_FOR_WORKERS)
        }
        return given | {
            "FTM_STORE": self._store.url,
            "DATA_SOURCE": "s3",
            "QUARTER": str(plan.quarter),
            "FTM_RUN_ID": plan.spec.run_id,
            "MANIFEST_S3_KEY": plan.layout.batch_manifest(attempt),
        }

    def _wait(self, plan: RunPlan, attempt: Attempt) -> list[JobStatus]:
        reader = ProgressReader(self._store, plan.layout)
        n_todo = len(attempt.record.batch_ids)
        text = f"run {plan.spec.run_id}: {n_todo} of {len(plan.batches)} batches to do"
        self._watcher.start(text, view_batches(plan.batches, reader.read()))
        try:
            while True:
                statuses = self._backend.poll(attempt.handle)
                self._watcher.update(view_batches(plan.batches, reader.read(), statuses))
                if all(status.state.is_final for status in statuses):
                    return statuses
                time.sleep(self._poll_s)
        except BaseException:
            self._leave(plan, attempt)
            raise
        finally:
            self._watcher.finish()

    def _leave(self, plan: RunPlan, attempt: Attempt) -> None:
        """End the jobs that cannot outlive this process, and record that they were stopped."""
        # They must not write on behind a user who stopped the command.
        if text := self._backend.farewell():
            self._watcher.message(text)
        self._backend.close()
        # Whatever stopped the command is what the user is to read.
        with suppress(FtmError):
            statuses = self._backend.poll(attempt.handle)
            if all(status.state.is_final for status in statuses):
                self._record_outcome(plan.layout, attempt.record, statuses)

    def _record_outcome(
        self, layout: RunLayout, record: JobRecord, statuses: Sequence[JobStatus]
    ) -> None:
        batches = [
            BatchOutcome(
                batch_id=status.batch_id,
                state=status.state.value,
                reason=status.reason,
                exit_code=status.exit_code,
                log=status.log,
            )
            for status in statuses
        ]
        outcome = StageOutcome(name=record.name, batches=batches)
        self._store.put(layout.outcome(STAGE, record.attempt), outcome.encode())

    def _raise_failures(self, plan: RunPlan, statuses: Sequence[JobStatus]) -> None:
        progress = ProgressReader(self._store, plan.layout).read()
        ended = {status.batch_id: status for status in statuses}
        broken = {status.batch_id for status in statuses if status.state in _BROKEN}
        complete = {batch_id for batch_id, record in progress.items() if record.complete}
        failed = [b.batch_id for b in plan.batches if b.batch_id not in complete - broken]
        if not failed:
            return
        self._raise_if_stage_wide(plan, statuses, failed)
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
        self, plan: RunPlan, statuses: Sequence[JobStatus], failed: Sequence[str]
    ) -> None:
        told = [status for status in statuses if status.exit_code == STAGE_WIDE_EXIT]
        if not told or any(status.state is JobState.SUCCEEDED for status in statuses):
            return
        log = f" (log: {told[0].log})" if told[0].log else ""
        raise BatchFailedError(
            f"run {plan.spec.run_id} was stopped, since every batch would fail alike: "
            f"{told[0].batch_id}: {told[0].reason}{log}; mend it and run the same command again",
            batch_ids=tuple(failed),
        )
