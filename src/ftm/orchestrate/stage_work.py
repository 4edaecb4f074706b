"""What of an attempt hangs on its stage: map has many batches, each later stage is one job."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Protocol

from ftm.core.settings import Settings
from ftm.jobs.base import JobState, JobStatus
from ftm.orchestrate.attempts import (
    claim_attempt,
    claim_job,
    raise_failures,
    raise_if_failed,
)
from ftm.orchestrate.run_plan import RunPlan
from ftm.orchestrate.run_watch import BatchView, ProgressReader, view_batches
from ftm.orchestrate.worker_environment import MAP, stage_environment, worker_environment
from ftm.storage.object_store import ObjectStore
from ftm.storage.run_records import BatchLine, BatchOutcome, JobRecord


class StageWork(Protocol):
    """A stage of a planned run, as StageRunner carries it through."""

    @property
    def plan(self) -> RunPlan:
        """The run."""

    @property
    def stage(self) -> str:
        """Which."""

    @property
    def ends_called(self) -> str:
        """What is told of when its jobs have ended."""

    def claim(self, attempt: int, *, name: str, backend: str) -> JobRecord:
        """Put an attempt on record: with this number, or a later one where that is taken."""

    def environment(self, record: JobRecord) -> Mapping[str, str]:
        """What an attempt's workers are told."""

    def describe(self, record: JobRecord) -> str:
        """What an attempt is going to do, in one line."""

    def look(self) -> None:
        """See in the store how far it is."""

    def views(self, statuses: Sequence[JobStatus] = ()) -> list[BatchView]:
        """What a watcher is shown, by the last look and the jobs' states."""

    def raise_failures(self, ends: Sequence[BatchOutcome]) -> None:
        """Raise BatchFailedError if the stage is not done."""


class MapWork:
    """The batches of stage map.

    Args:
        store: where the run is.
        plan: the run.
        settings: what workers get, but for secrets and what is not theirs.
        pending: batches with something to do.
        asked: see JobRecord.
    """

    stage = MAP
    ends_called = "batches"

    def __init__(
        self,
        store: ObjectStore,
        plan: RunPlan,
        settings: Settings,
        *,
        pending: Sequence[BatchLine] = (),
        asked: Mapping[str, str] | None = None,
    ) -> None:
        self.plan = plan
        self._store = store
        self._settings = settings
        self._pending = pending
        self._asked = asked or {}

    @cached_property
    def _progress(self) -> ProgressReader:
        return ProgressReader(self._store, self.plan.layout)

    def claim(self, attempt: int, *, name: str, backend: str) -> JobRecord:
        """See StageWork."""
        return claim_attempt(
            self._store,
            self.plan,
            attempt,
            self._pending,
            name=name,
            backend=backend,
            asked=self._asked,
        )

    def environment(self, record: JobRecord) -> Mapping[str, str]:
        """See StageWork."""
        return worker_environment(self._store.url, self.plan, record, self._settings)

    def describe(self, record: JobRecord) -> str:
        """See StageWork."""
        n_todo, n_all = len(record.batch_ids), len(self.plan.batches)
        return f"run {self.plan.spec.run_id}: {n_todo} of {n_all} batches to do"

    def look(self) -> None:
        """See StageWork."""
        self._progress.read()

    def views(self, statuses: Sequence[JobStatus] = ()) -> list[BatchView]:
        """See StageWork."""
        return view_batches(self.plan.batches, self._progress.records, statuses)

    def raise_failures(self, ends: Sequence[BatchOutcome]) -> None:
        """See StageWork."""
        raise_failures(self._store, self.plan, ends)


class LaterWork:
    """One of the stages after map, as one job.

    Args:
        store: where the run is.
        plan: the run.
        stage: reduce, name or package.
        settings: with nothing left to choose.
        allow_failed: go on without the batches that failed.
        asked: see JobRecord.
    """

    def __init__(
        self,
        store: ObjectStore,
        plan: RunPlan,
        stage: str,
        *,
        settings: Settings,
        allow_failed: bool = False,
        asked: Mapping[str, str] | None = None,
    ) -> None:
        self.plan = plan
        self.stage = stage
        self.ends_called = stage
        self._store = store
        self._settings = settings
        self._allow_failed = allow_failed
        self._asked = asked or {}

    def claim(self, attempt: int, *, name: str, backend: str) -> JobRecord:
        """See StageWork."""
        record = JobRecord(
            name=f"{name}-{attempt}",
            stage=self.stage,
            attempt=attempt,
            batch_ids=[self.stage],
            backend=backend,
            asked=dict(self._asked),
        )
        return claim_job(self._store, self.plan, record)

    def environment(self, record: JobRecord) -> Mapping[str, str]:
        """See StageWork."""
        return stage_environment(
            self._store.url, self.plan, record, self._settings, allow_failed=self._allow_failed
        )

    def describe(self, record: JobRecord) -> str:
        """See StageWork."""
        return f"run {self.plan.spec.run_id}: stage {self.stage}, job {record.name}"

    def look(self) -> None:
        """See StageWork: a stage says nothing before it is done."""

    def views(self, statuses: Sequence[JobStatus] = ()) -> list[BatchView]:
        """See StageWork."""
        (status,) = statuses or (JobStatus(self.stage, JobState.PENDING),)
        return [BatchView(self.stage, status.state, 0, reason=status.reason, log=status.log)]

    def raise_failures(self, ends: Sequence[BatchOutcome]) -> None:
        """See StageWork."""
        raise_if_failed(self.plan, self.stage, ends[0])
