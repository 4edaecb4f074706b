"""`ftm attrition`, `status`, `show`, `quarters` and the loaders, on a quarter that was run."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from click.testing import CliRunner, Result

from ftm import load_calls, load_sentences, load_topics
from ftm.analysis.attrition import read_attrition
from ftm.analysis.loaders import read_sentences
from ftm.analysis.show import FirmKey, show_firm
from ftm.cli.look_tables import print_firm
from ftm.cli.main import cli
from ftm.core.errors import (
    ConfigError,
    CorruptObjectError,
    FtmError,
    ManifestNotFoundError,
    OrchestratorError,
    UnknownFirmError,
)
from ftm.core.layout import PrefetchLayout, current_pointer
from ftm.core.quarter import Quarter
from ftm.core.schemas import CALLS, FIRM_TOPICS, PLAN_REASONS, SKIP_REASONS
from ftm.orchestrate.quarter_orchestrator import QuarterOrchestrator
from ftm.storage.manifest import encode_manifest, load_manifest
from ftm.storage.object_store import ObjectStore, open_store
from ftm.storage.run_reader import find_run, list_runs, read_calls, read_table
from ftm.storage.sealed import encode_sealed
from ftm.wiring import get_model_fingerprint
from tests.support.business_firms import QUARTER, make_firm
from tests.support.cli import run_ftm
from tests.support.inline_backend import InlineBackend
from tests.support.quarters import replace_plan, write_quarter
from tests.support.runs import noop_settings

Look = Callable[..., Result]
N_FIRMS = 9 + len(PLAN_REASONS) - 1
"""Firms the plan keeps, and one lost for each reason; another call of a firm is no other firm."""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ObjectStore:
    """Four firms run, the fourth too small for a topic; one lost for each reason; never changed."""
    opened = open_store(f"file://{tmp_path_factory.mktemp('look') / 'store'}")
    firms = [make_firm(i, n_sentences=45 if i < 3 else 8) for i in range(4)]
    write_quarter(opened, firms)
    done = run_ftm("run-quarter", "--quarter", "2023Q1", FTM_STORE=opened.url)
    assert done.returncode == 0, done.stderr
    return opened


@pytest.fixture
def look(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> Look:
    """Runs a command on the store in this process; known errors come out as themselves."""
    monkeypatch.setenv("FTM_STORE", store.url)
    monkeypatch.setenv("COLUMNS", "100")

    def run(*arguments: str) -> Result:
        found = CliRunner().invoke(cli, arguments, standalone_mode=False)
        if isinstance(found.exception, FtmError):
            raise found.exception
        return found

    return run


def test_attrition_has_a_line_for_every_reason_and_fits_the_terminal(look: Look) -> None:
    """Each reason has lost one firm; no line is wider than 100 columns."""
    out = look("attrition", "--quarter", "2023Q1").output
    for text in [*PLAN_REASONS.values(), *SKIP_REASONS.values()]:
        assert f"less: {text}" in out
    assert [line.split()[-1] for line in out.splitlines() if line.startswith("firms")] == [
        str(N_FIRMS),
        "9",
        "4",
    ]
    assert max(map(len, out.splitlines())) <= 100


def test_attrition_as_csv_and_latex_and_down_to_a_run(look: Look, store: ObjectStore) -> None:
    """The same numbers in every format; with a run, the firms it has done."""
    run = find_run(store, QUARTER).spec.run_id
    text = look("attrition", "--quarter", "2023Q1", "--format", "csv", "--run", run).output
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [int(r["n"]) for r in rows if r["kind"] == "total"] == [N_FIRMS + 1, N_FIRMS, 9, 4, 4]
    latex = look("attrition", "--quarter", "2023Q1", "--format", "latex").output
    assert rf"Earnings calls (one per firm and event) & ${N_FIRMS + 1}$ \\" in latex
    found = json.loads(look("attrition", "--quarter", "2023Q1", "--format", "json").output)
    assert found["lines"][0] == {
        "kind": "total",
        "name": "firm_calls",
        "text": "earnings calls (one per firm and event)",
        "n": N_FIRMS + 1,
    }


@pytest.mark.parametrize("by", [("--firm", "100001"), ("--gvkey", "1"), ("--permno", "10001")])
def test_show_finds_a_firm_by_any_of_its_ids(look: Look, by: tuple[str, str]) -> None:
    """The gvkey may come without its zeros."""
    assert "Firm 1 Inc. in 2023Q1" in look("show", "--quarter", "2023Q1", *by).output


def test_show_finds_a_firm_by_part_of_its_name(look: Look) -> None:
    """In any case of letters, when it is in the name of one firm only."""
    out = look("show", "--quarter", "2023Q1", "--firm", "fIRM 1 in").output
    assert "Firm 1 Inc. in 2023Q1" in out


def test_show_lists_the_firms_that_share_a_part_of_their_names(look: Look) -> None:
    """With their ids, ten at most, on one line that says what to do."""
    with pytest.raises(UnknownFirmError) as found:
        look("show", "--quarter", "2023Q1", "--firm", "inc.")
    text = str(found.value)
    assert text.startswith(f"'inc.' is in the names of {N_FIRMS} firms of 2023Q1: ")
    assert "100001 (Firm 1 Inc.), 100002 (Firm 2 Inc.)" in text
    assert text.endswith(f" and {N_FIRMS - 10} more; give the id of one, or more of its name")
    assert "\n" not in text


def test_show_prefers_a_firms_id_to_a_name() -> None:
    """A known id is never taken for a part of a name."""
    other = open_store("memory://")
    manifest = write_quarter(other, 2)
    calls = read_calls(other, manifest).to_pylist()
    for row in calls:
        if row["firm_id"] == "100001":
            row["firm_name"] = "No. 100000 plc"
    replace_plan(other, manifest, calls)
    (view,) = show_firm(other, QUARTER, FirmKey("100000"))
    assert view.firm_name == "Firm 0 Inc."


def test_show_says_which_call_and_why_and_the_topics(look: Look) -> None:
    """Date, version, fiscal period, link, other calls; topics with size, share and sentences."""
    out = look("show", "--quarter", "2023Q1", "--firm", "100000").output
    for text in (
        "firm 100000, gvkey 000000, PERMNO 10000",
        "2023-02-14, 13:30 UTC; 2023-02-14 08:30 in New York; first trading session 2023-02-14",
        "the latest of the firm's 2 calls in the quarter; its only version",
        "transcript 900000: Proofed Copy, Final, created 2023-02-15",
        "2022 Q4",
        "CCM LC, P, valid 2001-01-02 to now",
        "2023-01-09 15:00 UTC",
        "45 (44 content, 1 greeting)",
        "44, 9.1% of them in no topic",
        "20 sentences, 44.4% of all, 45.5% of those clustered",
    ):
        assert text in out
    assert out.count("We saw") == 6
    assert max(map(len, out.splitlines())) <= 100


def test_show_tells_no_time_that_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a time of day there is a date in New York, and no hour."""
    other = open_store("memory://")
    manifest = write_quarter(other, 1)
    calls = read_calls(other, manifest).to_pylist()
    replace_plan(other, manifest, [row | {"time_missing": True} for row in calls])
    (view,) = show_firm(other, QUARTER, FirmKey("100000"))
    print_firm(view)
    held = "2023-02-14, time of day missing; 2023-02-14 in New York; first trading session"
    assert held in " ".join(capsys.readouterr().out.split())


def test_show_as_json_has_the_whole_sentences(look: Look) -> None:
    """A program gets every field, sentences as spoken."""
    (view,) = json.loads(look("show", "--quarter", "2023Q1", "--firm", "100000", "--json").output)
    assert view["topics"][0]["typical"][0]["text"].startswith("We saw ")
    assert view["topics"][0]["share"] == pytest.approx(20 / 45)
    assert view["topics"][0]["share_of_clustered"] == pytest.approx(20 / 44)


@pytest.mark.parametrize(
    ("firm", "text"),
    [
        ("lost-no_link", "not kept: the gvkey has no CCM link with a PERMNO"),
        ("lost-preliminary_only", "not kept: no Final version of the transcript exists"),
        ("skip-operator_only", "skipped in the prefetch: only the operator speaks"),
        ("fail-0", "failed in the prefetch: PreprocessingError: made up"),
        ("100003", "none: too few sentences to cluster"),
    ],
)
def test_show_says_why_a_firm_has_no_topics(look: Look, firm: str, text: str) -> None:
    """Whatever became of the firm, its call is shown, and the reason."""
    out = " ".join(look("show", "--quarter", "2023Q1", "--firm", firm).output.split())
    assert text in out


def test_show_of_an_unknown_firm_names_some_that_exist(look: Look) -> None:
    """An unknown id, gvkey or PERMNO, or what is in no name, is one clear error."""
    for text in ("999", "Firm X", "", " "):
        with pytest.raises(
            UnknownFirmError, match=rf"unknown firm id {text}: not in 2023Q1.*100000"
        ):
            look("show", "--quarter", "2023Q1", "--firm", text)
    with pytest.raises(UnknownFirmError, match="PERMNO 5"):
        look("show", "--quarter", "2023Q1", "--permno", "5")


def test_show_says_what_is_no_gvkey(look: Look) -> None:
    """Letters or seven digits are wrong usage, not an unknown firm."""
    for text in ("abc", "1234567", ""):
        with pytest.raises(ConfigError, match="is no gvkey"):
            look("show", "--quarter", "2023Q1", "--gvkey", text)


@pytest.mark.parametrize(
    ("policy", "call", "text"),
    [
        (
            {"calls": "first"},
            {},
            "the first of the firm's 2 calls in the quarter; its only version",
        ),
        ({}, {"n_versions": 3}, "quarter; newest Final version of 3"),
        (
            {"as_of": "2023-03-01"},
            {"n_versions": 2},
            "quarter; newest Final version of 2 known on 2023-03-01",
        ),
        (
            {},
            {"n_versions": 2, "transcript_id": None, "kept": False, "reason": "preliminary_only"},
            "quarter; none of its 2 versions is Final",
        ),
        (
            {},
            {"transcript_id": None, "kept": False, "reason": "preliminary_only"},
            "quarter; no Final version",
        ),
    ],
    ids=["first", "versions", "as-of", "none final of 2", "none final"],
)
def test_show_says_why_this_call_and_this_version(
    policy: dict[str, str], call: dict[str, object], text: str
) -> None:
    """The policy is the plan's, whatever the times of the calls; a version that is none is said."""
    other = open_store("memory://")
    manifest = write_quarter(other, 1)
    calls = read_calls(other, manifest).to_pylist()
    for row in calls:
        if row["firm_id"] == "100000" and row["reason"] is None:
            row.update(call)
    replace_plan(other, manifest, calls, **policy)
    (view,) = show_firm(other, QUARTER, FirmKey("100000"))
    assert view.why_this_call.endswith(text)


def test_show_needs_exactly_one_id(look: Look) -> None:
    """None or two are wrong usage."""
    for arguments in ((), ("--firm", "1", "--permno", "1")):
        found = look("show", "--quarter", "2023Q1", *arguments)
        assert "give one of --firm" in str(found.exception)


def test_a_real_process_writes_results_to_stdout_and_errors_to_stderr(store: ObjectStore) -> None:
    """What a shell sees: exit code 0 and JSON; exit code 1, one line, and nothing on stdout."""
    good = run_ftm("quarters", "--json", FTM_STORE=store.url)
    assert (good.returncode, good.stderr) == (0, "")
    assert json.loads(good.stdout)[0]["quarter"] == "2023Q1"
    bad = run_ftm("attrition", "--quarter", "2020Q1", FTM_STORE=store.url)
    assert (bad.returncode, bad.stdout, bad.stderr.count("\n")) == (1, "", 1)
    assert "`ftm prefetch --quarter 2020Q1`" in bad.stderr


def test_loaded_calls_are_the_plan(store: ObjectStore) -> None:
    """One row per call considered; ids that may be missing stay integers."""
    calls = load_calls("2023Q1", store.url)
    assert list(calls.columns) == CALLS.names
    assert (len(calls), int(calls["kept"].sum())) == (N_FIRMS + 1, 9)
    assert str(calls["permno"].dtype) == "Int64"
    assert str(calls["call_ts_utc"].dt.tz) == "UTC"


def test_loaded_topics_follow_the_newest_complete_run(store: ObjectStore) -> None:
    """Two topics for each firm that has enough sentences."""
    topics = load_topics("2023Q1", store)
    assert list(topics.columns) == FIRM_TOPICS.names
    assert topics["firm_id"].tolist() == ["100000"] * 2 + ["100001"] * 2 + ["100002"] * 2
    assert len(topics["centroid"][0]) == 8


def test_loaded_sentences_carry_their_topic_in_the_order_they_were_spoken(
    store: ObjectStore,
) -> None:
    """Every sentence of the chunk has its kind, and agrees with the topic tables."""
    sentences = load_sentences("2023Q1", store)
    assert len(sentences) == 3 * 45 + 8
    assert (sentences.groupby("firm_id")["position"].diff().dropna() == 1).all()
    by_topic = sentences.dropna(subset=["topic_id"]).groupby("topic_id")["sentence_id"].apply(set)
    topics = load_topics("2023Q1", store).set_index("topic_id")["sentence_ids"].apply(set)
    assert by_topic.to_dict() == topics.to_dict()
    greetings = sentences[sentences["kind"] == "greeting"]
    assert len(greetings) == 4
    assert greetings["local_topic_id"].isna().all()


def test_some_firms_only_and_none(store: ObjectStore) -> None:
    """An empty list means none, an unknown id is an error."""
    assert load_sentences("2023Q1", store, firm_ids=["100002"])["firm_id"].unique() == ["100002"]
    assert len(load_sentences("2023Q1", store, firm_ids=[])) == 0
    with pytest.raises(UnknownFirmError):
        load_sentences("2023Q1", store, firm_ids=["1"])


def test_many_firms_come_from_whole_chunks_with_the_same_rows() -> None:
    """Above twenty firms chunks are read whole; the rows are those of reading firm by firm."""
    other = open_store("memory://")
    write_quarter(other, 24, firms_per_chunk=10, n_sentences=5)
    QuarterOrchestrator(
        other, InlineBackend(other), settings=noop_settings(), fingerprint=get_model_fingerprint
    ).run_quarter("2023Q1")
    run = find_run(other, QUARTER)
    whole = read_sentences(other, run, run.done)
    halves = [read_sentences(other, run, run.done[:12]), read_sentences(other, run, run.done[12:])]
    assert whole.equals(pa.concat_tables(halves))
    assert whole.num_rows == 24 * 5
    with pytest.raises(UnknownFirmError, match="unknown firm id x"):
        read_sentences(other, run, [*run.done, "x"])


def test_without_a_run_or_a_prefetch_the_error_says_what_to_run(tmp_path: Path) -> None:
    """Each loader names the command that makes what it needs."""
    empty = open_store(f"file://{tmp_path}")
    with pytest.raises(ManifestNotFoundError, match="`ftm prefetch --quarter 2023Q1`"):
        load_calls("2023Q1", empty)
    for load in (load_topics, load_sentences):
        with pytest.raises(OrchestratorError, match="`ftm run-quarter --quarter 2023Q1`"):
            load("2023Q1", empty)
        with pytest.raises(OrchestratorError, match=r"no run 'x'.*its runs: none"):
            load("2023Q1", empty, run_id="x")


def copy(store: ObjectStore) -> ObjectStore:
    """The same objects in memory, to be spoilt."""
    other = open_store("memory://")
    for info in store.list():
        other.put(info.key, store.get(info.key))
    return other


def test_the_pointer_decides_which_run_is_read(store: ObjectStore) -> None:
    """A published run is read even if another is newer; a run that is not there is an error."""
    other = copy(store)
    other.put(current_pointer(QUARTER), encode_sealed({"run_id": "gone"}))
    with pytest.raises(OrchestratorError, match="no run 'gone'"):
        load_topics("2023Q1", other)
    with pytest.raises(OrchestratorError, match="no run 'gone'"):
        show_firm(other, QUARTER, FirmKey(permno=10000))
    run = list_runs(other, QUARTER)[0].spec.run_id
    other.put(current_pointer(QUARTER), encode_sealed({"run_id": run}))
    assert len(load_topics("2023Q1", other)) == 6


def test_of_a_run_that_is_not_complete_only_what_is_asked_for_is_read(store: ObjectStore) -> None:
    """Loaders refuse it, on demand they give what is done; `show` shows a firm that is done."""
    other = copy(store)
    (run,) = list_runs(other, QUARTER)
    (progress,) = run.progress.values()
    key, cut = run.layout.progress(progress.batch_id), {"complete": False}
    other.put(key, progress.model_copy(update=cut).encode())
    for load in (load_topics, load_sentences):
        with pytest.raises(OrchestratorError, match="is not complete"):
            load("2023Q1", other, run_id=run.spec.run_id)
    (run,) = list_runs(other, QUARTER)
    assert read_table(other, run, "firm-topics").num_rows == 0
    asked = {"run_id": run.spec.run_id, "allow_incomplete": True}
    assert len(load_topics("2023Q1", other, **asked)) == 6
    assert load_sentences("2023Q1", other, **asked)["topic_id"].nunique() == 6
    (view,) = show_firm(other, QUARTER, FirmKey("100000"), run_id=run.spec.run_id)
    assert len(view.topics) == 2


def test_a_part_that_differs_from_its_record_is_refused(store: ObjectStore) -> None:
    """Nothing is read from a part that another run, or a bad disk, has written over."""
    other = copy(store)
    key = next(info.key for info in other.list("intermediate/firm-topics"))
    other.put(key, other.get(key)[:-1] + b"x")
    with pytest.raises(CorruptObjectError, match=r"is not what was written; the `ftm run-quarter`"):
        load_topics("2023Q1", other)
    other.delete(key)
    with pytest.raises(CorruptObjectError, match="is gone; the `ftm run-quarter`"):
        load_topics("2023Q1", other)


def test_the_waterfall_of_a_run_is_that_of_the_prefetch_it_read(store: ObjectStore) -> None:
    """After a refresh that holds fewer firms it is as it was; totals never fall below zero."""
    other = copy(store)
    (run,) = list_runs(other, QUARTER)
    before = read_attrition(other, QUARTER, run)
    layout = PrefetchLayout(QUARTER)
    old = {info.key: other.get(info.key) for info in other.list(layout.root)}
    write_quarter(other, 1)
    other.put(layout.key("gen=0002/calls.parquet"), other.get(layout.key("calls.parquet")))
    manifest = load_manifest(other, QUARTER)
    plan = manifest.plan.model_copy(update={"file": "gen=0002/calls.parquet"})
    newer = encode_manifest(manifest.model_copy(update={"plan": plan, "generation": 2}))
    for key, data in {**old, layout.manifest: newer}.items():
        other.put(key, data)
    assert read_attrition(other, QUARTER).total("with_sentences") == 1
    assert read_attrition(other, QUARTER, run) == before


def test_a_refresh_does_not_change_what_a_run_shows(store: ObjectStore) -> None:
    """A run reads its own copy of the manifest, so a new generation leaves it as it was."""
    other = copy(store)
    before = load_sentences("2023Q1", other)
    manifest = PrefetchLayout(Quarter(2023, 1)).manifest
    other.put(manifest, b"not even a manifest")
    assert load_sentences("2023Q1", other).equals(before)
