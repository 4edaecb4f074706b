"""What a run tells while it goes on: one view per batch, from its job and its progress record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from ftm.core.layout import RunLayout
from ftm.jobs.base import JobState, JobStatus
from ftm.storage.object_store import ObjectInfo, ObjectStore
from ftm.storage.progress_checks import read_one_progress
from ftm.storage.run_reader import each
from ftm.storage.run_records import BatchLine, BatchProgress


@dataclass(frozen=True, slots=True)
class BatchView:
    """Where one batch stands.

    Args:
        batch_id: which.
        state: of its job; SUCCEEDED for one that an earlier attempt completed.
        n_firms: in the batch.
        n_done: firms with an outcome: done, failed or skipped; of a running job also those that
            are not durable yet, if its backend knows.
        n_failed: of these, failed.
        reason: why the job failed, in words.
        log: where its output is.
    """

    batch_id: str
    state: JobState
    n_firms: int
    n_done: int = 0
    n_failed: int = 0
    reason: str = ""
    log: str = ""


class RunWatcher(Protocol):
    """Told how a run goes on; must be cheap to call and never raise."""

    def start(self, text: str, batches: Sequence[BatchView]) -> None:
        """A run begins or resumes; `text` says which in one line."""

    def update(self, batches: Sequence[BatchView]) -> None:
        """The state of every batch of the run, in order."""

    def message(self, text: str) -> None:
        """Something the user should know, one line."""

    def finish(self) -> None:
        """Nothing more will come."""


class SilentWatcher:
    """Says nothing."""

    def start(self, text: str, batches: Sequence[BatchView]) -> None:
        """See RunWatcher."""

    def update(self, batches: Sequence[BatchView]) -> None:
        """See RunWatcher."""

    def message(self, text: str) -> None:
        """See RunWatcher."""

    def finish(self) -> None:
        """See RunWatcher."""


class ProgressReader:
    """Reads the progress records of a run, each again only when it changed."""

    def __init__(self, store: ObjectStore, layout: RunLayout) -> None:
        self._store = store
        self._layout = layout
        self._seen: dict[str, str] = {}
        self.records: dict[str, BatchProgress] = {}

    def read(self) -> dict[str, BatchProgress]:
        """batch_id → record, for every batch that has one; several are fetched at a time."""
        changed = [
            info
            for info in self._store.list(self._layout.progress_root)
            if info.key.endswith(".json") and self._seen.get(info.key) != info.etag
        ]
        for info, record in zip(changed, each(self._fetch, changed), strict=True):
            self.records[record.batch_id] = record
            self._seen[info.key] = info.etag
        return dict(self.records)

    def _fetch(self, info: ObjectInfo) -> BatchProgress:
        return read_one_progress(self._store, self._layout, info.key)


def view_batches(
    batches: Sequence[BatchLine],
    progress: dict[str, BatchProgress],
    statuses: Sequence[JobStatus] = (),
) -> list[BatchView]:
    """One view per batch, in order; a batch without a job in this attempt is pending or done."""
    jobs = {status.batch_id: status for status in statuses}
    return [
        _view(batch, progress.get(batch.batch_id), jobs.get(batch.batch_id)) for batch in batches
    ]


def _view(batch: BatchLine, record: BatchProgress | None, job: JobStatus | None) -> BatchView:
    known = record or BatchProgress(batch_id=batch.batch_id)
    idle = JobState.SUCCEEDED if known.complete else JobState.PENDING
    durable = len({*known.done, *known.kept, *known.failed, *known.skipped})
    told = job.n_done if job and job.n_done and not job.state.is_final else 0
    return BatchView(
        batch_id=batch.batch_id,
        state=job.state if job else idle,
        n_firms=len(batch.firm_ids),
        n_done=max(durable, told),
        n_failed=len(known.failed),
        reason=job.reason if job else "",
        log=job.log if job else "",
    )
