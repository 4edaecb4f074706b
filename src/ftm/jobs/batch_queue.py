"""One queue and job definition of AWS Batch: the calls ftm makes, paged and in hundreds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import islice
from typing import Any

from ftm.core.errors import JobError
from ftm.jobs.aws_calls import AWSClient

DESCRIBED_AT_ONCE = 100
"""https://docs.aws.amazon.com/batch/latest/APIReference/API_DescribeJobs.html"""

LISTED_AT_ONCE = 1000
"""With a job status: https://docs.aws.amazon.com/batch/latest/APIReference/API_ListJobs.html"""


class BatchQueue:
    """Submits to one queue, by one job definition.

    Args:
        client: of the service `batch`.
        queue: name or ARN.
        job_definition: name, name:revision or ARN; without a revision the newest active one.
        setting: names the job definition, for messages.
        queue_setting: names the queue.
    """

    def __init__(
        self,
        client: AWSClient,
        *,
        queue: str,
        job_definition: str,
        setting: str = "FTM_BATCH_JOB_DEFINITION",
        queue_setting: str = "FTM_BATCH_QUEUE",
    ) -> None:
        self._setting = setting
        self._queue_setting = queue_setting
        self._client = client
        self._queue = queue
        self._job_definition = job_definition

    @property
    def region(self) -> str:
        """Where the queue is."""
        return self._client.region

    @cached_property
    def definition(self) -> Mapping[str, Any]:
        """The job definition, as AWS answers it; its newest active revision if none is named.

        Raises:
            JobError: there is none, or none is active.
        """
        name = self._job_definition
        by_name = ":" not in name
        asked = {"jobDefinitionName": name} if by_name else {"jobDefinitions": [name]}
        found = self._pages("describe_job_definitions", "jobDefinitions", **asked)
        active = [each for each in found if each.get("status") == "ACTIVE"]
        if not active:
            raise JobError(
                f"there is no active job definition {name!r} in {self.region}; correct "
                f"{self._setting} or AWS_REGION (`ftm config from-terraform` writes both)"
            )
        newest: Mapping[str, Any] = max(active, key=lambda each: int(each["revision"]))
        return newest

    @property
    def image(self) -> str:
        """The job definition's container image."""
        return str(self.definition.get("containerProperties", {}).get("image", ""))

    @property
    def environment(self) -> Mapping[str, str]:
        """The job definition's own variables."""
        listed = self.definition.get("containerProperties", {}).get("environment", [])
        return {each["name"]: each["value"] for each in listed}

    @property
    def has_gpu(self) -> bool:
        """Whether the job definition asks for a GPU."""
        container = self.definition.get("containerProperties", {})
        return any(r["type"] == "GPU" for r in container.get("resourceRequirements", []))

    def check(self) -> None:
        """Refuse what could only wait for ever.

        Raises:
            JobError: no such queue, or it takes no jobs; no job definition.
        """
        self.check_queue()
        _ = self.definition

    def check_queue(self) -> Mapping[str, Any]:
        """Refuse a queue that takes no jobs; the queue as AWS answers it.

        Raises:
            JobError: no such queue, or it is not enabled and valid.
        """
        queue, _ = self.describe_queue()
        if queue.get("state") != "ENABLED" or queue.get("status") not in ("VALID", "UPDATING"):
            name = queue.get("jobQueueName")
            fix = f"`aws batch update-job-queue --job-queue {name} --state ENABLED` enables it"
            if queue.get("state") == "ENABLED":
                fix = f"apply Terraform again, or use another queue ({self._queue_setting})"
            raise JobError(
                f"queue {name} takes no jobs: it is {queue.get('state')} and {queue.get('status')} "
                f"({queue.get('statusReason') or 'no reason is given'}); {fix}"
            )
        return queue

    def submit(self, name: str, request: Mapping[str, Any]) -> str:
        """Submit, unless jobs of this name are there, and return the job id.

        Throttled or unanswered, it is tried again, and before every try jobs of the name are
        looked for: the answer may have been lost on its way, and what was asked for be there.
        """
        definition = self.definition["jobDefinitionArn"]

        def look_and_submit() -> str:
            if found := self.find(name):
                return found[0]
            answer = self._client.once(
                "submit_job",
                jobName=name,
                jobQueue=self._queue,
                jobDefinition=definition,
                **request,
            )
            return str(answer["jobId"])

        return self._client.patiently(look_and_submit, what="batch submit_job")

    def find(self, name: str) -> list[str]:
        """Ids of the jobs submitted under this name that AWS still knows, the first one first."""
        named = [{"name": "JOB_NAME", "values": [name]}]
        found = list(
            self._pages("list_jobs", "jobSummaryList", jobQueue=self._queue, filters=named)
        )
        # The filter does not mind case.
        same = [job for job in found if job.get("jobName") == name]
        same.sort(key=lambda job: (job.get("createdAt", 0), job["jobId"]))
        return [str(job["jobId"]) for job in same]

    def describe(self, job_ids: Sequence[str]) -> list[Mapping[str, Any]]:
        """Details of jobs, those AWS knows nothing of left out; a hundred a call."""
        rest = iter(job_ids)
        found: list[Mapping[str, Any]] = []
        while some := list(islice(rest, DESCRIBED_AT_ONCE)):
            found += self._client.call("describe_jobs", jobs=some)["jobs"]
        return found

    def children(self, array_id: str, status: str) -> list[int]:
        """Indexes of an array's children in one status; a thousand a call."""
        found = self._pages(
            "list_jobs",
            "jobSummaryList",
            arrayJobId=array_id,
            jobStatus=status,
            maxResults=LISTED_AT_ONCE,
        )
        return [int(child["arrayProperties"]["index"]) for child in found]

    def first_waiting(self, handle: str, *, is_array: bool) -> Mapping[str, Any] | None:
        """A job that is RUNNABLE, best one of which AWS says why; None if none is."""
        ids = [handle]
        if is_array:
            page = self._client.call(
                "list_jobs", arrayJobId=handle, jobStatus="RUNNABLE", maxResults=LISTED_AT_ONCE
            )["jobSummaryList"]
            # The reason is on the job at the head of the queue, which need not be the first child.
            page.sort(key=lambda job: not job.get("statusReason"))
            ids = [str(job["jobId"]) for job in page[:1]]
        found = self.describe(ids)
        return next((job for job in found if job.get("status") == "RUNNABLE"), None)

    def describe_queue(self) -> tuple[Mapping[str, Any], list[Mapping[str, Any]]]:
        """The queue and its compute environments, in its order.

        Raises:
            JobError: there is no such queue.
        """
        queues = self._client.call("describe_job_queues", jobQueues=[self._queue])["jobQueues"]
        if not queues:
            raise JobError(
                f"there is no job queue {self._queue!r} in {self.region}; correct "
                f"{self._queue_setting} or AWS_REGION (`ftm config from-terraform` writes both)"
            )
        order = sorted(queues[0].get("computeEnvironmentOrder", []), key=lambda e: e["order"])
        names = [each["computeEnvironment"] for each in order]
        if not names:
            return queues[0], []
        answer = self._client.call("describe_compute_environments", computeEnvironments=names)
        return queues[0], answer["computeEnvironments"]

    def terminate(self, job_id: str, reason: str) -> None:
        """End a job, or all children of an array; what runs gets SIGTERM."""
        self._client.call("terminate_job", jobId=job_id, reason=reason)

    def cancel(self, job_id: str, reason: str) -> None:
        """End what has not started of a job; what runs goes on."""
        self._client.call("cancel_job", jobId=job_id, reason=reason)

    def _pages(self, operation: str, key: str, **request: Any) -> Iterator[Mapping[str, Any]]:
        token: dict[str, str] = {}
        while True:
            answer = self._client.call(operation, **request, **token)
            yield from answer[key]
            if not answer.get("nextToken"):
                return
            token = {"nextToken": answer["nextToken"]}
