"""AWS Batch over HTTP, with jobs that run."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import pytest

from ftm.core.errors import AWSAccessError, AWSUnavailableError, ConfigError, JobError
from ftm.jobs.aws_calls import AWSClient, Patience
from ftm.jobs.base import JobBackend, JobState, StageJobs
from ftm.jobs.batch import BatchBackend, BatchLimits, retry_strategy
from ftm.jobs.batch_queue import BatchQueue
from ftm.jobs.cloudwatch import CloudWatchLogs
from tests.support.batch import QUICK, Cluster
from tests.support.batch_jobs import Ended, Job
from tests.support.job_backends import JobBackendSuite, stub_stage, wait, wait_for
from tests.support.s3_server import Answer

STUB = (sys.executable, str(Path(__file__).parents[1] / "support" / "stub_worker.py"))


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Where the stub notes what it saw."""
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


@pytest.fixture
def backend(cluster: Cluster) -> JobBackend:
    """A backend whose jobs are the stub."""
    cluster.service.worker = STUB
    return cluster.backend()


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        """The time."""
        return self.now_s


def succeed(job: Job) -> Ended:
    """An attempt that ends well at once, without a process."""
    return Ended(0)


def said(line: str) -> list[tuple[int, str]]:
    """A line logged just now; CloudWatch takes none that is weeks old."""
    return [(int(time.time() * 1000), line)]


class TestBatchBackend(JobBackendSuite):
    """The suite of all backends, on AWS Batch."""


def test_a_job_has_the_definitions_environment_below_the_runs(
    cluster: Cluster, backend: JobBackend, out: Path
) -> None:
    """What the run sets wins over the job definition; the rest of it stays; tags and limits too."""
    jobs = stub_stage(out, "b0", "b1")
    mine = {**jobs.environment, "EMBEDDING_MODEL_NAME": "mine"}
    tags = {"project": "ftm", "quarter": "2023Q1", "run": "abc"}
    wait(backend, backend.submit(StageJobs("n-1", "map", jobs.batch_ids, mine, tags)))
    seen = wait_for(out / "1.start.json")["env"]
    assert (seen["DATA_SOURCE"], seen["EMBEDDING_MODEL_NAME"]) == ("s3", "mine")
    (parent,) = cluster.service.parents()
    assert parent.request["tags"] == tags
    assert parent.request["timeout"] == {"attemptDurationSeconds": 6 * 3600}
    assert parent.request["retryStrategy"] == retry_strategy(5)


def test_a_spot_loss_is_tried_again_and_counted(
    cluster: Cluster, backend: JobBackend, out: Path
) -> None:
    """A host that is taken back twice costs two starts, no failure; the others are untouched."""
    cluster.service.faults[1] = ["spot", "spot"]
    fine, lost = wait(backend, backend.submit(stub_stage(out, "b0", "b1")))
    assert (fine.state, fine.n_attempts) == (JobState.SUCCEEDED, 1)
    assert (lost.state, lost.n_attempts) == (JobState.SUCCEEDED, 3)
    assert lost.reason == "began again after 2 Spot losses"
    assert lost.seconds > 0


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("oom", ["out of memory (exit 137)", "4,096 MiB"]),
        ("exit 3", ["exit 3"]),
        ("timeout", ["longer than its limit of 21,600 s", "FTM_JOB_TIMEOUT_S"]),
        ("image", ["image cannot be pulled", "not found", "ftm-map@sha256"]),
        ("role", ["role cannot be used", "unable to assume"]),
    ],
)
def test_failures_are_not_tried_again_and_are_told_in_words(
    cluster: Cluster, backend: JobBackend, out: Path, fault: str, words: list[str]
) -> None:
    """Only Spot losses are tried again; everything else ends with its cause and what to do."""
    cluster.service.faults[0] = [fault]
    do = {"i0": "sleep"} if fault == "timeout" else {}
    failed, fine = wait(backend, backend.submit(stub_stage(out, "b0", "b1", **do)))
    assert (failed.state, failed.n_attempts) == (JobState.FAILED, 1)
    assert all(word in failed.reason for word in words), failed.reason
    assert fine.state is JobState.SUCCEEDED


def test_spot_losses_have_an_end(cluster: Cluster, backend: JobBackend, out: Path) -> None:
    """A host taken back as often as a job is tried again is a failure that says so."""
    cluster.service.faults[None] = ["spot"] * 5
    (lost,) = wait(backend, backend.submit(stub_stage(out, "b0")))
    assert (lost.state, lost.n_attempts) == (JobState.FAILED, 5)
    assert "taken back 5 times" in lost.reason


def test_a_killed_job_names_the_firm_and_its_log(
    cluster: Cluster, backend: JobBackend, out: Path
) -> None:
    """The reason has the firm the worker was at, the status the address of its log."""
    line = "2023-04-02T00:00:00Z INFO progress: 3 of 9 firms, at 012345"
    cluster.service.runner = lambda _: Ended(137, "OutOfMemoryError: x", lines=said(line))
    (failed,) = wait(backend, backend.submit(stub_stage(out, "b0")))
    assert failed.reason.endswith("; it was at firm 012345")
    assert failed.log.startswith("/aws/batch/job:test/default/")
    logs = CloudWatchLogs(cluster.client("logs"))
    assert [text for _, text in logs.lines(failed.log)] == [line]


def test_a_worker_that_fails_is_quoted(cluster: Cluster, backend: JobBackend, out: Path) -> None:
    """The last line of a worker that ended by itself is part of the reason."""
    cluster.service.runner = lambda _: Ended(1, lines=said("ftm.worker: the chunk is damaged"))
    (failed,) = wait(backend, backend.submit(stub_stage(out, "b0")))
    assert failed.reason == "exit 1: ftm.worker: the chunk is damaged"


def test_a_bug_is_quoted_without_its_words(
    cluster: Cluster, backend: JobBackend, out: Path
) -> None:
    """What a library says may quote a call; only the kind of its error leaves the log."""
    cluster.service.runner = lambda _: Ended(1, lines=said("ValueError: 'we expect margins to'"))
    (failed,) = wait(backend, backend.submit(stub_stage(out, "b0")))
    assert failed.reason == "exit 1: ValueError, see its log"


def test_jobs_are_found_by_another_process(
    cluster: Cluster, backend: JobBackend, out: Path
) -> None:
    """A backend made anew finds jobs by their name or by their id, and submits none again."""
    jobs = stub_stage(out, "b0", "b1", i1="sleep")
    handle = backend.submit(jobs)
    wait_for(out / "1.start.json")
    for found in (cluster.backend().find(jobs), cluster.backend().find(jobs, handle)):
        assert found == handle
    again = cluster.backend()
    assert again.submit(jobs) == handle
    assert len(cluster.service.parents()) == 1
    wait(again, handle, lambda found: [s.state.value for s in found] == ["succeeded", "running"])
    again.cancel(handle, "enough")
    done, ended = wait(cluster_backend := cluster.backend(), _attach(cluster_backend, jobs))
    assert (done.state, ended.state, ended.reason) == (
        *(JobState.SUCCEEDED, JobState.CANCELLED),
        "enough",
    )


def _attach(backend: JobBackend, jobs: StageJobs) -> str:
    found = backend.find(jobs)
    assert found is not None
    return found


def test_a_name_that_differs_in_case_is_another(
    cluster: Cluster, backend: JobBackend, out: Path
) -> None:
    """The JOB_NAME filter of AWS does not mind case; ftm does."""
    wait(backend, backend.submit(stub_stage(out, "b0", name="stage-a")))
    assert cluster.backend().find(stub_stage(out, "b0", name="STAGE-A")) is None


def test_the_first_of_two_sets_is_taken(cluster: Cluster, backend: JobBackend, out: Path) -> None:
    """Where a name was submitted twice, everybody takes the first."""
    first = backend.submit(stub_stage(out, "b0"))
    request = cluster.service.parents()[0].request
    cluster.service._submitjob(dict(request))
    assert cluster.backend().find(stub_stage(out, "b0")) == first


def test_a_lost_answer_submits_nothing_twice(
    cluster: Cluster, backend: JobBackend, out: Path
) -> None:
    """SubmitJob is not repeated when its answer is lost: the jobs are looked for by name."""
    cluster.service.lost_answers.append("submitjob")
    wait(backend, backend.submit(stub_stage(out, "b0", "b1")))
    assert len(cluster.service.parents()) == 1


def test_throttling_is_borne(cluster: Cluster, backend: JobBackend, out: Path) -> None:
    """Calls that AWS throttles are made again; nobody hears of it."""
    handle = backend.submit(stub_stage(out, "b0", "b1"))
    cluster.service.n_throttled = 3
    assert {s.state for s in wait(backend, handle)} == {JobState.SUCCEEDED}
    assert cluster.service.n_throttled == 0


def test_a_submission_that_is_throttled_is_made_once(
    cluster: Cluster, backend: JobBackend, out: Path
) -> None:
    """A throttled SubmitJob is made again, after a look for what it may have submitted."""
    cluster.service.throttled, cluster.service.n_throttled = "submitjob", 4
    wait(backend, backend.submit(stub_stage(out, "b0")))
    assert len(cluster.service.parents()) == 1
    assert cluster.service.n_throttled == 0


def test_throttling_without_end_is_an_error_that_touches_no_job(
    cluster: Cluster, backend: JobBackend, out: Path
) -> None:
    """After its patience a call fails as unavailable, and works again later."""
    handle = backend.submit(stub_stage(out, "b0", "b1"))
    cluster.service.n_throttled = 10_000
    with pytest.raises(AWSUnavailableError, match="TooManyRequestsException"):
        backend.poll(handle)
    cluster.service.n_throttled = 0
    assert {s.state for s in wait(backend, handle)} == {JobState.SUCCEEDED}


def test_empty_answers_just_after_submission_are_waited_out(
    cluster: Cluster, backend: JobBackend, out: Path
) -> None:
    """Jobs that AWS does not know yet are pending."""
    cluster.service.is_frozen = True
    handle = backend.submit(stub_stage(out, "b0", "b1"))
    cluster.service.n_hidden = 2
    assert {s.state for s in backend.poll(handle)} == {JobState.PENDING}
    cluster.service.thaw()
    assert {s.state for s in wait(backend, handle)} == {JobState.SUCCEEDED}


def test_jobs_that_vanish_are_given_up_after_minutes(
    cluster: Cluster, backend: JobBackend, out: Path
) -> None:
    """Jobs that AWS knows nothing of for five minutes have failed, and the reason says so."""
    clock = Clock()
    watching = cluster.backend(clock_s=clock)
    cluster.service.is_frozen = True
    handle = watching.submit(stub_stage(out, "b0", "b1"))
    cluster.service.jobs.clear()
    assert {s.state for s in watching.poll(handle)} == {JobState.PENDING}
    clock.now_s += 299
    assert {s.state for s in watching.poll(handle)} == {JobState.PENDING}
    clock.now_s += 2
    gone = watching.poll(handle)
    assert {s.state for s in gone} == {JobState.FAILED}
    assert "knows nothing of its job" in gone[0].reason


@pytest.mark.parametrize("batches", [("b0",), ("b0", "b1")])
def test_empty_answers_now_and_then_are_no_vanishing(
    cluster: Cluster, out: Path, batches: tuple[str, ...]
) -> None:
    """Only jobs that stay unknown have vanished; found in between, the clock starts anew."""
    clock = Clock()
    watching = cluster.backend(clock_s=clock)
    cluster.service.is_frozen = True
    handle = watching.submit(stub_stage(out, *batches))
    for _ in range(3):
        cluster.service.n_hidden = 1
        assert {s.state for s in watching.poll(handle)} == {JobState.PENDING}
        watching.poll(handle)
        clock.now_s += 3600


def test_lists_ahead_of_the_counts_lose_no_hours(cluster: Cluster, backend: JobBackend) -> None:
    """All listed as succeeded while the counts still say running: starts and seconds are known."""
    cluster.service.is_frozen = True
    cluster.service.runner = succeed
    handle = backend.submit(StageJobs("l-1", "map", ("b0", "b1", "b2"), {}))
    for child in cluster.service.parents()[0].children:
        child.run()
        child.attempts[0]["stoppedAt"] = child.attempts[0]["startedAt"] + 2000
    cluster.service.lag = {"SUCCEEDED": 2, "RUNNING": 1}
    cluster.service.parent_status = "PENDING"
    statuses = backend.poll(handle)
    assert {s.state for s in statuses} == {JobState.SUCCEEDED}
    assert [s.seconds for s in statuses] == [2.0, 2.0, 2.0]


def test_ended_is_said_only_when_it_is_known_how(cluster: Cluster, backend: JobBackend) -> None:
    """A child that a list has as succeeded and DescribeJobs does not know yet is still running."""
    cluster.service.is_frozen = True
    cluster.service.runner = succeed
    handle = backend.submit(StageJobs("l-1", "map", ("b0", "b1"), {}))
    children = cluster.service.parents()[0].children
    for child in children:
        child.run()
    cluster.service.lag = {"SUCCEEDED": 1}
    cluster.service.parent_status = "PENDING"
    gone = cluster.service.jobs.pop(children[1].job_id)
    assert [s.state.value for s in backend.poll(handle)] == ["succeeded", "running"]
    cluster.service.jobs[gone.job_id] = gone
    assert [s.state.value for s in wait(backend, handle)] == ["succeeded", "succeeded"]


def test_a_child_that_vanishes_is_given_up_too(
    cluster: Cluster, backend: JobBackend, out: Path
) -> None:
    """One child that AWS does not answer for does not keep the stage waiting for ever."""
    clock = Clock()
    watching = cluster.backend(clock_s=clock)
    handle = watching.submit(stub_stage(out, "b0", "b1"))
    wait(backend, backend.submit(stub_stage(out, "b0", "b1")))
    del cluster.service.jobs[f"{handle}:1"]
    assert [s.state.is_final for s in watching.poll(handle)] == [True, False]
    clock.now_s += 301
    fine, gone = watching.poll(handle)
    assert (fine.state, gone.state) == (JobState.SUCCEEDED, JobState.FAILED)


@pytest.mark.parametrize("n_throttled", [0, 3])
def test_what_every_batch_would_meet_cancels_those_that_wait(
    cluster: Cluster, backend: JobBackend, n_throttled: int
) -> None:
    """Exit 2 before any success: what has not started is not started, throttled or not."""
    cluster.service.is_frozen = True
    cluster.service.runner = lambda _: Ended(2)
    handle = backend.submit(StageJobs("n-1", "map", tuple(f"b{i}" for i in range(4)), {}))
    cluster.service.parents()[0].children[1].run()
    cluster.service.throttled, cluster.service.n_throttled = "canceljob", n_throttled
    statuses = wait(backend, handle)
    assert [s.state.value for s in statuses] == ["cancelled", "failed", "cancelled", "cancelled"]
    assert {s.reason for s in statuses if s.exit_code is None} == {"not started, would end like b1"}


def test_a_cancel_that_aws_refuses_for_long_is_tried_again(
    cluster: Cluster, backend: JobBackend
) -> None:
    """Throttled beyond patience, the waiting jobs are cancelled by a later look."""
    cluster.service.is_frozen = True
    cluster.service.runner = lambda _: Ended(2)
    handle = backend.submit(StageJobs("n-1", "map", ("b0", "b1"), {}))
    cluster.service.parents()[0].children[0].run()
    cluster.service.throttled, cluster.service.n_throttled = "canceljob", 10_000
    with pytest.raises(AWSUnavailableError):
        backend.poll(handle)
    cluster.service.n_throttled = 0
    assert wait(backend, handle)[1].state is JobState.CANCELLED


def test_ten_thousand_children_are_watched_with_a_bounded_number_of_calls(
    cluster: Cluster, backend: JobBackend
) -> None:
    """At most 21 calls a look for 10,000 children, a describe per hundred at the end."""
    n = 10_000
    cluster.service.runner = succeed
    cluster.service.is_frozen = True
    handle = backend.submit(
        StageJobs("many-1", "map", tuple(f"b{i:05}" for i in range(n)), {"A": "1"})
    )
    children = cluster.service.parents()[0].children
    for child in children:
        child.status_ = "RUNNING"
    before = cluster.service.n_calls()
    states = {s.state for s in backend.poll(handle)}
    assert states == {JobState.RUNNING}
    assert cluster.service.n_calls() - before == 1 + n // 1000
    for child in children[: n // 2]:
        child.run()
    before = cluster.service.n_calls()
    found = backend.poll(handle)
    assert sum(s.state is JobState.SUCCEEDED for s in found) == n // 2
    assert cluster.service.n_calls() - before == 1 + n // 1000
    for child in children[n // 2 :]:
        child.run()
    before = cluster.service.n_calls()
    statuses = backend.poll(handle)
    assert {s.state for s in statuses} == {JobState.SUCCEEDED}
    assert [s.batch_id for s in statuses[:2]] == ["b00000", "b00001"]
    assert cluster.service.n_calls() - before == 1 + n // 100
    backend.poll(handle)
    assert cluster.service.n_calls() - before == 1 + n // 100


def test_failures_among_thousands_are_listed_once(cluster: Cluster, backend: JobBackend) -> None:
    """Newly failed children cost a page and a describe a hundred; known ones nothing."""
    cluster.service.runner = lambda _: Ended(9)
    cluster.service.is_frozen = True
    handle = backend.submit(StageJobs("f-1", "map", tuple(f"b{i}" for i in range(2500)), {}))
    children = cluster.service.parents()[0].children
    for child in children[:150]:
        child.run()
    before = cluster.service.n_calls()
    assert sum(s.state is JobState.FAILED for s in backend.poll(handle)) == 150
    assert cluster.service.n_calls() - before == 1 + 1 + 2
    backend.poll(handle)
    assert cluster.service.n_calls() - before == 4 + 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, "no capacity"),
        ({"state": "DISABLED"}, "no usable compute environment"),
    ],
)
def test_waiting_for_long_is_explained(
    cluster: Cluster, backend: JobBackend, out: Path, change: dict[str, str], words: str
) -> None:
    """After ten minutes in RUNNABLE queue and environments are asked why, not before."""
    clock = Clock()
    watching = cluster.backend(clock_s=clock)
    cluster.service.is_frozen = True
    handle = watching.submit(stub_stage(out, "b0", "b1"))
    watching.poll(handle)
    clock.now_s += 599
    assert watching.notices(handle) == []
    clock.now_s += 2
    batch = cluster.service.client("batch")
    (queue,) = batch.describe_job_queues(jobQueues=[cluster.queue])["jobQueues"]
    name = queue["computeEnvironmentOrder"][0]["computeEnvironment"]
    try:
        if change:
            batch.update_compute_environment(computeEnvironment=name, **change)
        (notice,) = watching.notices(handle)
    finally:
        batch.update_compute_environment(computeEnvironment=name, state="ENABLED")
    assert notice.startswith("no job has started for 10 minutes: ")
    assert words in notice


def test_the_reason_of_any_waiting_child_is_found(cluster: Cluster, out: Path) -> None:
    """AWS says why on the job at the head of the queue, whichever child that is; asked seldom."""
    clock = Clock()
    watching = cluster.backend(clock_s=clock)
    cluster.service.is_frozen = True
    handle = watching.submit(stub_stage(out, "b0", "b1", "b2"))
    told = "CAPACITY:INSUFFICIENT_INSTANCE_CAPACITY - no instance of type [g5.xlarge]"
    cluster.service.parents()[0].children[2].status_reason = told
    watching.poll(handle)
    clock.now_s += 601
    watching.poll(handle)
    before = cluster.service.n_calls()
    (notice,) = watching.notices(handle)
    assert told in notice
    assert cluster.service.n_calls() - before == 4  # a page, that job, queue, environments
    clock.now_s += 300
    assert watching.notices(handle) == []


def test_a_misconfiguration_is_quoted(cluster: Cluster, backend: JobBackend, out: Path) -> None:
    """What AWS says of a job that can never start is told."""
    clock = Clock()
    watching = cluster.backend(clock_s=clock)
    cluster.service.is_frozen = True
    handle = watching.submit(stub_stage(out, "b0"))
    told = "MISCONFIGURATION:JOB_RESOURCE_REQUIREMENT - needs more memory than any instance has"
    cluster.service.parents()[0].status_reason = told
    watching.poll(handle)
    clock.now_s += 601
    assert told in watching.notices(handle)[0]


def test_a_queue_that_takes_no_jobs_is_refused(cluster: Cluster) -> None:
    """A disabled queue and names that are not there fail the check, with the setting to correct."""
    batch = cluster.service.client("batch")
    batch.update_job_queue(jobQueue=cluster.queue, state="DISABLED")
    try:
        with pytest.raises(JobError, match="takes no jobs: it is DISABLED"):
            cluster.backend().check()
    finally:
        batch.update_job_queue(jobQueue=cluster.queue, state="ENABLED")
    cluster.backend().check()
    with pytest.raises(JobError, match="FTM_BATCH_JOB_DEFINITION"):
        cluster.batch_queue("nothing:1").check()
    missing = BatchQueue(cluster.client(), queue="nothing", job_definition=cluster.definition)
    with pytest.raises(JobError, match="FTM_BATCH_QUEUE"):
        missing.check()


def test_the_newest_active_revision_is_used(cluster: Cluster) -> None:
    """A definition named without a revision is its newest active one."""
    name = cluster.definition.rpartition("/")[2].partition(":")[0]
    batch = cluster.service.client("batch")
    container = {"image": "other", "command": ["x"], "vcpus": 1, "memory": 128}
    newer = batch.register_job_definition(
        jobDefinitionName=name, type="container", containerProperties=container
    )["jobDefinitionArn"]
    assert cluster.batch_queue(name).image == "other"
    batch.deregister_job_definition(jobDefinition=newer)
    assert cluster.batch_queue(name).image.startswith("ftm-map@sha256:")


def test_an_environment_too_large_is_refused_before_submission(
    cluster: Cluster, backend: JobBackend, out: Path
) -> None:
    """AWS takes 8,192 bytes of overrides: more is refused here, naming the longest variable."""
    jobs = stub_stage(out, "b0")
    large = StageJobs("l-1", "map", jobs.batch_ids, {**jobs.environment, "LONG": "x" * 8000})
    with pytest.raises(JobError, match=r"8,192; the longest variable is LONG with 8,000"):
        backend.submit(large)
    assert cluster.service.parents() == []


def test_errors_of_aws_say_what_to_do(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """No credentials, expired ones, no rights, no region, no network: each its own words."""
    server = cluster.service.server

    def answer(status: str, code: str) -> None:
        body = json.dumps({"message": "scripted"}).encode()
        server.script = lambda *_: Answer(status, [("x-amzn-errortype", code)], body)

    queue = cluster.batch_queue()
    answer("403 Forbidden", "ExpiredTokenException")
    with pytest.raises(AWSAccessError, match="aws sso login"):
        queue.describe_queue()
    answer("403 Forbidden", "AccessDeniedException")
    with pytest.raises(AWSAccessError, match="operator policy"):
        queue.describe_queue()
    answer("400 Bad Request", "ClientException")
    with pytest.raises(JobError, match="AWS refuses"):
        queue.describe_queue()
    server.script = None
    nowhere = AWSClient(
        "batch", region="us-east-1", endpoint_url="http://127.0.0.1:9", patience=Patience(0.1, 0.01)
    )
    with pytest.raises(AWSUnavailableError, match="does not answer"):
        nowhere.call("describe_jobs", jobs=["a"])
    proxied = AWSClient(
        "batch", region="r", endpoint_url="http://me:secret@127.0.0.1:9", patience=Patience(0.1)
    )
    with pytest.raises(AWSUnavailableError, match=r"…@127\.0\.0\.1:9") as refused:
        proxied.call("describe_jobs", jobs=["a"])
    assert "secret" not in str(refused.value)
    for name in ("AWS_DEFAULT_REGION", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigError, match="AWS_REGION"):
        AWSClient("batch", patience=QUICK).call("describe_jobs", jobs=["a"])
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name)
    with pytest.raises(AWSAccessError, match="no AWS credentials"):
        AWSClient("batch", region="us-east-1", patience=QUICK).call("describe_jobs", jobs=["a"])


def test_limits_are_those_given(cluster: Cluster, out: Path) -> None:
    """Timeout and attempts of the settings reach the jobs."""
    cluster.service.runner = succeed
    backend = cluster.backend(BatchLimits(timeout_s=90, attempts=2))
    wait(backend, backend.submit(stub_stage(out, "b0")))
    (job,) = cluster.service.parents()
    assert job.request["timeout"] == {"attemptDurationSeconds": 90}
    assert job.request["retryStrategy"]["attempts"] == 2


def test_limits_not_given_are_the_job_definitions(cluster: Cluster, out: Path) -> None:
    """What Terraform says of timeout and attempts counts where the settings say nothing."""
    cluster.service.runner = succeed
    name = cluster.definition.rpartition("/")[2].partition(":")[0]
    container = {"image": "i", "command": ["x"], "vcpus": 1, "memory": 128}
    own = cluster.service.client("batch").register_job_definition(
        jobDefinitionName=name,
        type="container",
        containerProperties=container,
        timeout={"attemptDurationSeconds": 700},
        retryStrategy={"attempts": 3},
    )["jobDefinitionArn"]
    logs = CloudWatchLogs(cluster.client("logs"))
    backend = BatchBackend(cluster.batch_queue(own), logs)
    wait(backend, backend.submit(stub_stage(out, "b0")))
    (job,) = cluster.service.parents()
    assert job.request["timeout"] == {"attemptDurationSeconds": 700}
    assert job.request["retryStrategy"] == retry_strategy(3)
