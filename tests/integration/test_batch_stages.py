"""Reduce, name and package as jobs of AWS Batch: what they write, and how they are come back to."""

from __future__ import annotations

import json
import signal

import pytest

from ftm.core.layout import RunLayout
from ftm.storage.object_store import ObjectStore
from ftm.storage.run_records import decode_job
from tests.support.batch import Cluster
from tests.support.batch_jobs import Job
from tests.support.batch_runs import RUN, layout_of, wait_until
from tests.support.cli import run_ftm, start_ftm

STAGES = ["map", "reduce", "name", "package"]
HERE = "reduce, name and package run here; FTM_BATCH_STAGE_JOB_DEFINITION runs them in AWS Batch"
EVERY_GROUP = {"FTM_THEME_MIN_FIRMS": "1", "FTM_THEME_MAX_FIRM_SHARE": "1"}
"""Of topics is a theme: topics of the noop models make none otherwise."""
SECRET = "sk-do-not-tell-4711"


@pytest.fixture
def store(batch_store: ObjectStore) -> ObjectStore:
    """Seven firms in three chunks, in a bucket."""
    return batch_store


@pytest.fixture
def stages(cluster: Cluster, batch_variables: dict[str, str]) -> dict[str, str]:
    """The environment of a researcher whose later stages are jobs, too."""
    definition = cluster.service.define_job(LLM_MODEL_NAME="some-model")
    return {**batch_variables, **EVERY_GROUP, "FTM_BATCH_STAGE_JOB_DEFINITION": definition}


def jobs(cluster: Cluster) -> list[str]:
    """The stage of everything submitted, in order."""
    return [stage_of(job) for job in cluster.service.parents()]


def stage_of(job: Job) -> str:
    """What its worker was to do."""
    return str(job.request["containerOverrides"]["command"][-1])


def told(job: Job) -> dict[str, str]:
    """What a job was told by its overrides."""
    return {v["name"]: v["value"] for v in job.request["containerOverrides"]["environment"]}


def made(store: ObjectStore, layout: RunLayout) -> dict[str, bytes]:
    """Every table of the run, by its file."""
    keys = [info.key for info in store.list(layout.processed_root)]
    return {key.rpartition("/")[2]: store.get(key) for key in keys}


def forget_stages(store: ObjectStore, layout: RunLayout) -> None:
    """As if nothing had been done after map."""
    folders = [f"{layout.progress_root}/stages", layout.processed_root]
    folders += [f"intermediate/{stage}" for stage in ("reduce", "name")]
    for folder in folders:
        for info in store.list(folder):
            store.delete(info.key)


def test_stages_as_jobs_make_the_tables_that_they_make_here(
    cluster: Cluster, store: ObjectStore, stages: dict[str, str], batch_variables: dict[str, str]
) -> None:
    """One job each, in order; the same bytes as in the command's process; then nothing to do."""
    done = run_ftm(*RUN, "--json", **{**stages, "LLM_API_KEY": SECRET})
    assert done.returncode == 0, done.stderr
    assert jobs(cluster) == STAGES
    assert "reduce: 1 succeeded; 0.0" in done.stderr
    assert HERE not in done.stderr
    layout = layout_of(store)
    tables = made(store, layout)
    assert len(tables) == 9
    assert json.loads(done.stdout)["diagnosis"]["n_themes"] > 0
    again = run_ftm(*RUN, **stages)
    assert "already complete, nothing to do" in again.stdout, again.stderr
    assert jobs(cluster) == STAGES
    for job in cluster.service.parents():
        assert SECRET not in json.dumps(job.request)
        assert told(job).get("LLM_MODEL_NAME") == {"name": "some-model"}.get(stage_of(job))
        assert ("FTM_THEME_RESOLUTION" in told(job)) == (stage_of(job) == "reduce")

    forget_stages(store, layout)
    here = run_ftm(*RUN, **batch_variables, **EVERY_GROUP)
    assert here.returncode == 0, here.stderr
    assert here.stderr.count(HERE) == 1
    assert jobs(cluster) == STAGES
    assert made(store, layout) == tables


def test_no_wait_then_watch_goes_through_all_stages(
    cluster: Cluster, store: ObjectStore, stages: dict[str, str]
) -> None:
    """From elsewhere, with what the first command was asked: its flags are on record."""
    asked = (*RUN, "--no-wait", "--theme-resolution", "8")
    assert run_ftm(*asked, **stages).returncode == 0
    assert jobs(cluster) == ["map"]
    watched = run_ftm("watch", "--quarter", "2023Q1", "--json", **stages)
    assert watched.returncode == 0, watched.stderr
    assert jobs(cluster) == STAGES
    assert json.loads(watched.stdout)["last_stage"] == "package"
    assert told(cluster.service.parents()[1])["FTM_THEME_RESOLUTION"] == "8.0"
    logged = run_ftm("logs", "--quarter", "2023Q1", "--stage", "package", **stages)
    assert "INFO package: 9 tables" in logged.stdout, logged.stderr


def test_no_wait_submits_the_next_stage(
    cluster: Cluster, store: ObjectStore, stages: dict[str, str]
) -> None:
    """Each command one stage further; watching comes back to the one that runs, or cancels it."""
    run_ftm(*RUN, "--to", "map", **stages)
    cluster.service.is_frozen = True
    done = run_ftm(*RUN, "--no-wait", **stages)
    assert "submitted stage reduce" in done.stdout, done.stderr
    assert "submitted stage reduce" in run_ftm(*RUN, "--no-wait", **stages).stdout
    assert jobs(cluster) == ["map", "reduce"]
    assert "not seen to end" in run_ftm("status", "--quarter", "2023Q1", **stages).stdout
    ended = run_ftm("cancel", "--quarter", "2023Q1", **stages)
    assert "its jobs have ended (1 cancelled)" in ended.stdout, ended.stderr
    cluster.service.thaw()
    assert run_ftm(*RUN, "--to", "reduce", **stages).returncode == 0
    assert jobs(cluster) == ["map", "reduce", "reduce"]


def test_killed_while_reduce_runs_the_rerun_takes_its_job(
    cluster: Cluster, store: ObjectStore, stages: dict[str, str]
) -> None:
    """SIGKILL of the command ends no job, and the next command submits no second one."""
    run_ftm(*RUN, "--to", "map", **stages)
    cluster.service.is_frozen = True
    process = start_ftm(*RUN, **stages)
    wait_until(lambda: jobs(cluster) == ["map", "reduce"])
    process.send_signal(signal.SIGKILL)
    process.communicate()
    layout = layout_of(store)
    record = decode_job(store.get(layout.jobs("reduce", 1)), key=layout.jobs("reduce", 1))
    assert record.name.endswith("-reduce-1")
    # Nobody carries the run any more; its lease would be waited for until it expires.
    store.delete(layout.lease)
    cluster.service.thaw()
    done = run_ftm(*RUN, "--to", "reduce", **stages)
    assert done.returncode == 0, done.stderr
    assert jobs(cluster) == ["map", "reduce"]
    assert store.exists(layout.outcome("reduce", 1))


def test_a_stage_that_fails_is_explained_and_tried_again(
    cluster: Cluster, store: ObjectStore, stages: dict[str, str]
) -> None:
    """Out of memory in words, with the log; the next command submits it again."""
    run_ftm(*RUN, "--to", "map", **stages)
    cluster.service.faults[None] = ["oom"]
    failed = run_ftm(*RUN, **stages)
    assert failed.returncode == 1
    last = failed.stderr.splitlines()[-1]
    assert last.startswith("ftm: stage reduce of run ")
    assert "out of memory (exit 137)" in last
    assert "(log: /aws/batch/job:" in last
    assert run_ftm(*RUN, "--to", "reduce", **stages).returncode == 0
    assert jobs(cluster) == ["map", "reduce", "reduce"]
