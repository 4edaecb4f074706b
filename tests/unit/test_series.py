"""Series of linked quarters: append-only, and the same bytes however they came about."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import count

import pytest

from ftm.core.errors import ConfigError, CorruptObjectError, OrchestratorError
from ftm.core.layout import series_root
from ftm.core.quarter import Quarter
from ftm.reduce.link_quarters import link_quarters
from ftm.reduce.package_stage import package_run, publish_package
from ftm.storage.linked import link_record, linked_quarters, read_linked_table
from ftm.storage.object_store import ObjectStore, open_store
from ftm.storage.published import read_published_table, require_published
from ftm.storage.run_reader import read_run
from ftm.storage.sealed import encode_sealed
from tests.support.killed import kill_at
from tests.support.planted_run import plant_run
from tests.support.planted_stages import do_all, objects

QUARTERS = Quarter.parse_range("2022Q1..2022Q4")
PLANTED: tuple[tuple[tuple[int, ...], ...], ...] = (
    ((0, 1), (0, 1), (1, 0), (0,)),
    ((0, 1, 2), (1, 2), (0, 2), (0, 1)),
    ((0, 2), (2, 0), (2,), (0,)),
    ((0, 2, 3), (2, 3), (0, 3), (0, 2)),
)
"""Firms of each quarter, and their themes: 0 persists, 1 ends, 2 and 3 begin."""


@pytest.fixture(scope="module")
def published() -> dict[str, bytes]:
    """Four published quarters, none linked."""
    store = open_store("memory://")
    for quarter, firms in zip(QUARTERS, PLANTED, strict=True):
        do_all(plant_run(store, firms, quarter=quarter, run_id=f"run-{quarter}"))
    return objects(store)


def store_of(published: dict[str, bytes]) -> ObjectStore:
    """A store of its own with these objects."""
    store = open_store("memory://")
    for key, data in published.items():
        store.put(key, data)
    return store


def linked(published: dict[str, bytes], *spans: Sequence[Quarter]) -> dict[str, bytes]:
    """Everything in the store after linking span after span."""
    store = store_of(published)
    for span in spans:
        link_quarters(store, span)
    return objects(store)


def series_of(store: ObjectStore, quarter: Quarter) -> set[str]:
    """Series that a quarter has a theme of."""
    return set(read_linked_table(store, quarter, "series")["series_id"].to_pylist())


def test_series_go_on_begin_and_end(published: dict[str, bytes]) -> None:
    """The planted theme that persists keeps its series; others begin with their quarter."""
    store = store_of(published)
    link_quarters(store, QUARTERS)
    found = [series_of(store, quarter) for quarter in QUARTERS]
    assert [len(ids) for ids in found] == [2, 3, 2, 3]
    assert len(set.intersection(*found)) == 1
    assert len(found[0] & found[1]) == 2
    assert len(found[0] & found[2]) == 1
    assert {name[:13] for name in found[1] - found[0]} == {"series_2022Q2"}
    assert {name[:13] for name in found[3] - found[2]} == {"series_2022Q4"}
    for quarter, ids in zip(QUARTERS, found, strict=True):
        panel = read_published_table(store, require_published(store, quarter), "panel")
        assert set(panel["series_id"].to_pylist()) == ids


def test_a_quarter_more_changes_no_byte_of_earlier_ones(published: dict[str, bytes]) -> None:
    """One after the other, all at once, or with an overlap: the same store."""
    at_once = linked(published, QUARTERS)
    assert linked(published, QUARTERS[:3], QUARTERS[3:]) == at_once
    assert linked(published, *[[quarter] for quarter in QUARTERS]) == at_once
    assert linked(published, QUARTERS[:3], QUARTERS, QUARTERS[1:2]) == at_once
    three = linked(published, QUARTERS[:3])
    folders = tuple(f"{series_root(quarter)}/" for quarter in QUARTERS[:3])
    kept = {key: data for key, data in three.items() if key.startswith(folders)}
    assert len(kept) == 3 * 3
    assert kept.items() <= at_once.items()


def test_killed_at_every_write_boundary_linking_gives_the_same_bytes(
    published: dict[str, bytes],
) -> None:
    """Run again after dying anywhere: two tables and their record, then the panel's edition."""
    first = linked(published, QUARTERS[:1])
    expected = linked(first, QUARTERS[1:2])
    for boundary in count():
        store = store_of(first)
        if not kill_at(store, boundary, lambda store=store: link_quarters(store, QUARTERS[1:2])):
            break
        link_quarters(store, QUARTERS[1:2])
        assert objects(store) == expected, boundary
    assert boundary >= 3 + 1 + 1 + 1


def test_what_is_linked_is_not_linked_otherwise(published: dict[str, bytes]) -> None:
    """Another threshold, run, version or an earlier quarter is refused with the fix; all stays."""
    store = store_of(published)
    link_quarters(store, QUARTERS[1:3])
    before = objects(store)
    with pytest.raises(ConfigError, match=r"another threshold \(0\.65, now 0.5\); --redo-from"):
        link_quarters(store, QUARTERS[1:], threshold=0.5)
    with pytest.raises(ConfigError, match=r"another series threshold \(0\.75, now 0\.8\); --redo"):
        link_quarters(store, QUARTERS[1:], series_threshold=0.8)
    with pytest.raises(ConfigError, match=r"2022Q1 cannot be linked before 2022Q2.*--redo-from"):
        link_quarters(store, QUARTERS)
    with pytest.raises(OrchestratorError, match="2023Q1 is not published"):
        link_quarters(store, [*QUARTERS[1:], QUARTERS[-1].next()])
    assert objects(store) == before
    do_all(plant_run(store, PLANTED[2], quarter=QUARTERS[2], run_id="another"))
    with pytest.raises(ConfigError, match="2022Q3 was linked with another published run"):
        link_quarters(store, QUARTERS[1:3])


def test_what_an_earlier_version_linked_is_linked_anew_or_stays(
    published: dict[str, bytes],
) -> None:
    """Its series went on by another rule: neither repeated nor extended, unless told so."""
    store = store_of(published)
    link_quarters(store, QUARTERS[:2])
    for quarter in QUARTERS[:2]:
        record = json.loads(store.get(link_record(quarter)))
        del record["series_threshold"], record["self_sha256"]
        store.put(link_record(quarter), encode_sealed({**record, "version": 1}))
    before = objects(store)
    said = r"2022Q1 was linked with another version of `ftm link` \(1, now 2\); --redo-from 2022Q1"
    for span in (QUARTERS[:2], QUARTERS, QUARTERS[2:]):
        with pytest.raises(ConfigError, match=said):
            link_quarters(store, span)
    with pytest.raises(ConfigError, match=said):
        link_quarters(store, QUARTERS[1:], redo_from=QUARTERS[1])
    assert objects(store) == before
    link_quarters(store, QUARTERS, redo_from=QUARTERS[0])
    assert objects(store) == linked(published, QUARTERS)


def test_a_series_threshold_under_the_threshold_is_refused(published: dict[str, bytes]) -> None:
    """A series that goes on where there is no link would not be seen; nothing is written."""
    store = store_of(published)
    with pytest.raises(ConfigError, match=r"series threshold 0\.6 is under the threshold 0\.65"):
        link_quarters(store, QUARTERS, series_threshold=0.6)
    with pytest.raises(ConfigError, match=r"0\.75 is under the threshold 0\.9.*--series-threshold"):
        link_quarters(store, QUARTERS, threshold=0.9)
    assert objects(store) == published


def test_only_what_is_about_the_same_carries_a_series_on(published: dict[str, bytes]) -> None:
    """The same links; with a series threshold that none reaches, every theme begins a series."""
    store = store_of(published)
    link_quarters(store, QUARTERS[:2])
    links = read_linked_table(store, QUARTERS[1], "theme_links")
    link_quarters(store, QUARTERS[:2], series_threshold=1.0, redo_from=QUARTERS[0])
    strict = read_linked_table(store, QUARTERS[1], "theme_links")
    assert strict.drop(["is_match"]) == links.drop(["is_match"])
    assert (sum(links["is_match"].to_pylist()), sum(strict["is_match"].to_pylist())) == (2, 0)
    assert not series_of(store, QUARTERS[0]) & series_of(store, QUARTERS[1])
    record = json.loads(store.get(link_record(QUARTERS[1])))
    assert (record["threshold"], record["series_threshold"]) == (0.65, 1.0)


def test_redo_from_links_later_quarters_anew_and_earlier_ones_stay(
    published: dict[str, bytes],
) -> None:
    """Ids before it are kept, byte for byte; done in the same way, so are the others."""
    store = store_of(published)
    link_quarters(store, QUARTERS)
    before = objects(store)
    link_quarters(store, QUARTERS[2:], threshold=0.65, redo_from=QUARTERS[2])
    assert linked_quarters(store) == QUARTERS
    assert objects(store) == before
    link_quarters(store, QUARTERS[2:], series_threshold=0.999, redo_from=QUARTERS[2])
    assert not series_of(store, QUARTERS[1]) & series_of(store, QUARTERS[2])


def test_redo_from_forgets_no_quarter_that_it_does_not_link_again(
    published: dict[str, bytes],
) -> None:
    """Its panel would go on with series that are no more; the message names the range."""
    store = store_of(published)
    link_quarters(store, QUARTERS)
    before = objects(store)
    last, span = QUARTERS[3], f"{QUARTERS[1]}..{QUARTERS[3]}"
    with pytest.raises(ConfigError, match=f"{last}, which is linked.*--quarters {span}"):
        link_quarters(store, QUARTERS[1:3], redo_from=QUARTERS[1])
    assert objects(store) == before


@pytest.mark.parametrize("record", [b"[]", b"null", b"{", b"\xff"])
def test_a_damaged_record_is_named_with_its_fix(published: dict[str, bytes], record: bytes) -> None:
    """Linking on beside it would guess how it was linked."""
    store = store_of(published)
    link_quarters(store, QUARTERS[:2])
    store.put(link_record(QUARTERS[1]), record)
    with pytest.raises(
        CorruptObjectError, match=rf"link\.json is damaged.*--redo-from {QUARTERS[1]}"
    ):
        link_quarters(store, QUARTERS[1:3])


def test_linking_moves_no_pointer_back(published: dict[str, bytes]) -> None:
    """Another run of a quarter is published while it is linked: it stays, and the error says so."""
    store = store_of(published)
    quarter = QUARTERS[1]

    def publish_another(moment: str, key: str) -> None:
        if moment == "after put" and key == link_record(quarter):
            store.hook = lambda _moment, _key: None
            do_all(plant_run(store, PLANTED[1], quarter=quarter, run_id="another"))

    store.hook = publish_another
    with pytest.raises(OrchestratorError, match="run another of 2022Q2 was published while"):
        link_quarters(store, QUARTERS[:2])
    assert require_published(store, quarter).run_id == "another"
    assert not [key for key in objects(store) if key.endswith("lease.json")]


def test_a_panel_published_without_series_while_they_are_made_anew_gets_them(
    published: dict[str, bytes],
) -> None:
    """What the pointer named when the command began is no reason to leave it as it is now."""
    store, quarter = store_of(published), QUARTERS[0]
    link_quarters(store, [quarter])
    before = objects(store)

    def publish_without(moment: str, key: str) -> None:
        if moment == "after delete" and key == link_record(quarter):
            store.hook = lambda _moment, _key: None
            run = read_run(store, quarter, f"run-{quarter}")
            publish_package(store, run, package_run(store, run), lambda: None)
            assert panel_series(store, quarter) == {None}

    store.hook = publish_without
    link_quarters(store, [quarter], redo_from=quarter)
    assert panel_series(store, quarter) == series_of(store, quarter)
    assert objects(store) == before


def panel_series(store: ObjectStore, quarter: Quarter) -> set[str | None]:
    """Series in the published panel."""
    panel = read_published_table(store, require_published(store, quarter), "panel")
    return set(panel["series_id"].to_pylist())


def test_a_link_that_the_store_does_not_show_is_no_panel_without_series(
    published: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether the link is there, the store answers from before it was written."""
    store, quarter = store_of(published), QUARTERS[0]
    exists = store.exists
    monkeypatch.setattr(store, "exists", lambda key: key != link_record(quarter) and exists(key))
    link_quarters(store, [quarter])
    panel = read_published_table(store, require_published(store, quarter), "panel")
    assert panel.num_rows
    assert panel["series_id"].null_count == 0
