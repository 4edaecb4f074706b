"""Invariants 1 to 7 of the design, one named test each; 5 is in test_prefetch_kill."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

import pytest

from ftm.core.errors import (
    FingerprintMismatchError,
    LeaseHeldError,
    LeaseLostError,
)
from ftm.core.schemas import CHUNK
from ftm.prefetch.giving_up import give_up_quarter
from ftm.storage import conditional_lease
from ftm.storage.checkpoint import decode_session
from ftm.storage.object_store import ObjectStore, open_store
from ftm.storage.open_lease import peek_leased
from ftm.storage.parquet import from_bytes
from tests.support.fake_source import FakePreprocessor, FakeSource
from tests.support.lease_clock import lease_age
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
    prefetcher,
    stored_keys,
    stored_rows,
)


def test_450_firms_give_chunks_of_200_200_and_50(memory: ObjectStore) -> None:
    """With the sizes every prefetch has unless told otherwise, one query per chunk."""
    source = FakeSource(firms(450))
    prefetch(memory, source, chunk=None, part=None)
    assert list(manifest(memory).chunk_sizes.values()) == [200, 200, 50]
    assert [len(query) for query in source.queries] == [200, 200, 50]
    rows = from_bytes(memory.get(LAYOUT.key("chunk_0001.parquet")), CHUNK)
    assert sorted(set(rows["firm_id"].to_pylist())) == firms(450)[200:400]
    assert memory.exists(LAYOUT.key("components_0002.parquet"))
    assert not memory.exists(LAYOUT.checkpoint)
    assert list(memory.list(LAYOUT.parts)) == []


def test_invariant_1_what_a_checkpoint_names_is_durable_in_the_file_it_names(
    store: ObjectStore,
) -> None:
    """At every write: the parts of the checkpoint hold its firms, the manifest's chunks theirs."""
    source = FakeSource(firms(7), texts={"1002": ["BAD"], "1004": [""]})
    checked = 0

    def check(moment: str, key: str) -> None:
        nonlocal checked
        if moment == "after put" and key == LAYOUT.checkpoint:
            session = decode_session(peek_leased(store, key), key=key)
            for part in session.parts if session else []:
                checked += 1
                found = part.chunk and from_bytes(store.get(LAYOUT.key(part.chunk.file)), CHUNK)
                held = set(found["firm_id"].to_pylist()) if found else set()
                assert held == set(part.firms)
            for closed in session.chunks if session else []:
                checked += 1
                assert closed.chunk
                assert store.exists(LAYOUT.key(closed.chunk.file))
        if moment == "after put" and key == LAYOUT.manifest:
            checked += 1
            assert stored_rows(store).keys() == set(firms(7)) - {"1002", "1004"}

    store.hook = check
    prefetch(store, source)
    assert checked > 8


def test_invariant_2_a_resumed_prefetch_follows_its_plan_though_wrds_moved_on(
    memory: ObjectStore,
) -> None:
    """New versions and new firms wait for a refresh; no second discovery is made."""
    with killed_at(memory, 14), pytest.raises(Killed):
        prefetch(memory, FakeSource(firms(6)))
    moved = FakeSource([*firms(6), "2000"], version="v2")
    prefetch(memory, moved)
    assert moved.n_discoveries == 0
    assert stored_rows(memory).keys() == set(firms(6))
    assert all("v1" in text for texts in stored_rows(memory).values() for text in texts)

    before = everything(memory)
    with prefetcher(memory, moved) as each:
        revision = each.check_revisions(QUARTER)
    assert [change.firm_id for change in revision.new_firms] == ["2000"]
    assert len(revision.newer_versions) == 6
    assert everything(memory) == before

    prefetch(memory, moved, refresh=True)
    assert stored_rows(memory).keys() == {*firms(6), "2000"}
    assert all("v2" in text for texts in stored_rows(memory).values() for text in texts)


def test_invariant_3_a_refresh_lies_beside_and_touches_no_published_file(
    store: ObjectStore,
) -> None:
    """Until the new manifest is there the old one stands, and its files stay for its readers."""
    prefetch(store, FakeSource(firms(5)))
    before = everything(store)
    published: list[int] = []

    def watch(moment: str, key: str) -> None:
        if moment == "after put" and key == LAYOUT.manifest:
            published.append(manifest(store).generation)
        elif key != LAYOUT.manifest:
            assert published or store.get(LAYOUT.manifest) == before[LAYOUT.manifest]

    store.hook = watch
    prefetch(store, FakeSource(firms(5), version="v2"), refresh=True)
    assert published == [2]
    after = everything(store)
    assert {k: after[k] for k in before if k != LAYOUT.manifest} == {
        k: v for k, v in before.items() if k != LAYOUT.manifest
    }
    assert LAYOUT.key("gen=0002/chunk_0001.parquet") in after
    assert set(manifest(store).firm_to_chunk.values()) == {
        "gen=0002/chunk_0000.parquet",
        "gen=0002/chunk_0001.parquet",
    }


def test_invariant_4_a_subset_then_all_is_one_operation(memory: ObjectStore) -> None:
    """Chunks published for the subset stay as they are; the rest is added; nothing shrinks."""
    source = FakeSource(firms(9))
    first = prefetch(memory, source, ["1007", "1003"])
    assert (first.n_firms, first.complete) == (2, False)
    chunk = memory.get(LAYOUT.key("chunk_0000.parquet"))
    limited = prefetch(memory, source, limit=3)
    assert (limited.n_firms, limited.n_new_firms) == (5, 3)
    full = prefetch(memory, source)
    assert (full.n_firms, full.complete) == (9, True)
    assert memory.get(LAYOUT.key("chunk_0000.parquet")) == chunk
    assert list(manifest(memory).chunk_sizes.values()) == [2, 3, 4]
    assert stored_rows(memory).keys() == set(firms(9))

    subset = prefetch(memory, source, ["1003"])
    assert (subset.n_firms, subset.n_new_firms, subset.complete) == (9, 0, True)
    assert source.n_discoveries == 1


def test_invariant_4_another_fingerprint_is_refused_and_the_fix_is_named(
    memory: ObjectStore,
) -> None:
    """Of an unfinished prefetch as of a published one, even with nothing pending."""
    with killed_at(memory, 14), pytest.raises(Killed):
        prefetch(memory, FakeSource(firms(6)))
    for fix in (r"finish it with that one \(--nlp\)", "ftm preprocess --quarter 2023Q1"):
        before = stored_keys(memory)
        with pytest.raises(FingerprintMismatchError, match=fix):
            prefetch(memory, FakeSource(firms(6)), text=FakePreprocessor("other"))
        assert stored_keys(memory) == before
        prefetch(memory, FakeSource(firms(6)))


def test_invariant_6_a_second_writer_is_refused_while_one_runs(store: ObjectStore) -> None:
    """It learns who writes, and writes nothing; the first one finishes undisturbed."""
    refused = 0

    def meddle(moment: str, key: str) -> None:
        nonlocal refused
        if moment == "before put" and "chunk_part" in key:
            store.hook = lambda _moment, _key: None
            with pytest.raises(LeaseHeldError, match="ann on host elsewhere"):
                prefetch(store, FakeSource(firms(6)))
            refused += 1
            store.hook = meddle

    store.hook = meddle
    prefetch(
        store,
        FakeSource(firms(6)),
        new_identity=lambda: replace(dead_writer(), host="elsewhere"),
    )
    assert refused == 3
    assert manifest(store).complete


def test_invariant_6_a_writer_that_slept_and_was_followed_stops_before_it_writes(
    memory: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its lease ran out, another finished: it says so, and what the other wrote stands."""
    clock, slept = Clock(), []
    monkeypatch.setattr(conditional_lease, "age_in_store", lease_age(clock))

    def sleep(moment: str, key: str) -> None:
        if moment == "before put" and re.search(r"chunk_part_\d+00001\.", key) and not slept:
            slept.append(key)
            memory.hook = lambda _moment, _key: None
            clock.advance(minutes=20)
            prefetch(memory, FakeSource(firms(6)), clock=clock)
            slept.append(everything(memory))
            memory.hook = sleep

    memory.hook = sleep
    with pytest.raises(LeaseLostError, match="run the same command again"):
        prefetch(
            memory,
            FakeSource(firms(6)),
            clock=clock,
            new_identity=lambda: replace(dead_writer(), host="elsewhere"),
        )
    memory.hook = lambda _moment, _key: None
    left = {k: v for k, v in everything(memory).items() if not k.startswith(LAYOUT.parts)}
    assert left == slept[1]
    assert manifest(memory).complete


@pytest.mark.parametrize("is_first", [True, False])
def test_invariant_6_who_publishes_replaces_only_what_it_found(
    memory: ObjectStore, is_first: bool
) -> None:
    """A manifest that another put just before ours stands, though the lease seems to be ours."""
    if not is_first:
        prefetch(memory, FakeSource(firms(2)), ["1000"])
    other = open_store("memory://")
    prefetch(other, FakeSource(firms(3)))
    theirs = other.get(LAYOUT.manifest)

    def overtake(moment: str, key: str) -> None:
        if moment == "before put" and key == LAYOUT.manifest:
            memory.hook = lambda _moment, _key: None
            memory.put(LAYOUT.manifest, theirs, gzip_encoded=True)

    memory.hook = overtake
    with pytest.raises(LeaseLostError, match="published by another writer"):
        prefetch(memory, FakeSource(firms(2)))
    assert memory.get(LAYOUT.manifest) == theirs


def _prefetch(store: ObjectStore, clock: Clock) -> None:
    prefetch(store, FakeSource(firms(5)), clock=clock)


def _refresh(store: ObjectStore, clock: Clock) -> None:
    prefetch(store, FakeSource(firms(5), version="v2"), clock=clock, refresh=True)


def _give_up(store: ObjectStore, clock: Clock) -> None:
    give_up_quarter(store, QUARTER, clock=clock, new_identity=dead_writer)


def published(store: ObjectStore) -> None:
    """A quarter to begin with."""
    prefetch(store, FakeSource(firms(5)))


def half_refreshed(store: ObjectStore) -> None:
    """Published, and an unfinished refresh of it."""
    published(store)
    with killed_at(store, 14), pytest.raises(Killed):
        _refresh(store, Clock())


@pytest.mark.parametrize(
    ("start", "command"),
    [(lambda _store: None, _prefetch), (published, _refresh), (half_refreshed, _give_up)],
    ids=["prefetch", "refresh", "give up"],
)
def test_invariant_6_wherever_it_sleeps_past_its_lease_it_writes_no_more(
    start: Callable[[ObjectStore], None], command: Callable[[ObjectStore, Clock], None]
) -> None:
    """At every put and delete in turn: it ends what it has begun, and stops before the next."""
    moments = _moments(start, command, sleep_at=-1)
    assert len(moments) > 10
    for at in range(1, len(moments)):  # 0 is before the put that takes the lease
        seen = _moments(start, command, sleep_at=at)
        begun = at + 1 if moments[at].startswith("after") else at + 2
        assert seen == moments[:begun]


def _moments(
    start: Callable[[ObjectStore], None],
    command: Callable[[ObjectStore, Clock], None],
    *,
    sleep_at: int,
) -> list[str]:
    """What a command puts and deletes if its machine sleeps for 20 minutes at one of them."""
    store, clock, seen = open_store("memory://"), Clock(), list[str]()
    start(store)

    def hook(moment: str, key: str) -> None:
        seen.append(f"{moment} {key}")
        if len(seen) == sleep_at + 1:
            clock.advance(minutes=20)

    store.hook = hook
    with suppress(LeaseLostError):
        command(store, clock)
    return seen


def test_invariant_6_who_slept_before_publishing_does_not_publish(memory: ObjectStore) -> None:
    """The last checkpoint was ours; by the time of the manifest the lease has run out."""
    clock = Clock()

    def sleep(moment: str, key: str) -> None:
        is_last_part = moment == "after delete" and not list(memory.list(LAYOUT.parts))
        if key.startswith(LAYOUT.parts) and is_last_part:
            clock.advance(minutes=20)

    memory.hook = sleep
    with pytest.raises(LeaseLostError):
        prefetch(memory, FakeSource(["1000"], texts={"1000": ["one"]}), clock=clock)
    assert not memory.exists(LAYOUT.manifest)


def test_invariant_6_after_a_long_sleep_nothing_at_all_is_written(memory: ObjectStore) -> None:
    """The lease is looked at before every write, not only where the store would refuse it."""
    clock = Clock()
    writes: list[str] = []

    class Sleepy(FakeSource):
        def iter_turns(self, calls):  # type: ignore[no-untyped-def]
            yield from super().iter_turns(calls)
            clock.advance(minutes=20)
            memory.hook = lambda moment, key: writes.append(f"{moment} {key}")

    with pytest.raises(LeaseLostError):
        prefetch(memory, Sleepy(firms(2)), clock=clock)
    assert writes == []


def test_invariant_7_one_bad_firm_is_recorded_and_a_rerun_tries_it_again(
    memory: ObjectStore,
) -> None:
    """The others are stored; once it can be read it is stored too, and failed no more."""
    broken = FakeSource(firms(6), texts={"1002": ["BAD"]})
    summary = prefetch(memory, broken)
    assert summary.failed == {"1002": "cannot read BAD"}
    assert (summary.n_firms, summary.complete) == (5, True)
    again = prefetch(memory, broken)
    assert again.failed == {"1002": "cannot read BAD"}
    assert broken.queries[-1] == ["1002"]
    mended = prefetch(memory, FakeSource(firms(6)))
    assert (mended.failed, mended.n_firms, mended.n_new_firms) == ({}, 6, 1)


def test_invariant_6_no_two_sessions_give_a_part_the_same_name(memory: ObjectStore) -> None:
    """Who sleeps in the middle of a delete, and wakes up in another's session, deletes its own."""
    clock, names = Clock(), list[set[str]]()

    def note(moment: str, key: str) -> None:
        if moment == "after put" and key.startswith(LAYOUT.parts):
            names[-1].add(key)

    memory.hook = note
    for chosen in (["1000", "1001"], None):
        names.append(set())
        prefetch(memory, FakeSource(firms(6)), chosen, clock=clock)
        clock.advance(minutes=6)
    assert all(names)
    assert not names[0] & names[1]
