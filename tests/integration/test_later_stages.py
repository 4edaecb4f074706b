"""Themes through the commands: several quarters, stages one by one, names told by readers."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from ftm.analysis.loaders import load_topics
from ftm.analysis.show import FirmKey, show_firm
from ftm.core.quarter import Quarter
from ftm.storage.object_store import ObjectStore, open_store
from ftm.storage.published import read_published, require_published
from ftm.storage.run_reader import list_runs
from tests.support.business_firms import QUARTER
from tests.support.cli import run_ftm
from tests.support.planted_run import plant_run
from tests.support.planted_stages import FIRMS, ToldNamer, do_all
from tests.support.quarters import write_quarter
from tests.support.runs import NOOP_MODEL

NEXT = Quarter(2023, 2)


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    """A folder."""
    return open_store(f"file://{tmp_path}")


def test_several_quarters_and_their_stages(store: ObjectStore) -> None:
    """All or none begin; each ends with tables; stages that are done are left as they are."""
    write_quarter(store, 3)
    several = ("run", "--quarters", "2023Q1..2023Q2", "--store", store.url)
    none = run_ftm(*several, **NOOP_MODEL)
    assert none.returncode == 1
    assert "2023Q2 is not prefetched" in none.stderr
    assert list_runs(store, QUARTER) == []

    write_quarter(store, 3, quarter=NEXT)
    done = run_ftm(*several, "--json", **NOOP_MODEL)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("reduce: ") == 2
    summaries = json.loads(done.stdout)
    assert [s["quarter"] for s in summaries] == ["2023Q1", "2023Q2"]
    assert all(s["diagnosis"]["n_calls"] > 3 and s["tables"] for s in summaries)
    again = run_ftm(*several, **NOOP_MODEL)
    assert again.stdout.count("already complete, nothing to do") == 2
    assert "reduce: " not in again.stderr

    wrong = run_ftm(*several, "--from", "package", "--to", "name", **NOOP_MODEL)
    assert wrong.returncode == 2
    assert "--from package comes after --to name" in wrong.stderr
    status = run_ftm("status", "--quarter", "2023Q1", "--store", store.url).stdout
    assert "map, reduce, name, package" in status
    # Runs of the noop models are trials.
    assert read_published(store, QUARTER) is None


def test_readers_get_the_names_of_the_published_run(store: ObjectStore) -> None:
    """Topics are those of map, summaries those of stage name; a firm shows them, too."""
    planted = plant_run(store, FIRMS)
    do_all(planted)
    by_keywords = load_topics(QUARTER, store)
    do_all(planted, namer=ToldNamer())
    named = load_topics(QUARTER, store)
    assert set(named["naming_method"]) == {"llm"}
    assert set(by_keywords["naming_method"]) == {"keywords"}
    same = [c for c in named.columns if c not in {"summary", "naming_method", "centroid"}]
    assert named[same].equals(by_keywords[same])
    firm = named["firm_id"].iloc[0]
    (view,) = show_firm(store, QUARTER, FirmKey(firm, None, None))
    assert view.topics[0].summary == named["summary"].iloc[0]
    assert require_published(store, QUARTER).run_id == view.run_id


def test_a_missing_language_model_is_told_before_map(store: ObjectStore) -> None:
    """A warning at once, not an error: what is stored needs no server; `--to map` says nothing."""
    write_quarter(store, 2)
    one = ("run-quarter", "--quarter", "2023Q1", "--store", store.url)
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        port = nobody.getsockname()[1]
    model = {"FTM_NAMING": "llm", "LLM_BASE_URL": f"http://127.0.0.1:{port}/v1", **NOOP_MODEL}
    done = run_ftm(*one, **model)
    assert done.returncode == 1
    told = done.stderr.index("warning: stage name, after map and reduce, would stop now")
    assert f"127.0.0.1:{port}" in done.stderr[told:].splitlines()[0]
    assert told < done.stderr.index("2023Q1_batch_0000: running")
    quiet = run_ftm(*one, "--to", "map", **model)
    assert (quiet.returncode, "warning" in quiet.stderr) == (0, False), quiet.stderr


def test_partial_themes_are_listed_as_such(store: ObjectStore) -> None:
    """Whoever reads themes must know that firms of failed batches are not in them."""
    planted = plant_run(store, FIRMS)
    listed = ("themes", "--quarter", "2023Q1", "--store", store.url)
    do_all(planted)
    assert "partial" not in run_ftm(*listed).stdout
    store.delete(planted.layout.progress(planted.run.batches[2].batch_id))
    do_all(planted, allow_failed=True)
    last = run_ftm(*listed).stdout.splitlines()[-1]
    assert last == "partial: batches that failed are left out; ftm status --quarter 2023Q1"
