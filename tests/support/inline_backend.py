"""A backend that writes progress records itself, at once: for the orchestrator's own steps."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from ftm.core.layout import RunLayout
from ftm.core.quarter import Quarter
from ftm.jobs.base import JobBackend, JobState, JobStatus, StageJobs
from ftm.storage.object_store import ObjectStore
from ftm.storage.run_records import BatchProgress, decode_batches


@dataclass
class InlineBackend(JobBackend):
    """Completes every batch on submit, without topics.

    Args:
        store: where progress goes.
        failing: batches that end with exit code 1 and write nothing.
        idle: batches that end with exit code 0 and write nothing.
        bad_firms: fail in every batch that holds them.
        submitted: what was submitted, in order.
    """

    store: ObjectStore
    failing: Collection[str] = ()
    idle: Collection[str] = ()
    bad_firms: Collection[str] = ()
    submitted: list[StageJobs] = field(default_factory=list)
    n_closed: int = 0

    def submit(self, jobs: StageJobs) -> str:
        self.submitted.append(jobs)
        variables = jobs.environment
        layout = RunLayout(Quarter.parse(variables["QUARTER"]), variables["FTM_RUN_ID"])
        lines = decode_batches(self.store.get(variables["MANIFEST_S3_KEY"]), key="batches")
        assert tuple(line.batch_id for line in lines) == jobs.batch_ids
        for line in lines:
            if line.batch_id not in {*self.failing, *self.idle}:
                failed = {f: "ValueError: bad" for f in line.firm_ids if f in self.bad_firms}
                done = [f for f in line.firm_ids if f not in failed]
                progress = BatchProgress(
                    batch_id=line.batch_id, done=done, failed=failed, complete=True
                )
                key = layout.progress(line.batch_id)
                self.store.put(key, progress.encode(key))
        return jobs.name

    def poll(self, handle: str) -> list[JobStatus]:
        jobs = next(jobs for jobs in self.submitted if jobs.name == handle)
        return [self._status(batch) for batch in jobs.batch_ids]

    def _status(self, batch: str) -> JobStatus:
        if batch in self.failing:
            return JobStatus(batch, JobState.FAILED, "exit 1: boom", 1, f"/logs/{batch}.log")
        return JobStatus(batch, JobState.SUCCEEDED, exit_code=0)

    def cancel(self, handle: str, reason: str) -> None:
        raise AssertionError((handle, reason))

    def close(self) -> None:
        self.n_closed += 1
