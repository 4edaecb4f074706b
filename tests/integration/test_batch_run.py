"""`ftm run-quarter --backend batch`: from the command to the parts, with jobs that run."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time

import pytest

from ftm.analysis.loaders import load_topics
from ftm.core.errors import OrchestratorError
from ftm.core.layout import PrefetchLayout
from ftm.orchestrate.quarter_orchestrator import QuarterOrchestrator
from ftm.orchestrate.run_watch import SilentWatcher
from ftm.storage.object_store import ObjectStore, open_store
from ftm.storage.run_reader import list_runs
from ftm.storage.run_records import decode_batches, decode_outcome
from ftm.wiring import get_orchestrator
from tests.support.batch import Cluster
from tests.support.batch_runs import (
    BATCH,
    LOCAL,
    RUN,
    SECRET,
    layout_of,
    settings_of,
    tables,
    wait_until,
)
from tests.support.business_firms import QUARTER, make_firms
from tests.support.cli import ftm_environment, run_ftm, start_ftm
from tests.support.forge import Started
from tests.support.quarters import write_quarter
from tests.support.s3_server import Bucket


@pytest.fixture
def store(batch_store: ObjectStore) -> ObjectStore:
    """Seven firms in three chunks, in a bucket."""
    return batch_store


@pytest.fixture
def variables(batch_variables: dict[str, str]) -> dict[str, str]:
    """The environment of a researcher who submits to the cluster."""
    return batch_variables


def test_jobs_of_batch_write_what_local_processes_write(
    cluster: Cluster, store: ObjectStore, variables: dict[str, str]
) -> None:
    """Submitted, watched and summed up; the parts equal the local backend's, timestamps aside."""
    done = run_ftm(*RUN, "--json", "--price-per-hour", "2", **variables)
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert (summary["n_done"], summary["n_batches"], summary["n_topics"]) == (7, 3, 14)
    assert summary["job_hours"] > 0
    assert summary["cost"] == pytest.approx(2 * summary["job_hours"])
    assert "plan: 7 firms in 3 batches of 3 chunks; no earlier run" in done.stderr
    assert "batches: 3 succeeded; 0.0" in done.stderr
    local = run_ftm(*LOCAL, **variables)
    assert local.returncode == 0, local.stderr
    assert tables(store, 0) == tables(store, 1)
    (parent,) = cluster.service.parents()
    assert len(parent.children) == 3
    assert parent.request["tags"]["run"] == summary["run_id"]


# In CI the noop models prove the same of AWS Batch, and local workers of the real models.
@pytest.mark.exhaustive
@pytest.mark.xdist_group("forge")
def test_with_the_real_models_too(cluster: Cluster, s3: Bucket, variables: dict[str, str]) -> None:
    """Bit for bit the local backend's topics with the real embedding model."""
    store = open_store(s3.url, endpoint_url=s3.server.url)
    write_quarter(store, make_firms(2, n_sentences=60))
    real = {"FTM_EMBEDDING_MODEL": "all-MiniLM-L6-v2", "FTM_CLUSTERING": "ward"}
    for command in (RUN, LOCAL):
        done = run_ftm(*command, **{**variables, **real}, limit_s=240)
        assert done.returncode == 0, done.stderr
    found = tables(store, 0)
    assert found == tables(store, 1)
    assert found["firm-topics"][0][1].num_rows > 0
    run = list_runs(store, QUARTER)[0]
    claim = json.loads(store.get(run.layout.model_claim))
    assert claim["model"]["version:torch"].startswith("2.13.0")
    assert run.spec.model["image"].startswith("ftm-map@sha256:")
    assert run.progress[f"{BATCH}0"].machine == list_runs(store, QUARTER)[1].spec.machine != ""


def test_faults_are_told_and_the_rerun_does_only_what_is_missing(
    cluster: Cluster, store: ObjectStore, variables: dict[str, str]
) -> None:
    """Spot losses cost nothing but time; OOM and a bad exit fail; the next command mends both."""
    cluster.service.faults |= {0: ["spot", "spot"], 1: ["oom"], 2: ["exit 1"]}
    failed = run_ftm(*RUN, **variables)
    assert failed.returncode == 1
    last = failed.stderr.splitlines()[-1]
    assert last.startswith("ftm: 2 of 3 batches")
    assert "batches: 1 succeeded, 2 failed, 1 started more than once" in failed.stderr
    assert f"{BATCH}1: failed, 0 of 3 firms, out of memory (exit 137)" in failed.stderr
    assert "pending" not in failed.stderr
    layout = layout_of(store)
    outcome = decode_outcome(store.get(layout.outcome("map", 1)), key=layout.outcome("map", 1))
    assert [b.n_attempts for b in outcome.batches] == [3, 1, 1]
    assert outcome.batches[1].log.startswith("/aws/batch/job:")

    told = run_ftm("status", "--quarter", "2023Q1", **variables)
    assert "out of memory" in told.stdout
    command = re.search(r"ftm (run-quarter .*)", told.stdout)
    assert command is not None
    assert "--backend batch" in command[1]

    mended = run_ftm(*command[1].split(), "--json", **variables)
    assert mended.returncode == 0, mended.stderr
    summary = json.loads(mended.stdout)
    assert (summary["n_done"], summary["n_retried"]) == (7, 3)
    assert "plan: 4 firms in 2 batches of 2 chunks; about 0.0 job hours, at the pace of run" in (
        mended.stderr
    )
    lines = decode_batches(store.get(layout.batch_manifest(2)), key="batches")
    assert [line.batch_id for line in lines] == [f"{BATCH}1", f"{BATCH}2"]
    assert len(load_topics("2023Q1", store)) == 14


def test_no_wait_then_watch_from_elsewhere(
    cluster: Cluster, store: ObjectStore, variables: dict[str, str]
) -> None:
    """Submitting returns with how to come back; watching concludes and publishes the run."""
    cluster.service.is_frozen = True
    done = run_ftm(*RUN, "--no-wait", **variables)
    assert done.returncode == 0, done.stderr
    run_id = layout_of(store).run_id
    assert done.stdout.splitlines() == [
        f"2023Q1, run {run_id}: submitted 3 batches with 7 firms",
        f"  watch     ftm watch --quarter 2023Q1 --run {run_id}",
        f"  cancel    ftm cancel --quarter 2023Q1 --run {run_id}",
    ]
    told = run_ftm("status", "--quarter", "2023Q1", **variables).stdout
    assert "submitted to AWS Batch, and not seen to end: `ftm watch` comes back" in told
    again = run_ftm(*RUN, "--no-wait", **variables)
    assert again.returncode == 0, again.stderr
    assert len(cluster.service.parents()) == 1
    cluster.service.thaw()
    watched = run_ftm("watch", "--quarter", "2023Q1", **variables)
    assert watched.returncode == 0, watched.stderr
    assert f"2023Q1, run {run_id}: complete" in watched.stdout
    assert len(load_topics("2023Q1", store)) == 14
    told = run_ftm("status", "--quarter", "2023Q1", **variables).stdout
    assert "not seen to end" not in told
    assert "ftm-map@sha256:" in told
    nothing = run_ftm("watch", "--quarter", "2023Q1", **variables)
    assert nothing.returncode == 1
    assert "no run of 2023Q1 has jobs in AWS Batch to come back to" in nothing.stderr


def test_jobs_that_ended_unwatched_are_concluded_by_either_command(
    cluster: Cluster, store: ObjectStore, variables: dict[str, str]
) -> None:
    """What ended while nobody looked is on record and published when somebody does."""
    run_ftm(*RUN, "--no-wait", **variables)
    wait_until(lambda: cluster.service.parents()[0].status == "SUCCEEDED")
    done = run_ftm(*RUN, "--json", **variables)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["job_hours"] > 0
    assert store.exists(layout_of(store).outcome("map", 1))
    assert len(cluster.service.parents()) == 1


def test_failures_unwatched_are_raised_by_watch(
    cluster: Cluster, store: ObjectStore, variables: dict[str, str]
) -> None:
    """Watching jobs that failed meanwhile exits 1 with why."""
    cluster.service.faults[1] = ["oom"]
    run_ftm(*RUN, "--no-wait", **variables)
    wait_until(lambda: cluster.service.parents()[0].status == "FAILED")
    watched = run_ftm("watch", "--quarter", "2023Q1", **variables)
    assert watched.returncode == 1
    assert "1 of 3 batches" in watched.stderr
    assert "out of memory" in watched.stderr


def started(*arguments: str, until: str, **variables: str) -> Started:
    """A command, once it has said something that begins so on stderr."""
    process = start_ftm(*arguments, **variables)
    for line in process.stderr:
        if line.startswith(until):
            return process
    raise AssertionError(process.wait())


def test_ctrl_c_stops_watching_only(
    cluster: Cluster, store: ObjectStore, variables: dict[str, str]
) -> None:
    """Exit 130 with how to come back; the jobs go on, and the run can be finished."""
    cluster.service.is_frozen = True
    process = started(*RUN, until="run ", **variables)
    wait_until(lambda: bool(cluster.service.parents()))
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    run_id = layout_of(store).run_id
    assert f"`ftm watch --quarter 2023Q1 --run {run_id}` comes back" in err
    assert "Traceback" not in err
    assert cluster.service.parents()[0].status == "PENDING"
    cluster.service.thaw()
    assert run_ftm("watch", "--quarter", "2023Q1", **variables).returncode == 0


def test_killed_while_watching_the_same_command_comes_back(
    cluster: Cluster, store: ObjectStore, variables: dict[str, str]
) -> None:
    """SIGKILL leaves jobs and records; the next command takes the jobs up, and submits none."""
    cluster.service.is_frozen = True
    process = started(*RUN, until="run ", **variables)
    process.kill()
    process.communicate()
    cluster.service.thaw()
    done = run_ftm(*RUN, **variables)
    assert done.returncode == 0, done.stderr
    assert len(cluster.service.parents()) == 1


def test_cancel_ends_the_jobs_and_the_run_can_be_resumed(
    cluster: Cluster, store: ObjectStore, variables: dict[str, str]
) -> None:
    """What waits and what runs ends; that is on record; a new attempt does what is left."""
    cluster.service.is_frozen = True
    run_ftm(*RUN, "--no-wait", **variables)
    done = run_ftm("cancel", "--quarter", "2023Q1", **variables)
    assert done.returncode == 0, done.stderr
    assert "its jobs have ended (3 cancelled); what is done is kept" in done.stdout
    assert cluster.service.parents()[0].status == "FAILED"
    assert "ftm cancel ended it" in run_ftm("status", "--quarter", "2023Q1", **variables).stdout
    cluster.service.thaw()
    resumed = run_ftm(*RUN, **variables)
    assert resumed.returncode == 0, resumed.stderr
    assert store.exists(layout_of(store).jobs("map", 2))


def test_logs_of_a_batch(cluster: Cluster, store: ObjectStore, variables: dict[str, str]) -> None:
    """Lines with their time while AWS knows the job; clear words for what is not there."""
    assert run_ftm(*RUN, **variables).returncode == 0
    found = run_ftm("logs", "--quarter", "2023Q1", "--batch", "1", **variables)
    assert found.returncode == 0, found.stderr
    assert re.match(r"20\d\d-\d\d-\d\dT[\d:]+Z .*INFO ftm [\d.]+: map, run", found.stdout)
    assert f"{BATCH}1" in found.stdout
    tail = run_ftm("logs", "--quarter", "2023Q1", "--batch", "1", "--tail", "1", **variables)
    assert tail.stdout == found.stdout.splitlines(keepends=True)[-1]
    cluster.service.jobs.clear()  # AWS forgets jobs after a week; the outcome has the address
    later = run_ftm("logs", "--quarter", "2023Q1", "--batch", "1", **variables)
    assert later.stdout == found.stdout
    missing = run_ftm("logs", "--quarter", "2023Q1", "--batch", "9", **variables)
    assert missing.returncode == 1
    assert "has no batch 9; its batches are 0 to 2" in missing.stderr


def test_logs_of_a_local_batch(store: ObjectStore, tmp_path: object) -> None:
    """A local run's log is a file beside the store."""
    folder = open_store(f"file://{tmp_path}/store")
    write_quarter(folder, 3, firms_per_chunk=3, n_sentences=45)
    assert run_ftm(*LOCAL, FTM_STORE=folder.url).returncode == 0
    found = run_ftm("logs", "--quarter", "2023Q1", "--batch", "0", FTM_STORE=folder.url)
    assert "INFO ftm" in found.stdout, found.stderr


def test_a_dry_run_submits_and_writes_nothing(
    cluster: Cluster, store: ObjectStore, variables: dict[str, str]
) -> None:
    """It says what would be submitted, on either backend."""
    before = {info.key for info in store.list()}
    done = run_ftm(*RUN, "--dry-run", **variables)
    assert "would submit 7 firms in 3 batches of 3 chunks" in done.stdout, done.stderr
    local = run_ftm(*LOCAL, "--dry-run", "--json", **variables)
    assert json.loads(local.stdout)["n_batches"] == 3
    assert {info.key for info in store.list()} == before
    assert cluster.service.parents() == []


def test_expired_credentials_end_watching_and_say_how_to_come_back(
    cluster: Cluster, store: ObjectStore, variables: dict[str, str]
) -> None:
    """The jobs go on without us: the last words are the error, before them the way back."""
    cluster.service.is_frozen = True
    process = started(*RUN, until="run ", **variables)
    cluster.service.refusal = (403, "ExpiredTokenException")
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "`ftm watch --quarter 2023Q1 --run" in err
    assert "aws sso login" in err.splitlines()[-1]
    cluster.service.refusal = None
    cluster.service.thaw()
    assert run_ftm("watch", "--quarter", "2023Q1", **variables).returncode == 0


def test_the_job_definitions_model_counts_where_nobody_names_another(
    cluster: Cluster, store: ObjectStore, variables: dict[str, str]
) -> None:
    """EMBEDDING_MODEL_NAME of the definition is part of the run; a setting of ours wins over it."""
    definition = cluster.service.define_job(EMBEDDING_MODEL_NAME="its-own")
    cluster.service.is_frozen = True
    mine = {**variables, "FTM_BATCH_JOB_DEFINITION": definition, "FTM_CLUSTERING": "ward"}
    assert run_ftm(*RUN, "--no-wait", **mine, FTM_EMBEDDING_MODEL="").returncode == 0
    assert run_ftm(*RUN, "--no-wait", **mine, FTM_EMBEDDING_MODEL="ours").returncode == 0
    models = {run.spec.model["embedding_model"] for run in list_runs(store, QUARTER)}
    assert models == {"its-own", "ours"}


def test_secrets_of_the_job_definition_reach_its_process_alone(
    cluster: Cluster, store: ObjectStore, variables: dict[str, str]
) -> None:
    """A key in Secrets Manager gets to the worker, and into no answer of AWS Batch."""
    secrets = cluster.service.client("secretsmanager")
    arn = secrets.create_secret(Name=f"key-{time.time_ns()}", SecretString=SECRET)["ARN"]
    definition = cluster.service.define_job(
        command=("python", "-c", "import os; print(len(os.environ['LLM_API_KEY']))"),
        secrets={"LLM_API_KEY": arn},
    )
    request = {"jobName": "j", "jobQueue": cluster.queue, "jobDefinition": definition}
    cluster.service._submitjob(request)
    (job,) = cluster.service.parents()
    wait_until(lambda: job.status == "SUCCEEDED")
    stream = job.attempts[0]["container"]["logStreamName"]
    events = cluster.service.client("logs").get_log_events(
        logGroupName="/aws/batch/job", logStreamName=stream
    )["events"]
    assert events[0]["message"] == str(len(SECRET))
    assert SECRET not in json.dumps(job.describe())


def test_throttling_of_minutes_ends_no_watching(
    cluster: Cluster, store: ObjectStore, variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """While AWS does not answer the command goes on, says so once, and ends well."""
    cluster.service.is_frozen = True
    assert run_ftm(*RUN, "--no-wait", **variables).returncode == 0
    said: list[str] = []

    class Watcher(SilentWatcher):
        """Lets AWS answer again once it is told that it does not."""

        def start(self, text: str, batches: object) -> None:  # noqa: ARG002
            """From here on AWS throttles."""
            cluster.service.n_throttled = 10_000

        def message(self, text: str) -> None:
            """See RunWatcher."""
            said.append(text)
            if "TooMany" in text:
                cluster.service.n_throttled = 0
                cluster.service.thaw()

    orchestrator = QuarterOrchestrator(
        store,
        cluster.backend(),
        settings=settings_of(variables, monkeypatch),
        fingerprint=lambda _: {},
        watcher=Watcher(),
        backend_name="batch",
        poll_s=0.1,
    )
    assert orchestrator.watch_quarter("2023Q1").n_done == 7
    assert sum("the jobs go on" in text for text in said) == 1


def test_secrets_reach_no_job(
    cluster: Cluster, store: ObjectStore, variables: dict[str, str]
) -> None:
    """No override, tag, log, record or output holds the key or password of whoever submits."""
    secrets = {"LLM_API_KEY": SECRET, "WRDS_PASSWORD": SECRET, "WRDS_USERNAME": "me"}
    done = run_ftm(*RUN, **{**variables, **secrets})
    assert done.returncode == 0, done.stderr
    told = done.stdout + done.stderr
    for job in cluster.service.jobs.values():
        told += json.dumps(job.request) + json.dumps(job.describe())
    streams = cluster.service.client("logs").describe_log_streams(logGroupName="/aws/batch/job")
    for stream in streams["logStreams"]:
        told += json.dumps(
            cluster.service.client("logs").get_log_events(
                logGroupName="/aws/batch/job", logStreamName=stream["logStreamName"]
            )["events"]
        )
    for info in store.list():
        told += store.get(info.key).decode(errors="replace")
    assert SECRET not in told
    names = {
        v["name"] for v in cluster.service.parents()[0].request["containerOverrides"]["environment"]
    }
    assert not {n for n in names if n.startswith(("WRDS", "FTM_WRDS", "LLM", "FTM_BATCH"))}


def test_without_a_prefetch_nothing_is_submitted(
    cluster: Cluster, s3: Bucket, variables: dict[str, str]
) -> None:
    """One line with the command to run, no job, no record, no call to AWS Batch, no wrds."""
    empty = s3.server.new_bucket()
    before = cluster.service.n_calls()
    program = (
        "import sys\n"
        "from ftm.cli.main import main\n"
        f"sys.argv = ['ftm', *{RUN!r}]\n"
        "try:\n"
        "    main()\n"
        "except SystemExit as end:\n"
        "    print(end.code, [m for m in ('wrds', 'torch', 'spacy') if m in sys.modules])\n"
    )
    failed = subprocess.run(
        [sys.executable, "-c", program],
        env=ftm_environment(**{**variables, "FTM_STORE": empty.url}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert failed.stdout == "1 []\n", failed.stderr
    assert "`ftm prefetch --quarter 2023Q1`" in failed.stderr
    assert cluster.service.n_calls() == before
    assert list(open_store(empty.url, endpoint_url=s3.server.url).list()) == []


def test_a_prefetch_in_part_is_refused(
    cluster: Cluster, s3: Bucket, variables: dict[str, str]
) -> None:
    """An incomplete quarter needs --allow-partial-prefetch, on AWS too."""
    bucket = s3.server.new_bucket()
    store = open_store(bucket.url, endpoint_url=s3.server.url)
    write_quarter(store, 4, firms_per_chunk=3, n_pending=2, n_sentences=45)
    mine = {**variables, "FTM_STORE": bucket.url}
    refused = run_ftm(*RUN, **mine)
    assert refused.returncode == 1
    assert "--allow-partial-prefetch" in refused.stderr
    assert cluster.service.parents() == []
    assert run_ftm(*RUN, "--allow-partial-prefetch", **mine).returncode == 0


def test_a_refresh_during_a_run_changes_nothing_of_it(
    cluster: Cluster, store: ObjectStore, variables: dict[str, str]
) -> None:
    """The run reads its own copy of the manifest, whatever the quarter's says by then."""
    expected = run_ftm(*LOCAL, **variables)
    assert expected.returncode == 0
    cluster.service.is_frozen = True
    run_ftm(*RUN, "--no-wait", **variables)
    store.put(PrefetchLayout(QUARTER).manifest, b"{}")
    cluster.service.thaw()
    wait_until(lambda: cluster.service.parents()[0].status == "SUCCEEDED")
    assert tables(store, 0) == tables(store, 1)


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        ({"FTM_BATCH_QUEUE": "nowhere"}, 1, "there is no job queue 'nowhere'"),
        ({"FTM_BATCH_JOB_DEFINITION": "gone:3"}, 1, "no active job definition 'gone:3'"),
        ({"AWS_REGION": "eu-west-1"}, 1, "eu-west-1"),
        ({"FTM_DEVICE": "cuda"}, 2, "the job definition asks for no GPU"),
        ({"FTM_STORE": "file:///tmp"}, 2, "cannot reach file:///tmp"),
        ({"FTM_JOB_ATTEMPTS": "11"}, 2, "FTM_JOB_ATTEMPTS '11' cannot be used"),
        ({"FTM_STORE": "s3://nobodys-bucket-at-all"}, 1, "nobodys-bucket-at-all"),
    ],
)
def test_bad_input_is_one_clear_line(
    cluster: Cluster,
    store: ObjectStore,
    variables: dict[str, str],
    changes: dict[str, str],
    code: int,
    words: str,
) -> None:
    """Nothing is submitted or recorded, and the last line says what to correct."""
    failed = run_ftm(*RUN, **{**variables, **changes})
    assert failed.returncode == code, failed.stderr
    assert words in failed.stderr.splitlines()[-1]
    assert "Traceback" not in failed.stderr
    assert cluster.service.parents() == []
    assert list_runs(store, QUARTER) == []


def test_a_gpu_definition_makes_the_run_a_gpu_run(
    cluster: Cluster, store: ObjectStore, variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Device auto is what the job definition asks for; the workers are told."""
    definition = cluster.service.define_job(gpu=True)
    mine = {**variables, "FTM_BATCH_JOB_DEFINITION": definition, "FTM_DEVICE": "auto"}
    cluster.service.is_frozen = True
    real = {"FTM_EMBEDDING_MODEL": "all-MiniLM-L6-v2", "FTM_CLUSTERING": "ward"}
    assert run_ftm(*RUN, "--no-wait", **{**mine, **real}).returncode == 0
    spec = list_runs(store, QUARTER)[0].spec
    assert (spec.model["device"], spec.backend) == ("cuda", "batch")
    sent = cluster.service.parents()[0].request["containerOverrides"]["environment"]
    assert {"name": "FTM_DEVICE", "value": "cuda"} in sent


def test_a_local_run_is_not_watched(
    cluster: Cluster, store: ObjectStore, variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asked for by its id, a local run is told apart from one that has no jobs left."""
    assert run_ftm(*LOCAL, **variables).returncode == 0
    settings = settings_of(variables, monkeypatch)
    run_id = layout_of(store).run_id
    with (
        get_orchestrator(settings, backend="batch") as runner,
        pytest.raises(OrchestratorError, match="was not submitted to AWS Batch"),
    ):
        runner.watch_quarter("2023Q1", run_id)
