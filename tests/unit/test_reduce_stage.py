"""Stage reduce: from the parts that complete batches list to themes, the same bytes however."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from ftm.core.errors import CorruptObjectError, OrchestratorError
from ftm.core.schemas import THEME_CONTRIBUTIONS, THEMES
from ftm.reduce.aggregator import ThemeRules
from ftm.reduce.reduce_stage import read_theme_ids, reduce_run
from ftm.storage.object_store import ObjectStore, open_store
from ftm.storage.parquet import from_bytes
from ftm.storage.stage_records import read_stage, read_stage_table
from tests.support.planted_run import Planted, plant_run
from tests.support.planted_stages import FIRMS, do_reduce, objects, reduce_options, stage_bytes


@pytest.fixture
def store() -> ObjectStore:
    """An empty one."""
    return open_store("memory://")


def themes_of(planted: Planted) -> dict[str, str]:
    """Topic → theme, of what lies in the store."""
    data = stage_bytes(planted.store, planted.layout, "theme_contributions")
    return read_theme_ids(from_bytes(data, THEME_CONTRIBUTIONS))


def recovery(planted: Planted) -> float:
    """Adjusted Rand index of themes and plants, topics in no theme a group of their own."""
    found = themes_of(planted)
    topics = [
        (f"{f}_{i}", theme) for f, own in planted.themes.items() for i, theme in enumerate(own)
    ]
    return float(
        adjusted_rand_score([t for _, t in topics], [found.get(name, "none") for name, _ in topics])
    )


def test_planted_themes_are_recovered(store: ObjectStore) -> None:
    """Every shared theme with all its topics; what one firm alone talks about is in none."""
    planted = plant_run(store, FIRMS)
    record = do_reduce(store, planted.run)
    assert record.facts == {
        "n_topics": 22,
        "n_themed": 20,
        "n_themes": 4,
        "n_batches_left_out": 0,
    }
    found = themes_of(planted)
    assert "100007_1" not in found
    assert "100010_0" not in found
    groups: dict[str, set[int]] = {}
    for topic, theme in found.items():
        firm, _, local = topic.partition("_")
        groups.setdefault(theme, set()).add(planted.themes[firm][int(local)])
    assert sorted(groups.values(), key=min) == [{0}, {1}, {2}, {3}]


def test_many_planted_themes_are_recovered_under_noise(store: ObjectStore) -> None:
    """Adjusted Rand index 1 for clear topics, over 0.8 where noise is as long as what is said."""
    rng = random.Random(7)
    firms = [tuple(rng.sample(range(6), rng.randint(1, 4))) for _ in range(25)]
    for noise, floor in ((0.05, 1.0), (0.25, 0.8)):
        planted = plant_run(open_store("memory://"), firms, noise=noise)
        do_reduce(planted.store, planted.run)
        assert recovery(planted) >= floor


def test_keywords_are_what_the_themes_topics_say(store: ObjectStore) -> None:
    """Planted words, and none of another theme."""
    planted = plant_run(store, FIRMS)
    record = do_reduce(store, planted.run)
    themes = read_stage_table(store, planted.layout, record, "themes")
    said = {0: "price", 1: "cloud", 2: "freight", 3: "hiring"}
    for row in themes.to_pylist():
        joined = " ".join(row["keywords"])
        assert sum(word in joined for word in said.values()) == 1, joined
        assert "odd" not in joined, "an outlier's word"


def test_bytes_depend_neither_on_batches_nor_on_rows_of_parts() -> None:
    """The same firms in batches of 3 and 5, in parts turned around, in other chunks."""
    found = []
    for given in (
        {"batch_size": 3},
        {"batch_size": 5},
        {"batch_size": 4, "backwards": True},
        {"batch_size": 5, "chunk_order": [1, 3, 5, 7, 9, 0, 2, 4, 6, 8, 10]},
    ):
        planted = plant_run(open_store("memory://"), FIRMS, **given)  # type: ignore[arg-type]
        do_reduce(planted.store, planted.run)
        found.append(
            [
                stage_bytes(planted.store, planted.layout, table)
                for table in ("themes", "theme_contributions")
            ]
        )
    assert found.count(found[0]) == len(found)


def test_stale_parts_are_not_read(store: ObjectStore) -> None:
    """A part that no record lists, of another batch size or cut short, changes nothing."""
    planted = plant_run(store, FIRMS)
    do_reduce(store, planted.run)
    before = {t: stage_bytes(store, planted.layout, t) for t in ("themes", "theme_contributions")}
    other = plant_run(open_store("memory://"), [(5, 5, 5)] * 11, batch_size=2)
    for info in other.store.list("intermediate"):
        if not store.exists(info.key):
            store.put(info.key, other.store.get(info.key))
    assert len(list(store.list("intermediate/firm-topics"))) > 3
    store.delete(planted.layout.stage_record("reduce"))
    do_reduce(store, planted.run)
    assert {t: stage_bytes(store, planted.layout, t) for t in before} == before


def test_an_incomplete_batch_is_refused_with_the_command(store: ObjectStore) -> None:
    """It says how many of how many, what does the rest, and what goes on without; no write."""
    planted = plant_run(store, FIRMS, incomplete=[1])
    before = objects(store)
    message = (
        r"1 of 3 batches of run planted-run of 2023Q1 are not complete; the `ftm run-quarter "
        r"--quarter 2023Q1` command .* --allow-failed-batches goes on without them"
    )
    with pytest.raises(OrchestratorError, match=message):
        do_reduce(store, planted.run)
    assert objects(store) == before


def test_a_batch_that_lists_parts_but_is_not_complete_is_left_out(store: ObjectStore) -> None:
    """Where that is allowed: its firms have no topic, and the record says partial."""
    planted = plant_run(store, FIRMS)
    batch = planted.run.batches[1]
    progress = planted.run.progress_of(batch.batch_id)
    unfinished = progress.model_copy(update={"complete": False})
    store.put(planted.layout.progress(batch.batch_id), unfinished.encode())
    with pytest.raises(OrchestratorError, match="1 of 3 batches"):
        do_reduce(store, planted.run)
    record = do_reduce(store, planted.run, allow_failed=True)
    assert (record.is_partial, record.facts["n_batches_left_out"]) == (True, 1)
    contributions = read_stage_table(store, planted.layout, record, "theme_contributions")
    assert not set(contributions["firm_id"].to_pylist()) & set(batch.firm_ids)

    store.put(planted.layout.progress(batch.batch_id), progress.encode())
    again = do_reduce(store, planted.run, allow_failed=True)
    assert (again.is_partial, again.facts["n_topics"]) == (False, 22)


def test_a_batch_that_completes_without_any_result_makes_it_whole(store: ObjectStore) -> None:
    """Its firms were skipped: not one part more, but nothing is left out any longer."""
    planted = plant_run(store, FIRMS, outcomes=dict.fromkeys(range(4, 8), "skipped"))
    batch = planted.run.batches[1]
    progress = planted.run.progress_of(batch.batch_id)
    assert progress.parts == {}
    store.delete(planted.layout.progress(batch.batch_id))
    assert do_reduce(store, planted.run, allow_failed=True).is_partial
    store.put(planted.layout.progress(batch.batch_id), progress.encode())
    assert not do_reduce(store, planted.run, allow_failed=True).is_partial


def test_no_complete_batch_is_an_error_even_where_failures_are_allowed(store: ObjectStore) -> None:
    """There is nothing to make themes of."""
    planted = plant_run(store, FIRMS, incomplete=[0, 1, 2])
    with pytest.raises(OrchestratorError, match=r"no complete batch .*`ftm run-quarter --quarter"):
        do_reduce(store, planted.run, allow_failed=True)


@pytest.mark.parametrize("dataset", ["firm-topics", "firm-sentences"])
def test_a_part_with_other_bytes_is_an_error(store: ObjectStore, dataset: str) -> None:
    """It names the part and the command that computes it again; nothing is recorded."""
    planted = plant_run(store, FIRMS)
    key = next(info.key for info in store.list(f"intermediate/{dataset}"))
    store.put(key, store.get(key) + b" ")
    with pytest.raises(
        CorruptObjectError, match=rf"{key} is not what was written.*ftm run-quarter"
    ):
        do_reduce(store, planted.run)
    store.delete(key)
    with pytest.raises(CorruptObjectError, match=rf"{key} is gone"):
        do_reduce(store, planted.run)
    assert read_stage(store, planted.layout, "reduce") is None


@pytest.mark.parametrize(
    "firms",
    [[()] * 3, [(0, 1, 2, 3)], [(0,), (1,)], [(0, 0, 0, 0)] * 2],
    ids=["no-topic", "one-firm", "two-topics", "half-and-half"],
)
def test_without_a_theme_there_are_typed_empty_tables(
    store: ObjectStore, firms: list[tuple[int, ...]]
) -> None:
    """Every topic is there, in no theme."""
    planted = plant_run(store, firms)
    record = do_reduce(store, planted.run)
    themes = read_stage_table(store, planted.layout, record, "themes")
    contributions = read_stage_table(store, planted.layout, record, "theme_contributions")
    assert themes.equals(THEMES.empty_table())
    assert contributions.schema == THEME_CONTRIBUTIONS
    assert contributions["theme_id"].null_count == sum(map(len, firms)) == contributions.num_rows


def test_what_is_done_is_not_done_again(store: ObjectStore) -> None:
    """Not one write and no clustering; other rules or another clustering do it again."""
    planted = plant_run(store, FIRMS)
    record = do_reduce(store, planted.run)
    written: list[str] = []
    store.hook = lambda _moment, key: written.append(key)

    def never(_rows: np.ndarray, _n: int) -> np.ndarray:
        raise AssertionError("it is done")

    assert reduce_run(store, planted.run, replace(reduce_options(), cluster=never)) == record
    assert written == []
    strict = replace(reduce_options(), rules=ThemeRules(min_firms=5))
    assert reduce_run(store, planted.run, strict).facts["n_themes"] < 4
    assert do_reduce(store, planted.run, min_firms=4).inputs_sha256 != record.inputs_sha256
    assert len(written) == 2 * 3 * 2


@pytest.mark.parametrize("table", ["themes", "theme_contributions"])
def test_a_table_that_is_gone_is_made_again(store: ObjectStore, table: str) -> None:
    """A record alone is not enough."""
    planted = plant_run(store, FIRMS)
    record = do_reduce(store, planted.run)
    before = objects(store)
    store.delete(planted.layout.stage_table("reduce", table))
    assert do_reduce(store, planted.run) == record
    assert objects(store) == before
