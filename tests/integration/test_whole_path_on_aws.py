"""From WRDS to topics on what Terraform made: every step the command a user types."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ftm.analysis.run_reader import iter_parts, list_runs
from ftm.core.quarter import Quarter
from ftm.storage.object_store import ObjectStore, open_store
from tests.support.batch_service import BatchService
from tests.support.cli import run_ftm
from tests.support.demo_quarter import DemoQuarter
from tests.support.s3_server import CREDENTIALS
from tests.support.terraform_moto import Applied

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("terraform")]

QUARTER = Quarter.parse("2023Q1")
RUN = ("run-quarter", "--quarter", "2023Q1", "--batch-size", "5", "--device", "cpu")


def parts(store: ObjectStore, backend: str) -> list[tuple[str, str, object]]:
    """What the parts of a backend's run hold, but for the time the run began."""
    (run,) = [r for r in list_runs(store, QUARTER) if r.spec.backend == backend]
    return [
        (dataset, batch, table.drop_columns(set(table.column_names) & {"processing_timestamp"}))
        for dataset in ("firm-topics", "firm-sentences")
        for batch, table in iter_parts(store, run, dataset)
    ]


def test_from_wrds_to_topics_on_what_terraform_made(
    applied: Applied, demo_quarter: DemoQuarter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Apply → config → prefetch over HTTP → run-quarter: the local backend's parts, row for row."""
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    outputs = tmp_path / "outputs.json"
    outputs.write_text(json.dumps({k: {"value": v} for k, v in applied.outputs.items()}))
    aws = {**CREDENTIALS, "AWS_ENDPOINT_URL": applied.server.url, "FTM_POLL_S": "0.2"}
    del aws["AWS_DEFAULT_REGION"]  # ftm.toml says it

    def ftm(*arguments: str, **variables: str) -> str:
        done = run_ftm(*arguments, cwd=tmp_path, limit_s=240, **{**aws, **variables})
        assert done.returncode == 0, done.stderr
        return done.stdout

    ftm("config", "from-terraform", str(outputs), "--compute", "cpu")
    ftm("prefetch", "--quarter", "2023Q1", "--chunk-size", "5", **demo_quarter.environment())
    with BatchService(applied.server) as service:
        summary = json.loads(ftm(*RUN, "--backend", "batch", "--json"))
        (parent,) = service.parents()
        told = ftm("logs", "--quarter", "2023Q1", "--batch", "0")
    assert summary["n_batches"] == len(parent.children) > 1
    assert parent.definition["jobDefinitionArn"] == applied.outputs["cpu_job_definition"]
    assert "INFO ftm " in told
    ftm(*RUN, "--no-publish")
    store = open_store(applied.outputs["store_url"], endpoint_url=applied.server.url)
    assert parts(store, "batch") == parts(store, "local")
    assert len(parts(store, "batch")) >= 2 * summary["n_batches"]
