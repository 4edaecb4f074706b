"""The stages after map: killed anywhere and run again, in part, out of order, and once more."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count

import pytest

from ftm.core.errors import ConfigError, OrchestratorError
from ftm.core.layout import current_pointer
from ftm.core.schemas import PROCESSED_TABLES
from ftm.orchestrate.stages import StageSpan, run_stages
from ftm.storage.object_store import ObjectStore, open_store
from ftm.storage.published import read_published_table, require_published
from ftm.storage.stage_records import STAGES, read_stage
from tests.support.business_firms import QUARTER
from tests.support.killed import kill_at
from tests.support.planted_run import Planted, plant_run
from tests.support.planted_stages import FIRMS, objects, run_span, stage_tools

POINTER = current_pointer(QUARTER)


@pytest.fixture(scope="module")
def planted_bytes() -> dict[str, bytes]:
    """A store with a planted run whose map stage is complete, as bytes by key."""
    planted = plant_run(open_store("memory://"), FIRMS)
    return objects(planted.store)


@pytest.fixture
def plant(planted_bytes: dict[str, bytes]) -> Callable[..., Planted]:
    """Gives the run in a store of its own; planting takes longer than copying."""
    layout = plant_run(open_store("memory://"), [()]).layout

    def copy(more: dict[str, bytes] | None = None) -> Planted:
        store = open_store("memory://")
        for key, data in {**planted_bytes, **(more or {})}.items():
            store.put(key, data)
        themes = {f"{100000 + i}": tuple(own) for i, own in enumerate(FIRMS)}
        return Planted(store, layout, themes)

    return copy


def moments_of(store: ObjectStore, work: Callable[[], object]) -> list[tuple[str, str]]:
    """Every moment before and after a write, in order."""
    found: list[tuple[str, str]] = []
    store.hook = lambda moment, key: found.append((moment, key))
    work()
    store.hook = lambda _moment, _key: None
    return found


def test_killed_at_every_write_boundary_the_same_bytes_result(
    plant: Callable[..., Planted],
) -> None:
    """Reduce, name, package and publish, run again after dying anywhere, leave the same store."""
    whole = plant()
    run_span(whole)
    expected = objects(whole.store)
    for boundary in count():
        planted = plant()
        if not kill_at(planted.store, boundary, lambda planted=planted: run_span(planted)):
            break
        run_span(planted)
        assert objects(planted.store) == expected, boundary
    assert boundary == 3 + 4 + 10 + 2, "tables and a record each; the copy and the pointer"


def test_before_the_pointer_is_written_readers_keep_what_they_had(
    plant: Callable[..., Planted],
) -> None:
    """Dying anywhere in a second edition, every table that was published reads as it did."""
    first = plant()
    run_span(first)
    kept = objects(first.store)
    old = require_published(first.store, QUARTER)
    tables = {name: read_published_table(first.store, old, name) for name in PROCESSED_TABLES}
    again = plant(kept)
    moments = moments_of(again.store, lambda: run_span(again, "reduce", min_firms=5))
    assert require_published(again.store, QUARTER).files != old.files
    assert moments[-1] == ("after put", POINTER)
    for boundary in range(len(moments) // 2):
        planted = plant(kept)
        work = lambda planted=planted: run_span(planted, "reduce", min_firms=5)  # noqa: E731
        assert kill_at(planted.store, boundary, work)
        published = require_published(planted.store, QUARTER)
        assert published == old
        for name in PROCESSED_TABLES:
            assert read_published_table(planted.store, old, name).equals(tables[name])


@pytest.fixture
def planted(plant: Callable[..., Planted]) -> Iterator[Planted]:
    """A run whose map stage is complete."""
    return plant()  # type: ignore[return-value]


def test_stages_do_what_is_to_be_done_and_say_so(planted: Planted) -> None:
    """One line each; a second time nothing is said, nor written."""
    said: list[str] = []
    record, worked = run_span(planted, said=said)
    assert worked
    assert record is not None
    assert record.stage == "package"
    assert [line.partition(" in ")[0] for line in said] == [
        "reduce: 4 themes of 20 of 22 topics",
        "name: names by keywords",
        "package: 9 tables",
    ]
    before, said = objects(planted.store), []
    moments = moments_of(planted.store, lambda: run_span(planted, said=said))
    assert (moments, said) == ([], [])
    assert run_span(planted) == (record, False)
    assert objects(planted.store) == before


@pytest.mark.parametrize("last", STAGES[:-1])
def test_before_package_nothing_is_published(planted: Planted, last: str) -> None:
    """`--to reduce` makes themes, and no table or pointer that readers look for."""
    record, worked = run_span(planted, last=last)
    assert (record, worked) == (None, last != "map")
    done = [stage for stage in STAGES[1:] if read_stage(planted.store, planted.layout, stage)]
    assert done == list(STAGES[1 : STAGES.index(last) + 1])
    assert not list(planted.store.list("processed"))
    assert not list(planted.store.list("sentiment-ready"))


@pytest.mark.parametrize("first", STAGES[1:])
def test_from_a_stage_does_it_again_and_comes_to_the_same(planted: Planted, first: str) -> None:
    """Its record goes, its tables are written again; later stages find nothing to do."""
    run_span(planted)
    before, said = objects(planted.store), []
    moments = moments_of(planted.store, lambda: run_span(planted, first, said=said))
    assert [line.partition(":")[0] for line in said] == [first]
    assert moments[0] == ("before delete", planted.layout.stage_record(first))
    assert moments[-1] == ("after put", planted.layout.stage_record(first))
    assert objects(planted.store) == before


@pytest.mark.parametrize("first", STAGES[1:])
def test_from_a_stage_mends_what_is_damaged(planted: Planted, first: str) -> None:
    """A record that cannot be read, or a table with other bytes."""
    run_span(planted)
    published = require_published(planted.store, QUARTER)
    record = read_stage(planted.store, planted.layout, first)
    assert record is not None
    for key in record.files:
        planted.store.put(key, b"broken")
    planted.store.put(planted.layout.stage_record(first), b"broken")
    run_span(planted, first)
    now = require_published(planted.store, QUARTER)
    for name in PROCESSED_TABLES:
        assert now.place_of(name)[1] == published.place_of(name)[1]
        read_published_table(planted.store, now, name)


def test_publishing_can_be_left_out(planted: Planted) -> None:
    """Tables are made, and readers are pointed at none of them."""
    record = run_stages(
        planted.store,
        planted.run,
        tools=stage_tools(),
        span=StageSpan(),
        publish=False,
        say=lambda _text: None,
    ).package
    assert record is not None
    assert all(planted.store.exists(key) for key in record.files)
    assert not planted.store.exists(POINTER)


def test_stages_in_the_wrong_order_are_refused() -> None:
    """And stages that there are not; both name the order."""
    with pytest.raises(ConfigError, match=r"--from package comes after --to reduce; the order is"):
        StageSpan("package", "reduce")
    with pytest.raises(ConfigError, match="no stage 'themes'; there are map, reduce, name, packag"):
        StageSpan("themes")
    assert [stage for stage in STAGES if StageSpan("reduce", "name").includes(stage)] == [
        "reduce",
        "name",
    ]
    assert [stage for stage in STAGES if StageSpan("name").redoes(stage)] == ["name"]
    assert not [stage for stage in STAGES if StageSpan().redoes(stage)]


@pytest.mark.parametrize(("first", "missing"), [("name", "reduce"), ("package", "reduce")])
def test_a_stage_whose_input_is_missing_says_what_to_run(
    planted: Planted, first: str, missing: str
) -> None:
    """Nothing is written."""
    before = objects(planted.store)
    with pytest.raises(OrchestratorError, match=rf"stage {missing} of run .* --from {missing}`"):
        run_span(planted, first)
    assert objects(planted.store) == before


def test_a_partial_run_says_so_in_every_line(planted: Planted) -> None:
    """Of each stage that is done with batches left out."""
    store = planted.store
    store.delete(planted.layout.progress(planted.run.batches[2].batch_id))
    said: list[str] = []
    with pytest.raises(OrchestratorError, match=r"1 of 3 batches .*--allow-failed-batches"):
        run_span(planted, said=said)
    assert said == []
    record = run_stages(
        store,
        planted.run,
        tools=stage_tools(allow_failed=True),
        span=StageSpan("reduce", allow_failed=True),
        publish=True,
        say=said.append,
    ).package
    assert record is not None
    assert record.is_partial
    assert record.facts["is_partial"] is True
    assert len(said) == 3
    assert all("partial: batches that failed are left out" in line for line in said)
