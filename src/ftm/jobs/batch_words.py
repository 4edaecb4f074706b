"""What AWS Batch says about a job, as states and words. Pure: of the answer of DescribeJobs.

The wordings that are looked for are AWS's:
https://docs.aws.amazon.com/batch/latest/userguide/troubleshooting.html
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ftm.core.counted import counted
from ftm.jobs.base import JobState, JobStatus
from ftm.jobs.exit_codes import KILLED, explain

Detail = Mapping[str, Any]
"""One job as DescribeJobs answers it."""

CANCELLED = "ftm: "
"""How every reason begins that ftm gives when it ends a job."""

DEFAULT_LOG_GROUP = "/aws/batch/job"
"""Where a job logs whose definition names no group."""

SPOT_LOSS = "Host EC2"
"""https://docs.aws.amazon.com/batch/latest/userguide/job_retries.html"""

_STATES = {
    "SUBMITTED": JobState.PENDING,
    "PENDING": JobState.PENDING,
    "RUNNABLE": JobState.PENDING,
    "STARTING": JobState.PENDING,
    "RUNNING": JobState.RUNNING,
    "SUCCEEDED": JobState.SUCCEEDED,
    "FAILED": JobState.FAILED,
}
_TIME_LIMIT = "JobStateTimeLimit"
"""Of the queue: https://docs.aws.amazon.com/batch/latest/userguide/job-queue-limits.html"""

_ROLE = ("unable to assume", "not authorized to perform: sts:assumerole", "role is invalid")
_IF_KILLED = "give the job definition more (Terraform: memory_mib)"


def describe_job(detail: Detail, batch_id: str) -> JobStatus:
    """One batch's status."""
    state = _STATES.get(str(detail.get("status")), JobState.PENDING)
    status_reason = _status_reason(detail)
    if state is JobState.FAILED and _was_ended(detail, status_reason):
        state = JobState.CANCELLED
    return JobStatus(
        batch_id=batch_id,
        state=state,
        reason=_reason(detail, state),
        exit_code=_exit_code(detail) if state.is_final else None,
        log=log_address(detail),
        n_attempts=len(_attempts(detail)) + int(state is JobState.RUNNING),
        seconds=seconds_of(detail),
    )


def _was_ended(detail: Detail, status_reason: str) -> bool:
    """Whether somebody ended the job; its limits do so too, and those are failures."""
    by_a_limit = "exceeded timeout" in status_reason or _TIME_LIMIT in status_reason
    told = detail.get("isCancelled") or detail.get("isTerminated")
    return bool(status_reason.startswith(CANCELLED) or told) and not by_a_limit


def seconds_of(detail: Detail) -> float:
    """Seconds that all attempts of a job ran, as far as they ended."""
    spans = [
        (a["startedAt"], a["stoppedAt"])
        for a in _attempts(detail)
        if a.get("startedAt") and a.get("stoppedAt")
    ]
    return float(sum(max(0, stopped - started) for started, stopped in spans)) / 1000


def log_address(detail: Detail) -> str:
    """`log-group:log-stream` of the last attempt; empty before the first."""
    container = detail.get("container", {})
    streams = [a.get("container", {}).get("logStreamName") for a in _attempts(detail)]
    stream = container.get("logStreamName") or next((s for s in reversed(streams) if s), "")
    if not stream:
        return ""
    options = container.get("logConfiguration", {}).get("options", {})
    return f"{options.get('awslogs-group', DEFAULT_LOG_GROUP)}:{stream}"


def count_spot_losses(detail: Detail) -> int:
    """Attempts that ended because their Spot host was taken back."""
    reasons = (str(a.get("statusReason") or "") for a in _attempts(detail))
    return sum(reason.startswith(SPOT_LOSS) for reason in reasons)


def counts_of(parent: Detail) -> dict[str, int]:
    """Children of an array by status; empty just after submission."""
    summary = parent.get("arrayProperties", {}).get("statusSummary", {})
    return {str(status): int(n) for status, n in summary.items()}


def explain_waiting(
    queue: Mapping[str, Any],
    environments: Sequence[Mapping[str, Any]],
    waiting: Detail,
    *,
    minutes: int,
) -> str:
    """Why a job does not start, as far as AWS lets it be known.

    Args:
        queue: as DescribeJobQueues answers it.
        environments: its compute environments, as DescribeComputeEnvironments answers them.
        waiting: a job that is RUNNABLE.
        minutes: how long nothing has started.
    """
    head = f"no job has started for {minutes} minutes: "
    name = queue.get("jobQueueName", "the queue")
    told = _status_reason(waiting)
    if told.startswith("MISCONFIGURATION:"):
        return head + f"{told}; correct it, and what waits starts by itself (docs/runbook.md)"
    if told:
        return head + f"{told} (docs/runbook.md)"
    if queue.get("state") != "ENABLED":
        return head + f"queue {name} is {queue.get('state')}; enable it"
    usable = [e for e in environments if e.get("state") == "ENABLED" and e.get("status") == "VALID"]
    if not usable:
        faults = "; ".join(fault_of(e) for e in environments) or "it has none"
        return head + f"queue {name} has no usable compute environment ({faults})"
    needed = _need(waiting, "VCPU")
    if needed and all(_max_vcpus(e) < needed for e in usable):
        return head + (
            f"a job needs {needed:g} vCPUs and no compute environment of {name} may have so many; "
            "raise their maxvCpus"
        )
    return head + (
        f"queue {name} and its compute environments are in order, so AWS has no capacity for them "
        "now or the account's vCPU quota is used up (Service Quotas, EC2); more instance types or "
        "an on-demand environment help. What waits keeps waiting, up to the queue's limit"
    )


def fault_of(environment: Mapping[str, Any]) -> str:
    """What is wrong with a compute environment that is not enabled and valid."""
    name = environment.get("computeEnvironmentName")
    if environment.get("state") != "ENABLED":
        return f"{name} is {environment.get('state')}"
    return f"{name} is {environment.get('status')}: {environment.get('statusReason', '')}".rstrip()


def _max_vcpus(environment: Mapping[str, Any]) -> float:
    return float(environment.get("computeResources", {}).get("maxvCpus", 0))


def _need(detail: Detail, kind: str) -> float:
    container = detail.get("container", {})
    old = {"VCPU": "vcpus", "MEMORY": "memory"}[kind]
    asked = [r["value"] for r in container.get("resourceRequirements", []) if r["type"] == kind]
    return float(asked[0]) if asked else float(container.get(old) or 0)


def _attempts(detail: Detail) -> Sequence[Detail]:
    found: Sequence[Detail] = detail.get("attempts", [])
    return found


def _status_reason(detail: Detail) -> str:
    last = _attempts(detail)[-1:]
    own = detail.get("statusReason") or (last[0].get("statusReason") if last else "")
    return str(own or "")


def _exit_code(detail: Detail) -> int | None:
    last = _attempts(detail)[-1:]
    containers = [detail.get("container", {}), *(a.get("container", {}) for a in last)]
    codes = [c["exitCode"] for c in containers if c.get("exitCode") is not None]
    return int(codes[0]) if codes else None


def _container_reason(detail: Detail) -> str:
    last = _attempts(detail)[-1:]
    containers = [detail.get("container", {}), *(a.get("container", {}) for a in last)]
    return next((str(c["reason"]) for c in containers if c.get("reason")), "")


def _reason(detail: Detail, state: JobState) -> str:
    losses = count_spot_losses(detail)
    if state is JobState.CANCELLED:
        return _status_reason(detail).removeprefix(CANCELLED)
    if state is not JobState.FAILED:
        return f"began again after {counted(losses, 'Spot loss', 'Spot losses')}" if losses else ""
    return _why_failed(detail, _status_reason(detail), _container_reason(detail), losses)


def _why_failed(detail: Detail, status_reason: str, container_reason: str, losses: int) -> str:
    container = detail.get("container", {})
    told = container_reason or status_reason
    low = f"{container_reason} {status_reason}".lower()
    code = _exit_code(detail)
    limit = f"its limit is {_need(detail, 'MEMORY'):,.0f} MiB; {_IF_KILLED}"
    if "outofmemory" in low:
        return f"out of memory (exit 137): {limit}"
    if status_reason.startswith(SPOT_LOSS):
        return (
            f"its Spot host was taken back {counted(losses, 'time')}, as often as a job is tried "
            "again; Spot is scarce: try later, or use a queue with on-demand instances"
        )
    if "cannotpull" in low or "imagenotfound" in low or "pull image" in low:
        return (
            f"its image cannot be pulled ({told}); check that {container.get('image', 'it')} "
            "exists and that the execution role may read it (`ftm doctor`)"
        )
    if any(words in low for words in _ROLE):
        return f"its role cannot be used ({told}); check the job definition's roles (`ftm doctor`)"
    if _TIME_LIMIT in status_reason:
        return (
            f"it could not start, and the queue cancelled it at its limit ({status_reason}); "
            "docs/runbook.md says what helps"
        )
    if "exceeded timeout" in low:
        limit_s = detail.get("timeout", {}).get("attemptDurationSeconds", 0)
        return f"ran longer than its limit of {limit_s:,} s: raise FTM_JOB_TIMEOUT_S"
    if code == KILLED:
        return f"killed (exit 137), likely out of memory: {limit}"
    if "resourceinitialization" in low or "cannotstart" in low or "cannotcreate" in low:
        return f"its container cannot be started ({told}); see docs/runbook.md"
    if code is not None:
        return explain(code, if_killed=_IF_KILLED)
    return f"AWS Batch ended it: {told or 'no reason is given'}"
