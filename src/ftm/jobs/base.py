"""The interface of a job backend: somewhere the worker command runs once per batch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import ClassVar

STAGE_WIDE_EXIT = 2
"""A worker's exit code for what every other batch of the stage would meet as well."""


class JobState(StrEnum):
    """Where one batch stands."""

    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """No further change will come."""
        return self in (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)


@dataclass(frozen=True, slots=True)
class StageJobs:
    """What to run: one worker process per batch, told apart by index or batch id.

    Args:
        name: deterministic per run, stage and attempt; a second submit of it finds the first.
        stage: map, reduce, name or package: `python -m ftm.worker {stage}`.
        batch_ids: child i works on batch_ids[i].
        environment: variables every child gets, besides its index (or BATCH_ID when alone).
        tags: for the cost report: run, quarter, project.
    """

    name: str
    stage: str
    batch_ids: tuple[str, ...]
    environment: Mapping[str, str]
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class JobStatus:
    """One batch's job.

    Args:
        batch_id: which.
        state: where it stands.
        reason: in words, what went wrong and what to do; empty while nothing did.
        exit_code: of the process, once it ended by itself.
        log: where its output is (a path, or a log stream).
        n_done: firms with an outcome by what the running job says, durable or not; None where the
            backend cannot know.
        n_attempts: starts of the job, Spot losses included; 0 before the first.
        seconds: that all attempts together ran, as far as they ended.
    """

    batch_id: str
    state: JobState
    reason: str = ""
    exit_code: int | None = None
    log: str = ""
    n_done: int | None = None
    n_attempts: int = 0
    seconds: float = 0.0


class JobBackend(ABC):
    """Runs stages. Handles are strings; where jobs outlive the process, handles do so too."""

    outlives_us: ClassVar[bool] = False
    """Jobs go on when the process that submitted them ends."""

    def check(self) -> None:
        """Refuse what could only fail or wait for ever, before anything is recorded.

        Raises:
            JobError: says what is wrong.
        """
        return

    @abstractmethod
    def submit(self, jobs: StageJobs) -> str:
        """Start a stage; the same name again returns the handle of the jobs already there."""

    def find(
        self,
        jobs: StageJobs,  # noqa: ARG002
        handle: str | None = None,  # noqa: ARG002
        *,
        is_new: bool = False,  # noqa: ARG002
    ) -> str | None:
        """The handle of jobs that were submitted and still exist, or None; not submitted anew.

        A backend whose jobs end with this process finds only its own.

        Args:
            jobs: looked for by their name; `poll` answers in their order.
            handle: on record: these very jobs and no others of the name.
            is_new: that record is so young that the jobs may exist and not be seen yet.
        """
        return None

    def end_others(self, jobs: StageJobs, handle: str) -> None:  # noqa: ARG002
        """End what else was submitted under the same name; only these jobs are on record."""
        return

    def notices(self, handle: str) -> list[str]:  # noqa: ARG002
        """What else the user should know about jobs that do not advance, in words."""
        return []

    @abstractmethod
    def poll(self, handle: str) -> list[JobStatus]:
        """The state of every batch, in order of batch_ids.

        Once a batch ended with STAGE_WIDE_EXIT and none has succeeded, those that did not start
        yet are cancelled.
        """

    @abstractmethod
    def cancel(self, handle: str, reason: str) -> None:
        """Stop what has not finished; workers get SIGTERM first."""

    def farewell(self) -> str:
        """What `close` is going to wait for, in one line; empty when it will not wait."""
        return ""

    @abstractmethod
    def close(self) -> None:
        """Free what the backend holds; jobs that can outlive this process go on."""
