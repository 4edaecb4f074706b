"""`ftm config from-terraform`: Terraform's outputs into ftm.toml."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from ftm.core.settings import Settings
from tests.support.cli import ftm_environment, run_ftm
from tests.support.s3_server import CREDENTIALS
from tests.support.terraform_moto import ACCOUNT, REGION, ROOT, Applied

BATCH = f"arn:aws:batch:{REGION}:{ACCOUNT}"
OUTPUTS = {
    "bucket": "ftm-main-0123",
    "store_url": "s3://ftm-main-0123/team/store",
    "aws_region": REGION,
    "cpu_queue": f"{BATCH}:job-queue/ftm-main-cpu",
    "cpu_job_definition": f"{BATCH}:job-definition/ftm-main-map-cpu:3",
    "gpu_queue": f"{BATCH}:job-queue/ftm-main-gpu",
    "gpu_job_definition": f"{BATCH}:job-definition/ftm-main-map-gpu:3",
    "log_group": "/ftm/main/jobs",
}
KEYS = ("store", "aws_region", "batch_queue", "batch_job_definition")


def printed(*, without: tuple[str, ...] = (), **other: Any) -> str:
    """What `terraform output -json` prints; outputs that are null are left out."""
    chosen = {name: value for name, value in {**OUTPUTS, **other}.items() if name not in without}
    return json.dumps(
        {n: {"sensitive": False, "type": "string", "value": v} for n, v in chosen.items()}
    )


def from_terraform(
    folder: Path, *arguments: str, outputs: str | None = None, **variables: str
) -> subprocess.CompletedProcess[str]:
    """The command in a folder, with these outputs in a file there."""
    given = list(arguments)
    if outputs is not None:
        (folder / "outputs.json").write_text(outputs)
        given.insert(0, "outputs.json")
    return run_ftm("config", "from-terraform", *given, cwd=folder, **variables)


def written(folder: Path) -> dict[str, Any]:
    """What ftm.toml holds."""
    return tomllib.loads((folder / "ftm.toml").read_text("utf-8"))


def test_outputs_become_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Store, region, GPU queue and job definition, as Settings reads them."""
    done = from_terraform(tmp_path, outputs=printed())
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "wrote ftm.toml"
    assert written(tmp_path) == {
        "store": OUTPUTS["store_url"],
        "aws_region": REGION,
        "batch_queue": OUTPUTS["gpu_queue"],
        "batch_job_definition": OUTPUTS["gpu_job_definition"],
    }
    monkeypatch.chdir(tmp_path)
    for name in ("FTM_STORE", "AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    assert {key: getattr(Settings.load(), key) for key in KEYS} == written(tmp_path)


def test_cpu_is_taken_if_asked_for_or_alone(tmp_path: Path) -> None:
    """--compute decides; without, a GPU queue does."""
    assert from_terraform(tmp_path, "--compute", "cpu", outputs=printed()).returncode == 0
    assert written(tmp_path)["batch_queue"] == OUTPUTS["cpu_queue"]
    (tmp_path / "ftm.toml").unlink()
    no_gpu = printed(without=("gpu_queue", "gpu_job_definition"))
    assert from_terraform(tmp_path, outputs=no_gpu).returncode == 0
    assert written(tmp_path)["batch_job_definition"] == OUTPUTS["cpu_job_definition"]


def test_stages_after_map_get_the_queue_without_gpus(tmp_path: Path) -> None:
    """Their job definition where there is one; their queue only where it is another one."""
    told = json.loads(printed())
    told["stage_job_definition"] = {"value": "arn:aws:batch:x:1:job-definition/ftm-stages:3"}
    assert from_terraform(tmp_path, outputs=json.dumps(told)).returncode == 0
    found = written(tmp_path)
    assert found["batch_stage_job_definition"] == told["stage_job_definition"]["value"]
    assert (found["batch_queue"], found["batch_stage_queue"]) == (
        OUTPUTS["gpu_queue"],
        OUTPUTS["cpu_queue"],
    )
    (tmp_path / "ftm.toml").unlink()
    from_terraform(tmp_path, "--compute", "cpu", outputs=json.dumps(told))
    assert "batch_stage_queue" not in written(tmp_path)


def test_stdin_and_other_encodings_are_read(tmp_path: Path) -> None:
    """`-` is stdin; a file that PowerShell wrote is UTF-16."""
    command = [sys.executable, "-m", "ftm.cli.main", "config", "from-terraform", "-"]
    done = subprocess.run(
        command,
        input=printed(),
        cwd=tmp_path,
        env=ftm_environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    first = written(tmp_path)
    (tmp_path / "outputs.json").write_bytes(printed().encode("utf-16"))
    assert from_terraform(tmp_path, "outputs.json").returncode == 0
    assert written(tmp_path) == first


def test_what_else_is_in_the_file_stays(tmp_path: Path) -> None:
    """Other keys, comments and the file's mode; values that are equal already are no matter."""
    path = tmp_path / "ftm.toml"
    path.write_text(f'# of our lab\nseed = 7  # lucky\naws_region = "{REGION}"\n')
    path.chmod(0o640)
    assert from_terraform(tmp_path, outputs=printed()).returncode == 0
    assert path.read_text().startswith(f'# of our lab\nseed = 7  # lucky\naws_region = "{REGION}"')
    assert written(tmp_path)["seed"] == 7
    assert written(tmp_path)["batch_queue"] == OUTPUTS["gpu_queue"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    again = path.read_bytes()
    assert from_terraform(tmp_path, outputs=printed()).returncode == 0
    assert path.read_bytes() == again
    assert sorted(each.name for each in tmp_path.iterdir()) == ["ftm.toml", "outputs.json"]


def test_other_values_are_replaced_by_force_only(tmp_path: Path) -> None:
    """Both are shown, nothing is written; --force takes Terraform's and keeps the rest."""
    path = tmp_path / "ftm.toml"
    path.write_text('store = "s3://mine"\nseed = 7\n')
    before = path.read_text()
    done = from_terraform(tmp_path, outputs=printed())
    assert (done.returncode, done.stdout) == (1, "")
    assert "store is 's3://mine', Terraform says 's3://ftm-main-0123/team/store'" in done.stderr
    assert "--force" in done.stderr
    assert path.read_text() == before
    assert from_terraform(tmp_path, "--force", outputs=printed()).returncode == 0
    assert written(tmp_path)["store"] == OUTPUTS["store_url"]
    assert written(tmp_path)["seed"] == 7


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('"store" = "s3://mine"\n', "cannot be edited"),
        ("[table]\nx = 1\n", "cannot be edited"),
        ("store = \n", "is not TOML"),
    ],
)
def test_a_file_that_cannot_be_edited_is_left_alone(tmp_path: Path, text: str, words: str) -> None:
    """Said, with the lines to write by hand where that helps."""
    (tmp_path / "ftm.toml").write_text(text)
    done = from_terraform(tmp_path, "--force", outputs=printed())
    assert done.returncode == 1
    assert words in done.stderr
    assert (tmp_path / "ftm.toml").read_text() == text


@pytest.mark.parametrize(
    ("arguments", "outputs", "words"),
    [
        ([], "{}", "nothing is applied yet; run `terraform apply`"),
        ([], "Warning: No outputs found", "holds no JSON"),
        ([], '{"store_url": "s3://b"}', "is not what `terraform output -json` prints"),
        ([], printed(without=("store_url",)), "the outputs lack 'store_url'"),
        ([], printed(without=("cpu_job_definition", "gpu_job_definition")), "there is no image"),
        (["--compute", "gpu"], printed(without=("gpu_queue",)), "Use `--compute cpu`"),
        ([], printed(aws_region=7), "should be a text"),
    ],
)
def test_outputs_that_do_not_do(
    tmp_path: Path, arguments: list[str], outputs: str, words: str
) -> None:
    """One line: what is wrong and what to do; no file is written."""
    done = from_terraform(tmp_path, *arguments, outputs=outputs)
    assert done.returncode == 1
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "ftm.toml").exists()


def test_an_unknown_compute_is_wrong_usage(tmp_path: Path) -> None:
    """Exit 2, and what there is."""
    done = from_terraform(tmp_path, "--compute", "tpu", outputs=printed())
    assert done.returncode == 2
    assert "'tpu' is not one of 'gpu', 'cpu'" in done.stderr


def test_terraform_that_is_not_there_or_fails(tmp_path: Path) -> None:
    """A folder needs terraform; where it fails, its words are told."""
    (tmp_path / "tf").mkdir()
    done = from_terraform(tmp_path, "tf", PATH="/nonexistent")
    assert done.returncode == 1
    assert "terraform is not installed here" in done.stderr
    assert "terraform output -json > outputs.json" in done.stderr
    fake = tmp_path / "bin" / "terraform"
    fake.parent.mkdir()
    fake.write_text("#!/bin/sh\necho 'Error: Backend initialization required' >&2\nexit 1\n")
    fake.chmod(0o755)
    done = from_terraform(tmp_path, "tf", PATH=f"{fake.parent}:{os.environ['PATH']}")
    assert "Backend initialization required" in done.stderr
    assert "`terraform init`" in done.stderr
    done = from_terraform(tmp_path, "no-such-folder")
    assert "neither a folder with Terraform files nor a file" in done.stderr


def test_a_variable_that_wins_is_told(tmp_path: Path) -> None:
    """ftm.toml is not heard where the environment says otherwise."""
    done = from_terraform(tmp_path, outputs=printed(), FTM_STORE="s3://other")
    assert done.returncode == 0
    assert "FTM_STORE in the environment wins over store in ftm.toml" in done.stderr
    done = from_terraform(tmp_path, "--output", "other.toml", outputs=printed(), FTM_STORE="s3://x")
    assert "wins over" not in done.stderr
    assert (tmp_path / "other.toml").exists()


def test_the_bare_group_shows_its_help(tmp_path: Path) -> None:
    """`ftm config` names its commands."""
    done = run_ftm("config", cwd=tmp_path)
    assert done.returncode == 0
    assert "from-terraform" in done.stdout


@pytest.mark.slow
@pytest.mark.xdist_group("terraform")
def test_what_apply_made_is_in_order(applied: Applied, tmp_path: Path) -> None:
    """ftm.toml from the outputs of a real apply; the doctor misses the image alone.

    Nobody pushed one: Terraform makes the repository only.
    """
    folder = applied.terraform.folder / ROOT
    environment = {**applied.terraform.environment}
    done = from_terraform(tmp_path, str(folder), **environment)
    assert done.returncode == 0, done.stderr
    assert written(tmp_path) == {
        "store": applied.outputs["store_url"],
        "aws_region": REGION,
        "batch_queue": applied.outputs["gpu_queue"],
        "batch_job_definition": applied.outputs["gpu_job_definition"],
        "batch_stage_queue": applied.outputs["cpu_queue"],
        "batch_stage_job_definition": applied.outputs["stage_job_definition"],
    }
    with socket.socket() as wrds:
        wrds.bind(("127.0.0.1", 0))
        wrds.listen()
        done = run_ftm(
            "doctor",
            cwd=tmp_path,
            **CREDENTIALS,
            AWS_ENDPOINT_URL=applied.server.url,
            FTM_WRDS_HOST="127.0.0.1",
            FTM_WRDS_PORT=str(wrds.getsockname()[1]),
            PGPASSFILE="/nonexistent",
        )
    lines = done.stdout.splitlines()
    assert [line.partition(":")[0] for line in lines if line.startswith("✗")] == [
        *("✗ image in ECR", "✗ stage image in ECR"),
    ]
    names = {line[2:].partition(":")[0] for line in lines if line.startswith("✓")}
    assert names >= {
        *("bucket", "reading", "writing", "public access", "versioning", "job queue"),
        *("compute environment", "job definition", "image", "job environment", "job roles"),
        "log group",
    }
    assert sum(line.startswith("✓ compute environment") for line in lines) == 2
    assert any(line.startswith("✓ stage job definition: ftm-main-stages:") for line in lines)
    assert done.returncode == 1
