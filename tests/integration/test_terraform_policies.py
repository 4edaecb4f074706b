"""Who may do what: the policies that `apply` made, evaluated."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.support.iam_policies import allows, listed, statements
from tests.support.terraform_moto import (
    ACCOUNT,
    REGION,
    SECRET,
    Applied,
    policy_document,
    role_documents,
)

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("terraform")]

Documents = list[dict[str, Any]]

CHUNK = "prefetch/transcripts/quarter=2023Q1/chunk_0000.parquet"
PART = "intermediate/firm-topics/quarter=2023Q1/run=1/2023Q1_batch_0000_part_0000.parquet"
PROGRESS = "progress/2023Q1/run=1/2023Q1_batch_0000.json"
TABLE = "processed/quarter=2023Q1/run=1/panel.parquet"
POINTER = "processed/quarter=2023Q1/_current.json"
READY = "sentiment-ready/quarter=2023Q1/themes_for_sentiment.parquet"
LABELS = "labels/quarter=2023Q1/run=1/theme_labels.csv"
SERIES = "series/quarter=2023Q1/series.parquet"
ANSWER = "cache/llm/x.json"
RUN_SPEC = "runs/2023Q1/1/spec.json"
BATCHES = "manifests/2023Q1/1/map_1.jsonl"

# Actions that are not named as the operation they allow.
NAMED_OTHERWISE = {
    "s3:ListBucket": "ListObjectsV2",
    "s3:GetBucketPublicAccessBlock": "GetPublicAccessBlock",
}


@pytest.fixture
def map_role(applied: Applied) -> Documents:
    """What a map job may do."""
    documents = role_documents(applied, applied.outputs["map_role_arn"].rpartition("/")[2])
    assert documents
    return documents


@pytest.fixture
def operator(applied: Applied) -> Documents:
    """What whoever submits runs may do."""
    return [policy_document(applied, applied.outputs["operator_policy_arn"])]


@pytest.fixture
def store(applied: Applied) -> str:
    """ARN of the store's root, without a slash."""
    return applied.outputs["store_url"].replace("s3://", "arn:aws:s3:::")


@pytest.mark.parametrize("key", [CHUNK, PART, PROGRESS, RUN_SPEC, BATCHES])
def test_map_job_reads_what_it_needs(map_role: Documents, store: str, key: str) -> None:
    """Chunks, the run's spec, its batch, and what an earlier attempt left."""
    assert allows(map_role, "s3:GetObject", f"{store}/{key}")


@pytest.mark.parametrize("key", [PART, PROGRESS])
def test_map_job_writes_its_output(map_role: Documents, store: str, key: str) -> None:
    """Parts and progress."""
    assert allows(map_role, "s3:PutObject", f"{store}/{key}")


@pytest.mark.parametrize("key", [CHUNK, TABLE, RUN_SPEC, BATCHES, "_probe", "cache/llm/x.json"])
def test_map_job_writes_nothing_else(map_role: Documents, store: str, key: str) -> None:
    """Above all not the chunks it reads."""
    assert not allows(map_role, "s3:PutObject", f"{store}/{key}")


@pytest.mark.parametrize("action", ["s3:DeleteObject", "s3:DeleteObjectVersion", "s3:PutObjectAcl"])
@pytest.mark.parametrize("key", [CHUNK, PART, PROGRESS, TABLE])
def test_map_job_deletes_nothing(map_role: Documents, store: str, key: str, action: str) -> None:
    """Neither its input nor its own output."""
    assert not allows(map_role, action, f"{store}/{key}")


def test_map_job_does_not_read_published_tables(map_role: Documents, store: str) -> None:
    """Later stages are not its business."""
    assert not allows(map_role, "s3:GetObject", f"{store}/{TABLE}")


@pytest.mark.parametrize("action", ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"])
@pytest.mark.parametrize("key", [CHUNK, PART])
def test_map_job_has_no_other_bucket_and_no_other_folder(
    map_role: Documents, applied: Applied, action: str, key: str
) -> None:
    """Nor the same keys outside the store's folder of its own bucket."""
    bucket = applied.outputs["bucket"]
    for elsewhere in (f"{bucket}-other/team/store", "another/team/store", bucket, f"{bucket}/team"):
        assert not allows(map_role, action, f"arn:aws:s3:::{elsewhere}/{key}")


def test_map_job_reads_no_secret(map_role: Documents) -> None:
    """Nor gets a role that may."""
    for action, resource in (
        ("secretsmanager:GetSecretValue", SECRET),
        ("ssm:GetParameter", f"arn:aws:ssm:{REGION}:{ACCOUNT}:parameter/llm-key"),
        ("sts:AssumeRole", f"arn:aws:iam::{ACCOUNT}:role/ftm-main-stages-execution"),
        ("iam:PassRole", f"arn:aws:iam::{ACCOUNT}:role/ftm-main-stages-execution"),
    ):
        assert not allows(map_role, action, resource)


@pytest.mark.parametrize(
    ("prefix", "allowed"),
    [
        (f"team/store/{PROGRESS}", True),
        (f"team/store/{CHUNK}", True),
        ("team/store/processed/", False),
        ("team/store/", False),
        (PROGRESS, False),
        (None, False),
    ],
)
def test_map_job_lists_only_what_it_reads(
    map_role: Documents, applied: Applied, prefix: str | None, allowed: bool
) -> None:
    """Without this S3 answers 403 for a progress record that is not there yet."""
    bucket = f"arn:aws:s3:::{applied.outputs['bucket']}"
    context = {} if prefix is None else {"s3:prefix": prefix}
    assert allows(map_role, "s3:ListBucket", bucket, context) is allowed


@pytest.fixture
def stage_role(applied: Applied) -> Documents:
    """What a job of a stage after map may do."""
    return role_documents(applied, applied.outputs["stage_role_arn"].rpartition("/")[2])


@pytest.mark.parametrize("key", [CHUNK, PART, PROGRESS, RUN_SPEC, BATCHES, LABELS, SERIES, TABLE])
def test_stage_job_reads_what_it_needs(stage_role: Documents, store: str, key: str) -> None:
    """Topics and all that package joins to them."""
    assert allows(stage_role, "s3:GetObject", f"{store}/{key}")


@pytest.mark.parametrize("key", [PART, PROGRESS, TABLE, ANSWER])
def test_stage_job_writes_its_output(stage_role: Documents, store: str, key: str) -> None:
    """What it hands on, its record, the tables, a language model's answers."""
    assert allows(stage_role, "s3:PutObject", f"{store}/{key}")


@pytest.mark.parametrize("key", [CHUNK, RUN_SPEC, BATCHES, LABELS, SERIES, POINTER, READY])
def test_stage_job_publishes_nothing(stage_role: Documents, store: str, key: str) -> None:
    """The pointer and what follows it are the command's alone, like its own inputs."""
    assert not allows(stage_role, "s3:PutObject", f"{store}/{key}")


@pytest.mark.parametrize("key", [CHUNK, PART, PROGRESS, TABLE, POINTER])
def test_stage_job_deletes_nothing(stage_role: Documents, store: str, key: str) -> None:
    """Nor reads a secret: ECS hands it the key."""
    assert not allows(stage_role, "s3:DeleteObject", f"{store}/{key}")
    assert not allows(stage_role, "secretsmanager:GetSecretValue", SECRET)


def test_stages_alone_read_the_key(applied: Applied) -> None:
    """Through its execution role; of all roles no other may."""
    roles = [role["RoleName"] for role in applied.client("iam").list_roles()["Roles"]]
    ours = [name for name in roles if name.startswith("ftm-main")]
    readers = [
        name
        for name in ours
        if allows(role_documents(applied, name), "secretsmanager:GetSecretValue", SECRET)
    ]
    assert len(ours) == 5
    assert readers == ["ftm-main-stages-execution"]


@pytest.mark.parametrize("role", ["ftm-main-map-execution", "ftm-main-stages-execution"])
def test_execution_role_pulls_and_logs_only_ours(applied: Applied, role: str) -> None:
    """One repository, one log group."""
    documents = role_documents(applied, role)
    ecr, logs = f"arn:aws:ecr:{REGION}:{ACCOUNT}", f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group"
    assert allows(documents, "ecr:GetAuthorizationToken", "*")
    assert allows(documents, "ecr:BatchGetImage", f"{ecr}:repository/ftm-main")
    assert not allows(documents, "ecr:BatchGetImage", f"{ecr}:repository/other")
    assert not allows(documents, "ecr:PutImage", f"{ecr}:repository/ftm-main")
    group = applied.outputs["log_group"]
    assert allows(documents, "logs:PutLogEvents", f"{logs}:{group}:log-stream:map-cpu/default/1")
    assert not allows(documents, "logs:PutLogEvents", f"{logs}:/aws/other:log-stream:x")


@pytest.mark.parametrize("role", ["ftm-main-map-job", "ftm-main-map-execution"])
def test_only_ecs_of_this_account_may_take_a_role(applied: Applied, role: str) -> None:
    """Tasks, and those of no other account."""
    trust = applied.client("iam").get_role(RoleName=role)["Role"]["AssumeRolePolicyDocument"]
    (statement,) = trust["Statement"]
    assert statement["Principal"] == {"Service": "ecs-tasks.amazonaws.com"}
    assert statement["Condition"] == {"StringEquals": {"aws:SourceAccount": ACCOUNT}}


def test_operator_submits_to_our_queues_only(operator: Documents, applied: Applied) -> None:
    """Any revision of our job definitions, on our queues."""
    definitions = f"arn:aws:batch:{REGION}:{ACCOUNT}:job-definition"
    for output in (
        "cpu_queue",
        "gpu_queue",
        "cpu_job_definition",
        "gpu_job_definition",
        "stage_job_definition",
    ):
        assert allows(operator, "batch:SubmitJob", applied.outputs[output])
    assert allows(operator, "batch:SubmitJob", f"{definitions}/ftm-main-map-cpu:7")
    assert not allows(operator, "batch:SubmitJob", f"{definitions}/ftm-main-map-cpu-2:1")
    assert not allows(
        operator, "batch:SubmitJob", f"arn:aws:batch:{REGION}:{ACCOUNT}:job-queue/other"
    )


@pytest.mark.parametrize("action", ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"])
@pytest.mark.parametrize(
    "key", [CHUNK, PROGRESS, TABLE, RUN_SPEC, LABELS, SERIES, POINTER, "_probe"]
)
def test_operator_has_the_store(operator: Documents, store: str, key: str, action: str) -> None:
    """Prefetch, plan, collect, publish and clean."""
    assert allows(operator, action, f"{store}/{key}")


def test_operator_deletes_no_version(operator: Documents, store: str) -> None:
    """What is deleted by mistake can be brought back."""
    assert not allows(operator, "s3:DeleteObjectVersion", f"{store}/{CHUNK}")
    assert not allows(operator, "s3:PutBucketVersioning", store.partition("/")[0])


@pytest.mark.parametrize(
    "action",
    [
        *("batch:RegisterJobDefinition", "batch:UpdateComputeEnvironment", "ecr:PutImage"),
        *("iam:PassRole", "logs:DeleteLogGroup", "s3:DeleteBucket", "s3:PutBucketPolicy"),
        "secretsmanager:GetSecretValue",
    ],
)
def test_operator_changes_no_infrastructure(operator: Documents, action: str) -> None:
    """No statement names such an action at all."""
    named = {a for statement in statements(operator) for a in listed(statement["Action"])}
    assert action not in named
    assert not any("*" in a for a in named)


def test_operator_looks_at_jobs_and_logs(operator: Documents, applied: Applied) -> None:
    """What `ftm watch`, `cancel`, `logs` and `doctor` ask for."""
    for action in ("DescribeJobs", "ListJobs", "DescribeJobQueues", "DescribeComputeEnvironments"):
        assert allows(operator, f"batch:{action}", "*")
    job = f"arn:aws:batch:{REGION}:{ACCOUNT}:job/1"
    for action in ("TerminateJob", "CancelJob", "TagResource"):
        assert allows(operator, f"batch:{action}", job)
    group = f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:{applied.outputs['log_group']}"
    assert allows(operator, "logs:GetLogEvents", f"{group}:log-stream:map-cpu/default/1")
    assert allows(
        operator, "s3:GetBucketPublicAccessBlock", f"arn:aws:s3:::{applied.outputs['bucket']}"
    )


def our_documents(applied: Applied) -> Documents:
    """Every policy that was made, of roles and of the operator."""
    iam = applied.client("iam")
    roles = [
        r["RoleName"] for r in iam.list_roles()["Roles"] if r["RoleName"].startswith("ftm-main")
    ]
    documents = [document for role in roles for document in role_documents(applied, role)]
    return [*documents, policy_document(applied, applied.outputs["operator_policy_arn"])]


def test_every_action_exists(applied: Applied) -> None:
    """An action with a typo allows nothing, and AWS does not say so."""
    named = {a for s in statements(our_documents(applied)) for a in listed(s["Action"])}
    assert len(named) > 20
    for action in sorted(named):
        service, _, name = action.partition(":")
        operations = applied.client(service).meta.service_model.operation_names
        assert NAMED_OTHERWISE.get(action, name) in operations, action


def test_everything_is_granted_on_something(applied: Applied) -> None:
    """`*` as a resource only for actions that take no other."""
    wide = {
        action
        for statement in statements(our_documents(applied))
        if "*" in listed(statement["Resource"])
        for action in listed(statement["Action"])
    }
    assert {a for a in wide if not re.match(r"batch:(Describe|List)", a)} == {
        "ecr:GetAuthorizationToken"
    }


def test_operator_may_ask_what_the_doctor_asks(
    operator: Documents, applied: Applied, store: str
) -> None:
    """`ftm doctor` is run by the operator: what it asks and writes is allowed."""
    bucket = f"arn:aws:s3:::{applied.outputs['bucket']}"
    repository = applied.outputs["ecr_repository_url"].partition("/")[2]
    group = f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:{applied.outputs['log_group']}"
    asked = {
        "s3:GetBucketLocation": bucket,
        "s3:GetBucketPublicAccessBlock": bucket,
        "s3:GetBucketVersioning": bucket,
        "s3:PutObject": f"{store}/_probe",
        "s3:GetObject": f"{store}/_probe",
        "s3:DeleteObject": f"{store}/_probe",
        "batch:DescribeJobQueues": "*",
        "batch:DescribeComputeEnvironments": "*",
        "batch:DescribeJobDefinitions": "*",
        "logs:DescribeLogStreams": group,
        "ecr:DescribeImages": f"arn:aws:ecr:{REGION}:{ACCOUNT}:repository/{repository}",
    }
    assert [a for a, resource in asked.items() if not allows(operator, a, resource)] == []
    listed = {"s3:prefix": f"{store.partition('/')[2]}/prefetch/transcripts/"}
    assert allows(operator, "s3:ListBucket", bucket, listed)
