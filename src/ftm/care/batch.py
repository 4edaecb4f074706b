"""Checks of AWS Batch: queue, compute environments, job definition, image, log group."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from ftm.care.aws import CREDENTIALS, REGION
from ftm.care.checks import Check, Finding, Look, failed, ok, skipped, warning
from ftm.core.errors import AWSAccessError, JobError
from ftm.core.settings import SECRETS, Settings, variable_name
from ftm.jobs.aws_calls import AWSClient
from ftm.jobs.batch_queue import BatchQueue
from ftm.jobs.batch_words import DEFAULT_LOG_GROUP, fault_of

QUEUE = "job queue"
ENVIRONMENT = "compute environment"
DEFINITION = "job definition"
IMAGE = "image"

_ECR = re.compile(
    r"(?P<account>\d{12})\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.amazonaws\.com(?:\.cn)?/"
    r"(?P<repository>[^@:]+)(?:@(?P<digest>sha256:[0-9a-f]{64})|:(?P<tag>[\w.-]+))?"
)
_SECRET_VARIABLES = {variable_name(Settings.model_fields[name]) for name in SECRETS}
_TO_MEND = "apply Terraform again and run `ftm config from-terraform`"

ClientOf = Callable[[str, str | None], AWSClient]
"""Makes the client of a service, in a region or (None) in that of the settings."""


def queue(batch: BatchQueue) -> list[Check]:
    """The queue, and every compute environment behind it."""

    def look() -> Iterator[Finding]:
        found = batch.check_queue()
        yield ok(QUEUE, f"{found['jobQueueName']} is {found['state']} and {found['status']}")

    return [
        Check(QUEUE, look, (CREDENTIALS, REGION)),
        Check(ENVIRONMENT, lambda: _environments(batch), (QUEUE,)),
    ]


def definition(batch: BatchQueue, client: ClientOf) -> list[Check]:
    """The job definition: active, image, environment, roles, log group.

    Args:
        batch: knows the definition.
        client: of the services `logs` and `ecr`.
    """
    after = (DEFINITION,)

    def look() -> Iterator[Finding]:
        found = batch.definition
        gpu = "with" if batch.has_gpu else "without"
        yield ok(DEFINITION, f"{found['jobDefinitionName']}:{found['revision']}, {gpu} a GPU")

    return [
        Check(DEFINITION, look, (CREDENTIALS, REGION)),
        Check(IMAGE, lambda: _pinned(batch.image), after),
        Check("image in ECR", lambda: _in_registry(batch.image, client), after),
        Check("job environment", lambda: _variables(_container(batch)), after),
        Check("job roles", lambda: _roles(batch), after),
        Check("log group", lambda: _log_group(_container(batch), client), after),
    ]


def for_stages(checks: Sequence[Check]) -> list[Check]:
    """The same checks under names of their own, for the jobs of the stages after map."""
    own = {check.what for check in checks}
    return [
        replace(
            check,
            what=f"stage {check.what}",
            look=partial(_renamed, check.look),
            needs=tuple(f"stage {need}" if need in own else need for need in check.needs),
        )
        for check in checks
    ]


def _renamed(look: Look) -> Iterator[Finding]:
    for finding in look():
        yield replace(finding, what=f"stage {finding.what}")


def _container(batch: BatchQueue) -> Mapping[str, Any]:
    found: Mapping[str, Any] = batch.definition.get("containerProperties", {})
    return found


def _environments(batch: BatchQueue) -> Iterator[Finding]:
    """One that is in order is enough to run jobs; another that is not is a warning."""
    _, found = batch.describe_queue()
    if not found:
        yield failed(ENVIRONMENT, f"the queue has none, so jobs would wait for ever; {_TO_MEND}")
    usable = [each for each in found if _is_usable(each)]
    for each in found:
        if each in usable:
            text = f"{each['computeEnvironmentName']} is {each['state']} and {each['status']}"
            yield ok(ENVIRONMENT, text)
        else:
            tell = warning if usable else failed
            yield tell(ENVIRONMENT, f"{fault_of(each)}; enable or mend it: {_TO_MEND}")


def _is_usable(environment: Mapping[str, Any]) -> bool:
    return environment.get("state") == "ENABLED" and environment.get("status") in (
        "VALID",
        "UPDATING",
    )


def _pinned(image: str) -> Iterator[Finding]:
    if not image:
        yield failed(IMAGE, f"the job definition names none; {_TO_MEND}")
    elif "@sha256:" in image:
        yield ok(IMAGE, f"{image.partition('@')[0]}, pinned by its digest")
    else:
        yield warning(
            IMAGE,
            f"{image} is not pinned: another image may come under this name while a run is on; "
            "name it by digest (image.auto.tfvars, terraform/README.md)",
        )


def _in_registry(image: str, client: ClientOf) -> Iterator[Finding]:
    what = "image in ECR"
    parts = _ECR.fullmatch(image)
    if parts is None:
        yield skipped(what, "cannot be checked: it comes from another registry")
        return
    which = {"imageDigest": parts["digest"]} if parts["digest"] else {}
    which = which or {"imageTag": parts["tag"] or "latest"}
    try:
        client("ecr", parts["region"]).call(
            "describe_images",
            registryId=parts["account"],
            repositoryName=parts["repository"],
            imageIds=[which],
        )
    except AWSAccessError as error:
        yield warning(what, f"cannot be checked: {error}")
    except JobError as error:
        if error.code not in ("ImageNotFoundException", "RepositoryNotFoundException"):
            raise
        yield failed(what, f"{image} is not there; push it, or name another digest ({_TO_MEND})")
    else:
        yield ok(what, f"{parts['repository']} has it")


def _variables(container: Mapping[str, Any]) -> Iterator[Finding]:
    what = "job environment"
    given = {each["name"]: each.get("value") for each in container.get("environment", [])}
    source = given.get("DATA_SOURCE")
    if source == "s3":
        yield ok(what, "DATA_SOURCE=s3: jobs read the store, never WRDS")
    else:
        was = f"DATA_SOURCE is {source!r}" if source else "DATA_SOURCE is not set"
        yield failed(what, f"{was}, so jobs would ask WRDS; it has to be s3: {_TO_MEND}")
    for name in sorted(_SECRET_VARIABLES & given.keys()):
        yield failed(
            what,
            f"{name} stands there for all to read who may describe job definitions; put it into "
            "Secrets Manager and name it under `secrets`",
        )


def _roles(batch: BatchQueue) -> Iterator[Finding]:
    what = "job roles"
    container = _container(batch)
    on_fargate = "FARGATE" in batch.definition.get("platformCapabilities", [])
    needs_execution = on_fargate or bool(container.get("secrets"))
    job, execution = container.get("jobRoleArn"), container.get("executionRoleArn")
    if not job:
        yield failed(what, f"no jobRoleArn, so jobs could not read the bucket; {_TO_MEND}")
    elif needs_execution and not execution:
        yield failed(what, f"no executionRoleArn, which Fargate and secrets need; {_TO_MEND}")
    else:
        names = [str(arn).rpartition("/")[2] for arn in (job, execution) if arn]
        yield ok(what, " and ".join(names))


def _log_group(container: Mapping[str, Any], client: ClientOf) -> Iterator[Finding]:
    what = "log group"
    logging = container.get("logConfiguration") or {}
    if logging.get("logDriver", "awslogs") != "awslogs":
        driver = logging["logDriver"]
        yield warning(what, f"jobs log by {driver!r}, where `ftm logs` cannot read them")
        return
    options = logging.get("options") or {}
    group = options.get("awslogs-group", DEFAULT_LOG_GROUP)
    try:
        # Not DescribeLogGroups, which takes no resource and so is not in the operator's policy.
        client("logs", options.get("awslogs-region")).call(
            "describe_log_streams", logGroupName=group, limit=1
        )
    except AWSAccessError as error:
        yield warning(what, f"{group} cannot be checked: {error}")
    except JobError as error:
        if error.code != "ResourceNotFoundException":
            raise
        if group == DEFAULT_LOG_GROUP or options.get("awslogs-create-group") == "true":
            yield ok(what, f"{group}, which the first job makes")
        else:
            yield failed(what, f"there is no {group}, so no job could start; {_TO_MEND}")
    else:
        yield ok(what, group)
