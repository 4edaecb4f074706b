"""`ftm doctor` on a moto server: account, bucket, AWS Batch; and what it must never show."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.batch import Cluster
from tests.support.batch_service import IMAGE, REGION, BatchService
from tests.support.cli import run_ftm
from tests.support.doctor import Doctor
from tests.support.postgres import PostgresServer
from tests.support.s3_server import CREDENTIALS, Answer, Bucket, S3Server, error
from tests.support.terraform_moto import ACCOUNT

BLOCKED = dict.fromkeys(
    ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"), True
)
ROLE = f"arn:aws:iam::{ACCOUNT}:role/ftm-map"
NO_KEYS = dict.fromkeys(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"), "")


@pytest.fixture
def closed(s3: Bucket) -> Bucket:
    """A bucket as Terraform makes it: closed to the public, with versions."""
    client = BatchService(s3.server).client("s3")
    client.put_public_access_block(Bucket=s3.name, PublicAccessBlockConfiguration=BLOCKED)
    client.put_bucket_versioning(Bucket=s3.name, VersioningConfiguration={"Status": "Enabled"})
    return s3


def push_image(service: BatchService, repository: str) -> str:
    """An image in ECR; its name with its digest."""
    ecr = service.client("ecr")
    ecr.create_repository(repositoryName=repository)
    kind = "application/vnd.oci.image.manifest.v1+json"
    manifest = {"schemaVersion": 2, "mediaType": kind, "layers": [], "config": {"digest": "none"}}
    pushed = ecr.put_image(
        repositoryName=repository, imageManifest=json.dumps(manifest), imageTag="v1"
    )
    digest = pushed["image"]["imageId"]["imageDigest"]
    return f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/{repository}@{digest}"


def define(service: BatchService, *, data_source: str = "s3", **container: Any) -> str:
    """A job definition like Terraform's, but for what is given; its ARN."""
    chosen = {
        "image": IMAGE,
        "command": ["python", "-m", "ftm.worker", "map"],
        "jobRoleArn": ROLE,
        "environment": [{"name": "DATA_SOURCE", "value": data_source}],
        "resourceRequirements": [
            {"type": "VCPU", "value": "1"},
            {"type": "MEMORY", "value": "512"},
        ],
        **container,
    }
    made = service.client("batch").register_job_definition(
        jobDefinitionName=f"ftm-map-{os.urandom(4).hex()}",
        type="container",
        containerProperties=chosen,
    )
    return str(made["jobDefinitionArn"])


def on(cluster: Cluster, bucket: Bucket, definition: str = "") -> dict[str, str]:
    """Variables of a user with a bucket, a queue and a job definition."""
    given = {**bucket.environment, **cluster.variables}
    return {**given, "FTM_BATCH_JOB_DEFINITION": definition or define(cluster.service)}


# S3


def test_a_bucket_in_order(doctor: Doctor, closed: Bucket) -> None:
    """Identity, region, reading, writing, closed, versions: all in order, and nothing left."""
    found = doctor(**closed.environment)
    assert found.wrong() == set()
    assert found.text("AWS credentials") == "found (env)"
    assert f"account {ACCOUNT}" in found.text("AWS identity")
    assert found.text("AWS region") == "us-east-1"
    assert found.text("bucket") == f"{closed.name} in us-east-1"
    for what in ("reading", "writing", "public access", "versioning"):
        assert found.mark(what) == "ok"
    assert found.mark("AWS Batch") == "skipped"
    listed = BatchService(closed.server).client("s3").list_objects_v2(Bucket=closed.name)
    assert listed["KeyCount"] == 0


def test_a_bucket_that_is_open(doctor: Doctor, s3: Bucket) -> None:
    """No block at all, or one of four settings missing, is a failure with the command to run."""
    found = doctor(**s3.environment)
    assert found.wrong() == {"public access"}
    assert f"put-public-access-block --bucket {s3.name}" in found.text("public access")
    assert found.mark("versioning") == "warning"
    BatchService(s3.server).client("s3").put_public_access_block(
        Bucket=s3.name,
        PublicAccessBlockConfiguration={**BLOCKED, "RestrictPublicBuckets": False},
    )
    found = doctor(**s3.environment)
    assert found.text("public access").startswith("not blocked (RestrictPublicBuckets)")


def test_a_bucket_that_is_not_there(doctor: Doctor, s3: Bucket) -> None:
    """One failure; what needs a bucket says so."""
    found = doctor(**{**s3.environment, "FTM_STORE": "s3://ftm-never-made"})
    assert found.wrong() == {"bucket"}
    assert "there is no bucket 'ftm-never-made'" in found.text("bucket")
    for what in ("reading", "writing", "public access", "versioning"):
        assert found.text(what) == "skipped because bucket failed"


def test_a_bucket_of_another_owner(doctor: Doctor, closed: Bucket) -> None:
    """S3 answers 403 to everything."""

    def refuse(method: str, path: str, ask: Callable[[], Answer]) -> Answer:
        return error("403 Forbidden", "AccessDenied") if closed.name in path else ask()

    closed.server.script = refuse
    found = doctor(**closed.environment)
    assert found.wrong() == {"bucket"}
    assert "belongs to another account" in found.text("bucket")
    assert found.mark("AWS identity") == "ok"


def test_a_bucket_that_hides_its_settings(doctor: Doctor, closed: Bucket) -> None:
    """A role that may use it and not look at it: to know of, no failure."""

    def refuse(method: str, path: str, ask: Callable[[], Answer]) -> Answer:
        asks_settings = method == "GET" and path == f"/{closed.name}" and "list" not in path
        return error("403 Forbidden", "AccessDenied") if asks_settings else ask()

    def without_lists(method: str, path: str, ask: Callable[[], Answer]) -> Answer:
        answer = ask()
        return (
            answer if b"ListBucketResult" in answer.body else refuse(method, path, lambda: answer)
        )

    closed.server.script = without_lists
    found = doctor(**closed.environment)
    assert found.wrong() == set()
    for what in ("bucket", "public access", "versioning"):
        assert found.mark(what) == "warning"
    assert found.mark("writing") == "ok"


def test_a_bucket_that_may_only_be_read(doctor: Doctor, closed: Bucket) -> None:
    """Shown before hours of work, with the rights that are missing."""

    def read_only(method: str, path: str, ask: Callable[[], Answer]) -> Answer:
        return error("403 Forbidden", "AccessDenied") if method == "PUT" else ask()

    closed.server.script = read_only
    found = doctor(**closed.environment)
    assert found.wrong() == {"writing"}
    assert "s3:PutObject" in found.text("writing")
    assert found.mark("reading") == "ok"


def test_a_bucket_in_another_region(doctor: Doctor, closed: Bucket) -> None:
    """Both regions are named, and what to set."""
    found = doctor(**{**closed.environment, "AWS_REGION": "eu-west-1"})
    assert found.wrong() == {"bucket"}
    assert "is in us-east-1, and AWS_REGION is eu-west-1" in found.text("bucket")


def test_no_region(doctor: Doctor, closed: Bucket) -> None:
    """Nothing of AWS can be asked without."""
    found = doctor(**{**closed.environment, "AWS_DEFAULT_REGION": ""})
    assert found.wrong() == {"AWS region"}
    assert found.mark("AWS credentials") == "ok"
    assert found.text("bucket") == "skipped because AWS region failed"


def test_no_credentials_in_a_fresh_process(
    cluster: Cluster, closed: Bucket, quiet: Mapping[str, str], tmp_path: Path
) -> None:
    """Exit 1; one line says what to do, what needs them is skipped, the rest is looked at."""
    done = run_ftm(
        "doctor", cwd=tmp_path, **{**on(cluster, closed), **CREDENTIALS, **quiet, **NO_KEYS}
    )
    assert (done.returncode, done.stderr) == (1, "")
    lines = done.stdout.splitlines()
    assert [line for line in lines if line.startswith("✗")] == [
        line for line in lines if line.startswith("✗ AWS credentials: AWS: no AWS credentials")
    ]
    assert "aws sso login" in done.stdout
    for what in ("AWS identity", "bucket", "writing", "job queue", "image", "log group"):
        assert f"- {what}: skipped because AWS credentials failed" in lines
    assert "✓ AWS region: us-east-1" in lines
    assert any(line.startswith("✓ WRDS host") for line in lines)


# AWS Batch


def test_batch_in_order(doctor: Doctor, cluster: Cluster, closed: Bucket) -> None:
    """Queue, compute environment, job definition, image, environment, roles, log group."""
    image = push_image(cluster.service, f"ftm-{os.urandom(4).hex()}")
    found = doctor(**on(cluster, closed, define(cluster.service, image=image)))
    assert found.wrong() == set()
    for what in (
        *("job queue", "compute environment", "job definition", "image", "image in ECR"),
        *("job environment", "job roles", "log group"),
    ):
        assert found.mark(what) == "ok", found.text(what)


def test_a_queue_that_takes_no_jobs(doctor: Doctor, cluster: Cluster, closed: Bucket) -> None:
    """Disabled and missing ones; the job definition is looked at all the same."""
    queue = cluster.service.make_queue()
    cluster.service.client("batch").update_job_queue(jobQueue=queue, state="DISABLED")
    found = doctor(**{**on(cluster, closed), "FTM_BATCH_QUEUE": queue})
    assert found.wrong() == {"job queue"}
    assert "DISABLED" in found.text("job queue")
    assert found.mark("job definition") == "ok"
    found = doctor(**{**on(cluster, closed), "FTM_BATCH_QUEUE": "no-such-queue"})
    assert "there is no job queue 'no-such-queue' in us-east-1" in found.text("job queue")


def test_a_compute_environment_that_is_disabled(
    doctor: Doctor, cluster: Cluster, closed: Bucket
) -> None:
    """Its queue would take jobs, and never start one."""
    queue = cluster.service.make_queue()
    cluster.service.client("batch").update_compute_environment(
        computeEnvironment=queue, state="DISABLED"
    )
    found = doctor(**{**on(cluster, closed), "FTM_BATCH_QUEUE": queue})
    assert found.wrong() == {"compute environment"}
    assert f"{queue} is DISABLED" in found.text("compute environment")


def test_a_job_definition_that_is_missing(doctor: Doctor, cluster: Cluster, closed: Bucket) -> None:
    """Never made, or not active any more, or not named at all."""
    found = doctor(**on(cluster, closed, "ftm-never-made"))
    assert found.wrong() == {"job definition"}
    assert found.text("log group") == "skipped because job definition failed"
    gone = define(cluster.service)
    cluster.service.client("batch").deregister_job_definition(jobDefinition=gone)
    assert doctor(**on(cluster, closed, gone)).wrong() == {"job definition"}
    found = doctor(**{**on(cluster, closed), "FTM_BATCH_JOB_DEFINITION": ""})
    assert "FTM_BATCH_JOB_DEFINITION is not set" in found.text("job definition")
    assert found.mark("job queue") == "ok"


def test_images_that_are_not_what_they_seem(
    doctor: Doctor, cluster: Cluster, closed: Bucket
) -> None:
    """No digest is to know of; a digest that ECR lacks fails; other registries are not asked."""
    pinned = push_image(cluster.service, f"ftm-{os.urandom(4).hex()}")
    by_tag = pinned.partition("@")[0] + ":v1"
    found = doctor(**on(cluster, closed, define(cluster.service, image=by_tag)))
    assert found.wrong() == set()
    assert (found.mark("image"), found.mark("image in ECR")) == ("warning", "ok")
    gone = f"{pinned.partition('@')[0]}@sha256:{'0' * 64}"
    found = doctor(**on(cluster, closed, define(cluster.service, image=gone)))
    assert found.wrong() == {"image in ECR"}
    no_repository = gone.replace("/ftm-", "/other-")
    found = doctor(**on(cluster, closed, define(cluster.service, image=no_repository)))
    assert found.wrong() == {"image in ECR"}
    found = doctor(**on(cluster, closed, define(cluster.service, image="ghcr.io/me/ftm:1")))
    assert (found.mark("image"), found.mark("image in ECR")) == ("warning", "skipped")


def test_a_definition_that_would_ask_wrds(doctor: Doctor, cluster: Cluster, closed: Bucket) -> None:
    """DATA_SOURCE, the role, a log group that is not there, a secret in the open."""
    definition = define(
        cluster.service,
        data_source="wrds",
        jobRoleArn="",
        logConfiguration={"logDriver": "awslogs", "options": {"awslogs-group": "/no/such"}},
    )
    found = doctor(**on(cluster, closed, definition))
    assert found.wrong() == {"job environment", "job roles", "log group"}
    assert "DATA_SOURCE is 'wrds'" in found.text("job environment")
    assert "there is no /no/such" in found.text("log group")
    environment = [
        {"name": "DATA_SOURCE", "value": "s3"},
        {"name": "LLM_API_KEY", "value": "planted-llm-key"},
    ]
    found = doctor(**on(cluster, closed, define(cluster.service, environment=environment)))
    assert found.marks("job environment") == ["ok", "failed"]
    assert "planted" not in str(found)


def test_batch_with_a_folder_for_a_store(doctor: Doctor, cluster: Cluster, tmp_path: Path) -> None:
    """Containers cannot reach it."""
    found = doctor(**cluster.variables | {"FTM_STORE": f"file://{tmp_path}"})
    assert "store of the jobs" in found.wrong()


@pytest.mark.slow
def test_the_command_tells_no_secret(
    cluster: Cluster,
    closed: Bucket,
    postgres: PostgresServer,
    quiet: dict[str, str],
    tmp_path: Path,
) -> None:
    """Neither as lines nor as JSON, neither when all is well nor when nothing answers."""
    pgpass = tmp_path / "pgpass"
    pgpass.write_text("*:*:*:someone:planted-pgpass\n")
    pgpass.chmod(0o600)
    secrets = {
        "AWS_ACCESS_KEY_ID": "AKIAPLANTEDKEY",
        "AWS_SECRET_ACCESS_KEY": "planted-secret-key",
        "AWS_SESSION_TOKEN": "planted-session-token",
        "LLM_API_KEY": "planted-llm-key",
        "PGPASSFILE": str(pgpass),
        "FTM_WRDS_PORT": str(postgres.port),
        "FTM_WRDS_SSLMODE": "disable",
    }
    environment = [{"name": "LLM_API_KEY", "value": "planted-in-definition"}]
    variables = {**on(cluster, closed, define(cluster.service, environment=environment)), **quiet}
    dead = {
        "AWS_ENDPOINT_URL": "http://me:planted-endpoint@127.0.0.1:9",
        "WRDS_USERNAME": "",
        "WRDS_PASSWORD": "",
    }
    for arguments, given in ((["--wrds"], {}), (["--json", "--wrds"], dead)):
        done = run_ftm("doctor", *arguments, cwd=tmp_path, **{**variables, **secrets, **given})
        assert done.returncode == 1
        assert len(done.stdout) > 500
        assert "planted" not in (done.stdout + done.stderr).lower()


def test_a_server_that_does_not_answer_hides_nothing(doctor: Doctor, s3_server: S3Server) -> None:
    """Every check of AWS says it for itself, in seconds, and the rest is looked at."""
    given = {**CREDENTIALS, "AWS_ENDPOINT_URL": "http://127.0.0.1:9", "FTM_STORE": "s3://bucket"}
    found = doctor(**given)
    assert found.wrong() == {"AWS identity", "bucket"}
    assert "does not answer" in found.text("bucket")
    assert found.mark("text pipeline") == "ok"


def test_the_stages_job_definition_is_looked_at_where_it_is_set(
    doctor: Doctor, cluster: Cluster, closed: Bucket
) -> None:
    """Under a name of its own, with its own fault; without the setting nothing is said of it."""
    without = doctor(**on(cluster, closed))
    assert without.marks("stage job definition") == []
    stages = define(cluster.service, data_source="wrds")
    found = doctor(**on(cluster, closed), FTM_BATCH_STAGE_JOB_DEFINITION=stages)
    assert found.mark("stage job definition") == "ok"
    assert "DATA_SOURCE is 'wrds'" in found.text("stage job environment")
    assert found.mark("job environment") == "ok"
    gone = doctor(**on(cluster, closed), FTM_BATCH_STAGE_JOB_DEFINITION="gone:1")
    assert "correct FTM_BATCH_STAGE_JOB_DEFINITION" in gone.text("stage job definition")
    assert gone.mark("stage job roles") == "skipped"
