"""`python -m ftm.worker reduce|name|package`, and what the jobs of these stages are told."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from ftm.core.errors import ConfigError
from ftm.core.layout import RunLayout
from ftm.core.settings import Settings
from ftm.mapping.stop_signal import StopSignal
from ftm.orchestrate.later_stages import Asked, read_asked
from ftm.orchestrate.quarter_orchestrator import QuarterOrchestrator
from ftm.orchestrate.stages import StageSpan
from ftm.storage.claims import claim_jobs
from ftm.storage.object_store import ObjectStore, open_store
from ftm.storage.run_records import JobRecord
from ftm.storage.stage_records import read_stage
from ftm.topics.fingerprint import themes_image_fingerprint
from ftm.wiring import get_model_fingerprint, get_stage_tools
from ftm.wiring.stages import resolve_for_stage_jobs
from ftm.worker import do_or_drop, main
from tests.support.business_firms import QUARTER
from tests.support.inline_backend import InlineBackend
from tests.support.quarters import write_quarter
from tests.support.runs import noop_settings


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    """Four firms in a folder."""
    opened = open_store(f"file://{tmp_path / 'store'}")
    write_quarter(opened, 4, firms_per_chunk=2)
    return opened


@pytest.fixture
def mapped(store: ObjectStore) -> RunLayout:
    """A run of theirs whose map stage is done."""
    orchestrator = QuarterOrchestrator(
        store,
        InlineBackend(store),
        settings=noop_settings(),
        fingerprint=get_model_fingerprint,
        tools=lambda chosen, allow: get_stage_tools(chosen, store, allow_failed=allow),
        poll_s=0,
    )
    summary = orchestrator.run_quarter("2023Q1", batch_size=2, span=StageSpan(last="map"))
    return RunLayout(QUARTER, summary.run_id)


@pytest.fixture
def told(
    store: ObjectStore, mapped: RunLayout, monkeypatch: pytest.MonkeyPatch
) -> Iterator[pytest.MonkeyPatch]:
    """A worker's environment in this process, and the signals given back."""
    given = {"FTM_STORE": store.url, "QUARTER": "2023Q1", "FTM_RUN_ID": mapped.run_id}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield monkeypatch
    for number, handler in before.items():
        signal.signal(number, handler)


def test_the_stages_are_done_one_by_one_and_nothing_is_published(
    told: pytest.MonkeyPatch,
    store: ObjectStore,
    mapped: RunLayout,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Each exits 0 with its record; the first line says version, stage and run; no pointer."""
    for stage in ("reduce", "name", "package"):
        capfd.readouterr()
        assert main([stage]) == 0
        record = read_stage(store, mapped, stage)
        assert record is not None
        lines = capfd.readouterr().err.splitlines()
        assert f"INFO ftm 0.1.0: {stage}, run {mapped.run_id} of 2023Q1" in lines[0]
        assert main([stage]) == 0
        assert read_stage(store, mapped, stage) == record
    assert not store.exists("processed/quarter=2023Q1/_current.json")


def test_a_stage_whose_turn_has_not_come_fails_with_a_line(
    told: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Exit 1, as the worker says it; 2 where the environment does not say which run."""
    assert main(["name"]) == 1
    assert "ftm.worker: stage reduce of run" in capfd.readouterr().err
    told.delenv("FTM_RUN_ID")
    assert main(["name"]) == 2
    assert "ftm.worker: FTM_RUN_ID is not set" in capfd.readouterr().err
    assert main(["sleep"]) == 2


def test_sigterm_breaks_a_stage_off(
    told: pytest.MonkeyPatch, store: ObjectStore, mapped: RunLayout
) -> None:
    """Exit 143 and no record: the next attempt begins the stage again."""
    stop = StopSignal()
    stop.listen()
    os.kill(os.getpid(), signal.SIGTERM)
    assert do_or_drop("reduce", Settings.load(), stop) == 143
    assert read_stage(store, mapped, "reduce") is None


def test_failed_batches_stop_reduce_unless_it_is_told(
    told: pytest.MonkeyPatch, store: ObjectStore, mapped: RunLayout
) -> None:
    """Exit 1 without a record; with FTM_STAGE_ALLOW_FAILED the record says it is partial."""
    store.delete(mapped.progress("2023Q1_batch_0001"))
    assert main(["reduce"]) == 1
    assert read_stage(store, mapped, "reduce") is None
    told.setenv("FTM_STAGE_ALLOW_FAILED", "true")
    assert main(["reduce"]) == 0
    found = read_stage(store, mapped, "reduce")
    assert found is not None
    assert found.is_partial


def test_another_set_of_jobs_leaves_without_work(
    told: pytest.MonkeyPatch, store: ObjectStore, mapped: RunLayout
) -> None:
    """The register is the stage's own: one of map does not count."""
    claim_jobs(store, mapped, stage="map", attempt=1, job_id="first")
    claim_jobs(store, mapped, stage="reduce", attempt=1, job_id="second")
    told.setenv("FTM_ATTEMPT", "1")
    told.setenv("AWS_BATCH_JOB_ID", "first")
    assert main(["reduce"]) == 0
    assert read_stage(store, mapped, "reduce") is None
    told.setenv("AWS_BATCH_JOB_ID", "second")
    store.put(mapped.jobs("map", 7), b"{}")
    assert main(["reduce"]) == 0
    assert read_stage(store, mapped, "reduce") is not None


def test_the_image_stands_for_libraries_in_a_jobs_inputs(store: ObjectStore) -> None:
    """Equal on a workstation with others; another image or resolution is another input."""
    settings = resolve_for_stage_jobs(noop_settings(), image="ftm@sha256:aa", environment={})
    found = get_stage_tools(settings, store).reduce.clustering
    assert found == themes_image_fingerprint("ftm@sha256:aa", "leiden", resolution=5.0, seed=42)
    assert not [name for name in found if name.startswith("version:")]
    assert found != get_stage_tools(noop_settings(), store).reduce.clustering


def test_what_only_the_job_definition_says_is_the_runs() -> None:
    """A setting that is given wins; a password in a URL is refused without being quoted."""
    definition = {"LLM_BASE_URL": "https://llm.example.org/v1", "LLM_MODEL_NAME": "theirs"}
    given = noop_settings(llm_model_name="mine")
    found = resolve_for_stage_jobs(given, image="i", environment=definition)
    assert (found.llm_base_url, found.llm_model_name) == ("https://llm.example.org/v1", "mine")
    secret = noop_settings(llm_base_url="http://me:pw-4711@llm:8000/v1")
    with pytest.raises(ConfigError, match="holds a user or password") as caught:
        resolve_for_stage_jobs(secret, image="i", environment={})
    assert "pw-4711" not in str(caught.value)
    assert "pw-4711" not in str(Asked(secret, StageSpan()).variables())


def test_what_was_asked_for_is_read_back_from_a_jobs_record() -> None:
    """Themes, naming, stages: as the first command had them, whatever is set here."""
    settings = noop_settings(theme_resolution=8.0, naming="llm", llm_base_url="http://llm:8000/v1")
    asked = Asked(settings, StageSpan(last="name", allow_failed=True))
    record = JobRecord(name="n", stage="map", attempt=1, batch_ids=[], asked=asked.variables())
    here = Settings.load(theme_resolution=2.0)
    found = read_asked(record, here)
    assert found.settings.theme_resolution == 8.0
    assert (found.settings.naming, found.settings.llm_base_url) == ("llm", "http://llm:8000/v1")
    assert (found.span.last, found.span.allow_failed) == ("name", True)
    bare = read_asked(record.model_copy(update={"asked": {}}), here)
    assert (bare.settings.theme_resolution, bare.span) == (2.0, StageSpan())
