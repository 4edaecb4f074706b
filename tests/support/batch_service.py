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
import re
import signal
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Self

import boto3

from ftm.jobs.local import inherited
from tests.support.batch_jobs import REGION, Job, Runner, run_process
from tests.support.s3_server import CREDENTIALS, Answer, S3Server

IMAGE = "ftm-map@sha256:" + "0" * 64
_ROUTES = ("submitjob", "describejobs", "listjobs", "terminatejob", "canceljob")
_PAGE = 100
_PAGE_BY_STATUS = 1000


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
        n_throttled: so many of the next calls (of the route `throttled`) are refused with a 429.
        n_hidden: so many of the next DescribeJobs know nothing.
        n_unlisted: so many of the next ListJobs list nothing.
        lag: status → what `statusSummary` says of it, whatever is true.
        parent_status: of every parent, whatever is true.
        refusal: HTTP status and code with which every call is refused.
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
    throttled: str = ""
    n_hidden: int = 0
    n_unlisted: int = 0
    lag: dict[str, int] = field(default_factory=dict)
    parent_status: str = ""
    refusal: tuple[int, str] | None = None
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
        self,
        *,
        command: tuple[str, ...] = (),
        gpu: bool = False,
        secrets: Mapping[str, str] | None = None,
        **variables: str,
    ) -> str:
        """A job definition, with the environment that Terraform's has; its ARN."""
        environment = {"DATA_SOURCE": "s3", "EMBEDDING_MODEL_NAME": "all-MiniLM-L6-v2"}
        environment |= {"OMP_WAIT_POLICY": "passive", **variables}
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
                "secrets": [{"name": k, "valueFrom": v} for k, v in (secrets or {}).items()],
            },
        )
        return str(answer["jobDefinitionArn"])

    def secrets_of(self, job: Job) -> dict[str, str]:
        """What the execution role fetches for a job's container."""
        manager = self.client("secretsmanager")
        return {
            each["name"]: manager.get_secret_value(SecretId=each["valueFrom"])["SecretString"]
            for each in job.definition["containerProperties"].get("secrets", [])
        }

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
                if self.refusal is not None:
                    return _refuse(*self.refusal, "scripted")
                if self.n_throttled and name in (self.throttled or _ROUTES):
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
        _check(given)
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
        if self.n_unlisted:
            self.n_unlisted -= 1
            return {"jobSummaryList": []}
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


def _check(given: Mapping[str, Any]) -> None:
    """Refuse what AWS Batch refuses."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}", given["jobName"]):
        raise ValueError("Job name should match valid pattern")
    if given.get("timeout", {}).get("attemptDurationSeconds", 60) < 60:
        raise ValueError("attemptDurationSeconds must be at least 60")
    if not 1 <= given.get("retryStrategy", {}).get("attempts", 1) <= 10:
        raise ValueError("attempts must be between 1 and 10")
    names = [each["name"] for each in given.get("containerOverrides", {}).get("environment", [])]
    if reserved := [name for name in names if name.startswith("AWS_BATCH")]:
        raise ValueError(f"environment variables may not start with AWS_BATCH: {reserved[0]}")
    if len(given.get("tags", {})) > 50:
        raise ValueError("at most 50 tags")


def _json(status: str, content: Mapping[str, Any]) -> Answer:
    return Answer(status, [("Content-Type", "application/json")], json.dumps(content).encode())


def _refuse(status: int, code: str, message: str) -> Answer:
    answer = _json(f"{status} Refused", {"message": message, "code": code})
    answer.headers.append(("x-amzn-errortype", code))
    return answer
