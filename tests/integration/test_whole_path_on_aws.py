"""From WRDS to themes on what Terraform made: every step the command a user types."""

from __future__ import annotations

import json
import os
from pathlib import Path
from urllib.parse import parse_qs, unquote

import pytest

from ftm.core.quarter import Quarter
from ftm.core.schemas import DATASETS, PROCESSED_TABLES
from ftm.jobs.local import inherited
from ftm.storage.object_store import ObjectStore, open_store
from ftm.storage.parquet import from_bytes
from ftm.storage.run_reader import iter_parts, list_runs
from tests.support.batch_jobs import Job
from tests.support.batch_service import BatchService
from tests.support.cli import run_ftm
from tests.support.demo_quarter import DemoQuarter
from tests.support.iam_policies import allows
from tests.support.s3_server import CREDENTIALS
from tests.support.terraform_moto import Applied, role_documents

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("terraform")]

QUARTER = Quarter.parse("2023Q1")
MAP_ROLE, STAGE_ROLE = "the-map-role", "the-stage-role"
"""Access keys of the jobs' processes, to tell their requests from ours."""

RUN = ("run-quarter", "--quarter", "2023Q1", "--batch-size", "5", "--device", "cpu")


class Roles(BatchService):
    """A service whose jobs have their role's key, and the secret that moto does not hold."""

    def secrets_of(self, job: Job) -> dict[str, str]:
        """By the job definition."""
        if "-map-" in job.definition["jobDefinitionName"]:
            return {"AWS_ACCESS_KEY_ID": MAP_ROLE}
        return {"AWS_ACCESS_KEY_ID": STAGE_ROLE, "LLM_API_KEY": "of-no-use"}


def tables(store: ObjectStore, backend: str) -> dict[str, object]:
    """What the tables of a backend's run hold, but for the run and its time."""
    (run,) = [r for r in list_runs(store, QUARTER) if r.spec.backend == backend]
    found = {}
    for name in PROCESSED_TABLES:
        table = from_bytes(store.get(run.layout.processed(name)), DATASETS[name])
        own = {"run_id", "processing_timestamp"} & set(table.column_names)
        found[name] = table.drop_columns(own)
    return found


def parts(store: ObjectStore, backend: str) -> list[tuple[str, str, object]]:
    """What the parts of a backend's run hold, but for the time the run began."""
    (run,) = [r for r in list_runs(store, QUARTER) if r.spec.backend == backend]
    return [
        (dataset, batch, table.drop_columns(set(table.column_names) & {"processing_timestamp"}))
        for dataset in ("firm-topics", "firm-sentences")
        for batch, table in iter_parts(store, run, dataset)
    ]


def requests_of_jobs(applied: Applied, role: str) -> list[tuple[str, str, dict[str, str]]]:
    """(action, resource, condition keys) of every request to S3 that a role's jobs made."""
    found = []
    for request in applied.server.traffic:
        if request.key_id != role or request.path.startswith("/v1/"):
            continue
        bucket, _, key = unquote(request.path).lstrip("/").partition("/")
        if key:
            action = {"GET": "s3:GetObject", "HEAD": "s3:GetObject", "PUT": "s3:PutObject"}.get(
                request.method, f"s3:{request.method}"
            )
            found.append((action, f"arn:aws:s3:::{bucket}/{key}", {}))
        else:
            (prefix,) = parse_qs(request.query).get("prefix", [""])
            found.append(("s3:ListBucket", f"arn:aws:s3:::{bucket}", {"s3:prefix": prefix}))
    return found


def test_from_wrds_to_themes_on_what_terraform_made(
    applied: Applied, demo_quarter: DemoQuarter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Apply → config → prefetch over HTTP → run-quarter: the local backend's tables, row for row.

    And the roles that Terraform made for jobs allow every request that theirs were.
    """
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    outputs = tmp_path / "outputs.json"
    outputs.write_text(json.dumps({k: {"value": v} for k, v in applied.outputs.items()}))
    aws = {**CREDENTIALS, "AWS_ENDPOINT_URL": applied.server.url, "FTM_POLL_S": "0.2"}
    # Topics of the noop models make no themes of two firms.
    aws |= {"FTM_THEME_MIN_FIRMS": "1", "FTM_THEME_MAX_FIRM_SHARE": "1"}
    del aws["AWS_DEFAULT_REGION"]  # ftm.toml says it

    def ftm(*arguments: str, **variables: str) -> str:
        done = run_ftm(*arguments, cwd=tmp_path, limit_s=240, **{**aws, **variables})
        assert done.returncode == 0, done.stderr
        return done.stdout

    ftm("config", "from-terraform", str(outputs), "--compute", "cpu")
    ftm("prefetch", "--quarter", "2023Q1", "--chunk-size", "5", **demo_quarter.environment())
    jobs = {**CREDENTIALS, "AWS_ENDPOINT_URL": applied.server.url}
    applied.server.traffic.clear()
    with Roles(applied.server, environment={**inherited(os.environ), **jobs}) as service:
        summary = json.loads(ftm(*RUN, "--backend", "batch", "--json"))
        parent, *later = service.parents()
        told = ftm("logs", "--quarter", "2023Q1", "--batch", "0")
    for role, output in ((MAP_ROLE, "map_role_arn"), (STAGE_ROLE, "stage_role_arn")):
        asked = requests_of_jobs(applied, role)
        documents = role_documents(applied, applied.outputs[output].rpartition("/")[2])
        assert {a for a, _, _ in asked} == {"s3:GetObject", "s3:PutObject", "s3:ListBucket"}
        for action, resource, context in asked:
            assert allows(documents, action, resource, context), (action, resource, context)
    assert [job.command[-1] for job in later] == ["reduce", "name", "package"]
    assert summary["n_batches"] == len(parent.children) > 1
    assert parent.definition["jobDefinitionArn"] == applied.outputs["cpu_job_definition"]
    assert "INFO ftm " in told
    ftm(*RUN, "--no-publish")
    store = open_store(applied.outputs["store_url"], endpoint_url=applied.server.url)
    assert parts(store, "batch") == parts(store, "local")
    assert tables(store, "batch") == tables(store, "local")
    assert summary["diagnosis"]["n_themes"] > 0
    assert len(parts(store, "batch")) >= 2 * summary["n_batches"]
