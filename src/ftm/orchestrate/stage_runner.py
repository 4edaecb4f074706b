"""Submits a stage's batches, watches them and records how they ended."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from ftm.analysis.attempt_records import has_outcome, last_attempt
from ftm.core.errors import (
    AWSUnavailableError,
    FtmError,
    OrchestratorError,
    StoreUnavailableError,
)
from ftm.core.interrupts import StoppedWatching
from ftm.jobs.base import JobBackend, JobStatus, StageJobs
from ftm.orchestrate.attempts import record_outcome
from ftm.orchestrate.run_plan import RunPlan
from ftm.orchestrate.run_watch import RunWatcher
from ftm.orchestrate.stage_work import StageWork
from ftm.orchestrate.usage import describe_end, read_usage
from ftm.storage.claims import claim_jobs, claimed_jobs
from ftm.storage.object_store import ObjectStore
from ftm.storage.run_lease import Held
from ftm.storage.run_reader import read_spec
from ftm.storage.run_records import JobClaim, JobRecord

SEEN_AFTER_S = 300.0
"""So long after they were put on record jobs may exist that AWS does not show yet."""

CANCEL_PATIENCE_S = 300.0
"""From a cancel to the end of the last job: those that run get SIGTERM and save what is done."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """Jobs that were submitted: the record of what they work on, and the backend's handle."""

    record: JobRecord
    handle: str


class StageRunner:
    """Runs stages of planned runs as jobs.

    Every attempt leaves, in this order, its batch manifest (map) and its job record, put if
    absent, before anything is submitted; then, where jobs outlive this process, the id of the one
    set of jobs that may work on it; its outcome after the last job ended.

    Args:
        store: where the records go.
        backend: where batches run.
        backend_name: `local` or `batch`, for the record.
        watcher: told how it goes.
        poll_s: seconds between two looks at the jobs.
        price_per_hour: of one job, if it is known.
    """

    def __init__(
        self,
        store: ObjectStore,
        backend: JobBackend,
        *,
        backend_name: str,
        watcher: RunWatcher,
        poll_s: float,
        price_per_hour: float | None = None,
    ) -> None:
        self._store = store
        self._backend = backend
        self._backend_name = backend_name
        self._watcher = watcher
        self._poll_s = poll_s
        self._price_per_hour = price_per_hour
        self._told: set[str] = set()
        self._held: Held = _as_ever

    @contextmanager
    def holding(self, held: Held) -> Iterator[None]:
        """Ask for a lease before anything is submitted, and at every look at the jobs.

        Whoever slept and was followed leaves the jobs, and the record of their end, to the other.
        """
        self._held = held
        try:
            yield
        finally:
            self._held = _as_ever

    def submit(self, work: StageWork) -> Attempt:
        """The jobs of the last attempt if they still run, else a new attempt at what is to do."""
        last = last_attempt(self._store, work.plan.layout, work.stage)
        if last is not None and (running := self.settle(work)):
            return running
        if last is not None and self._was_never_submitted(work, last):
            return self._submit(work, last)
        number = (last.attempt if last else 0) + 1
        self._held()
        record = work.claim(number, name=self._name(work), backend=self._backend_name)
        return self._submit(work, record)

    def settle(self, work: StageWork) -> Attempt | None:
        """The last attempt, if its jobs still run; one whose jobs ended unwatched is recorded."""
        record = last_attempt(self._store, work.plan.layout, work.stage)
        if record is None or has_outcome(self._store, work.plan.layout, record):
            return None
        found = self.reattach(work)
        if found is None:
            return None
        statuses = self._backend.poll(found.handle)
        if not all(status.state.is_final for status in statuses):
            return found
        record_outcome(self._store, work.plan, found.record, statuses)
        return None

    def reattach(self, work: StageWork) -> Attempt | None:
        """The last attempt and its jobs, ended or not; None if there is none, or none are left."""
        record = last_attempt(self._store, work.plan.layout, work.stage)
        if record is None or record.backend != self._backend_name:
            return None
        jobs = self._jobs(work, record)
        claim = self._claimed(work, record)
        if claim is not None:
            young = claim.is_younger(SEEN_AFTER_S)
            handle = self._backend.find(jobs, claim.job_id, is_new=young)
        elif (handle := self._backend.find(jobs)) and self._backend.outlives_us:
            handle = self._claim(work, record, jobs, handle)
        return None if handle is None else Attempt(record, handle)

    def watch(self, work: StageWork, attempt: Attempt) -> None:
        """Wait for the attempt's jobs, then record how they ended.

        Raises:
            BatchFailedError: a batch of the run is not complete, or a job of this attempt failed,
                even one that was to retry firms of a batch complete without them.
            StoppedWatching: Ctrl-C; jobs that outlive this process go on.
        """
        statuses = self._wait(work, attempt)
        self._held()
        ended = record_outcome(self._store, work.plan, attempt.record, statuses)
        if self._backend.outlives_us:
            usage = read_usage(self._store, work.plan.layout, self._price_per_hour)
            self._watcher.message(describe_end(ended, usage, work.ends_called))
        work.raise_failures(ended)

    def cancel(self, work: StageWork, attempt: Attempt, reason: str) -> list[JobStatus]:
        """End the attempt's jobs, wait for that, and record how they ended.

        Raises:
            OrchestratorError: they do not end.
        """
        self._backend.cancel(attempt.handle, reason)
        end_s = time.monotonic() + CANCEL_PATIENCE_S
        while True:
            found = self._backend.poll(attempt.handle)
            if all(status.state.is_final for status in found):
                record_outcome(self._store, work.plan, attempt.record, found)
                return found
            if time.monotonic() > end_s:
                raise OrchestratorError(
                    f"the jobs of run {work.plan.spec.run_id} were told to stop, but have not "
                    f"within {CANCEL_PATIENCE_S:.0f} s; run the same command again"
                )
            time.sleep(self._poll_s)

    def _name(self, work: StageWork) -> str:
        # A queue may serve several stores with the same run in each, and AWS still shows the jobs
        # of a run that was removed and is begun again.
        begun = read_spec(self._store, work.plan.layout).created_at
        which = hashlib.sha256(f"{self._store.url} {begun}".encode()).hexdigest()[:8]
        return f"ftm-{work.plan.quarter}-{work.plan.spec.run_id}-{which}-{work.stage}"

    def _claimed(self, work: StageWork, record: JobRecord) -> JobClaim | None:
        if not self._backend.outlives_us:
            return None
        return claimed_jobs(self._store, work.plan.layout, stage=work.stage, attempt=record.attempt)

    def _was_never_submitted(self, work: StageWork, record: JobRecord) -> bool:
        """Whether an attempt was put on record, and then nothing came of it."""
        return (
            self._backend.outlives_us
            and record.backend == self._backend_name
            and self._claimed(work, record) is None
            and not has_outcome(self._store, work.plan.layout, record)
        )

    def _submit(self, work: StageWork, record: JobRecord) -> Attempt:
        jobs = self._jobs(work, record)
        self._held()
        handle = self._backend.submit(jobs)
        if self._backend.outlives_us:
            handle = self._claim(work, record, jobs, handle)
        return Attempt(record, handle)

    def _claim(self, work: StageWork, record: JobRecord, jobs: StageJobs, handle: str) -> str:
        """Put these jobs on record; where others came first, end these and take those."""
        first = claim_jobs(
            self._store,
            work.plan.layout,
            stage=work.stage,
            attempt=record.attempt,
            job_id=handle,
        )
        if first != handle:
            self._backend.cancel(handle, f"another set of jobs, {first}, is on record")
        self._backend.end_others(jobs, first)
        return self._backend.find(jobs, first, is_new=True) or first

    def _jobs(self, work: StageWork, record: JobRecord) -> StageJobs:
        plan = work.plan
        return StageJobs(
            name=record.name,
            stage=work.stage,
            batch_ids=tuple(record.batch_ids),
            environment=work.environment(record),
            tags={"project": "ftm", "quarter": str(plan.quarter), "run": plan.spec.run_id},
        )

    def _wait(self, work: StageWork, attempt: Attempt) -> list[JobStatus]:
        statuses: list[JobStatus] = []
        try:
            work.look()
            self._watcher.start(work.describe(attempt.record), work.views())
            while True:
                self._held()
                statuses = self._look(attempt.handle, work) or statuses
                self._watcher.update(work.views(statuses))
                if statuses and all(status.state.is_final for status in statuses):
                    return statuses
                time.sleep(self._poll_s)
        except KeyboardInterrupt as error:
            self._leave(work, attempt)
            if self._backend.outlives_us:
                raise StoppedWatching(
                    f"stopped watching; {_how_to_come_back(work.plan)}"
                ) from error
            raise
        except FtmError:
            self._leave(work, attempt)
            if self._backend.outlives_us:
                self._watcher.message(_how_to_come_back(work.plan))
            raise
        except BaseException:
            self._leave(work, attempt)
            raise
        finally:
            self._watcher.finish()

    def _look(self, handle: str, work: StageWork) -> list[JobStatus]:
        """The jobs' states; none while AWS does not answer, which touches no job."""
        try:
            statuses = self._backend.poll(handle)
            self._tell_once(*self._backend.notices(handle))
            work.look()
        except (AWSUnavailableError, StoreUnavailableError) as error:
            if not self._backend.outlives_us:
                raise
            self._tell_once(f"{error}; the jobs go on, and so does watching them")
            return []
        return statuses

    def _tell_once(self, *texts: str) -> None:
        for text in texts:
            if text not in self._told:
                self._told.add(text)
                self._watcher.message(text)

    def _leave(self, work: StageWork, attempt: Attempt) -> None:
        """End the jobs that cannot outlive this process, and record that they were stopped."""
        # They must not write on behind a user who stopped the command.
        if text := self._backend.farewell():
            self._watcher.message(text)
        self._backend.close()
        if self._backend.outlives_us:
            return
        # Whatever stopped the command is what the user is to read.
        with suppress(FtmError):
            statuses = self._backend.poll(attempt.handle)
            self._held()
            if all(status.state.is_final for status in statuses):
                record_outcome(self._store, work.plan, attempt.record, statuses)


def _as_ever() -> None:
    """Nobody else can be at it."""


def _how_to_come_back(plan: RunPlan) -> str:
    where = f"--quarter {plan.quarter} --run {plan.spec.run_id}"
    return (
        f"the jobs of run {plan.spec.run_id} go on: `ftm watch {where}` comes back to them, "
        f"`ftm cancel {where}` ends them"
    )
