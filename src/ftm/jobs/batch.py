"""Batches as jobs of AWS Batch: one array job per stage, watched from afar.

Calls a look takes: one describe of the parent; one page per 1,000 children that run; if more have
succeeded or failed, one page per 1,000 that have; and one describe per 100 newly failed. Once, when
all have ended, one describe per 100 of the others. 10,000 children: at most 21 calls a look besides
a describe per 100 new failures, and 100 at the end. The logs of the
first 20 failures are read, and once in ten minutes in which nothing starts a page of what waits,
the queue and its environments.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from ftm.core.errors import JobError
from ftm.jobs.base import STAGE_WIDE_EXIT, JobBackend, JobState, JobStatus, StageJobs
from ftm.jobs.batch_queue import BatchQueue
from ftm.jobs.batch_words import CANCELLED, counts_of, describe_job, explain_waiting
from ftm.jobs.cloudwatch import CloudWatchLogs
from ftm.jobs.worker_log import WORKER_SAYS, last_line, read_firm

MAX_OVERRIDES_BYTES = 8192
"""Of containerOverrides in SubmitJob:
https://docs.aws.amazon.com/batch/latest/userguide/service_limits.html"""

MAX_NAME = 128
TIMEOUT_S = 6 * 3600
ATTEMPTS = 5
LOGS_READ = 20
"""Failed batches whose log is read for their last words; the others' logs `ftm logs` shows."""


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """How long jobs may run, be unknown, or wait.

    Args:
        timeout_s: of one attempt, at least 60; None: the job definition's, or 6 hours.
        attempts: starts of a job at most, of which only Spot losses use more than one; None: the
            job definition's, or 5.
        vanished_after_s: jobs AWS knows nothing of for so long are given up.
        waiting_after_s: nothing started for so long: the reason is looked for.
    """

    timeout_s: int | None = None
    attempts: int | None = None
    vanished_after_s: float = 300.0
    waiting_after_s: float = 600.0


@dataclass(slots=True)
class _Stage:
    """What is known of a stage's jobs."""

    jobs: StageJobs
    statuses: list[JobStatus]
    described: set[int] = field(default_factory=set)
    counts: dict[str, int] = field(default_factory=dict)
    missing_since_s: float | None = None
    found_all: bool = True
    moved_s: float = 0.0
    explained_s: float = float("-inf")
    is_waiting: bool = False
    is_given_up: bool = False
    n_logs_read: int = 0

    @property
    def is_over(self) -> bool:
        """Every job has ended, and how is known."""
        return len(self.described) == len(self.statuses)

    def answer(self) -> list[JobStatus]:
        """Every status; a job that a list says has ended goes on until it is known how."""
        if self.is_over or not all(status.state.is_final for status in self.statuses):
            return list(self.statuses)
        return [
            s if i in self.described else replace(s, state=JobState.RUNNING)
            for i, s in enumerate(self.statuses)
        ]

    @property
    def is_array(self) -> bool:
        return len(self.jobs.batch_ids) > 1


class BatchBackend(JobBackend):
    """Submits array jobs to a queue and watches them; they go on without this process.

    Args:
        queue: where to submit.
        logs: where jobs log.
        limits: see BatchLimits.
        clock_s: seconds, monotonic.
    """

    outlives_us: ClassVar[bool] = True

    def __init__(
        self,
        queue: BatchQueue,
        logs: CloudWatchLogs,
        *,
        limits: BatchLimits | None = None,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._queue = queue
        self._logs = logs
        self._limits = limits or BatchLimits()
        self._clock_s = clock_s
        self._stages: dict[str, _Stage] = {}

    def check(self) -> None:
        """See JobBackend: the queue takes jobs, and the job definition is there."""
        self._queue.check()

    def submit(self, jobs: StageJobs) -> str:
        """See JobBackend; looks for jobs of this name before it submits new ones.

        Raises:
            JobError: AWS refuses; nothing was submitted.
        """
        return self._watch(self._queue.submit(jobs.name, self._request(jobs)), jobs)

    def find(
        self, jobs: StageJobs, handle: str | None = None, *, is_new: bool = False
    ) -> str | None:
        """See JobBackend; AWS Batch keeps jobs for a week after they end."""
        if handle is None:
            found = self._queue.find(jobs.name)
            return self._watch(found[0], jobs) if found else None
        if is_new or self._queue.describe([handle]):
            return self._watch(handle, jobs)
        return None

    def end_others(self, jobs: StageJobs, handle: str) -> None:
        """See JobBackend."""
        for other in self._queue.find(jobs.name):
            if other != handle:
                self._queue.terminate(other, f"{CANCELLED}another set of jobs is on record")

    def poll(self, handle: str) -> list[JobStatus]:
        """See JobBackend."""
        stage = self._stages[handle]
        if stage.is_over:
            return stage.answer()
        found = self._queue.describe([handle])
        if not found:
            self._miss(stage)
        elif not stage.is_array:
            stage.missing_since_s = None
            stage.counts = {str(found[0].get("status")): 1}
            self._note(stage, {0: found[0]})
        else:
            self._look_at_children(stage, handle, found[0])
        self._give_up_the_rest(stage, handle)
        self._note_movement(stage)
        return stage.answer()

    def cancel(self, handle: str, reason: str) -> None:
        """See JobBackend; returns at once, `poll` says when they have ended."""
        self._queue.terminate(handle, f"{CANCELLED}{reason}")

    def notices(self, handle: str) -> list[str]:
        """See JobBackend: why jobs wait, once they have for long."""
        stage = self._stages[handle]
        # Asked anew only after as long again: the answer takes a look at every waiting job.
        waited_s = self._clock_s() - max(stage.moved_s, stage.explained_s)
        if not stage.is_waiting or waited_s < self._limits.waiting_after_s:
            return []
        stage.explained_s = self._clock_s()
        waiting = self._queue.first_waiting(handle, is_array=stage.is_array)
        if waiting is None:
            return []
        queue, environments = self._queue.describe_queue()
        minutes = round(self._limits.waiting_after_s / 60)
        return [explain_waiting(queue, environments, waiting, minutes=minutes)]

    def close(self) -> None:
        """Nothing to free: the jobs go on."""

    def _watch(self, handle: str, jobs: StageJobs) -> str:
        if handle not in self._stages:
            waiting = [JobStatus(batch, JobState.PENDING) for batch in jobs.batch_ids]
            self._stages[handle] = _Stage(jobs, waiting, moved_s=self._clock_s())
        return handle

    def _request(self, jobs: StageJobs) -> dict[str, Any]:
        if len(jobs.name) > MAX_NAME:
            raise JobError(f"job name {jobs.name!r} is longer than {MAX_NAME} characters")
        variables = dict(jobs.environment)
        if len(jobs.batch_ids) == 1:
            variables["BATCH_ID"] = jobs.batch_ids[0]
        overrides = {
            "command": ["python", "-m", "ftm.worker", jobs.stage],
            "environment": [{"name": k, "value": v} for k, v in sorted(variables.items())],
        }
        _check_size(overrides, variables)
        request: dict[str, Any] = {
            "containerOverrides": overrides,
            "tags": dict(jobs.tags),
            "propagateTags": True,
            "timeout": {"attemptDurationSeconds": self._timeout_s},
            "retryStrategy": retry_strategy(self._attempts),
        }
        if len(jobs.batch_ids) > 1:
            request["arrayProperties"] = {"size": len(jobs.batch_ids)}
        return request

    @property
    def _timeout_s(self) -> int:
        own = self._queue.definition.get("timeout", {}).get("attemptDurationSeconds")
        return int(self._limits.timeout_s or own or TIMEOUT_S)

    @property
    def _attempts(self) -> int:
        own = self._queue.definition.get("retryStrategy", {}).get("attempts")
        return int(self._limits.attempts or own or ATTEMPTS)

    def _miss(self, stage: _Stage) -> None:
        """Jobs may be unknown for a moment after they were submitted; not for minutes."""
        now_s = self._clock_s()
        if stage.missing_since_s is None:
            stage.missing_since_s = now_s
        if now_s - stage.missing_since_s < self._limits.vanished_after_s:
            return
        reason = (
            "AWS Batch knows nothing of its job any more; run the same command again: it submits "
            "what is not done"
        )
        stage.statuses = [
            s if i in stage.described else replace(s, state=JobState.FAILED, reason=reason)
            for i, s in enumerate(stage.statuses)
        ]
        stage.described.update(range(len(stage.statuses)))

    def _look_at_children(self, stage: _Stage, handle: str, parent: Mapping[str, Any]) -> None:
        counts = counts_of(parent)
        n_children = len(stage.statuses)
        ended = counts.get("SUCCEEDED", 0) + counts.get("FAILED", 0)
        stage.found_all = True
        if ended >= n_children or parent.get("status") in ("SUCCEEDED", "FAILED"):
            self._describe(stage, handle, range(n_children))
        else:
            if counts.get("FAILED", 0) != stage.counts.get("FAILED", 0):
                self._describe(stage, handle, self._queue.children(handle, "FAILED"))
            states: dict[int, JobState] = {}
            if counts.get("RUNNING"):
                running = self._queue.children(handle, "RUNNING")
                states |= dict.fromkeys(running, JobState.RUNNING)
            if counts.get("SUCCEEDED", 0) != stage.counts.get("SUCCEEDED", 0):
                succeeded = self._queue.children(handle, "SUCCEEDED")
                states |= dict.fromkeys(succeeded, JobState.SUCCEEDED)
            stage.statuses = [
                s if s.state.is_final else replace(s, state=states.get(i, s.state))
                for i, s in enumerate(stage.statuses)
            ]
            # The lists may be ahead of the counts: then no later look would come here.
            if all(status.state.is_final for status in stage.statuses):
                self._describe(stage, handle, range(n_children))
        if stage.found_all:
            stage.missing_since_s = None
        stage.counts = counts

    def _describe(self, stage: _Stage, handle: str, indexes: Sequence[int]) -> None:
        wanted = [i for i in indexes if i not in stage.described]
        found = self._queue.describe([f"{handle}:{i}" for i in wanted])
        details = {int(d["arrayProperties"]["index"]): d for d in found}
        self._note(stage, details)
        if len(details) < len(wanted):
            stage.found_all = False
            self._miss(stage)

    def _note(self, stage: _Stage, details: Mapping[int, Mapping[str, Any]]) -> None:
        for i, detail in details.items():
            status = describe_job(detail, stage.jobs.batch_ids[i])
            if status.state is JobState.FAILED and stage.n_logs_read < LOGS_READ:
                stage.n_logs_read += 1
                status = self._with_last_words(status)
            stage.statuses[i] = status
            if status.state.is_final:
                stage.described.add(i)

    def _with_last_words(self, status: JobStatus) -> JobStatus:
        """The reason with the firm it was at and, where the worker itself ended, its last line."""
        if not status.log:
            return status
        log = self._logs.tail(status.log)
        firm, line = read_firm(log), last_line(log)
        if status.exit_code is not None and status.exit_code < 128 and line:
            # A worker's own errors quote no text of a call; those of libraries may.
            own = line.startswith(WORKER_SAYS)
            words = f": {line}" if own else f": {line.partition(':')[0]}, see its log"
        else:
            words = f"; it was at firm {firm}" if firm else ""
        return replace(status, reason=status.reason + words)

    def _give_up_the_rest(self, stage: _Stage, handle: str) -> None:
        told = [s.batch_id for s in stage.statuses if s.exit_code == STAGE_WIDE_EXIT]
        waits = any(s.state is JobState.PENDING for s in stage.statuses)
        if not told or not waits or stage.is_given_up or stage.counts.get("SUCCEEDED"):
            return
        self._queue.cancel(handle, f"{CANCELLED}not started, would end like {told[0]}")
        stage.is_given_up = True

    def _note_movement(self, stage: _Stage) -> None:
        counts = stage.counts
        moves = bool(counts.get("RUNNING") or counts.get("STARTING"))
        was_waiting, stage.is_waiting = stage.is_waiting, bool(counts.get("RUNNABLE")) and not moves
        if not (was_waiting and stage.is_waiting):
            stage.moved_s = self._clock_s()


def retry_strategy(attempts: int) -> dict[str, Any]:
    """Spot losses are tried again, everything else ends; unmatched reasons would be retried."""
    return {
        "attempts": attempts,
        "evaluateOnExit": [
            {"onStatusReason": "Host EC2*", "action": "RETRY"},
            {"onReason": "*", "action": "EXIT"},
        ],
    }


def _check_size(overrides: Mapping[str, Any], variables: Mapping[str, str]) -> None:
    size = len(json.dumps(overrides, separators=(",", ":")).encode())
    if size <= MAX_OVERRIDES_BYTES:
        return
    longest = max(variables, key=lambda name: len(variables[name]))
    raise JobError(
        f"the jobs' environment takes {size:,} bytes and AWS Batch allows {MAX_OVERRIDES_BYTES:,}; "
        f"the longest variable is {longest} with {len(variables[longest]):,} characters"
    )
