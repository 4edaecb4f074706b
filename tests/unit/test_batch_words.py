"""AWS's answers in our words; no server is asked."""

from __future__ import annotations

from typing import Any

import pytest

from ftm.jobs.base import JobState
from ftm.jobs.batch_words import describe_job, explain_waiting, log_address, seconds_of

QUEUE = {"jobQueueName": "q", "state": "ENABLED", "status": "VALID"}
FINE = {
    "computeEnvironmentName": "spot",
    "state": "ENABLED",
    "status": "VALID",
    "computeResources": {"maxvCpus": 16},
}
NEEDS_32 = {"container": {"resourceRequirements": [{"type": "VCPU", "value": "32"}]}}


def failed(reason: str = "", container_reason: str = "", code: int | None = None) -> dict[str, Any]:
    """A job that failed for a reason."""
    container: dict[str, Any] = {"memory": 2048, "image": "repo/ftm@sha256:00"}
    container |= {"reason": container_reason} if container_reason else {}
    container |= {} if code is None else {"exitCode": code}
    return {"status": "FAILED", "statusReason": reason, "container": container, "attempts": []}


@pytest.mark.parametrize(
    ("detail", "words"),
    [
        (failed(code=137), "killed (exit 137), likely out of memory: its limit is 2,048 MiB"),
        (failed(container_reason="OutOfMemoryError: Container killed"), "out of memory"),
        (failed("Host EC2 (instance i-1) terminated.", code=137), "taken back 0 times"),
        (failed("Job attempt duration exceeded timeout", code=137), "ran longer than its limit"),
        (failed("Task failed to start", "CannotPullContainerError: denied"), "cannot be pulled"),
        (failed("ECS was unable to assume the role 'r'"), "its role cannot be used"),
        (
            failed("Task failed to start", "ResourceInitializationError: log group is not there"),
            "its container cannot be started (ResourceInitializationError: log group is not there)",
        ),
        (failed("Essential container in task exited", code=3), "exit 3"),
        (failed("Essential container in task exited", code=143), "stopped by SIGTERM"),
        (failed("Dependent Job failed"), "AWS Batch ended it: Dependent Job failed"),
        (
            failed("Canceled by JobStateTimeLimit action due to reason: CAPACITY:X"),
            "the queue cancelled it at its limit (Canceled by JobStateTimeLimit",
        ),
        ({**failed("Job attempt duration exceeded timeout"), "isTerminated": True}, "ran longer"),
        (failed(), "AWS Batch ended it: no reason is given"),
    ],
)
def test_every_way_to_fail_has_its_words(detail: dict[str, Any], words: str) -> None:
    """The cause comes before the exit code: a lost host and a timeout end with 137, too."""
    status = describe_job(detail, "b0")
    assert status.state is JobState.FAILED
    assert words in status.reason


def test_what_ftm_ended_is_cancelled() -> None:
    """Reasons that ftm gave mark a job that was ended on purpose."""
    status = describe_job(failed("ftm: no longer wanted"), "b0")
    assert (status.state, status.reason) == (JobState.CANCELLED, "no longer wanted")


@pytest.mark.parametrize("flag", ["isCancelled", "isTerminated"])
def test_what_somebody_ended_is_cancelled(flag: str) -> None:
    """A job ended in the console, or a child told something else than its parent, is no failure."""
    status = describe_job({**failed("too dear"), flag: True}, "b0")
    assert (status.state, status.reason) == (JobState.CANCELLED, "too dear")


def test_a_job_that_runs_again_has_one_start_more_than_ends() -> None:
    """The attempt that runs counts."""
    attempt = {"statusReason": "Host EC2 (instance i-1) terminated."}
    assert describe_job({"status": "RUNNING", "attempts": [attempt]}, "b0").n_attempts == 2


def test_a_job_just_submitted_says_little() -> None:
    """No attempt, no container, no reason: a pending job."""
    status = describe_job({"status": "SUBMITTED"}, "b0")
    assert (status.state, status.n_attempts, status.log) == (JobState.PENDING, 0, "")


def test_seconds_are_those_of_all_attempts() -> None:
    """Milliseconds of each attempt that began and ended; one that never began has none."""
    attempts = [{"startedAt": 1000, "stoppedAt": 3500}, {"stoppedAt": 9}, {"startedAt": 9}]
    assert seconds_of({"attempts": attempts}) == 2.5


def test_the_log_group_is_the_definitions() -> None:
    """A job definition may name a group of its own; else it is AWS Batch's."""
    container = {"logStreamName": "s/1"}
    assert log_address({"container": container}) == "/aws/batch/job:s/1"
    mine = {"logConfiguration": {"options": {"awslogs-group": "/mine"}}}
    assert log_address({"container": {**container, **mine}}) == "/mine:s/1"


@pytest.mark.parametrize(
    ("queue", "environments", "waiting", "words"),
    [
        (QUEUE, [FINE], {}, "no capacity"),
        ({**QUEUE, "state": "DISABLED"}, [FINE], {}, "queue q is DISABLED; enable it"),
        (QUEUE, [], {}, "no usable compute environment (it has none)"),
        (
            QUEUE,
            [{**FINE, "status": "INVALID", "statusReason": "role is gone"}],
            {},
            "spot is INVALID: role is gone",
        ),
        (QUEUE, [FINE], NEEDS_32, "needs 32 vCPUs"),
        (QUEUE, [FINE], {"statusReason": "MISCONFIGURATION:X - y"}, "MISCONFIGURATION:X - y"),
    ],
)
def test_waiting_is_explained(
    queue: dict[str, Any], environments: list[dict[str, Any]], waiting: dict[str, Any], words: str
) -> None:
    """What AWS says of the job comes first, then what is wrong with queue and environments."""
    told = explain_waiting(queue, environments, waiting, minutes=10)
    assert told.startswith("no job has started for 10 minutes: ")
    assert words in told
