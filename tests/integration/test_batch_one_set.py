"""Whoever dies, and whatever AWS shows late: one set of jobs works, and one outcome is recorded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pytest

from ftm.analysis.loaders import load_topics
from ftm.core.settings import Settings
from ftm.jobs.base import JobState, JobStatus
from ftm.orchestrate.attempts import record_outcome
from ftm.orchestrate.run_plan import RunPlan
from ftm.orchestrate.run_watch import BatchView, SilentWatcher
from ftm.storage.claims import claim_jobs
from ftm.storage.object_store import ObjectStore
from ftm.storage.run_reader import list_runs
from ftm.storage.run_records import JobClaim, decode_job
from ftm.wiring import get_orchestrator
from tests.support.batch import Cluster
from tests.support.batch_jobs import FINAL
from tests.support.batch_runs import (
    BATCH,
    RUN,
    claimed_id,
    forget,
    layout_of,
    settings_of,
    wait_until,
)
from tests.support.batch_service import BatchService
from tests.support.business_firms import QUARTER
from tests.support.cli import run_ftm, start_ftm


@pytest.fixture
def store(batch_store: ObjectStore) -> ObjectStore:
    """Seven firms in three chunks, in a bucket."""
    return batch_store


@pytest.fixture
def variables(batch_variables: dict[str, str]) -> dict[str, str]:
    """The environment of a researcher who submits to the cluster."""
    return batch_variables


class Died(BaseException):
    """The orchestrator is no more."""


def submit_and_die(settings: Settings, hook: Callable[[str, str], None]) -> None:
    """Run the quarter in this process until the hook raises."""
    with get_orchestrator(settings, backend="batch") as runner:
        runner._store.hook = hook
        with pytest.raises(Died):
            runner.run_quarter("2023Q1", batch_size=3)


@pytest.mark.parametrize("moment", ["before put", "after put"])
def test_an_orchestrator_that_dies_around_the_record_leaves_one_set(
    cluster: Cluster,
    store: ObjectStore,
    variables: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    moment: str,
) -> None:
    """Killed between submission and record, or just after: the next command takes up the jobs."""
    cluster.service.is_frozen = True
    settings = settings_of(variables, monkeypatch)

    def die(when: str, key: str) -> None:
        if when == moment and "/claims/map_1" in key:
            raise Died

    submit_and_die(settings, die)
    cluster.service.thaw()
    done = run_ftm(*RUN, **variables)
    assert done.returncode == 0, done.stderr
    assert len(cluster.service.parents()) == 1
    assert claimed_id(store) == cluster.service.parents()[0].job_id
    assert not store.exists(layout_of(store).jobs("map", 2))


@dataclass
class Late(SilentWatcher):
    """Lets the jobs that were found run to their end before anything else is done."""

    service: BatchService

    def start(self, text: str, batches: Sequence[BatchView]) -> None:  # noqa: ARG002
        """Jobs were found that run."""
        self._let_end()

    def message(self, text: str) -> None:  # noqa: ARG002
        """What is left to do was found."""
        self._let_end()

    def _let_end(self) -> None:
        self.service.thaw()
        wait_until(lambda: all(job.status in FINAL for job in self.service.parents()))


def test_jobs_that_end_while_they_are_looked_for_are_not_done_again(
    cluster: Cluster, variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No second attempt is made of what was left to do a moment before."""
    cluster.service.is_frozen = True
    settings = settings_of(variables, monkeypatch)

    def die(when: str, key: str) -> None:
        if when == "before put" and "/claims/map_1" in key:
            raise Died

    submit_and_die(settings, die)
    watcher = Late(cluster.service)
    with get_orchestrator(settings, backend="batch", watcher=watcher) as runner:
        assert runner.run_quarter("2023Q1", batch_size=3).state == "complete"
    assert len(cluster.service.parents()) == 1


def test_an_orchestrator_that_dies_before_submitting_is_resumed_as_the_same_attempt(
    cluster: Cluster,
    store: ObjectStore,
    variables: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An intent of which nothing came is carried out under its own name."""
    settings = settings_of(variables, monkeypatch)

    def die(when: str, key: str) -> None:
        if when == "after put" and key.endswith("jobs/map_1.json"):
            raise Died

    submit_and_die(settings, die)
    assert cluster.service.parents() == []
    assert run_ftm(*RUN, **variables).returncode == 0
    record = decode_job(
        store.get(layout_of(store).jobs("map", 1)), key=layout_of(store).jobs("map", 1)
    )
    assert cluster.service.parents()[0].request["jobName"] == record.name
    assert not store.exists(layout_of(store).jobs("map", 2))


def test_of_two_sets_of_jobs_one_works(
    cluster: Cluster, store: ObjectStore, variables: dict[str, str]
) -> None:
    """Submitted twice, the workers of the set that is not on record leave without work."""
    cluster.service.is_frozen = True
    run_ftm(*RUN, "--no-wait", **variables)
    request = dict(cluster.service.parents()[0].request)
    cluster.service._submitjob(request)
    first, second = cluster.service.parents()
    cluster.service.thaw()
    wait_until(lambda: {first.status, second.status} == {"SUCCEEDED"})
    assert claimed_id(store) == first.job_id
    progress = list_runs(store, QUARTER)[0].progress
    assert {p.job_id.partition(":")[0] for p in progress.values()} == {first.job_id}
    stream = second.children[0].attempts[0]["container"]["logStreamName"]
    events = cluster.service.client("logs").get_log_events(
        logGroupName="/aws/batch/job", logStreamName=stream
    )["events"]
    assert f"leaving without work: job {first.job_id} is on record" in events[-1]["message"]


def test_workers_decide_where_no_orchestrator_lived_to(
    cluster: Cluster, store: ObjectStore, variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two sets, none on record: the first worker that looks decides, and both agree."""
    cluster.service.is_frozen = True
    settings = settings_of(variables, monkeypatch)

    def die(when: str, key: str) -> None:
        if "/claims/map_1" in key:
            raise Died

    submit_and_die(settings, die)
    cluster.service._submitjob(dict(cluster.service.parents()[0].request))
    cluster.service.thaw()
    wait_until(lambda: {job.status for job in cluster.service.parents()} == {"SUCCEEDED"})
    progress = list_runs(store, QUARTER)[0].progress
    assert all(record.complete for record in progress.values())
    (winner,) = {p.job_id.partition(":")[0] for p in progress.values()}
    assert claimed_id(store) == winner
    done = run_ftm(*RUN, **variables)
    assert done.returncode == 0, done.stderr


def test_an_orchestrator_that_comes_second_ends_its_own_jobs(
    cluster: Cluster, store: ObjectStore, variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where another set is on record already, the set just submitted is cancelled."""
    cluster.service.is_frozen = True
    run_ftm(*RUN, "--no-wait", **variables)
    layout, (first,) = layout_of(store), cluster.service.parents()
    first.request = {**first.request, "jobName": "renamed"}  # AWS answers late: not found by name
    settings = settings_of(variables, monkeypatch)
    store.delete(layout.job_claim("map", 1))

    def another_was_faster(when: str, key: str) -> None:
        if when == "before put" and "/claims/map_1" in key:
            claim_jobs(store, layout, stage="map", attempt=1, job_id=first.job_id)

    with get_orchestrator(settings, backend="batch") as runner:
        runner._store.hook = another_was_faster
        runner.run_quarter("2023Q1", batch_size=3, wait=False)
    assert [job.status for job in cluster.service.parents()] == ["PENDING", "FAILED"]
    assert "another set of jobs" in str(cluster.service.parents()[1].children[0].status_reason)


def test_a_second_set_is_ended_by_whoever_takes_up_the_first(
    cluster: Cluster, store: ObjectStore, variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A set submitted by an answer that was lost need not start thousands of jobs to leave."""
    cluster.service.is_frozen = True
    settings = settings_of(variables, monkeypatch)

    def die(when: str, key: str) -> None:
        if "/claims/map_1" in key:
            raise Died

    submit_and_die(settings, die)
    cluster.service._submitjob(dict(cluster.service.parents()[0].request))
    assert run_ftm(*RUN, "--no-wait", **variables).returncode == 0
    assert [job.status for job in cluster.service.parents()] == ["PENDING", "FAILED"]


def test_a_rerun_while_aws_does_not_show_the_jobs_yet_submits_nothing(
    cluster: Cluster, store: ObjectStore, variables: dict[str, str]
) -> None:
    """Jobs on record since a moment ago are waited for, whatever AWS says of them."""
    cluster.service.is_frozen = True
    run_ftm(*RUN, "--no-wait", **variables)
    cluster.service.n_hidden = cluster.service.n_unlisted = 2
    again = run_ftm(*RUN, "--no-wait", **variables)
    assert again.returncode == 0, again.stderr
    assert len(cluster.service.parents()) == 1


def test_the_jobs_on_record_are_watched_not_others_of_the_name(
    cluster: Cluster, store: ObjectStore, variables: dict[str, str]
) -> None:
    """Two sets, the second on record: the first one's success is not taken for the run's."""
    cluster.service.is_frozen = True
    run_ftm(*RUN, "--no-wait", **variables)
    cluster.service._submitjob(dict(cluster.service.parents()[0].request))
    first, second = cluster.service.parents()
    store.put(layout_of(store).job_claim("map", 1), JobClaim(job_id=second.job_id).encode())
    for child in first.children:
        child.status_ = "SUCCEEDED"
    done = run_ftm(*RUN, "--no-wait", **variables)
    assert done.returncode == 0, done.stderr
    assert len(cluster.service.parents()) == 2
    assert not store.exists(layout_of(store).outcome("map", 1))


def test_an_outcome_on_record_is_not_replaced(
    cluster: Cluster, store: ObjectStore, variables: dict[str, str]
) -> None:
    """Whoever comes when AWS has forgotten the jobs does not undo what a watcher saw."""
    assert run_ftm(*RUN, **variables).returncode == 0
    key = layout_of(store).outcome("map", 1)
    before = store.get(key)
    asked = cluster.service.n_calls("describejobs")
    assert run_ftm(*RUN, **variables).returncode == 0  # complete: no job is looked at again
    assert cluster.service.n_calls("describejobs") == asked
    cluster.service.jobs.clear()
    run_id = layout_of(store).run_id
    (run,) = list_runs(store, QUARTER)
    plan = RunPlan(run.spec, run.batches, store.get(run.layout.manifest))
    record = decode_job(store.get(run.layout.jobs("map", 1)), key=run.layout.jobs("map", 1))
    gone = [JobStatus(batch, JobState.FAILED, "gone") for batch in record.batch_ids]
    kept = record_outcome(store, plan, record, gone)
    assert {end.state for end in kept} == {"succeeded"}
    assert store.get(key) == before
    assert run_id == run.spec.run_id


def test_the_submitters_own_worker_variables_reach_no_job(
    cluster: Cluster, store: ObjectStore, variables: dict[str, str]
) -> None:
    """A BATCH_ID or a job id in the shell would send all children to one batch."""
    mine = {"BATCH_ID": f"{BATCH}0", "AWS_BATCH_JOB_ID": "x", "FTM_WORKER_CORES": "1"}
    done = run_ftm(*RUN, **{**variables, **mine})
    assert done.returncode == 0, done.stderr
    assert len(load_topics("2023Q1", store)) == 14
    sent = cluster.service.parents()[0].request["containerOverrides"]["environment"]
    assert not {each["name"] for each in sent} & set(mine)


def test_two_commands_at_once_submit_one_set(
    cluster: Cluster, store: ObjectStore, variables: dict[str, str]
) -> None:
    """Started together, one carries the run through, the other names it and stops, or is late."""
    processes = [start_ftm(*RUN, **variables) for _ in range(2)]
    ends = [process.communicate(timeout=120) for process in processes]
    codes = sorted(process.returncode for process in processes)
    assert codes in ([0, 0], [0, 1]), ends
    assert len(cluster.service.parents()) == 1
    assert list_runs(store, QUARTER)[0].is_complete


def test_a_job_of_an_earlier_attempt_leaves(
    cluster: Cluster, store: ObjectStore, variables: dict[str, str]
) -> None:
    """A job that wakes up after a later attempt has begun does nothing."""
    cluster.service.is_frozen = True
    run_ftm(*RUN, "--no-wait", **variables)
    layout = layout_of(store)
    store.put(layout.jobs("map", 2), store.get(layout.jobs("map", 1)))
    cluster.service.thaw()
    wait_until(lambda: cluster.service.parents()[0].status == "SUCCEEDED")
    assert list_runs(store, QUARTER)[0].progress == {}


def test_jobs_that_are_gone_are_submitted_anew(
    cluster: Cluster, store: ObjectStore, variables: dict[str, str]
) -> None:
    """Nothing of an attempt is left: watching says so, the run command submits another."""
    cluster.service.is_frozen = True
    run_ftm(*RUN, "--no-wait", **variables)
    cluster.service.jobs.clear()
    cluster.service.is_frozen = False
    forget(store)
    watched = run_ftm("watch", "--quarter", "2023Q1", **variables)
    assert watched.returncode == 1
    assert "cannot be found in AWS Batch" in watched.stderr
    done = run_ftm(*RUN, **variables)
    assert done.returncode == 0, done.stderr
    assert store.exists(layout_of(store).jobs("map", 2))


def test_a_run_that_was_removed_and_is_begun_again_gets_jobs_of_its_own(
    cluster: Cluster, store: ObjectStore, variables: dict[str, str]
) -> None:
    """AWS Batch shows the ended jobs of the removed run for a week; they are not taken for it."""
    assert run_ftm(*RUN, **variables).returncode == 0
    clean = ("clean", "--quarter", "2023Q1", "--run", layout_of(store).run_id, "--yes")
    done = run_ftm(*clean, **variables)
    assert done.returncode == 0, done.stderr
    assert list_runs(store, QUARTER) == []
    done = run_ftm(*RUN, **variables)
    assert done.returncode == 0, done.stderr
    first, second = cluster.service.parents()
    assert first.request["jobName"] != second.request["jobName"]
    assert claimed_id(store) == second.job_id
