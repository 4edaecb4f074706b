"""AWS Batch whose jobs run: as processes of this machine, with the environment a container gets.

    with S3Server() as server, BatchService(server) as batch:
        definition = batch.define_job(environment={"DATA_SOURCE": "s3"})
        boto3.client("batch", endpoint_url=server.url).submit_job(...)

SubmitJob, DescribeJobs, ListJobs, TerminateJob and CancelJob are answered here; queues, compute
environments, job definitions and logs are moto's. `batch.faults` and its neighbours tell single
jobs or calls what goes wrong with them. Wordings of reasons are as AWS's documentation has them.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Self

import boto3

from ftm.jobs.local import inherited
from tests.support.s3_server import CREDENTIALS, Answer, S3Server

REGION = "us-east-1"
FINAL = ("SUCCEEDED", "FAILED")
WAITING = ("SUBMITTED", "PENDING", "RUNNABLE")
STATUSES = (*WAITING, "STARTING", "RUNNING", *FINAL)
LOG_GROUP = "/aws/batch/job"
IMAGE = "ftm-map@sha256:" + "0" * 64
_ROUTES = ("submitjob", "describejobs", "listjobs", "terminatejob", "canceljob")
_PAGE = 100
_PAGE_BY_STATUS = 1000


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
    created_ms: int = field(default_factory=lambda: _now_ms())
    stopping: str | None = None
    process: subprocess.Popen[str] | None = None

    @property
    def status(self) -> str:
        """A parent is PENDING until all children have ended, and FAILED if one of them failed."""
        if not self.children:
            return self.status_
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
            summary = {status: counts[status] for status in STATUSES}
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
            self.status_, started_ms = "STARTING", _now_ms()
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
            self.stopping = reason
            self._end("FAILED", reason)
        elif not only_waiting:
            self.stopping = reason
            self.signal(signal.SIGTERM)

    def signal(self, number: signal.Signals) -> None:
        """To the whole group of the process, if it is there."""
        if self.process is not None and self.process.poll() is None:
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
                "stoppedAt": _now_ms(),
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
    job.process = subprocess.Popen(
        command if fault.startswith("exit ") else job.command,
        env={**job.service.environment, **job.environment},
        cwd=job.service.cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    job.status_ = "RUNNING"
    if job.stopping is not None:
        job.signal(signal.SIGTERM)
    assert job.process.stdout is not None
    limit_s = job.request.get("timeout", {}).get("attemptDurationSeconds", 3600)
    late = threading.Event()

    def give_up() -> None:
        late.set()
        job.signal(signal.SIGKILL)

    timer = threading.Timer(0.1 if fault == "timeout" else limit_s, give_up)
    timer.daemon = True
    timer.start()
    lines = []
    for line in job.process.stdout:
        lines.append((_now_ms(), line.rstrip("\n")))
        if fault in ("spot", "oom"):
            job.signal(signal.SIGKILL)
    code = job.process.wait()
    job.process.stdout.close()
    timer.cancel()
    return _judge(fault, code if code >= 0 else 128 - code, lines, in_time=not late.is_set())


def _judge(fault: str, code: int, lines: list[tuple[int, str]], *, in_time: bool) -> Ended:
    if fault == "spot":
        gone = "Host EC2 (instance i-0123456789abcdef0) terminated."
        return Ended(137, None, gone, lines)
    if fault == "oom":
        return Ended(137, "OutOfMemoryError: Container killed due to memory usage", lines=lines)
    if not in_time:
        return Ended(code, None, "Job attempt duration exceeded timeout", lines)
    return Ended(code, lines=lines)


@dataclass
class BatchService:
    """The jobs of one server; a context manager.

    Args:
        server: answers everything else.
        slots: processes at once.
        runner: does one attempt of a job.
        environment: what every process has besides its job's own, as from its role.
        faults: child index (None: a plain job) → what befalls its attempts, in order: `spot`,
            `oom` (both strike at its first line), `timeout`, `image`, `role`, `exit N`; anything
            else lets the attempt run.
        cwd: of the processes.
        worker: stands in for `python -m ftm.worker`; empty: the real one.
    """

    server: S3Server
    slots: int = 2
    runner: Runner = run_process
    environment: dict[str, str] = field(default_factory=dict)
    faults: dict[int | None, list[str]] = field(default_factory=dict)
    cwd: str = "/"
    worker: tuple[str, ...] = ()
    n_throttled: int = 0
    n_hidden: int = 0
    lost_answers: list[str] = field(default_factory=list)
    jobs: dict[str, Job] = field(default_factory=dict)
    is_frozen: bool = False

    def __post_init__(self) -> None:
        self.environment = self.environment or {
            **inherited(os.environ),
            **CREDENTIALS,
            "AWS_ENDPOINT_URL": self.server.url,
        }
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(self.slots)
        self._numbers = itertools.count()
        self._parked: list[Job] = []
        self.server.routes |= {f"/v1/{name}": self._route(name) for name in _ROUTES}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for job in list(self.jobs.values()):
            job.stopping = "the test is over"
            job.signal(signal.SIGKILL)
        self._pool.shutdown(wait=True, cancel_futures=True)
        for name in _ROUTES:
            self.server.routes.pop(f"/v1/{name}", None)

    def client(self, service: str) -> Any:
        """A boto3 client of any service of the server."""
        return boto3.client(
            service,
            endpoint_url=self.server.url,
            region_name=REGION,
            aws_access_key_id="testing",
            aws_secret_access_key="testing",
        )

    def make_queue(self) -> str:
        """A queue with one compute environment, both enabled; its name."""
        number, ec2, batch = next(self._numbers), self.client("ec2"), self.client("batch")
        network = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
        subnet = ec2.create_subnet(VpcId=network, CidrBlock="10.0.0.0/24")["Subnet"]["SubnetId"]
        group = ec2.create_security_group(
            GroupName=f"g{uuid.uuid4().hex}", Description="test", VpcId=network
        )["GroupId"]
        iam = self.client("iam")
        role = iam.create_role(RoleName=f"r{uuid.uuid4().hex}", AssumeRolePolicyDocument="{}")
        name = f"ftm-{number}-{uuid.uuid4().hex[:8]}"
        environment = batch.create_compute_environment(
            computeEnvironmentName=name,
            type="MANAGED",
            state="ENABLED",
            serviceRole=role["Role"]["Arn"],
            computeResources={
                "type": "FARGATE",
                "maxvCpus": 16,
                "subnets": [subnet],
                "securityGroupIds": [group],
            },
        )["computeEnvironmentArn"]
        order = [{"order": 1, "computeEnvironment": environment}]
        batch.create_job_queue(
            jobQueueName=name, state="ENABLED", priority=1, computeEnvironmentOrder=order
        )
        return name

    def define_job(
        self, *, command: tuple[str, ...] = (), gpu: bool = False, **variables: str
    ) -> str:
        """A job definition, with the environment that Terraform's has; its ARN."""
        environment = {"DATA_SOURCE": "s3", "EMBEDDING_MODEL_NAME": "all-MiniLM-L6-v2", **variables}
        needs = [{"type": "VCPU", "value": "2"}, {"type": "MEMORY", "value": "4096"}]
        needs += [{"type": "GPU", "value": "1"}] if gpu else []
        answer = self.client("batch").register_job_definition(
            jobDefinitionName=f"ftm-map-{uuid.uuid4().hex[:8]}",
            type="container",
            containerProperties={
                "image": IMAGE,
                "command": list(command or ("python", "-m", "ftm.worker", "map")),
                "resourceRequirements": needs,
                "environment": [{"name": k, "value": v} for k, v in environment.items()],
            },
        )
        return str(answer["jobDefinitionArn"])

    def log(self, group: str, stream: str, lines: list[tuple[int, str]]) -> None:
        """Put lines into CloudWatch."""
        logs = self.client("logs")
        with self._lock:
            groups = logs.describe_log_groups(logGroupNamePrefix=group)["logGroups"]
            if group not in {each["logGroupName"] for each in groups}:
                logs.create_log_group(logGroupName=group)
        logs.create_log_stream(logGroupName=group, logStreamName=stream)
        events = [{"timestamp": at, "message": text} for at, text in lines if text]
        if events:
            logs.put_log_events(logGroupName=group, logStreamName=stream, logEvents=events)

    def thaw(self) -> None:
        """Start what waited while `is_frozen`."""
        self.is_frozen = False
        with self._lock:
            parked, self._parked = self._parked, []
        for job in parked:
            self._pool.submit(job.run)

    def n_calls(self, name: str = "") -> int:
        """Requests so far to one of the routes; to all of them."""
        return sum(
            request.path.startswith("/v1/") and request.path.endswith(name)
            for request in self.server.traffic
        )

    def parents(self) -> list[Job]:
        """Everything submitted, oldest first, children left out."""
        return [job for job in self.jobs.values() if job.index is None]

    def _route(self, name: str) -> Callable[[bytes], Answer]:
        handler = getattr(self, f"_{name}")

        def answer(body: bytes) -> Answer:
            with self._lock:
                if self.n_throttled:
                    self.n_throttled -= 1
                    return _refuse(429, "TooManyRequestsException", "Too Many Requests")
            given = json.loads(body or b"{}")
            try:
                found = handler(given)
            except ValueError as error:
                return _refuse(400, "ClientException", str(error))
            if name in self.lost_answers:
                self.lost_answers.remove(name)
                return _refuse(500, "InternalError", "the answer was lost")
            return _json("200 OK", found)

        return answer

    def _submitjob(self, given: dict[str, Any]) -> dict[str, Any]:
        definition = self._definition(given["jobDefinition"])
        overrides = json.dumps(given.get("containerOverrides", {}), separators=(",", ":"))
        if len(overrides.encode()) > 8192:
            raise ValueError("Container Overrides length must be at most 8192")
        size = given.get("arrayProperties", {}).get("size")
        if size is not None and not 2 <= size <= 10_000:
            raise ValueError("Array size must be between 2 and 10000")
        parent = Job(self, str(uuid.uuid4()), given, definition)
        family = [parent]
        if size is not None:
            parent.children = [
                Job(self, f"{parent.job_id}:{i}", given, definition, index=i) for i in range(size)
            ]
            family += parent.children
        with self._lock:
            self.jobs |= {job.job_id: job for job in family}
        for job in parent.children or [parent]:
            self._start(job)
        return {"jobId": parent.job_id, "jobName": given["jobName"], "jobArn": "arn"}

    def _start(self, job: Job) -> None:
        job.status_ = "RUNNABLE"
        if self.is_frozen:
            self._parked.append(job)
        else:
            self._pool.submit(job.run)

    def _definition(self, name: str) -> Mapping[str, Any]:
        found = self.client("batch").describe_job_definitions(jobDefinitions=[name])
        if not found["jobDefinitions"]:
            raise ValueError(f"JobDefinition {name} does not exist")
        definition: Mapping[str, Any] = found["jobDefinitions"][-1]
        return definition

    def _describejobs(self, given: dict[str, Any]) -> dict[str, Any]:
        wanted = given.get("jobs", [])
        if not 1 <= len(wanted) <= 100:
            raise ValueError("jobs must contain 1 to 100 items")
        if self.n_hidden:
            self.n_hidden -= 1
            return {"jobs": []}
        found = [self.jobs[job_id] for job_id in wanted if job_id in self.jobs]
        return {"jobs": [job.describe() for job in found]}

    def _listjobs(self, given: dict[str, Any]) -> dict[str, Any]:
        by_status = "filters" not in given
        limit = _PAGE_BY_STATUS if by_status and "jobStatus" in given else _PAGE
        found = list(self._matching(given))
        start = int(given.get("nextToken") or 0)
        end = start + min(int(given.get("maxResults") or _PAGE), limit)
        answer: dict[str, Any] = {"jobSummaryList": [j.summarise() for j in found[start:end]]}
        return answer | ({"nextToken": str(end)} if end < len(found) else {})

    def _matching(self, given: dict[str, Any]) -> Iterator[Job]:
        if parent := given.get("arrayJobId"):
            wanted = given.get("jobStatus", "RUNNING")
            yield from (c for c in self.jobs[parent].children if c.status == wanted)
            return
        for job in reversed(self.parents()):
            if "filters" in given:
                names = [v.lower() for f in given["filters"] for v in f["values"]]
                if job.request["jobName"].lower() in names:
                    yield job
            elif job.status == given.get("jobStatus", "RUNNING"):
                yield job

    def _terminatejob(self, given: dict[str, Any]) -> dict[str, Any]:
        self.jobs[given["jobId"]].stop(given["reason"])
        return {}

    def _canceljob(self, given: dict[str, Any]) -> dict[str, Any]:
        self.jobs[given["jobId"]].stop(given["reason"], only_waiting=True)
        return {}


def _json(status: str, content: Mapping[str, Any]) -> Answer:
    return Answer(status, [("Content-Type", "application/json")], json.dumps(content).encode())


def _refuse(status: int, code: str, message: str) -> Answer:
    answer = _json(f"{status} Refused", {"message": message, "code": code})
    answer.headers.append(("x-amzn-errortype", code))
    return answer


def _now_ms() -> int:
    return int(time.time() * 1000)
