"""`terraform/`, formatted, valid, planned on a mocked provider, and applied on moto.

Everything of the example is applied, nothing only planned. moto does not place instances, send
mails or raise alarms: of these the settings are checked.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.iam_policies import allows
from tests.support.terraform_moto import (
    ACCOUNT,
    GPU_IMAGE,
    IMAGE,
    REGION,
    SECRET,
    SOURCE,
    Applied,
    Terraform,
    left_over,
)

OUTPUTS = {
    "alarm_topic_arn",
    "aws_region",
    "bucket",
    "cpu_job_definition",
    "cpu_queue",
    "ecr_repository_url",
    "gpu_job_definition",
    "gpu_queue",
    "log_group",
    "map_role_arn",
    "stage_job_definition",
    "stage_role_arn",
    "operator_policy_arn",
    "store_url",
}
BATCH = f"arn:aws:batch:{REGION}:{ACCOUNT}"
KINDS = pytest.mark.parametrize("kind", ["cpu", "gpu"])
on_moto = pytest.mark.xdist_group("terraform")


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Terraform:
    """The files, initialised."""
    return Terraform.copy_to(tmp_path_factory.mktemp("terraform") / "copy")


def job_definition(applied: Applied, output: str) -> dict[str, Any]:
    """The job definition an output names."""
    found = applied.client("batch").describe_job_definitions(
        jobDefinitions=[applied.outputs[output]]
    )
    (definition,) = found["jobDefinitions"]
    return dict(definition)


def environment(definition: dict[str, Any]) -> dict[str, str]:
    """What a job definition puts into the environment."""
    return {e["name"]: e["value"] for e in definition["containerProperties"]["environment"]}


def test_files_are_formatted() -> None:
    """`terraform fmt` would change nothing."""
    if shutil.which("terraform") is None:
        pytest.skip("terraform is not installed")
    command = ["terraform", "fmt", "-check", "-recursive", "-diff", str(SOURCE)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_example_is_valid(copy: Terraform) -> None:
    """`terraform validate` finds neither a mistake nor anything deprecated."""
    found = json.loads(copy.run("validate", "-json"))
    assert (found["valid"], found["diagnostics"]) == (True, [])


@pytest.mark.slow
def test_plans_on_a_mocked_provider_hold(copy: Terraform) -> None:
    """`terraform test`: what is made by which variables, and which values are refused."""
    assert ", 0 failed" in copy.run("test", "-no-color")


@pytest.mark.slow
@on_moto
def test_outputs_are_those_ftm_reads(applied: Applied) -> None:
    """Exactly these names, none of them empty."""
    assert set(applied.outputs) == OUTPUTS
    assert all(applied.outputs.values())
    assert applied.outputs["aws_region"] == REGION
    assert applied.outputs["store_url"] == f"s3://{applied.outputs['bucket']}/team/store"
    assert applied.outputs["cpu_queue"] == f"{BATCH}:job-queue/ftm-main-cpu"
    assert applied.outputs["cpu_job_definition"] == f"{BATCH}:job-definition/ftm-main-map-cpu:1"


@pytest.mark.slow
@on_moto
def test_bucket_is_versioned_encrypted_and_closed(applied: Applied) -> None:
    """As S3 tells it."""
    s3, bucket = applied.client("s3"), applied.outputs["bucket"]
    assert s3.get_bucket_versioning(Bucket=bucket)["Status"] == "Enabled"
    encryption = s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]
    default = encryption["Rules"][0]["ApplyServerSideEncryptionByDefault"]
    assert default["SSEAlgorithm"] == "AES256"
    closed = s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"]
    assert len(closed) == 4
    assert all(closed.values())


@pytest.mark.slow
@on_moto
def test_bucket_denies_plain_http(applied: Applied) -> None:
    """Whoever asks, and whatever else allows it."""
    s3, bucket = applied.client("s3"), applied.outputs["bucket"]
    document = json.loads(s3.get_bucket_policy(Bucket=bucket)["Policy"])
    anything = {"Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
    assert {statement["Principal"] for statement in document["Statement"]} == {"*"}
    for resource in (f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/team/store/runs/x"):
        for secure, allowed in (("true", True), ("false", False)):
            context = {"aws:SecureTransport": secure}
            assert allows([document, anything], "s3:GetObject", resource, context) is allowed


@pytest.mark.slow
@on_moto
def test_only_intermediate_expires(applied: Applied) -> None:
    """After 90 days; old versions after 30, broken uploads after 7."""
    s3, bucket = applied.client("s3"), applied.outputs["bucket"]
    rules = {
        rule["ID"]: rule for rule in s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
    }
    expiring = {id_ for id_, rule in rules.items() if "Days" in rule.get("Expiration", {})}
    assert expiring == {"intermediate"}
    assert rules["intermediate"]["Expiration"]["Days"] == 90
    assert rules["intermediate"]["Filter"]["Prefix"] == "team/store/intermediate/"
    others = rules["old-versions-and-broken-uploads"]
    assert others["NoncurrentVersionExpiration"]["NoncurrentDays"] == 30
    assert others["AbortIncompleteMultipartUpload"]["DaysAfterInitiation"] == 7


@pytest.mark.slow
@on_moto
def test_images_are_scanned_and_tags_stay(applied: Applied) -> None:
    """A tag that was pushed cannot be moved to another image."""
    (repository,) = applied.client("ecr").describe_repositories()["repositories"]
    assert repository["repositoryUri"] == applied.outputs["ecr_repository_url"]
    assert repository["imageTagMutability"] == "IMMUTABLE"
    assert repository["imageScanningConfiguration"]["scanOnPush"] is True


@pytest.mark.slow
@on_moto
@KINDS
def test_queue_tries_spot_before_on_demand(applied: Applied, kind: str) -> None:
    """And cancels a first job that can never start, which would keep all others waiting."""
    batch = applied.client("batch")
    (queue,) = batch.describe_job_queues(jobQueues=[applied.outputs[f"{kind}_queue"]])["jobQueues"]
    order = sorted(queue["computeEnvironmentOrder"], key=lambda environment: environment["order"])
    tried = [environment["computeEnvironment"] for environment in order]
    resources = [
        batch.describe_compute_environments(computeEnvironments=[arn])["computeEnvironments"][0][
            "computeResources"
        ]
        for arn in tried
    ]
    assert [(r["type"], r["allocationStrategy"]) for r in resources] == [
        ("SPOT", "SPOT_PRICE_CAPACITY_OPTIMIZED"),
        ("EC2", "BEST_FIT_PROGRESSIVE"),
    ]
    assert all(r["minvCpus"] == 0 and r["tags"]["project"] == "ftm" for r in resources)
    assert queue["state"] == "ENABLED"
    limits = {a["reason"]: a["maxTimeSeconds"] for a in queue["jobStateTimeLimitActions"]}
    assert limits == {
        "CAPACITY:INSUFFICIENT_INSTANCE_CAPACITY": 43200,
        "MISCONFIGURATION:COMPUTE_ENVIRONMENT_MAX_RESOURCE": 1800,
        "MISCONFIGURATION:JOB_RESOURCE_REQUIREMENT": 1800,
    }


@pytest.mark.slow
@on_moto
@KINDS
def test_map_job_runs_a_pinned_image(applied: Applied, kind: str) -> None:
    """With the whole command, which relies on no ENTRYPOINT, and reads S3 and never WRDS."""
    definition = job_definition(applied, f"{kind}_job_definition")
    container = definition["containerProperties"]
    assert container["image"] == {"cpu": IMAGE, "gpu": GPU_IMAGE}[kind]
    assert container["command"] == ["python", "-m", "ftm.worker", "map"]
    assert container["jobRoleArn"] == applied.outputs["map_role_arn"]
    assert environment(definition) == {
        "AWS_DEFAULT_REGION": REGION,
        "DATA_SOURCE": "s3",
        "EMBEDDING_MODEL_NAME": "all-MiniLM-L6-v2",
        "FTM_STORE": applied.outputs["store_url"],
        "FTM_WORKER_CORES": "4",
        "OMP_NUM_THREADS": "4",
        "OMP_WAIT_POLICY": "passive",
    }
    resources = {r["type"]: r["value"] for r in container["resourceRequirements"]}
    assert ("GPU" in resources) is (kind == "gpu")
    assert resources["VCPU"] == "4"


@pytest.mark.slow
@on_moto
@KINDS
def test_map_job_retries_a_lost_host_only(applied: Applied, kind: str) -> None:
    """Five attempts, six hours each, and everything but a lost Spot host ends the job."""
    definition = job_definition(applied, f"{kind}_job_definition")
    assert definition["retryStrategy"] == {
        "attempts": 5,
        "evaluateOnExit": [
            {"action": "retry", "onStatusReason": "Host EC2*"},
            {"action": "exit", "onReason": "*"},
        ],
    }
    assert definition["timeout"] == {"attemptDurationSeconds": 21600}


@pytest.mark.slow
@on_moto
@KINDS
def test_map_job_logs_where_the_outputs_say(applied: Applied, kind: str) -> None:
    """In a log group that forgets after 90 days."""
    logging = job_definition(applied, f"{kind}_job_definition")["containerProperties"][
        "logConfiguration"
    ]
    assert logging["logDriver"] == "awslogs"
    assert logging["options"] == {
        "awslogs-group": applied.outputs["log_group"],
        "awslogs-region": REGION,
        "awslogs-stream-prefix": f"map-{kind}",
    }
    groups = applied.client("logs").describe_log_groups()["logGroups"]
    kept = {group["logGroupName"]: group.get("retentionInDays") for group in groups}
    assert kept[applied.outputs["log_group"]] == 90


@pytest.mark.slow
@on_moto
def test_llm_key_reaches_the_stages_only(applied: Applied) -> None:
    """As a secret, never as a value; map jobs have neither."""
    found = applied.client("batch").describe_job_definitions(status="ACTIVE")["jobDefinitions"]
    ours = {d["jobDefinitionName"]: d["containerProperties"] for d in found}
    assert set(ours) == {"ftm-main-map-cpu", "ftm-main-map-gpu", "ftm-main-stages"}
    assert ours["ftm-main-stages"]["secrets"] == [{"name": "LLM_API_KEY", "valueFrom": SECRET}]
    assert applied.outputs["stage_job_definition"].rpartition("/")[2] == "ftm-main-stages:1"
    for name in ("ftm-main-map-cpu", "ftm-main-map-gpu"):
        assert not ours[name].get("secrets")
        assert SECRET not in json.dumps(ours[name])


@pytest.mark.slow
@on_moto
def test_instances_reach_out_and_nothing_reaches_in(applied: Applied) -> None:
    """Public subnets, S3 by a gateway endpoint, no ingress, 443 only outwards."""
    batch, ec2 = applied.client("batch"), applied.client("ec2")
    environments = batch.describe_compute_environments()["computeEnvironments"]
    subnets = {s for e in environments for s in e["computeResources"]["subnets"]}
    groups = {g for e in environments for g in e["computeResources"]["securityGroupIds"]}
    described = ec2.describe_subnets(SubnetIds=sorted(subnets))["Subnets"]
    assert len({subnet["AvailabilityZone"] for subnet in described}) == 4
    (group,) = ec2.describe_security_groups(GroupIds=sorted(groups))["SecurityGroups"]
    assert group["IpPermissions"] == []
    assert [rule["FromPort"] for rule in group["IpPermissionsEgress"]] == [443]
    (endpoint,) = ec2.describe_vpc_endpoints()["VpcEndpoints"]
    assert (endpoint["VpcEndpointType"], endpoint["VpcId"]) == ("Gateway", described[0]["VpcId"])


@pytest.mark.slow
@on_moto
def test_failed_stage_and_blocked_queue_raise_alarms(applied: Applied) -> None:
    """Rules on our queues alone send to the topic, and the topic to the address."""
    events, topic = applied.client("events"), applied.outputs["alarm_topic_arn"]
    queues = [applied.outputs["cpu_queue"], applied.outputs["gpu_queue"]]
    told = {}
    for rule in events.list_rules(NamePrefix="ftm-main")["Rules"]:
        pattern = json.loads(rule["EventPattern"])
        assert pattern["detail"]["jobQueue"] == queues
        targets = events.list_targets_by_rule(Rule=rule["Name"])["Targets"]
        told[rule["Name"]] = (pattern["detail-type"], [target["Arn"] for target in targets])
    assert told["ftm-main-stage-failed"] == (["Batch Job State Change"], [topic])
    assert told["ftm-main-queue-blocked"] == (["Batch Job Queue Blocked"], [topic])
    (alarm,) = applied.client("cloudwatch").describe_alarms()["MetricAlarms"]
    assert alarm["AlarmActions"] == [topic]
    (subscription,) = applied.client("sns").list_subscriptions_by_topic(TopicArn=topic)[
        "Subscriptions"
    ]
    assert subscription["Endpoint"] == "name@example.org"


@pytest.mark.slow
@on_moto
def test_budget_is_watched(applied: Applied) -> None:
    """The amount asked for, of what carries the project's tag."""
    budgets = applied.client("budgets")
    (budget,) = budgets.describe_budgets(AccountId=ACCOUNT)["Budgets"]
    assert float(budget["BudgetLimit"]["Amount"]) == 200
    assert budget["CostFilters"] == {"TagKeyValue": ["user:project$ftm"]}


@pytest.mark.slow
@on_moto
def test_state_holds_no_secret(applied: Applied) -> None:
    """Of the LLM key Terraform knows where it lies, never what it is."""
    state = (applied.terraform.folder / "examples/complete/terraform.tfstate").read_text()
    assert "secret_string" not in state
    assert SECRET in state


@pytest.mark.slow
@on_moto
def test_search_for_leftovers_finds_what_was_made(applied: Applied) -> None:
    """The fixture asserts after `destroy` that it finds nothing; so it must find something now."""
    kinds = {name.split(":")[0] for name in left_over(applied)}
    assert kinds == {
        *("alarm", "bucket", "budget", "compute environment", "instance profile"),
        *("job definition", "job queue", "launch template", "log group", "policy", "repository"),
        *("role", "rule", "security group", "topic", "vpc"),
    }


def test_provider_is_looked_for_where_the_variable_says(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """FTM_TERRAFORM_PLUGINS wins over the usual folders."""
    from tests.support.terraform_moto import plugin_folders

    monkeypatch.setenv("FTM_TERRAFORM_PLUGINS", str(tmp_path))
    assert plugin_folders() == [tmp_path]
    monkeypatch.delenv("FTM_TERRAFORM_PLUGINS")
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".terraform.d/plugins/host/hashicorp/aws").mkdir(parents=True)
    assert plugin_folders()[0] == tmp_path / ".terraform.d/plugins"
