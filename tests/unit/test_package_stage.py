"""Stage package: tables that fit together, or nothing; what they say of firms and calls."""

from __future__ import annotations

from datetime import date
from typing import Any

import pyarrow as pa
import pytest

from ftm.core.errors import CorruptObjectError, OrchestratorError
from ftm.core.layout import current_pointer, sentiment_ready
from ftm.core.schemas import DATASETS, PROCESSED_TABLES
from ftm.reduce.diagnosis import Diagnosis
from ftm.reduce.name_stage import name_run
from ftm.reduce.package_stage import package_run
from ftm.storage.object_store import ObjectStore, open_store
from ftm.storage.parquet import from_bytes, to_bytes
from ftm.storage.published import require_published
from ftm.storage.stage_records import read_stage, require_stage
from tests.support.business_firms import CALL_DATE, QUARTER
from tests.support.planted_run import TOPIC_SIZE, Planted, plant_run
from tests.support.planted_stages import (
    FIRMS,
    ToldNamer,
    changed,
    do_all,
    do_reduce,
    made_tables,
    name_options,
    objects,
)

LATE_FIRST = [1, 3, 5, 7, 9, 0, 2, 4, 6, 8, 10]
"""Every second firm was prefetched before the others."""


@pytest.fixture
def store() -> ObjectStore:
    """An empty one."""
    return open_store("memory://")


@pytest.fixture(scope="module")
def tables() -> dict[str, pa.Table]:
    """Of a run with themes; tests take them apart, they do not change them."""
    planted = plant_run(open_store("memory://"), FIRMS, outcomes={3: "failed"})
    return made_tables(planted.store, do_all(planted))


def rows_of(tables: dict[str, pa.Table], name: str) -> dict[str, dict[str, Any]]:
    """Rows by firm."""
    return {row["firm_id"]: row for row in tables[name].to_pylist()}


def test_a_run_whose_tables_do_not_fit_publishes_nothing(store: ObjectStore) -> None:
    """A stage's table that contradicts the sentences: no table is written, no pointer moves."""
    planted = plant_run(store, FIRMS)
    do_all(planted)
    store.delete(planted.layout.stage_record("package"))
    record = require_stage(store, planted.layout, "reduce")
    key = planted.layout.stage_table("reduce", "themes")
    themes = from_bytes(store.get(key), DATASETS["themes"])
    data = to_bytes(changed(themes, "n_sentences", 1), DATASETS["themes"])
    store.put(key, data)
    before = objects(store)
    with pytest.raises(
        CorruptObjectError, match=r"themes\.parquet is not what was written.*.*--from reduce"
    ):
        package_run(store, planted.run)
    assert objects(store) == before

    # As if it had been made so.
    _record_as(planted, record, key, data)
    before = objects(store)
    with pytest.raises(OrchestratorError, match="nothing was published: themes does not have"):
        package_run(store, planted.run)
    assert objects(store) == before


def _record_as(planted: Planted, record: Any, key: str, data: bytes) -> None:
    from hashlib import sha256

    files = record.files | {key: sha256(data).hexdigest()}
    changed_record = record.model_copy(update={"files": files})
    planted.store.put(planted.layout.stage_record("reduce"), changed_record.encode())
    name_run(planted.store, planted.run, name_options())


def test_stages_that_are_missing_are_named_with_the_command(store: ObjectStore) -> None:
    """Reduce before name, name before package."""
    planted = plant_run(store, FIRMS)
    with pytest.raises(OrchestratorError, match=r"stage reduce .* --from reduce`"):
        name_run(store, planted.run, name_options())
    do_reduce(store, planted.run)
    with pytest.raises(OrchestratorError, match=r"stage name of run planted-run .* --from name`"):
        package_run(store, planted.run)
    assert not list(store.list("processed"))


def test_names_of_other_themes_are_refused(store: ObjectStore) -> None:
    """Reduced anew, and not named since: the same ids would be other themes."""
    planted = plant_run(store, FIRMS)
    do_all(planted)
    before = require_published(store, QUARTER)
    do_reduce(store, planted.run, min_firms=5)
    with pytest.raises(OrchestratorError, match=r"done for other themes .*--from name`"):
        package_run(store, planted.run)
    assert require_published(store, QUARTER) == before


def test_themes_of_other_topics_are_refused(store: ObjectStore) -> None:
    """A firm that had failed was tried again since: rows would be taken for one another."""
    planted = plant_run(store, FIRMS, outcomes={2: "failed"})
    do_all(planted)
    again = plant_run(store, FIRMS)
    for work in (
        lambda: name_run(store, again.run, name_options(ToldNamer())),
        lambda: package_run(store, again.run),
    ):
        with pytest.raises(OrchestratorError, match=r"the run had other topics; .*--from reduce`"):
            work()
    assert do_all(again).facts["n_topics"] == 22


def test_firms_without_results_are_in_every_count(store: ObjectStore) -> None:
    """Failed, skipped, never run or lost in prefetch: a row per call, with its status, no share."""
    planted = plant_run(
        store, FIRMS, incomplete=[2], outcomes={0: "failed", 1: "skipped"}, batch_size=4
    )
    record = do_all(planted, allow_failed=True)
    calls = rows_of(made_tables(store, record), "panel_calls")
    assert record.is_partial
    assert record.facts["is_partial"]
    statuses = {firm: row["status"] for firm, row in calls.items()}
    assert statuses == {
        "100000": "failed",
        "100001": "skipped",
        **{f"10000{i}": "done" for i in range(2, 8)},
        **{f"{100000 + i}": "not_run" for i in range(8, 11)},
        **{f"skip-{r}": "skipped" for r in _skip_reasons()},
        "fail-0": "failed",
    }
    shares = ("themed_share", "outlier_share", "unthemed_share", "excluded_share")
    for firm, row in calls.items():
        has_topics = statuses[firm] == "done" and firm != "100005"
        assert (row["n_topics"] > 0) is has_topics
        assert [row[name] is not None for name in shares] == [has_topics] * 4
        assert (row["n_sentences"] > 0) is (statuses[firm] == "done")
    firms = rows_of(made_tables(store, record), "firms")
    assert {firm: row["status"] for firm, row in firms.items()} == {
        firm: status for firm, status in statuses.items() if firm in planted.themes
    }


def _skip_reasons() -> list[str]:
    from ftm.core.schemas import SKIP_REASONS

    return list(SKIP_REASONS)


@pytest.mark.parametrize(
    ("first", "second", "primary"),
    [
        ({"linkprim": "C"}, {"linkprim": "P"}, 1),
        ({"linkprim": "P"}, {"linkprim": "C"}, 0),
        ({"linkprim": "C", "linktype": "LC"}, {"linkprim": "P", "linktype": "LU"}, 1),
        ({"linktype": "LU"}, {"linktype": "LC"}, 1),
        ({}, {}, 1),
        ({"linktype": "LC"}, {"linktype": "LU"}, 0),
    ],
    ids=["p-before-c", "c-after-p", "p-before-lc", "lc-before-lu", "more-sentences", "lu-after-lc"],
)
def test_of_firms_with_one_permno_one_is_primary(
    store: ObjectStore, first: dict[str, str], second: dict[str, str], primary: int
) -> None:
    """By linkprim, linktype, sentences; both are kept, and contribute."""
    firms = [(0,), (0, 1), (0, 1), (1,)]
    shared = {"permno": 777, "call_date_et": CALL_DATE}
    planted = plant_run(store, firms, plan={0: first | shared, 1: second | shared})
    tables = made_tables(store, do_all(planted))
    calls = rows_of(tables, "panel_calls")
    assert [calls[f"10000{i}"]["primary_firm"] for i in range(4)] == [
        primary == 0,
        primary == 1,
        True,
        True,
    ]
    assert [calls[f"10000{i}"]["permno"] for i in range(2)] == [777, 777]
    panel = tables["panel"].to_pylist()
    assert {row["firm_id"]: row["primary_firm"] for row in panel} == {
        firm: row["primary_firm"] for firm, row in calls.items() if row["n_topics"]
    }


def test_a_firm_without_sentences_is_not_primary(store: ObjectStore) -> None:
    """Whatever its link: the firm and day would have no row in a panel of primary firms."""
    plan = {0: {"permno": 777, "linkprim": "P"}, 1: {"permno": 777, "linkprim": "C"}}
    planted = plant_run(store, [(0,), (0,), (0,)], plan=plan, outcomes={0: "failed"})
    calls = rows_of(made_tables(store, do_all(planted)), "panel_calls")
    assert [calls[f"10000{i}"]["primary_firm"] for i in range(3)] == [False, True, True]


def test_of_equal_firms_the_lowest_id_is_primary(store: ObjectStore) -> None:
    """On another day each is."""
    plan = {i: {"permno": 777} for i in range(3)}
    plan[2] = plan[2] | {"call_date_et": date(2023, 2, 15)}
    planted = plant_run(store, [(0,), (0,), (0,)], plan=plan)
    calls = rows_of(made_tables(store, do_all(planted)), "panel_calls")
    assert [calls[f"10000{i}"]["primary_firm"] for i in range(3)] == [True, False, True]


def test_another_naming_leaves_membership_alone(store: ObjectStore) -> None:
    """Contributions, sentences and panels stay: key and bytes; names and their method change."""
    planted = plant_run(store, FIRMS)
    do_all(planted)
    before, first = require_published(store, QUARTER), objects(store, "processed")
    record = do_all(planted, namer=(namer := ToldNamer()))
    after = require_published(store, QUARTER)
    same = {"theme_contributions", "sentences", "panel", "panel_calls", "firms", "naming_audit"}
    for name in PROCESSED_TABLES:
        assert (after.place_of(name) == before.place_of(name)) is (name in same), name
    assert {k: store.get(k) for k in first if "_current" not in k} == {
        k: v for k, v in first.items() if "_current" not in k
    }
    tables = made_tables(store, record)
    assert set(tables["themes"]["naming_method"].to_pylist()) == {"llm"}
    assert set(tables["topics"]["naming_method"].to_pylist()) == {"llm"}
    assert tables["themes"]["name"].to_pylist() == [
        f"Told {theme}" for theme in tables["themes"]["theme_id"].to_pylist()
    ]
    for row in tables["themes_for_sentiment"].to_pylist():
        assert row["topic_summary"] == f"Told {row['topic_id']}, at length."
        assert row["theme_description"] == f"Told {row['theme_id']}, at length."
    assert len(namer.items) == 22 + 4

    do_all(planted)
    assert require_published(store, QUARTER) == before
    keywords = made_tables(store, do_all(planted))
    assert set(keywords["themes"]["naming_method"].to_pylist()) == {"keywords"}


@pytest.mark.parametrize("order", [None, LATE_FIRST], ids=["in-order", "prefetched-later"])
def test_a_namer_is_shown_each_topics_own_sentences(
    store: ObjectStore, order: list[int] | None
) -> None:
    """Most typical first, with the firm and who speaks; wherever the firm's chunk lies."""
    planted = plant_run(store, FIRMS, chunk_order=order)
    namer = ToldNamer()
    tables = made_tables(store, do_all(planted, namer=namer))
    topics = {item.item_id: item for item in namer.items if item.item_kind == "topic"}
    assert len(topics) == 22
    for topic, item in topics.items():
        firm, _, local = topic.partition("_")
        number = int(firm) - 100000
        assert len(item.sentences) == TOPIC_SIZE
        assert all(said.endswith(f" in area {local} of {number}.") for said in item.sentences)
        assert item.firms == (f"Firm {number} Inc.",)
        assert item.persons == ("Ann Speaker", "Bo Asker")
    for item in namer.items:
        if item.item_kind == "theme":
            assert len(item.sentences) == 2 * len(item.parts) > 0
            own = {
                f"Told {row['topic_id']}, at length."
                for row in tables["theme_contributions"].to_pylist()
                if row["theme_id"] == item.item_id
            }
            assert set(item.parts) == own, "of its own topics, all of so few"
    summaries = {r["topic_id"]: r["summary"] for r in tables["topics"].to_pylist()}
    assert summaries == {topic: f"Told {topic}, at length." for topic in topics}


def test_tables_do_not_depend_on_when_a_firm_was_prefetched(store: ObjectStore) -> None:
    """Sorted by firm, then position or topic, wherever its chunk lies."""
    expected = made_tables(store, do_all(plant_run(store, FIRMS)))
    other = plant_run(open_store("memory://"), FIRMS, chunk_order=LATE_FIRST)
    found = made_tables(other.store, do_all(other))
    for name, table in expected.items():
        assert found[name].equals(table), name


def test_the_copy_ready_for_sentiment_is_the_published_table(store: ObjectStore) -> None:
    """The same bytes, where programs look that follow no pointer."""
    do_all(plant_run(store, FIRMS))
    published = require_published(store, QUARTER)
    copy = store.get(sentiment_ready(QUARTER))
    assert copy == store.get(published.tables["themes_for_sentiment"])
    assert store.exists(current_pointer(QUARTER))


def test_packaging_again_writes_nothing(store: ObjectStore) -> None:
    """Nor does naming or publishing; a table that is gone is written again."""
    planted = plant_run(store, FIRMS)
    record = do_all(planted)
    before, moments = objects(store), []
    store.hook = lambda moment, key: moments.append((moment, key))
    assert do_all(planted) == record
    assert moments == []
    store.delete(planted.layout.processed("panel"))
    do_all(planted)
    assert objects(store) == before


def test_series_change_the_panel_only(store: ObjectStore) -> None:
    """A linked quarter has its themes' series in the panel; null without."""
    planted = plant_run(store, FIRMS)
    first = do_all(planted)
    theme = "theme_2023Q1_001"
    record = package_run(store, planted.run, series={theme: "series_0007"})
    other = {k.rpartition("/")[2].partition("-")[0] for k in record.files.keys() - first.files}
    assert other == {"panel"}
    panel = made_tables(store, record)["panel"]
    found = {row["theme_id"]: row["series_id"] for row in panel.to_pylist()}
    assert found == {f"theme_2023Q1_00{i}": None for i in range(4)} | {theme: "series_0007"}


def test_the_diagnosis_is_that_of_the_tables(tables: dict[str, pa.Table]) -> None:
    """Counted again from the sentences."""
    planted = plant_run(open_store("memory://"), FIRMS, outcomes={3: "failed"})
    record = do_all(planted)
    facts = Diagnosis(**record.facts)
    with_topics = {f for f, own in planted.themes.items() if own and f != "100003"}
    said = [r for r in tables["sentences"].to_pylist() if r["firm_id"] in with_topics]
    assert (facts.n_calls, facts.n_calls_with_topics) == (16, 9)
    assert (facts.n_topics, facts.n_themes) == (20, 4)
    assert facts.themed_share == pytest.approx(
        sum(r["theme_id"] is not None for r in said) / len(said), abs=1e-4
    )
    assert facts.outlier_share == pytest.approx(
        sum(r["is_outlier"] for r in said) / len(said), abs=1e-4
    )
    assert facts.topics_length_correlation == pytest.approx(1.0, abs=1e-4)
    assert facts.topics_themed_share == pytest.approx(18 / 20, abs=1e-4)
    assert read_stage(planted.store, planted.layout, "package") == record
