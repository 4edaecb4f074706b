"""Jobs of the Batch service: their states and attempts, each attempt a process of this machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from tests.support.forge import Forged, forge

if TYPE_CHECKING:
    from tests.support.batch_service import BatchService

REGION = "us-east-1"
FINAL = ("SUCCEEDED", "FAILED")
WAITING = ("SUBMITTED", "PENDING", "RUNNABLE")
STATUSES = (*WAITING, "STARTING", "RUNNING", *FINAL)
LOG_GROUP = "/aws/batch/job"


@dataclass
class Ended:
    """How one attempt ended; `started` is False when no container ever ran."""

    exit_code: int | None = None
    reason: str | None = None
    status_reason: str = "Essential container in task exited"
    lines: list[tuple[int, str]] = field(default_factory=list)


Runner = Callable[["Job"], Ended]


@dataclass
class Job:
    """A plain job, an array's child, or (with `children`) its parent."""

    service: BatchService
    job_id: str
    request: Mapping[str, Any]
    definition: Mapping[str, Any]
    index: int | None = None
    children: list[Job] = field(default_factory=list)
    status_: str = "SUBMITTED"
    status_reason: str | None = None
    attempts: list[dict[str, Any]] = field(default_factory=list)
    created_ms: int = field(default_factory=lambda: now_ms())
    stopping: str | None = None
    flag: str = ""
    process: subprocess.Popen[str] | Forged | None = None

    @property
    def status(self) -> str:
        """A parent is PENDING until all children have ended, and FAILED if one of them failed."""
        if not self.children:
            return self.status_
        if self.service.parent_status:
            return self.service.parent_status
        states = {child.status for child in self.children}
        if states <= set(FINAL):
            return "FAILED" if "FAILED" in states else "SUCCEEDED"
        return "SUBMITTED" if states == {"SUBMITTED"} else "PENDING"

    @property
    def environment(self) -> dict[str, str]:
        """Of the job definition, then the overrides, then what AWS Batch sets."""
        found: dict[str, str] = {}
        for source in (
            self.definition["containerProperties"],
            self.request.get("containerOverrides", {}),
        ):
            found |= {each["name"]: each["value"] for each in source.get("environment", [])}
        found |= {"AWS_BATCH_JOB_ID": self.job_id, "AWS_BATCH_JQ_NAME": "test"}
        found["AWS_BATCH_JOB_ATTEMPT"] = str(len(self.attempts) + 1)
        if self.index is not None:
            found["AWS_BATCH_JOB_ARRAY_INDEX"] = str(self.index)
        return found

    @property
    def log_group(self) -> str:
        """Of the job definition, or AWS Batch's own."""
        logging = self.definition["containerProperties"].get("logConfiguration", {})
        return str(logging.get("options", {}).get("awslogs-group", LOG_GROUP))

    @property
    def command(self) -> list[str]:
        """Of the overrides, else of the job definition; `python` is this one."""
        overrides = self.request.get("containerOverrides", {})
        command = overrides.get("command") or self.definition["containerProperties"]["command"]
        if self.service.worker and command[:3] == ["python", "-m", "ftm.worker"]:
            command = [*self.service.worker, *command[3:]]
        return [sys.executable if word == "python" else word for word in command]

    def describe(self) -> dict[str, Any]:
        """As DescribeJobs answers."""
        container = dict(self.definition["containerProperties"])
        last = self.attempts[-1]["container"] if self.attempts else {}
        return self.summarise() | {
            "jobQueue": self.request["jobQueue"],
            "attempts": self.attempts,
            "container": container | last,
            "retryStrategy": self.request.get("retryStrategy", {}),
            "timeout": self.request.get("timeout", {}),
            "tags": self.request.get("tags", {}),
            "isCancelled": self.flag == "isCancelled",
            "isTerminated": self.flag == "isTerminated",
        }

    def summarise(self) -> dict[str, Any]:
        """As ListJobs answers."""
        found: dict[str, Any] = {
            "jobId": self.job_id,
            "jobArn": f"arn:aws:batch:{REGION}:123456789012:job/{self.job_id}",
            "jobName": self.request["jobName"],
            "createdAt": self.created_ms,
            "status": self.status,
            "jobDefinition": self.definition["jobDefinitionArn"],
        }
        if self.status_reason:
            found["statusReason"] = self.status_reason
        if self.children:
            counts = Counter(child.status for child in self.children)
            summary = {s: self.service.lag.get(s, counts[s]) for s in STATUSES}
            found["arrayProperties"] = {"size": len(self.children), "statusSummary": summary}
        elif self.index is not None:
            found["arrayProperties"] = {"index": self.index}
        if self.attempts and self.status in FINAL:
            found |= {k: self.attempts[-1][k] for k in ("startedAt", "stoppedAt")}
            found["container"] = self.attempts[-1]["container"]
        return found

    def run(self) -> None:
        """Every attempt, until one ends well or is not to be tried again."""
        if self.stopping is not None:
            self._end("FAILED", self.stopping)
            return
        while True:
            self.status_, started_ms = "STARTING", now_ms()
            ended = self.service.runner(self)
            self._note(ended, started_ms)
            if ended.exit_code == 0:
                self._end("SUCCEEDED", ended.status_reason)
                return
            if self.stopping is not None or not self._is_tried_again(ended):
                self._end("FAILED", self.stopping or ended.status_reason)
                return
            self.status_ = "RUNNABLE"

    def stop(self, reason: str, *, only_waiting: bool = False) -> None:
        """SIGTERM to what runs, the end for what waits."""
        for child in self.children:
            child.stop(reason, only_waiting=only_waiting)
        if self.status in FINAL or self.children:
            return
        if self.status in WAITING:
            self.stopping, self.flag = reason, "isCancelled"
            self._end("FAILED", reason)
        elif not only_waiting:
            self.stopping, self.flag = reason, "isTerminated"
            self.signal(signal.SIGTERM)

    def signal(self, number: signal.Signals) -> None:
        """To the whole group of the process, if it is there."""
        if self.process is not None and self.process.poll() is None:
            with suppress(ProcessLookupError):  # it ended since
                os.killpg(self.process.pid, number)

    def _is_tried_again(self, ended: Ended) -> bool:
        strategy = self.request.get("retryStrategy") or self.definition.get("retryStrategy", {})
        if len(self.attempts) >= int(strategy.get("attempts", 1)):
            return False
        told = {
            "onExitCode": ended.exit_code,
            "onReason": ended.reason,
            "onStatusReason": ended.status_reason,
        }
        for rule in strategy.get("evaluateOnExit", []):
            if all(fnmatchcase(str(told[k] or ""), rule[k]) for k in told if k in rule):
                return bool(rule["action"].upper() == "RETRY")
        return True

    def _note(self, ended: Ended, started_ms: int) -> None:
        stream = f"test/default/{uuid.uuid4().hex}"
        container: dict[str, Any] = {}
        if ended.exit_code is not None:
            container = {"exitCode": ended.exit_code, "logStreamName": stream}
            if ended.lines:
                self.service.log(self.log_group, stream, ended.lines)
        if ended.reason:
            container["reason"] = ended.reason
        self.attempts.append(
            {
                "container": container,
                "startedAt": started_ms,
                "stoppedAt": now_ms(),
                "statusReason": ended.status_reason,
            }
        )

    def _end(self, status: str, reason: str) -> None:
        self.status_reason, self.status_ = reason, status


def run_process(job: Job) -> Ended:
    """One attempt as a process, with the fault that is its turn."""
    faults = job.service.faults.get(job.index, [])
    fault = faults.pop(0) if faults else ""
    if fault == "image":
        told = "CannotPullContainerError: pull image manifest has been retried 1 time(s): not found"
        return Ended(reason=told, status_reason="Task failed to start")
    if fault == "role":
        told = "ECS was unable to assume the role 'arn:aws:iam::123456789012:role/ftm-map'"
        return Ended(reason=told, status_reason="Task failed to start")
    command = [sys.executable, "-c", f"raise SystemExit({fault[5:]})"]
    job.process, output = _start(job, command if fault.startswith("exit ") else job.command)
    job.status_ = "RUNNING"
    if job.stopping is not None:
        job.signal(signal.SIGTERM)
    limit_s = job.request.get("timeout", {}).get("attemptDurationSeconds", 3600)
    late = threading.Event()

    def give_up() -> None:
        late.set()
        job.signal(signal.SIGKILL)

    timer = threading.Timer(0.1 if fault == "timeout" else limit_s, give_up)
    timer.daemon = True
    timer.start()
    lines = []
    for line in output:
        lines.append((now_ms(), line.rstrip("\n")))
        if fault in ("spot", "oom"):
            job.signal(signal.SIGKILL)
    code = job.process.wait()
    output.close()
    timer.cancel()
    return _judge(fault, code if code >= 0 else 128 - code, lines, in_time=not late.is_set())


def _start(job: Job, command: list[str]) -> tuple[subprocess.Popen[str] | Forged, IO[str]]:
    """The process in a session of its own, and what it prints; ours is forked."""
    environment = {**job.service.environment, **job.environment, **job.service.secrets_of(job)}
    cwd = Path(job.service.cwd)
    ours, theirs = os.pipe()
    with os.fdopen(theirs, "w") as writes:
        output = os.fdopen(ours, errors="replace")
        if command[1:3] == ["-m", "ftm.worker"]:
            return forge().start(
                *command[2:],
                environment=environment,
                cwd=cwd,
                stdout=writes,
                stderr=writes,
                new_session=True,
            ), output
        return subprocess.Popen(
            command,
            env=environment,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=writes,
            stderr=writes,
            text=True,
            start_new_session=True,
        ), output


def _judge(fault: str, code: int, lines: list[tuple[int, str]], *, in_time: bool) -> Ended:
    if fault == "spot":
        gone = "Host EC2 (instance i-0123456789abcdef0) terminated."
        return Ended(137, None, gone, lines)
    if fault == "oom":
        return Ended(137, "OutOfMemoryError: Container killed due to memory usage", lines=lines)
    if not in_time:
        return Ended(code, None, "Job attempt duration exceeded timeout", lines)
    return Ended(code, lines=lines)


def now_ms() -> int:
    """Milliseconds since 1970."""
    return int(time.time() * 1000)
