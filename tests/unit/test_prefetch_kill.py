"""Killed at every single write and run again: the same bytes as never killed."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from ftm.prefetch.preprocess import preprocess_quarter
from ftm.storage.object_store import ObjectStore, open_store
from tests.support.fake_source import FakePreprocessor, FakeSource
from tests.support.prefetch_quarter import (
    LAYOUT,
    QUARTER,
    Clock,
    Killed,
    dead_writer,
    everything,
    firms,
    killed_at,
    manifest,
    prefetch,
    stored_rows,
)

FIRMS = firms(5)
CHECKPOINT = LAYOUT.checkpoint
Command = Callable[[ObjectStore], object]


def source() -> FakeSource:
    """Five firms to read in chunks of three: one fails, one has no text; a sixth is not kept."""
    texts = {FIRMS[1]: ["BAD"], FIRMS[3]: ["", ""]}
    return FakeSource(FIRMS, texts=texts, dropped={"9999": "no_link"})


def fresh(store: ObjectStore) -> None:
    """The first prefetch of the quarter."""
    prefetch(store, source(), chunk=3)


def subset_before(store: ObjectStore) -> None:
    """Two firms of it."""
    prefetch(store, source(), [FIRMS[2], FIRMS[1]], chunk=3)


def unfinished(store: ObjectStore) -> None:
    """A first prefetch that died halfway."""
    with killed_at(store, 20), suppress(Killed):
        fresh(store)


def refresh(store: ObjectStore) -> None:
    """A new generation from WRDS."""
    prefetch(store, source(), chunk=3, refresh=True)


def preprocess(store: ObjectStore) -> None:
    """A new generation from components."""
    preprocess_quarter(
        store,
        QUARTER,
        FakePreprocessor("other"),
        chunk_size=3,
        checkpoint_interval=2,
        clock=Clock(),
        new_identity=dead_writer,
    )


SCENARIOS: dict[str, tuple[list[Command], Command]] = {
    "fresh": ([], fresh),
    "the rest after a subset": ([subset_before], fresh),
    "refresh": ([fresh], refresh),
    "refresh of an unfinished prefetch": ([unfinished], refresh),
    "preprocess": ([fresh], preprocess),
}


def store_with(objects: dict[str, bytes], kind: str, folder: Path) -> ObjectStore:
    """A store that holds these objects."""
    store = open_store("memory://" if kind == "memory" else f"file://{folder}")
    for key, data in objects.items():
        store.put(key, data)
    return store


@pytest.mark.parametrize(
    ("scenario", "kind"), [*((name, "memory") for name in SCENARIOS), ("fresh", "file")]
)
def test_invariant_5_killed_at_every_write_and_rerun_gives_the_same_bytes(
    scenario: str, kind: str, tmp_path: Path
) -> None:
    """Whatever write is the last of a process, the next one ends with an uninterrupted store."""
    before, command = SCENARIOS[scenario]
    whole = store_with({}, kind, tmp_path / "whole")
    for step in before:
        step(whole)
    start = everything(whole)
    with killed_at(whole, None) as events:
        command(whole)
    expected = everything(whole)
    assert len(events) > 10

    for nth in range(len(events)):
        store = store_with(start, kind, tmp_path / f"at-{nth}")
        with killed_at(store, nth), pytest.raises(Killed):
            command(store)
        if events[nth] != ("after delete", CHECKPOINT):  # else it had done all, and said so
            command(store)
        assert everything(store) == expected, f"killed at {events[nth]}"


def test_killed_again_and_again_still_ends_with_the_same_bytes() -> None:
    """Every process gets a few writes further before it dies; the last one finishes."""
    whole = open_store("memory://")
    fresh(whole)
    for seed in range(6):
        rng = random.Random(seed)
        store = open_store("memory://")
        finished = False
        while not finished:
            with killed_at(store, rng.randint(4, 25)), suppress(Killed):
                fresh(store)
                finished = True
        fresh(store)
        assert everything(store) == everything(whole)


def test_every_firm_ends_in_exactly_one_place() -> None:
    """Stored, skipped and failed firms are those the plan keeps; no sentence is there twice."""
    store = open_store("memory://")
    fresh(store)
    found = manifest(store)
    assert found.firm_to_chunk.keys() | found.skipped.keys() | found.failed.keys() == set(FIRMS)
    assert found.complete
    assert found.skipped == {FIRMS[3]: "no_text"}
    assert found.failed == {FIRMS[1]: "cannot read BAD"}
    rows = stored_rows(store)
    assert rows.keys() == found.firm_to_chunk.keys()
    assert all(len(texts) == len(set(texts)) == 3 for texts in rows.values())
