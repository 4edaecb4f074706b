"""Terraform on moto: apply, read outputs, destroy, with no account and no network.

    with aws_of_terraform(), S3Server() as server:
        terraform = Terraform.copy_to(folder, endpoint_url=server.url)
        terraform.apply(image=IMAGE)
        terraform.outputs()["bucket"]

`aws_of_terraform` adds to moto what version 5 of the AWS provider asks for and moto 5.2 lacks. The
`applied` fixture is the example of `terraform/` made once a session.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.support.s3_server import CREDENTIALS, S3Server

SOURCE = Path(__file__).parents[2] / "terraform"
ROOT = "examples/complete"
REGION = "us-east-1"
ACCOUNT = "123456789012"
"""moto's."""

DIGEST = f"sha256:{'0123456789abcdef' * 4}"
IMAGE = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/ftm-main@{DIGEST}"
GPU_IMAGE = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/ftm-main@{DIGEST[:-4]}beef"
SECRET = f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:llm-key-AbCdEf"

VARIABLES: dict[str, Any] = {
    "image": IMAGE,
    "gpu_image": GPU_IMAGE,
    "intermediate_expiry_days": 90,
    "store_prefix": "team/store",
    "llm": {"api_key_secret_arn": SECRET, "base_url": "https://llm.example.org/v1"},
    "alarm_email": "name@example.org",
    "monthly_budget_usd": 200,
    "force_destroy": True,
}
"""What the `applied` fixture is made with: everything that can be switched on."""

# Otherwise an action moto lacks is asked for again for minutes.
_OVERRIDE = 'provider "aws" {\n  max_retries = 1\n}\n'

_NO_PROVIDER = ("Failed to query available provider packages", "Failed to install provider")


def plugin_folders() -> list[Path]:
    """Folders with the AWS provider: the one FTM_TERRAFORM_PLUGINS names, or the usual ones."""
    if named := os.environ.get("FTM_TERRAFORM_PLUGINS"):
        return [Path(named)]
    usual = [
        Path.home() / ".terraform.d/plugins",
        Path("/usr/local/share/terraform/plugins"),
        Path("/usr/share/terraform/plugins"),
        *sorted(Path("/opt").glob("*")),
    ]
    return [folder for folder in usual if any(folder.glob("*/hashicorp/aws"))]


class TerraformError(AssertionError):
    """A terraform command failed; the text is what it printed."""


@dataclass
class Terraform:
    """A copy of `terraform/` with its own state, initialised.

    Args:
        folder: the copy.
        environment: of every command.
    """

    folder: Path
    environment: dict[str, str] = field(repr=False)

    @classmethod
    def copy_to(cls, folder: Path, *, endpoint_url: str = "") -> Terraform:
        """Copy and initialise; skips the test where terraform or its AWS provider is out of reach.

        Args:
            folder: must not exist.
            endpoint_url: where AWS is; empty for commands that do not ask it.
        """
        if shutil.which("terraform") is None:
            pytest.skip("terraform is not installed")
        left_out = shutil.ignore_patterns(".terraform*", "*.tfstate*", "*.tfvars*", "backend.tf")
        shutil.copytree(SOURCE, folder, ignore=left_out)
        (folder / ROOT / "moto_override.tf").write_text(_OVERRIDE)
        terraform = cls(folder, _environment(endpoint_url))
        terraform._init()
        return terraform

    def run(self, *arguments: str, root: str = ROOT) -> str:
        """Run a command in a folder of the copy and return what it printed.

        Raises:
            TerraformError: it failed.
        """
        done = subprocess.run(
            ["terraform", *arguments],
            cwd=self.folder / root,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=280,
        )
        if done.returncode != 0:
            raise TerraformError(f"terraform {' '.join(arguments)}\n{done.stdout}{done.stderr}")
        return done.stdout

    def apply(self, **variables: Any) -> None:
        """Make everything; the variables are kept for later commands."""
        path = self.folder / ROOT / "test.auto.tfvars.json"
        path.write_text(json.dumps(variables))
        self.run("apply", "-auto-approve", "-input=false", "-no-color", "-parallelism=20")

    def destroy(self) -> None:
        """Remove everything in the state, without a look at whether all of it is still there."""
        options = ("-auto-approve", "-input=false", "-no-color", "-parallelism=20")
        self.run("destroy", "-refresh=false", *options)

    def outputs(self) -> dict[str, str]:
        """The root's outputs; those that are null are left out, as `terraform output` does."""
        printed = json.loads(self.run("output", "-json"))
        return {name: output["value"] for name, output in printed.items()}

    def _init(self) -> None:
        for plugins in [*plugin_folders(), None]:
            options = ["-input=false", "-no-color", "-backend=false"]
            if plugins is not None:
                options.append(f"-plugin-dir={plugins}")
                # A mirror the user configured would win over the folder.
                self.environment["TF_CLI_CONFIG_FILE"] = os.devnull
            else:
                self.environment.pop("TF_CLI_CONFIG_FILE", None)
            try:
                self.run("init", *options)
            except TerraformError as error:
                if not any(text in str(error) for text in _NO_PROVIDER):
                    raise
                continue
            return
        pytest.skip("no AWS provider for terraform here: name its folder in FTM_TERRAFORM_PLUGINS")


@dataclass(frozen=True)
class Applied:
    """The example of `terraform/`, made on moto."""

    terraform: Terraform
    server: S3Server
    outputs: dict[str, str]

    def client(self, service: str) -> Any:
        """A boto3 client of the account in which it was made."""
        import boto3

        return boto3.client(
            service,
            endpoint_url=self.server.url,
            region_name=REGION,
            aws_access_key_id="testing",
            aws_secret_access_key="testing",
        )


_MADE = pytest.StashKey[ExitStack]()


@pytest.fixture(scope="session")
def applied(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Applied]:
    """The example with VARIABLES, made once a session (about a minute).

    Tests that ask for it belong to the xdist group `terraform`, or it is made twice.
    """
    with ExitStack() as stack:
        request.config.stash[_MADE] = stack
        yield stack.enter_context(_example(tmp_path_factory.mktemp("terraform") / "applied"))


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item) -> None:
    """Remove the example after the last test of it.

    At the end of the session, a minute later than all others, nobody would compute beside it.
    """
    if "applied" not in getattr(item, "fixturenames", ()):
        return
    users = [i for i in item.session.items if "applied" in getattr(i, "fixturenames", ())]
    if item is users[-1] and (stack := item.config.stash.get(_MADE, None)):
        stack.close()


@contextmanager
def _example(folder: Path) -> Iterator[Applied]:
    with aws_of_terraform(), S3Server() as server:
        terraform = Terraform.copy_to(folder, endpoint_url=server.url)
        terraform.apply(**VARIABLES)
        made = Applied(terraform, server, terraform.outputs())
        yield made
        # An object, and one deleted: `destroy` has to empty the bucket of versions and markers too.
        s3, bucket = made.client("s3"), made.outputs["bucket"]
        s3.put_object(Bucket=bucket, Key="kept", Body=b"kept")
        s3.put_object(Bucket=bucket, Key="deleted", Body=b"deleted")
        s3.delete_object(Bucket=bucket, Key="deleted")
        terraform.destroy()
        assert left_over(made) == []


def role_documents(applied: Applied, role: str) -> list[dict[str, Any]]:
    """All policies of a role, inline and attached."""
    iam = applied.client("iam")
    inline = iam.list_role_policies(RoleName=role)["PolicyNames"]
    documents = [
        iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"] for name in inline
    ]
    attached = iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"]
    return documents + [policy_document(applied, policy["PolicyArn"]) for policy in attached]


def policy_document(applied: Applied, arn: str) -> dict[str, Any]:
    """The policy's default version."""
    iam = applied.client("iam")
    version = iam.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"]
    return dict(
        iam.get_policy_version(PolicyArn=arn, VersionId=version)["PolicyVersion"]["Document"]
    )


def left_over(applied: Applied) -> list[str]:
    """Everything in the account with the example's name or tag, as `kind:name`."""
    asked = applied.client
    batch, ec2, iam = asked("batch"), asked("ec2"), asked("iam")
    tagged = [{"Name": "tag:project", "Values": ["ftm"]}]
    found = {
        "alarm": [a["AlarmName"] for a in asked("cloudwatch").describe_alarms()["MetricAlarms"]],
        "bucket": [b["Name"] for b in asked("s3").list_buckets()["Buckets"]],
        "budget": [
            b["BudgetName"] for b in asked("budgets").describe_budgets(AccountId=ACCOUNT)["Budgets"]
        ],
        "compute environment": [
            e["computeEnvironmentName"]
            for e in batch.describe_compute_environments()["computeEnvironments"]
        ],
        "instance profile": [
            p["InstanceProfileName"] for p in iam.list_instance_profiles()["InstanceProfiles"]
        ],
        "job definition": [
            d["jobDefinitionName"]
            for d in batch.describe_job_definitions(status="ACTIVE")["jobDefinitions"]
        ],
        "job queue": [q["jobQueueName"] for q in batch.describe_job_queues()["jobQueues"]],
        "launch template": [
            t["LaunchTemplateName"] for t in ec2.describe_launch_templates()["LaunchTemplates"]
        ],
        "log group": [
            g["logGroupName"].rpartition("/")[2]
            for g in asked("logs").describe_log_groups()["logGroups"]
        ],
        "policy": [p["PolicyName"] for p in iam.list_policies(Scope="Local")["Policies"]],
        "repository": [
            r["repositoryName"] for r in asked("ecr").describe_repositories()["repositories"]
        ],
        "role": [r["RoleName"] for r in iam.list_roles()["Roles"]],
        "rule": [r["Name"] for r in asked("events").list_rules()["Rules"]],
        "security group": [
            g["GroupName"] for g in ec2.describe_security_groups()["SecurityGroups"]
        ],
        "topic": [t["TopicArn"].rpartition(":")[2] for t in asked("sns").list_topics()["Topics"]],
    }
    named = [
        f"{kind}:{name}"
        for kind, names in found.items()
        for name in names
        if name.startswith("ftm-main")
    ]
    return named + [f"vpc:{v['VpcId']}" for v in ec2.describe_vpcs(Filters=tagged)["Vpcs"]]


def _environment(endpoint_url: str) -> dict[str, str]:
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "TF_"))}
    own = {"AWS_REGION": REGION, "CHECKPOINT_DISABLE": "1", "TF_IN_AUTOMATION": "1"}
    # A third of the provider's computing is the collection of a garbage that never fills memory.
    own["GOGC"] = "400"
    if endpoint_url:
        own["AWS_ENDPOINT_URL"] = endpoint_url
    return {**inherited, **CREDENTIALS, **own}


@contextmanager
def aws_of_terraform() -> Iterator[None]:
    """moto with what it lacks, until the end of the block."""
    with pytest.MonkeyPatch.context() as patch:
        _add_ecs_instance_policy(patch)
        _make_service_linked_role(patch)
        _keep_time_limit_actions(patch)
        _answer_for_budgets(patch)
        _obey_conditions_of_bucket_policies(patch)
        _dispose_of_delete_markers(patch)
        yield


def _add_ecs_instance_policy(patch: pytest.MonkeyPatch) -> None:
    """AWS's own policy for ECS instances; moto has all of AWS's or none, and all take seconds."""
    from moto.iam.models import AWSManagedPolicy, iam_backends

    name = "AmazonEC2ContainerServiceforEC2Role"
    data = {
        "Arn": f"arn:aws:iam::aws:policy/service-role/{name}",
        "Path": "/service-role/",
        "CreateDate": "2015-03-19T18:45:18+00:00",
        "UpdateDate": "2023-03-06T22:19:04+00:00",
        "DefaultVersionId": "v7",
        "Document": {"Version": "2012-10-17", "Statement": []},
    }
    policy = AWSManagedPolicy.from_data(name, ACCOUNT, "aws", data)
    patch.setitem(iam_backends[ACCOUNT]["aws"].managed_policies, policy.arn, policy)


def _make_service_linked_role(patch: pytest.MonkeyPatch) -> None:
    """Batch without a service role takes its service-linked role, where moto refuses."""
    from moto.batch.models import BatchBackend
    from moto.iam.models import iam_backends

    service, name = "batch.amazonaws.com", "AWSServiceRoleForBatch"
    backend = iam_backends[ACCOUNT]["aws"]
    roles = {role.name: role for role in backend.get_roles()}
    role = roles.get(name) or backend.create_role(
        *(name, "{}", f"/aws-service-role/{service}/", None, "", [], "3600"), linked_service=service
    )
    original = BatchBackend.create_compute_environment

    def create(self: Any, *args: Any, service_role: str | None, **kwargs: Any) -> Any:
        return original(self, *args, service_role=service_role or role.arn, **kwargs)

    patch.setattr(BatchBackend, "create_compute_environment", create)


def _keep_time_limit_actions(patch: pytest.MonkeyPatch) -> None:
    """A job queue tells the jobStateTimeLimitActions it was made with."""
    from moto.batch.models import JobQueue
    from moto.batch.responses import BatchResponse

    create, update, describe = (
        BatchResponse.createjobqueue,
        BatchResponse.updatejobqueue,
        JobQueue.describe,
    )

    def remember(response: Any, answer: str) -> str:
        actions = response._get_param("jobStateTimeLimitActions")
        if actions is not None:
            queue = response.batch_backend.get_job_queue(json.loads(answer)["jobQueueArn"])
            queue.time_limit_actions = actions
        return answer

    patch.setattr(BatchResponse, "createjobqueue", lambda self: remember(self, create(self)))
    patch.setattr(BatchResponse, "updatejobqueue", lambda self: remember(self, update(self)))
    patch.setattr(
        JobQueue,
        "describe",
        lambda self: {
            **describe(self),
            "jobStateTimeLimitActions": getattr(self, "time_limit_actions", []),
        },
    )


def _answer_for_budgets(patch: pytest.MonkeyPatch) -> None:
    """Subscribers of a budget's notifications, and tags (none)."""
    from moto.budgets.responses import BudgetsResponse

    def subscribers(self: Any) -> str:
        budget = self.backend.budgets[self._get_param("AccountId")][self._get_param("BudgetName")]
        asked = self._get_param("Notification")
        same = ("NotificationType", "Threshold")
        found = [n for n in budget.notifications if all(n.details[k] == asked[k] for k in same)]
        return json.dumps({"Subscribers": found[0].subscribers if found else []})

    def no_tags(_self: Any) -> str:
        return json.dumps({"ResourceTags": []})

    def nothing(_self: Any) -> str:
        return "{}"

    name = "describe_subscribers_for_notification"
    patch.setattr(BudgetsResponse, name, subscribers, raising=False)
    patch.setattr(BudgetsResponse, "list_tags_for_resource", no_tags, raising=False)
    patch.setattr(BudgetsResponse, "tag_resource", nothing, raising=False)
    patch.setattr(BudgetsResponse, "untag_resource", nothing, raising=False)


def _obey_conditions_of_bucket_policies(patch: pytest.MonkeyPatch) -> None:
    """A statement whose condition does not match says nothing; moto takes it for a Deny.

    Requests to moto go over HTTP and are taken for HTTPS here: the policy that denies plain HTTP
    is evaluated in a test of its own.
    """
    from moto.iam.access_control import IAMPolicy, PermissionResult
    from moto.s3.models import FakeBucket

    def get_permission(self: Any, action: str, resource: str) -> PermissionResult:
        document = json.loads(self.policy) if self.policy else {"Statement": []}
        held = [s for s in document["Statement"] if "aws:SecureTransport" not in json.dumps(s)]
        if not held:
            return PermissionResult.NEUTRAL
        policy = IAMPolicy(json.dumps({**document, "Statement": held}))
        return policy.is_action_permitted(action, resource)

    patch.setattr(FakeBucket, "get_permission", get_permission)


def _dispose_of_delete_markers(patch: pytest.MonkeyPatch) -> None:
    """Emptying a bucket with versions fails in moto at the first delete marker."""
    from moto.s3.models import FakeDeleteMarker

    patch.setattr(FakeDeleteMarker, "dispose", lambda _self: None, raising=False)
