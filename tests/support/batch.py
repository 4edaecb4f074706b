"""A Batch service with a queue and a job definition, and backends on it: fixtures."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from ftm.jobs.aws_calls import AWSClient, Patience
from ftm.jobs.batch import BatchBackend, BatchLimits
from ftm.jobs.batch_queue import BatchQueue
from ftm.jobs.cloudwatch import CloudWatchLogs
from tests.support.batch_jobs import REGION
from tests.support.batch_service import BatchService
from tests.support.s3_server import CREDENTIALS, S3Server

QUICK = Patience(limit_s=2.0, wait_s=0.01)


@dataclass(frozen=True)
class Cluster:
    """A service, its queue, its job definition."""

    service: BatchService
    queue: str
    definition: str

    @property
    def variables(self) -> dict[str, str]:
        """What `ftm` needs to submit here."""
        return {
            **CREDENTIALS,
            "AWS_ENDPOINT_URL": self.service.server.url,
            "AWS_REGION": REGION,
            "FTM_BATCH_QUEUE": self.queue,
            "FTM_BATCH_JOB_DEFINITION": self.definition,
        }

    def client(self, name: str = "batch", patience: Patience = QUICK) -> AWSClient:
        return AWSClient(
            name, region=REGION, endpoint_url=self.service.server.url, patience=patience
        )

    def batch_queue(self, definition: str = "") -> BatchQueue:
        return BatchQueue(
            self.client(), queue=self.queue, job_definition=definition or self.definition
        )

    def backend(self, limits: BatchLimits | None = None, **given: object) -> BatchBackend:
        logs = CloudWatchLogs(self.client("logs"))
        return BatchBackend(self.batch_queue(), logs, limits=limits, **given)  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def batch_queue_name(s3_server: S3Server) -> str:
    """One queue for all tests of a process: making one takes a VPC, a role and an environment."""
    return BatchService(s3_server).make_queue()


@pytest.fixture
def cluster(
    s3_server: S3Server, batch_queue_name: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Cluster]:
    """A service of its own on the shared server."""
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    s3_server.reset()
    with BatchService(s3_server) as service:
        yield Cluster(service, batch_queue_name, service.define_job())
