"""The orchestrator's own steps; what workers do is tested with real ones elsewhere."""

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import pytest

from ftm.cli.run_texts import describe
from ftm.core.errors import (
    BatchFailedError,
    ConfigError,
    CorruptObjectError,
    LeaseHeldError,
    OrchestratorError,
    PrefetchRequiredError,
)
from ftm.core.layout import PrefetchLayout, RunLayout, current_pointer
from ftm.core.schemas import FIRMS, PROCESSED_TABLES
from ftm.core.settings import Settings
from ftm.jobs.base import JobState, JobStatus, StageJobs
from ftm.orchestrate.quarter_orchestrator import QuarterOrchestrator
from ftm.orchestrate.summary import RunSummary
from ftm.storage.lease import Writer
from ftm.storage.object_store import ObjectStore, open_store
from ftm.storage.open_lease import open_leased
from ftm.storage.parquet import from_bytes
from ftm.storage.published import read_published_table, require_published
from ftm.storage.run_reader import find_run, list_runs, published_run
from ftm.storage.run_records import decode_spec
from ftm.storage.sealed import encode_sealed
from ftm.storage.stage_records import STAGES
from ftm.wiring import get_model_fingerprint
from ftm.wiring.stages import get_stage_tools
from tests.support.business_firms import QUARTER
from tests.support.inline_backend import InlineBackend
from tests.support.quarters import write_quarter
from tests.support.runs import noop_settings

HANDED_ON = {
    "reduce": ("themes", "theme_contributions"),
    "name": ("topic_names", "theme_names", "naming_audit"),
}
NOW = datetime(2023, 4, 3, 12, tzinfo=UTC)


@pytest.fixture
def store() -> ObjectStore:
    """Seven firms in chunks of three."""
    opened = open_store("memory://")
    write_quarter(opened, 7, firms_per_chunk=3)
    return opened


def make(
    store: ObjectStore, backend: InlineBackend | None = None, **given: object
) -> QuarterOrchestrator:
    """An orchestrator whose clock stands still, on noop models unless told otherwise."""
    options = {
        "settings": noop_settings(),
        "fingerprint": get_model_fingerprint,
        "clock": lambda: NOW,
        "machine": lambda _: "a machine",
        "tools": lambda chosen, allow: get_stage_tools(chosen, store, allow_failed=allow),
        **given,
    }
    return QuarterOrchestrator(store, backend or InlineBackend(store), poll_s=0, **options)


def real_model(settings: Settings) -> dict[str, str]:
    """A fingerprint that is not the noop models'; what workers would do is not in question."""
    return {"embedding_model": "some", "clustering": "ward", "seed": str(settings.seed)}


def run_seed(store: ObjectStore, seed: int, **options: object) -> RunSummary:
    """A whole run with this seed, of models that count."""
    settings = noop_settings(seed=seed)
    orchestrator = make(store, settings=settings, fingerprint=real_model)
    return orchestrator.run_quarter("2023Q1", batch_size=3, **options)


def keys(store: ObjectStore, prefix: str = "") -> set[str]:
    """What the store holds."""
    return {info.key for info in store.list(prefix)}


def test_a_run_records_its_plan_then_its_jobs_then_its_firms(store: ObjectStore) -> None:
    """Every record of a run is where the layout says, and the summary counts the firms."""
    before = keys(store)
    summary = make(store).run_quarter("2023Q1", batch_size=3)
    run = summary.run_id
    assert keys(store) - before == {
        f"runs/2023Q1/{run}/prefetch.json.gz",
        f"runs/2023Q1/{run}/spec.json",
        f"runs/2023Q1/{run}/jobs/map_1.json",
        f"runs/2023Q1/{run}/jobs/map_1.outcome.json",
        f"manifests/2023Q1/{run}/map_1.jsonl",
        *(f"progress/2023Q1/run={run}/2023Q1_batch_000{i}.json" for i in range(3)),
        *(f"progress/2023Q1/run={run}/stages/{name}" for name in STAGES[1:]),
        *(
            f"intermediate/{stage}/quarter=2023Q1/run={run}/{table}.parquet"
            for stage, tables in HANDED_ON.items()
            for table in tables
        ),
        *(f"processed/quarter=2023Q1/run={run}/{t}.parquet" for t in PROCESSED_TABLES),
    }
    assert (summary.state, summary.n_batches, summary.n_done) == ("complete", 3, 7)
    firms = from_bytes(store.get(f"processed/quarter=2023Q1/run={run}/firms.parquet"), FIRMS)
    assert firms["status"].to_pylist() == ["done"] * 7
    assert firms["permno"].to_pylist() == list(range(10000, 10007))


def test_the_spec_names_the_machine_outside_of_the_run_id(store: ObjectStore) -> None:
    """Provenance that is no part of the identity: another machine resumes the same run."""
    run = make(store).run_quarter("2023Q1", batch_size=3).run_id
    key = f"runs/2023Q1/{run}/spec.json"
    spec = decode_spec(store.get(key), key=key)
    assert spec.machine == "a machine"
    store.put(key, spec.model_copy(update={"machine": "another"}).encode())
    assert make(store).run_quarter("2023Q1", batch_size=3).run_id == run
    assert decode_spec(store.get(key), key=key).machine == "another"


def test_workers_are_told_where_what_and_no_secrets(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The environment names store, run and batch manifest, and the models' settings."""
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
    backend = InlineBackend(store)
    settings = noop_settings(
        wrds_username="me", wrds_password="secret", llm_api_key="secret", seed=5, quarter="1999Q1"
    )
    summary = make(store, backend, settings=settings).run_quarter("2023Q1")
    assert dict(backend.submitted[0].environment) == {
        "FTM_STORE": "memory://",
        "DATA_SOURCE": "s3",
        "QUARTER": "2023Q1",
        "FTM_RUN_ID": summary.run_id,
        "MANIFEST_S3_KEY": f"manifests/2023Q1/{summary.run_id}/map_1.jsonl",
        "FTM_EMBEDDING_MODEL": "noop",
        "FTM_CLUSTERING": "noop",
        "FTM_DEVICE": "cpu",
        "FTM_SEED": "5",
        "FTM_DTYPE": "float32",
        "FTM_EMBED_TEXT": "raw",
        "FTM_KEEP_KINDS": "content",
        "CHECKPOINT_INTERVAL": "50",
        "FTM_ATTEMPT": "1",
    }


def test_the_same_run_again_says_so_and_submits_nothing(store: ObjectStore) -> None:
    """Same manifest, batches and model are the same run, whenever it is started."""
    first = make(store).run_quarter("2023Q1", batch_size=3)
    before = {key: store.get(key) for key in keys(store)}
    backend = InlineBackend(store)
    later = NOW + timedelta(days=1)
    again = make(store, backend, clock=lambda: later).run_quarter("2023Q1", batch_size=3)
    assert (again.run_id, again.state) == (first.run_id, "already complete")
    assert backend.submitted == []
    assert {key: store.get(key) for key in keys(store)} == before


@pytest.mark.parametrize("left", [None, b"", b"{}\n"])
def test_a_lost_batch_manifest_does_not_empty_a_run(store: ObjectStore, left: bytes | None) -> None:
    """Readers refuse such a run; the same command writes the manifest again, and nothing else."""
    first = make(store).run_quarter("2023Q1", batch_size=3)
    before = {key: store.get(key) for key in keys(store)}
    lost = RunLayout(QUARTER, first.run_id).batch_manifest(1)
    store.delete(lost)
    if left is not None:
        store.put(lost, left)
    with pytest.raises(CorruptObjectError, match=r"map_1\.jsonl .*`ftm run-quarter`"):
        find_run(store, QUARTER)
    again = make(store).run_quarter("2023Q1", batch_size=3)
    assert (again.state, again.n_firms, again.n_batches) == ("already complete", 7, 3)
    assert {key: store.get(key) for key in keys(store)} == before


def test_a_plan_that_is_gone_is_told_before_any_work(store: ObjectStore) -> None:
    """The summary needs calls.parquet: without it hours of work would end in an error."""
    layout = PrefetchLayout(QUARTER)
    store.delete(layout.key(layout.plan_file(1)))
    before, backend = keys(store), InlineBackend(store)
    with pytest.raises(CorruptObjectError, match=r"calls\.parquet is gone; .*--refresh"):
        make(store, backend).run_quarter("2023Q1", batch_size=3)
    assert (keys(store), backend.submitted) == (before, [])


@pytest.mark.parametrize(
    "change",
    [{"batch_size": 2}, {"seed": 7}, {"map_checkpoint": 10}, {"embed_text": "cleaned"}],
    ids=lambda change: next(iter(change)),
)
def test_what_changes_the_output_is_another_run(
    store: ObjectStore, change: dict[str, object]
) -> None:
    """Another batch size, model setting or part size never touches the first run's objects."""
    base = {"embedding_model": "noop", "clustering": "ward", "device": "cpu"}
    batch_size = int(str(change.get("batch_size", 3)))
    settings = {name: value for name, value in change.items() if name != "batch_size"}
    first = make(store, settings=Settings.load(**base)).run_quarter("2023Q1", batch_size=3)
    other = Settings.load(**base, **settings)
    second = make(store, settings=other).run_quarter("2023Q1", batch_size=batch_size)
    assert first.run_id != second.run_id


def test_a_failed_batch_is_an_error_that_names_it_and_only_it_runs_again(
    store: ObjectStore,
) -> None:
    """The error has the batch, the reason and the log; the next attempt has only this batch."""
    backend = InlineBackend(store, failing={"2023Q1_batch_0001"})
    with pytest.raises(BatchFailedError, match="1 of 3 batches") as caught:
        make(store, backend).run_quarter("2023Q1", batch_size=3)
    assert caught.value.batch_ids == ("2023Q1_batch_0001",)
    assert "exit 1: boom (log: /logs/2023Q1_batch_0001.log)" in str(caught.value)
    outcome = list_runs(store, QUARTER)[0].outcomes["2023Q1_batch_0001"]
    assert (outcome.state, outcome.exit_code) == ("failed", 1)

    backend = InlineBackend(store)
    assert make(store, backend).run_quarter("2023Q1", batch_size=3).state == "complete"
    assert [jobs.batch_ids for jobs in backend.submitted] == [("2023Q1_batch_0001",)]
    assert backend.submitted[0].name.endswith("-map-2")


def test_the_same_backend_tries_a_failed_batch_again(store: ObjectStore) -> None:
    """Jobs that have ended are not taken for jobs still running."""
    backend = InlineBackend(store, failing={"2023Q1_batch_0001"})
    orchestrator = make(store, backend)
    with pytest.raises(BatchFailedError):
        orchestrator.run_quarter("2023Q1", batch_size=3)
    backend.failing = ()
    assert orchestrator.run_quarter("2023Q1", batch_size=3).state == "complete"


@pytest.mark.parametrize("kind", ["memory", "file"])
def test_one_command_at_a_time_carries_a_run(kind: str, tmp_path: Path) -> None:
    """While another holds the run's lease nothing is submitted and the holder is named."""
    store = open_store("memory://" if kind == "memory" else f"file://{tmp_path}")
    write_quarter(store, 7, firms_per_chunk=3)
    other = Writer("alice", platform.node(), 1, "other", is_alive=lambda _pid: True)
    first = InlineBackend(store, idle=["2023Q1_batch_0000"])
    with pytest.raises(BatchFailedError):
        make(store, first).run_quarter("2023Q1", batch_size=3)
    layout = RunLayout(QUARTER, list_runs(store, QUARTER)[0].spec.run_id)
    lease = open_leased(
        store,
        layout.lease,
        lock_name=f"run {layout.run_id} of 2023Q1",
        writer=other,
        clock=lambda: NOW,
        say=lambda _text: None,
    )
    lease.acquire()
    backend = InlineBackend(store)
    with pytest.raises(LeaseHeldError, match=r"alice on host .* \(process 1\).*`ftm status"):
        make(store, backend).run_quarter("2023Q1", batch_size=3)
    assert backend.submitted == []
    lease.release()
    assert make(store, backend).run_quarter("2023Q1", batch_size=3).state == "complete"
    assert not store.exists(layout.lease)


def test_what_a_cleaning_removed_before_the_lease_is_written_again(store: ObjectStore) -> None:
    """Else jobs are submitted for a run that has no spec, or no manifest, any more."""
    removed: list[str] = []

    def clean(moment: str, key: str) -> None:
        if moment == "before put" and key.endswith("/lease.json"):
            store.hook = lambda _moment, _key: None
            for name in ("spec.json", "prefetch.json.gz"):
                removed.append(key.replace("lease.json", name))
                store.delete(removed[-1])

    store.hook = clean
    assert make(store, InlineBackend(store)).run_quarter(QUARTER).state == "complete"
    assert [store.exists(key) for key in removed] == [True, True]


def test_a_job_that_ends_well_without_completing_its_batch_is_a_failure(
    store: ObjectStore,
) -> None:
    """Exit code 0 proves nothing; the progress record does."""
    with pytest.raises(BatchFailedError, match="ended without completing"):
        make(store, InlineBackend(store, idle={"2023Q1_batch_0000"})).run_quarter("2023Q1")


def test_failed_firms_do_not_fail_the_run_but_are_tried_again(store: ObjectStore) -> None:
    """They are counted, named in the firms table, and their batch runs in the next attempt."""
    backend = InlineBackend(store, bad_firms={"100004"})
    summary = make(store, backend).run_quarter("2023Q1", batch_size=3)
    assert summary.failed == {"100004": "ValueError: bad"}
    firms = from_bytes(store.get(list_runs(store, QUARTER)[0].layout.processed("firms")), FIRMS)
    assert firms["status"].to_pylist().count("failed") == 1
    backend = InlineBackend(store)
    assert make(store, backend).run_quarter("2023Q1", batch_size=3).failed == {}
    assert [jobs.batch_ids for jobs in backend.submitted] == [("2023Q1_batch_0001",)]


def test_a_retry_of_failed_firms_that_fails_is_a_failure(store: ObjectStore) -> None:
    """A batch complete with a failed firm does not hide that the job to retry it failed."""
    make(store, InlineBackend(store, bad_firms={"100004"})).run_quarter("2023Q1", batch_size=3)
    backend = InlineBackend(store, failing={"2023Q1_batch_0001"})
    with pytest.raises(BatchFailedError, match=r"1 of 3 batches.*exit 1: boom") as caught:
        make(store, backend).run_quarter("2023Q1", batch_size=3)
    assert caught.value.batch_ids == ("2023Q1_batch_0001",)


def test_without_waiting_it_returns_after_submitting(store: ObjectStore) -> None:
    """The summary says submitted, and the next call finds what was done meanwhile."""
    assert make(store).run_quarter("2023Q1", wait=False).state == "submitted"
    assert make(store).run_quarter("2023Q1").state == "complete"
    assert make(store).run_quarter("2023Q1").state == "already complete"


def test_no_manifest_is_an_error_before_anything_is_written(store: ObjectStore) -> None:
    """The message has the command to run; nothing is written or submitted."""
    before, backend = keys(store), InlineBackend(store)
    with pytest.raises(PrefetchRequiredError, match="`ftm prefetch --quarter 2022Q4`"):
        make(store, backend).run_quarter("2022Q4")
    assert keys(store) == before
    assert backend.submitted == []


def test_a_prefetch_that_was_killed_is_told_from_one_never_begun(store: ObjectStore) -> None:
    """With a checkpoint and no manifest the message says that prefetch resumes."""
    store.put(PrefetchLayout(QUARTER.next()).checkpoint, b"{}")
    with pytest.raises(PrefetchRequiredError, match=r"in part .* again, it resumes"):
        make(store).run_quarter(QUARTER.next())


def test_an_incomplete_prefetch_is_asked_about(store: ObjectStore) -> None:
    """It counts what is there; with allow_partial_prefetch the run goes ahead."""
    write_quarter(store, 7, firms_per_chunk=3, complete=False)
    before = keys(store)
    with pytest.raises(PrefetchRequiredError, match=r"12 of 12 firms.*--allow-partial-prefetch"):
        make(store).run_quarter("2023Q1")
    assert keys(store) == before
    assert make(store).run_quarter("2023Q1", allow_partial_prefetch=True).n_done == 7


def test_a_run_over_a_partial_prefetch_says_how_many_firms_are_not_in_it() -> None:
    """In the summary and on the screen, whenever it is asked again."""
    store = open_store("memory://")
    write_quarter(store, 7, firms_per_chunk=3, n_pending=2)
    for _ in range(2):
        summary = make(store).run_quarter("2023Q1", batch_size=3, allow_partial_prefetch=True)
        assert (summary.n_done, summary.n_not_prefetched) == (7, 2)
        assert "2 firms more are in the plan" in "\n".join(describe(summary))
    write_quarter(store, 7, firms_per_chunk=3)
    summary = make(store).run_quarter("2023Q1", batch_size=3)
    assert summary.n_not_prefetched == 0
    assert "in the plan" not in "\n".join(describe(summary))


def test_firms_without_a_topic_are_counted(store: ObjectStore) -> None:
    """They are done, with nothing to show."""
    summary = make(store).run_quarter("2023Q1", batch_size=3)
    assert (summary.n_done, summary.n_without_topics) == (7, 7)
    assert "7 of them without a topic" in "\n".join(describe(summary))


def test_a_quarter_without_any_firm_points_at_attrition(store: ObjectStore) -> None:
    """There is nothing to run, and the reasons are in the waterfall."""
    write_quarter(store, [], firms_per_chunk=3)
    with pytest.raises(OrchestratorError, match="ftm attrition"):
        make(store).run_quarter("2023Q1")


def test_batch_size_zero_is_refused_before_anything_is_written(store: ObjectStore) -> None:
    """The value is shown."""
    before = keys(store)
    with pytest.raises(ConfigError, match="--batch-size 0"):
        make(store).run_quarter("2023Q1", batch_size=0)
    assert keys(store) == before


def test_the_prefetch_can_be_looked_at(store: ObjectStore) -> None:
    """Existence, firm ids and counts come from the manifest."""
    orchestrator = make(store)
    assert orchestrator.prefetch_exists("2023Q1")
    assert not orchestrator.prefetch_exists("2022Q4")
    assert orchestrator.get_prefetch_firm_ids("2023Q1") == [str(100000 + i) for i in range(7)]
    assert orchestrator.get_prefetch_summary("2023Q1")["n_firms"] == 7
    with pytest.raises(PrefetchRequiredError):
        orchestrator.get_prefetch_firm_ids("2022Q4")


def test_prefetching_needs_a_prefetcher(store: ObjectStore) -> None:
    """An orchestrator of the run stage says which command prefetches."""
    with pytest.raises(ConfigError, match="ftm prefetch --quarter 2023Q1"):
        make(store).run_prefetch("2023Q1")


def test_prefetching_goes_through_the_prefetcher_it_was_given(store: ObjectStore) -> None:
    """Quarter and firms are passed on, and the answer comes back."""
    seen = []

    class Prefetcher:
        def prefetch_quarter(self, quarter: object, firm_ids: object = None) -> str:
            seen.append((str(quarter), firm_ids))
            return "summary"

    orchestrator = make(store, make_prefetcher=Prefetcher)
    assert orchestrator.run_prefetch("2023Q1", firm_ids=["1"]) == "summary"
    assert seen == [("2023Q1", ["1"])]


class Killed(BaseException):
    """What a failpoint raises, so that no handler takes it for an error."""


def run_until(
    store: ObjectStore,
    boundary: int,
    run: Callable[[ObjectStore], object] = lambda store: make(store).run_quarter(
        "2023Q1", batch_size=3
    ),
) -> bool:
    """Run, but die at the n-th write boundary of the orchestrator; whether it died."""
    left = boundary

    def hook(moment: str, key: str) -> None:
        nonlocal left
        if key.startswith("progress/") and "/stages/" not in key:
            return  # a worker's write
        left -= 1
        if left < 0:
            raise Killed(moment, key)

    store.hook = hook
    try:
        run(store)
    except Killed:
        return True
    finally:
        store.hook = lambda _moment, _key: None
    return False


def test_killed_at_every_write_boundary_it_resumes_the_same_run() -> None:
    """Whatever write it died before or after, the next start ends with the same records."""
    whole = open_store("memory://")
    write_quarter(whole, 7, firms_per_chunk=3)
    layout = RunLayout(QUARTER, make(whole).run_quarter("2023Q1", batch_size=3).run_id)
    same = {layout.manifest, layout.batch_manifest(1)}
    same |= keys(whole, "processed") | keys(whole, "intermediate")
    same |= {layout.stage_record(stage) for stage in STAGES[1:]}
    for boundary in count():
        store = open_store("memory://")
        write_quarter(store, 7, firms_per_chunk=3)
        if not run_until(store, boundary):
            break
        spec = store.get(layout.spec) if store.exists(layout.spec) else None
        later = NOW + timedelta(days=1)
        make(store, clock=lambda at=later: at).run_quarter("2023Q1", batch_size=3)
        assert {key: store.get(key) for key in same} == {key: whole.get(key) for key in same}
        assert spec in (None, store.get(layout.spec))
        assert [run.spec.run_id for run in list_runs(store, QUARTER)] == [layout.run_id]
    assert boundary == 48, "22 puts, the lease and its end, before and after each"


def published_store() -> tuple[ObjectStore, str]:
    """A store with one published run, and its id."""
    store = open_store("memory://")
    write_quarter(store, 7, firms_per_chunk=3)
    return store, run_seed(store, 1).run_id


def test_invariant_10_the_pointer_to_a_run_is_its_last_write() -> None:
    """Killed before it, readers have the run before; after it, all that it names is there."""
    store, old = published_store()
    begun = {info.key: store.get(info.key) for info in store.list()}
    events: list[tuple[str, str]] = []
    store.hook = lambda moment, key: events.append((moment, key))
    new = run_seed(store, 2).run_id
    events = [(m, k) for m, k in events if not k.startswith("progress/") or "/stages/" in k]
    written = events.index(("after put", current_pointer(QUARTER)))
    assert {key for _, key in events[written + 1 :]} <= {RunLayout(QUARTER, new).lease}
    for boundary in range(len(events)):
        store = open_store("memory://")
        for key, data in begun.items():
            store.put(key, data)
        assert run_until(store, boundary, lambda store: run_seed(store, 2))
        run = find_run(store, QUARTER)
        assert run.spec.run_id == (old if boundary < written else new)
        published = require_published(store, QUARTER)
        assert published.tables.keys() == set(PROCESSED_TABLES)
        for table in PROCESSED_TABLES:
            read_published_table(store, published, table)


def test_readers_follow_the_run_last_completed_by_a_command(store: ObjectStore) -> None:
    """Asking for an older run again, which finds it complete, publishes that one again."""
    first = run_seed(store, 1)
    assert first.published
    second = run_seed(store, 2)
    assert find_run(store, QUARTER).spec.run_id == second.run_id
    assert run_seed(store, 1).state == "already complete"
    assert find_run(store, QUARTER).spec.run_id == first.run_id


def test_a_robustness_run_and_one_of_the_noop_models_are_not_published(store: ObjectStore) -> None:
    """The pointer stays where it was, and the summary says that readers need the run's id."""
    first = run_seed(store, 1)
    assert not run_seed(store, 2, publish=False).published
    assert not make(store).run_quarter("2023Q1").published
    assert published_run(store, QUARTER) == first.run_id


def test_a_trial_with_noop_models_is_read_only_where_there_is_nothing_else(
    store: ObjectStore,
) -> None:
    """Though it is newer than a run of real models that nobody published."""
    trial = make(store).run_quarter("2023Q1", batch_size=3)
    assert find_run(store, QUARTER).spec.run_id == trial.run_id
    real = run_seed(store, 1, publish=False)
    later = make(store, clock=lambda: NOW + timedelta(days=1)).run_quarter("2023Q1", batch_size=2)
    assert later.run_id != trial.run_id
    assert find_run(store, QUARTER).spec.run_id == real.run_id


def test_a_robustness_run_is_read_only_where_no_run_was_meant_to_be(store: ObjectStore) -> None:
    """Begun with --no-publish and newer, it stays aside while nothing is published at all."""
    main = run_seed(store, 1)
    store.delete(current_pointer(QUARTER))
    later = make(
        store,
        settings=noop_settings(seed=2),
        fingerprint=real_model,
        clock=lambda: NOW + timedelta(days=1),
    ).run_quarter("2023Q1", batch_size=3, publish=False)
    assert list_runs(store, QUARTER)[-1].spec.run_id == later.run_id
    assert find_run(store, QUARTER).spec.run_id == main.run_id


class Interrupted(InlineBackend):
    """Ctrl-C comes while its jobs are looked at for the first time; a closed one has cancelled."""

    def poll(self, handle: str) -> list[JobStatus]:
        """See JobBackend."""
        if not self.n_closed:
            raise KeyboardInterrupt
        return [
            replace(s, state=JobState.CANCELLED, reason="stopped") for s in super().poll(handle)
        ]


def test_a_stopped_command_leaves_word_of_how_its_jobs_ended(store: ObjectStore) -> None:
    """So that status tells a stop from a job that never said anything."""
    with pytest.raises(KeyboardInterrupt):
        make(store, Interrupted(store)).run_quarter("2023Q1", batch_size=3)
    (run,) = list_runs(store, QUARTER)
    assert {o.state for o in run.outcomes.values()} == {"cancelled"}


def test_a_run_that_fails_is_not_published(store: ObjectStore) -> None:
    """Readers keep the run they had until another is complete."""
    first = run_seed(store, 1)
    backend = InlineBackend(store, failing={"2023Q1_batch_0001"})
    with pytest.raises(BatchFailedError):
        make(store, backend, settings=noop_settings(seed=2), fingerprint=real_model).run_quarter(
            "2023Q1", batch_size=3
        )
    assert find_run(store, QUARTER).spec.run_id == first.run_id


def test_a_run_that_is_not_complete_is_read_only_on_demand(store: ObjectStore) -> None:
    """Asked for by id or published, it is an error that says how far it is."""
    backend = InlineBackend(store, failing={"2023Q1_batch_0001"})
    with pytest.raises(BatchFailedError):
        make(store, backend).run_quarter("2023Q1", batch_size=3)
    run_id = list_runs(store, QUARTER)[0].spec.run_id
    wanted = f"run {run_id} of 2023Q1 is not complete .2 of 3 batches.*allow_incomplete=True"
    with pytest.raises(OrchestratorError, match=wanted):
        find_run(store, QUARTER, run_id)
    assert find_run(store, QUARTER, run_id, allow_incomplete=True).n_complete == 2
    store.put(current_pointer(QUARTER), encode_sealed({"run_id": run_id}))
    with pytest.raises(OrchestratorError, match=wanted):
        find_run(store, QUARTER)


@pytest.mark.parametrize("seeds", [(1, 2, 3), (2, 1, 3), (3, 2, 1)])
def test_while_nothing_is_published_the_newest_complete_run_is_read(
    store: ObjectStore, seeds: tuple[int, ...]
) -> None:
    """By the time it began, whatever its id; a newer one that is not complete is passed over."""
    ids = []
    for day, seed in enumerate(seeds):
        failing = {"2023Q1_batch_0001"} if day == 2 else ()
        orchestrator = make(
            store,
            InlineBackend(store, failing=failing),
            settings=noop_settings(seed=seed),
            fingerprint=real_model,
            clock=lambda at=NOW + timedelta(days=day): at,
        )
        try:
            ids.append(orchestrator.run_quarter("2023Q1", batch_size=3, publish=False).run_id)
        except BatchFailedError:
            assert day == 2
    assert [run.is_complete for run in list_runs(store, QUARTER)] == [True, True, False]
    assert find_run(store, QUARTER).spec.run_id == ids[1]


class FindingBackend(InlineBackend):
    """Finds what it was given again, and says of `running` that it still runs."""

    running = ""

    def find(self, jobs: StageJobs, handle: str | None = None) -> str | None:  # noqa: ARG002
        """See JobBackend."""
        name = jobs.name
        return name if name in {jobs.name for jobs in self.submitted} else None

    def poll(self, handle: str) -> list[JobStatus]:
        """See JobBackend."""
        statuses = super().poll(handle)
        if handle != self.running:
            return statuses
        return [JobStatus(status.batch_id, JobState.RUNNING) for status in statuses]


def fail_nine_times(store: ObjectStore) -> FindingBackend:
    """Nine attempts at a batch, each failed."""
    backend = FindingBackend(store, failing={"2023Q1_batch_0001"})
    for _ in range(9):
        with pytest.raises(BatchFailedError):
            make(store, backend).run_quarter("2023Q1", batch_size=3)
    return backend


def test_the_tenth_attempt_is_the_last_one(store: ObjectStore) -> None:
    """Attempts are numbers, not names: while the tenth runs no eleventh is begun."""
    backend = fail_nine_times(store)
    make(store, backend).run_quarter("2023Q1", batch_size=3, wait=False)
    backend.running = backend.submitted[-1].name
    assert backend.running.endswith("-map-10")
    make(store, backend).run_quarter("2023Q1", batch_size=3, wait=False)
    assert len(backend.submitted) == 10


def test_the_tenth_attempts_outcome_is_the_one_told(store: ObjectStore) -> None:
    """What the ninth said of a batch gives way to what the tenth says."""
    backend = fail_nine_times(store)
    backend.failing = ()
    make(store, backend).run_quarter("2023Q1", batch_size=3)
    outcome = list_runs(store, QUARTER)[0].outcomes["2023Q1_batch_0001"]
    assert (outcome.state, outcome.exit_code) == ("succeeded", 0)
