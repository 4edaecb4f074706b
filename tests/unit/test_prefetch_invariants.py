"""Invariants 1 to 7 of the design, one named test each (5 is in test_prefetch_kill), and more."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from ftm.connectors.discovery import PlanOptions
from ftm.core.errors import (
    ConfigError,
    CorruptObjectError,
    FingerprintMismatchError,
    LeaseHeldError,
    LeaseLostError,
    PreprocessingError,
    UnknownFirmError,
    WRDSConnectionError,
    WRDSQueryError,
)
from ftm.core.records import FirmTurns
from ftm.core.schemas import CHUNK, COMPONENTS
from ftm.prefetch.base import PrefetchSummary
from ftm.prefetch.preprocess import preprocess_quarter
from ftm.storage.checkpoint import decode_session
from ftm.storage.manifest import encode_manifest
from ftm.storage.object_store import ObjectStore, open_store
from ftm.storage.open_lease import peek_leased
from ftm.storage.parquet import from_bytes
from ftm.storage.parquet_layout import decode_firm_facts, parse_footer
from ftm.text.base import FirmText
from tests.support.fake_source import FakePreprocessor, FakeSource
from tests.support.prefetch_quarter import (
    LAYOUT,
    QUARTER,
    Clock,
    Killed,
    Lines,
    dead_writer,
    everything,
    firms,
    killed_at,
    manifest,
    prefetch,
    prefetcher,
    stored_rows,
)


@pytest.fixture
def memory() -> ObjectStore:
    """An empty store."""
    return open_store("memory://")


def preprocess(store: ObjectStore, text: FakePreprocessor, **given: int) -> PrefetchSummary:
    """One `ftm preprocess`."""
    return preprocess_quarter(
        store, QUARTER, text, clock=Clock(), new_identity=dead_writer, **given
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
    for _ in range(2):
        before = stored_keys(memory)
        with pytest.raises(FingerprintMismatchError, match="ftm preprocess --quarter 2023Q1"):
            prefetch(memory, FakeSource(firms(6)), text=FakePreprocessor("other"))
        assert stored_keys(memory) == before
        prefetch(memory, FakeSource(firms(6)))


def stored_keys(store: ObjectStore) -> set[str]:
    """Keys of everything."""
    return set(everything(store))


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
    memory: ObjectStore,
) -> None:
    """Its lease ran out, another finished: it says so, and what the other wrote stands."""
    clock, slept = Clock(), []

    def sleep(moment: str, key: str) -> None:
        if moment == "before put" and "chunk_part_00001" in key and not slept:
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


def test_a_text_that_cannot_be_stored_fails_its_firm_only(memory: ObjectStore) -> None:
    """Half a surrogate pair is no Unicode text; the firm is named with the reason."""
    source = FakeSource(firms(3), texts={"1001": ["broken \ud800 text"]})
    assert "surrogates not allowed" in prefetch(memory, source).failed["1001"]
    assert stored_rows(memory).keys() == {"1000", "1002"}


def test_skipped_firms_are_recorded_with_their_components_and_not_tried_again(
    memory: ObjectStore,
) -> None:
    """The reason is kept; only a refresh or another pipeline looks at them again."""
    source = FakeSource(firms(3), texts={"1001": ["", ""], "1002": []})
    summary = prefetch(memory, source)
    assert summary.skipped == {"no_components": 1, "no_text": 1}
    assert manifest(memory).skipped == {"1001": "no_text", "1002": "no_components"}
    turns = from_bytes(memory.get(LAYOUT.key("components_0000.parquet")), COMPONENTS)
    assert turns["firm_id"].to_pylist() == ["1000"] * 3 + ["1001"] * 2
    prefetch(memory, source)
    assert len(source.queries) == 1


def test_a_quarter_of_skipped_firms_only_has_no_chunk(memory: ObjectStore) -> None:
    """It is complete all the same."""
    summary = prefetch(memory, FakeSource(firms(5), texts=dict.fromkeys(firms(5), ())))
    assert (summary.complete, summary.n_chunks, summary.n_firms) == (True, 0, 0)
    assert stored_keys(memory) == {LAYOUT.manifest, LAYOUT.key("calls.parquet")}


def test_a_quarter_without_a_call_is_refused(store: ObjectStore) -> None:
    """An empty plan would be the plan for ever; nothing is left behind."""
    with pytest.raises(ConfigError, match="no earnings call in 2023Q1"):
        prefetch(store, FakeSource([]))
    assert list(store.list("prefetch")) == []


def test_a_plan_that_keeps_nobody_says_so(memory: ObjectStore) -> None:
    """It is complete, and somebody should look."""
    lines = Lines()
    source = FakeSource([], dropped={"5000": "no_link"})
    assert prefetch(memory, source, progress=lines).complete
    assert source.queries == []
    assert any("keeps no firm" in line for line in lines.messages)


@pytest.mark.parametrize(
    ("today", "expected"),
    [
        ("2022-12-31", "refused"),
        ("2023-01-01", "warned"),
        ("2023-03-31", "warned"),
        ("2023-04-01", ""),
    ],
)
def test_a_quarter_to_come_is_refused_and_one_not_over_warned_of(
    memory: ObjectStore, today: str, expected: str
) -> None:
    """What WRDS does not have yet would be missing without a word."""
    lines, source = Lines(), FakeSource(firms(2))
    clock = Clock(datetime.fromisoformat(f"{today}T12:00:00+00:00"))
    if expected == "refused":
        with pytest.raises(ConfigError, match="2023Q1 begins on 2023-01-01"):
            prefetch(memory, source, clock=clock, progress=lines)
        assert (source.n_discoveries, everything(memory)) == (0, {})
    else:
        prefetch(memory, source, clock=clock, progress=lines)
    assert any("warning" in line for line in lines.messages) == (expected == "warned")


def test_link_types_may_be_written_small(memory: ObjectStore) -> None:
    """It is the same plan."""
    prefetch(memory, FakeSource(firms(2)), options=PlanOptions(linktypes=("lc", "Lu")))
    assert prefetch(memory, FakeSource(firms(2))).n_new_firms == 0


@pytest.mark.parametrize(("n_bad", "expected"), [(0, False), (3, False), (4, True), (6, True)])
def test_a_prefetch_that_mostly_fails_says_so(
    memory: ObjectStore, n_bad: int, expected: bool
) -> None:
    """Of the firms tried now, whatever is stored; a firm that fails again does not count anew."""
    prefetch(memory, FakeSource(firms(20)), firms(20)[6:])
    source = FakeSource(firms(20), texts={firm: ["BAD"] for firm in firms(n_bad)})
    assert prefetch(memory, source).mostly_failed == expected
    assert not prefetch(memory, source).mostly_failed


def test_preprocess_keeps_the_size_of_chunks(memory: ObjectStore) -> None:
    """Unless told otherwise."""
    prefetch(memory, FakeSource(firms(6)), chunk=3)
    preprocess(memory, FakePreprocessor("other"))
    assert list(manifest(memory).chunk_sizes.values()) == [3, 3]
    preprocess(memory, FakePreprocessor("third"), chunk_size=5)
    assert list(manifest(memory).chunk_sizes.values()) == [5, 1]


def test_nothing_pending_asks_nothing_of_the_source(memory: ObjectStore) -> None:
    """No login: the source is not even opened; nothing is written."""
    prefetch(memory, FakeSource(firms(3)))
    before = everything(memory)

    def no_login() -> FakeSource:
        raise AssertionError("logged in")

    with killed_at(memory, 0), prefetcher(memory, no_login) as each:
        assert each.prefetch_quarter(QUARTER).n_firms == 3
        assert each.prefetch_quarter(QUARTER, []).n_firms == 3
    assert everything(memory) == before


def test_only_what_the_prefetcher_opened_is_closed(memory: ObjectStore) -> None:
    """A connector handed over stays its owner's."""
    given, opened = FakeSource(firms(1)), FakeSource(firms(1))
    prefetch(memory, given)
    with prefetcher(memory, lambda: opened) as each:
        each.prefetch_quarter(QUARTER, refresh=True)
        each.prefetch_quarter("2023Q2")
    assert (given.n_closed, opened.n_closed, opened.n_discoveries) == (0, 1, 2)


def test_unknown_firms_are_an_error_before_anything_is_written(store: ObjectStore) -> None:
    """With and without a plan; the ids are named."""
    with pytest.raises(UnknownFirmError, match="7777") as raised:
        prefetch(store, FakeSource(firms(3)), ["1001", "7777"])
    assert raised.value.firm_ids == ("7777",)
    assert list(store.list("prefetch")) == []
    prefetch(store, FakeSource(firms(3)), ["1001"])
    before = everything(store)
    with pytest.raises(UnknownFirmError, match="7777"):
        prefetch(store, FakeSource(firms(3)), ["7777"])
    assert everything(store) == before


def test_a_firm_the_plan_does_not_keep_is_reported_with_its_reason(memory: ObjectStore) -> None:
    """The others asked for are stored."""
    source = FakeSource(firms(2), dropped={"5000": "no_link"})
    summary = prefetch(memory, source, ["1001", "5000"])
    assert summary.n_firms == 1
    assert list(summary.not_kept) == ["5000"]
    assert summary.not_kept["5000"].startswith("no_link: ")


def test_another_plan_is_refused_without_a_refresh(memory: ObjectStore) -> None:
    """A quarter's plan is made once; the message says with what, and how to make another."""
    prefetch(memory, FakeSource(firms(3)))
    with pytest.raises(ConfigError, match=r"--calls latest .*--calls first .*--refresh"):
        prefetch(memory, FakeSource(firms(3)), options=PlanOptions(calls="first"))
    options = PlanOptions(calls="first")
    assert prefetch(memory, FakeSource(firms(3)), options=options, refresh=True).generation == 2
    same = PlanOptions(calls="first", linktypes=("LC", "LU"))
    assert prefetch(memory, FakeSource(firms(3)), options=same).n_new_firms == 0


def test_another_chunk_size_waits_until_the_prefetch_is_finished(memory: ObjectStore) -> None:
    """A chunk is filled as it was begun; afterwards any size will do."""
    with killed_at(memory, 14), pytest.raises(Killed):
        prefetch(memory, FakeSource(firms(6)))
    with pytest.raises(ConfigError, match="--chunk-size 4"):
        prefetch(memory, FakeSource(firms(6)), chunk=5)
    prefetch(memory, FakeSource(firms(6)))


def test_a_refresh_gives_up_an_unfinished_prefetch(memory: ObjectStore) -> None:
    """Its options may differ; what was published stays, the half-made generation is left alone."""
    with killed_at(memory, 20), pytest.raises(Killed):
        prefetch(memory, FakeSource(firms(6)))
    lines = Lines()
    summary = prefetch(
        memory,
        FakeSource(firms(6), version="v2"),
        refresh=True,
        options=PlanOptions(calls="first"),
        progress=lines,
    )
    assert (summary.generation, summary.complete) == (2, True)
    assert any("given up" in line for line in lines.messages)
    assert list(memory.list(LAYOUT.parts)) == []


@pytest.mark.parametrize("asked", [{"firm_ids": ["1000"]}, {"limit": 1}, {"firm_ids": []}])
@pytest.mark.parametrize("is_begun", [False, True])
def test_invariant_4_a_refresh_of_some_firms_does_not_take_the_others_away(
    memory: ObjectStore, asked: dict[str, Any], is_begun: bool
) -> None:
    """Neither at once nor by finishing one that was begun: refused before a login."""
    prefetch(memory, FakeSource(firms(6), texts={"1005": [""]}))
    if is_begun:
        with killed_at(memory, 20), pytest.raises(Killed):
            prefetch(memory, FakeSource(firms(6)), refresh=True)
    before = stored_rows(memory)
    source = FakeSource(firms(6))
    with pytest.raises(ConfigError, match=r"without .* of the 5 .*--firms and --limit"):
        prefetch(memory, source, refresh=not is_begun, **asked)
    assert (source.n_discoveries, source.queries) == (0, [])
    assert stored_rows(memory) == before
    assert prefetch(memory, source, refresh=True).n_firms == 6


def test_a_subset_that_is_all_there_is_can_be_refreshed(memory: ObjectStore) -> None:
    """Who works with a few firms stays with them."""
    prefetch(memory, FakeSource(firms(6)), ["1001", "1003"])
    again = FakeSource(firms(6), version="v2")
    summary = prefetch(memory, again, ["1001", "1003", "1004"], refresh=True)
    assert (summary.generation, summary.n_firms) == (2, 3)
    assert stored_rows(memory).keys() == {"1001", "1003", "1004"}


@pytest.mark.parametrize("stopped_by", [WRDSConnectionError("wrong password"), Killed()])
def test_a_refresh_that_gets_no_plan_leaves_the_unfinished_prefetch(
    store: ObjectStore, stopped_by: BaseException
) -> None:
    """Whether it fails or dies during discovery: what was durable is not read again."""

    class NoPlan(FakeSource):
        def discover(self, *_):  # type: ignore[no-untyped-def]
            raise stopped_by

    with killed_at(store, 20), pytest.raises(Killed):
        prefetch(store, FakeSource(firms(6)))
    unfinished = decode_session(peek_leased(store, LAYOUT.checkpoint), key="checkpoint")
    assert unfinished
    assert unfinished.n_attempted > 0
    with pytest.raises(type(stopped_by)):
        prefetch(store, NoPlan(firms(6)), refresh=True)
    source = FakeSource(firms(6))
    summary = prefetch(store, source)
    assert (summary.generation, summary.resumed, source.n_discoveries) == (1, True, 0)
    assert sum(map(len, source.queries)) == 6 - unfinished.n_attempted


@pytest.mark.parametrize("refresh", [True, False])
def test_an_unfinished_refresh_is_taken_up_with_or_without_the_flag(
    memory: ObjectStore, refresh: bool
) -> None:
    """And says so; it does not become a third generation."""
    prefetch(memory, FakeSource(firms(6)))
    with killed_at(memory, 20), pytest.raises(Killed):
        prefetch(memory, FakeSource(firms(6)), refresh=True)
    lines = Lines()
    summary = prefetch(memory, FakeSource(firms(6)), refresh=refresh, progress=lines)
    assert (summary.generation, summary.resumed) == (2, True)
    assert any("taking up an unfinished refresh" in line for line in lines.messages)


def test_a_limit_counts_across_a_kill(memory: ObjectStore) -> None:
    """Killed at two of five, the same command tries three more and not five."""
    with killed_at(memory, 14), pytest.raises(Killed):
        prefetch(memory, FakeSource(firms(9)), limit=5)
    assert prefetch(memory, FakeSource(firms(9)), limit=5).n_firms == 5


def test_another_selection_takes_the_open_chunk_along(memory: ObjectStore) -> None:
    """Whatever was durable is kept, sorted with what comes; nothing is lost or doubled."""
    with killed_at(memory, 14), pytest.raises(Killed):
        prefetch(memory, FakeSource(firms(9)), ["1005", "1006", "1008"])
    summary = prefetch(memory, FakeSource(firms(9)), ["1001"])
    assert summary.n_firms == 3
    assert stored_rows(memory).keys() == {"1001", "1005", "1006"}
    rows = from_bytes(memory.get(LAYOUT.key("chunk_0000.parquet")), CHUNK)["firm_id"].to_pylist()
    assert rows == sorted(rows)


def test_a_resumed_session_keeps_its_creation_time(memory: ObjectStore) -> None:
    """Hours between kill and rerun leave no trace."""
    clock = Clock()
    began = clock().isoformat()
    with killed_at(memory, 14), pytest.raises(Killed):
        prefetch(memory, FakeSource(firms(6)), clock=clock)
    clock.advance(hours=5)
    prefetch(memory, FakeSource(firms(6)), clock=clock)
    assert manifest(memory).created_at == began


def test_a_cut_connection_leaves_a_state_that_resumes(memory: ObjectStore) -> None:
    """The error comes through as it is; no firm that was delivered is read again."""
    whole = open_store("memory://")
    prefetch(whole, FakeSource(firms(9)))
    cut = FakeSource(firms(9), stop_after=5, stop_error=WRDSConnectionError("cut"))
    with pytest.raises(WRDSConnectionError, match="cut"):
        prefetch(memory, cut)
    assert json.loads(memory.get(LAYOUT.checkpoint))["lease"] is None
    source = FakeSource(firms(9))
    prefetch(memory, source)
    assert source.queries == [firms(9)[5:8], firms(9)[8:]]
    assert everything(memory) == everything(whole)


def test_ctrl_c_comes_through_at_once(memory: ObjectStore) -> None:
    """Even when it strikes while the reader reads."""
    with pytest.raises(KeyboardInterrupt):
        prefetch(memory, FakeSource(firms(9), stop_after=5))
    assert prefetch(memory, FakeSource(firms(9))).n_firms == 9


def test_a_failed_login_leaves_nothing(store: ObjectStore) -> None:
    """Nobody has to clean up after a wrong password."""

    def no_login() -> FakeSource:
        raise WRDSConnectionError("wrong password")

    with prefetcher(store, no_login) as each, pytest.raises(WRDSConnectionError):
        each.prefetch_quarter(QUARTER)
    assert list(store.list("prefetch")) == []


def test_a_source_that_mixes_up_firms_is_stopped(memory: ObjectStore) -> None:
    """Turns of one firm never go under another's name."""

    class Mixed(FakeSource):
        def iter_turns(self, calls):  # type: ignore[no-untyped-def]
            yield from reversed(list(super().iter_turns(calls)))

    with pytest.raises(WRDSQueryError, match="delivered firm 1003, not firm 1000"):
        prefetch(memory, Mixed(firms(4)))


def test_a_changed_part_is_found_before_it_becomes_a_chunk(memory: ObjectStore) -> None:
    """The checkpoint's hash tells, though the part reads well; the message names the way out."""
    other = open_store("memory://")
    for store, version in ((memory, "v1"), (other, "v2")):
        with killed_at(store, 14), pytest.raises(Killed):
            prefetch(store, FakeSource(firms(6), version=version))
    (key,) = [k for k in everything(memory) if "chunk_part_00000" in k]
    memory.put(key, other.get(key))
    with pytest.raises(CorruptObjectError, match=r"chunk_part_00000.*differs.*delete"):
        prefetch(memory, FakeSource(firms(6)))


def test_a_changed_plan_is_found(memory: ObjectStore) -> None:
    """The manifest knows the plan's hash."""
    prefetch(memory, FakeSource(firms(2)), ["1000"])
    other = open_store("memory://")
    prefetch(other, FakeSource(firms(3)), ["1000"])
    memory.put(LAYOUT.key("calls.parquet"), other.get(LAYOUT.key("calls.parquet")))
    with pytest.raises(CorruptObjectError, match=r"calls\.parquet.*differs"):
        prefetch(memory, FakeSource(firms(2)))


def test_a_leftover_that_nothing_names_keeps_its_name(memory: ObjectStore) -> None:
    """A chunk of a prefetch whose checkpoint was deleted is neither overwritten nor trusted."""
    memory.put(LAYOUT.key("chunk_0000.parquet"), b"left over")
    prefetch(memory, FakeSource(firms(3)))
    assert memory.get(LAYOUT.key("chunk_0000.parquet")) == b"left over"
    assert list(manifest(memory).chunks) == ["chunk_0001.parquet"]
    assert stored_rows(memory).keys() == set(firms(3))


def test_a_deleted_checkpoint_costs_work_but_not_the_plan(memory: ObjectStore) -> None:
    """The stored plan says with what options and from where it was made."""
    whole = open_store("memory://")
    prefetch(whole, FakeSource(firms(6)))
    with killed_at(memory, 20), pytest.raises(Killed):
        prefetch(memory, FakeSource(firms(6)))
    memory.delete(LAYOUT.checkpoint)
    moved = FakeSource(firms(9), version="v2")
    with pytest.raises(ConfigError, match="--calls first"):
        prefetch(memory, moved, options=PlanOptions(calls="first"))
    prefetch(memory, FakeSource(firms(6)))
    assert manifest(memory).plan == manifest(whole).plan
    assert manifest(memory).source.tables == manifest(whole).source.tables
    assert stored_rows(memory) == stored_rows(whole)


def test_the_chunk_says_link_date_and_components_of_each_firm(memory: ObjectStore) -> None:
    """In its key-value metadata, where the connector finds them."""
    prefetch(memory, FakeSource(firms(3)))
    data = memory.get(LAYOUT.key("chunk_0000.parquet"))
    facts = decode_firm_facts(parse_footer(data).metadata, key="chunk")
    assert list(facts) == firms(3)
    assert {fact.n_components for fact in facts.values()} == {3}


def test_preprocess_makes_the_generation_a_prefetch_with_that_pipeline_would(
    memory: ObjectStore,
) -> None:
    """Same firms, same sentences, same plan, without asking the source; the old one stays."""
    texts = {"1001": [""], "1002": ["BAD"]}
    prefetch(memory, FakeSource(firms(6), texts=texts))
    preprocess(memory, FakePreprocessor("other"), chunk_size=4, checkpoint_interval=2)
    direct = open_store("memory://")
    prefetch(direct, FakeSource(firms(6), texts=texts), text=FakePreprocessor("other"))
    found, wanted = manifest(memory), manifest(direct)
    assert (found.generation, found.preprocessing["pipeline"]) == (2, "other")
    assert (found.skipped, found.complete) == (wanted.skipped, wanted.complete)
    assert found.failed == wanted.failed
    assert found.plan.sha256 == wanted.plan.sha256
    assert stored_rows(memory, "cleaned_text") == stored_rows(direct, "cleaned_text")
    assert memory.exists(LAYOUT.key("chunk_0000.parquet"))


@pytest.mark.parametrize("given", [None, 7])
def test_preprocess_keeps_the_chunk_size_of_the_prefetch(
    memory: ObjectStore, given: int | None
) -> None:
    """It tries the skipped firms again, so chunks of as many as are stored would be one more."""
    n_tried = given or 200
    source = FakeSource(firms(n_tried), texts={"1000": [""], "1003": []})
    prefetch(memory, source, chunk=given)
    assert list(manifest(memory).chunk_sizes.values()) == [n_tried - 2]
    preprocess(memory, FakePreprocessor("other"))
    found = manifest(memory)
    assert (found.generation, found.chunk_size) == (2, n_tried)
    assert list(found.chunk_sizes.values()) == [n_tried - 2]


def test_a_few_firms_more_do_not_shrink_the_chunks_of_a_preprocess(memory: ObjectStore) -> None:
    """The largest size of all prefetches of a generation counts."""
    source = FakeSource(firms(6))
    prefetch(memory, source, firms(5), chunk=5)
    prefetch(memory, source, chunk=2)
    preprocess(memory, FakePreprocessor("other"))
    assert list(manifest(memory).chunk_sizes.values()) == [5, 1]


@pytest.mark.parametrize(("n_firms", "size"), [(6, 200), (201, 201)])
def test_preprocess_of_a_manifest_without_a_chunk_size_takes_the_default(
    memory: ObjectStore, n_firms: int, size: int
) -> None:
    """Or what its largest chunk holds, if that is more."""
    prefetch(memory, FakeSource(firms(n_firms)), chunk=n_firms)
    older = manifest(memory).model_copy(update={"chunk_size": None})
    memory.put(LAYOUT.manifest, encode_manifest(older))
    preprocess(memory, FakePreprocessor("other"))
    assert manifest(memory).chunk_size == size
    assert list(manifest(memory).chunk_sizes.values()) == [n_firms]


class Picky(FakePreprocessor):
    """Another pipeline, which fails on some firms."""

    def __init__(self, *bad: str) -> None:
        super().__init__("picky")
        self.bad = set(bad)

    def process(self, firm: FirmTurns) -> FirmText:
        """See FakePreprocessor."""
        if firm.call.firm_id in self.bad:
            raise PreprocessingError("too long")
        return super().process(firm)


def test_preprocess_that_fails_on_a_stored_firm_leaves_the_old_generation(
    store: ObjectStore,
) -> None:
    """The firm is named; mended, the same command tries only what failed."""
    prefetch(store, FakeSource(firms(6), texts={"1004": ["BAD"]}))
    before = stored_rows(store)
    for _ in range(2):
        with pytest.raises(
            PreprocessingError, match=r"1 of the 5 firms .*1002: too long.*--give-up"
        ):
            preprocess(store, Picky("1002"), chunk_size=4)
        assert (manifest(store).generation, stored_rows(store)) == (1, before)
    summary = preprocess(store, Picky(), chunk_size=4)
    assert (summary.generation, summary.n_firms, summary.complete) == (2, 5, True)
    assert list(summary.failed) == ["1004"]
    assert stored_rows(store) == before


def test_a_failed_preprocess_can_be_given_up_for_the_old_pipeline(memory: ObjectStore) -> None:
    """Nothing is made anew, and prefetch is free again."""
    prefetch(memory, FakeSource(firms(6)), firms(3))
    before = stored_rows(memory, "cleaned_text")
    with pytest.raises(PreprocessingError):
        preprocess(memory, Picky(*firms(6)))
    assert preprocess(memory, FakePreprocessor()).generation == 1
    assert not memory.exists(LAYOUT.checkpoint)
    assert list(memory.list(LAYOUT.parts)) == []
    assert stored_rows(memory, "cleaned_text") == before
    assert prefetch(memory, FakeSource(firms(6))).n_firms == 6


def test_a_refresh_in_which_most_firms_fail_leaves_the_old_generation(
    memory: ObjectStore,
) -> None:
    """A single bad firm does not stop it."""
    prefetch(memory, FakeSource(firms(6)))
    source = FakeSource(firms(6), version="v2")
    with pytest.raises(PreprocessingError, match=r"4 of the 6 firms.*--give-up"):
        prefetch(memory, source, refresh=True, text=Picky(*firms(4)))
    assert manifest(memory).generation == 1
    summary = prefetch(memory, source, refresh=True, text=Picky("1000"))
    assert (summary.generation, summary.n_firms, list(summary.failed)) == (2, 5, ["1000"])


def test_after_preprocess_a_prefetch_goes_on_with_the_new_pipeline(memory: ObjectStore) -> None:
    """Firms not prefetched before stay pending in the new generation."""
    prefetch(memory, FakeSource(firms(5)), ["1000", "1003"])
    preprocess(memory, FakePreprocessor("other"))
    assert not manifest(memory).complete
    source = FakeSource(firms(5), version="v2")
    prefetch(memory, source, text=FakePreprocessor("other"))
    assert source.n_discoveries == 0
    assert manifest(memory).complete
    assert stored_rows(memory).keys() == set(firms(5))


def test_preprocess_by_the_same_pipeline_does_nothing(memory: ObjectStore) -> None:
    """There would be no difference but the generation."""
    prefetch(memory, FakeSource(firms(2)))
    before = everything(memory)
    preprocess(memory, FakePreprocessor())
    assert everything(memory) == before


def test_preprocess_waits_for_an_unfinished_prefetch_and_the_other_way_round(
    memory: ObjectStore,
) -> None:
    """Each names the command that finishes the other."""
    prefetch(memory, FakeSource(firms(5)), ["1000", "1001", "1002"])
    with killed_at(memory, 14), pytest.raises(Killed):
        prefetch(memory, FakeSource(firms(5)))
    with pytest.raises(ConfigError, match="ftm prefetch --quarter 2023Q1"):
        preprocess(memory, FakePreprocessor("other"))
    prefetch(memory, FakeSource(firms(5)))
    with killed_at(memory, 14), pytest.raises(Killed):
        preprocess(memory, FakePreprocessor("other"))
    with pytest.raises(ConfigError, match="ftm preprocess --quarter 2023Q1"):
        prefetch(memory, FakeSource(firms(5)))
    preprocess(memory, FakePreprocessor("other"))
    assert manifest(memory).generation == 2


def test_a_plan_report_before_and_after(memory: ObjectStore) -> None:
    """Nothing is written; afterwards the stored plan answers without the source."""
    source = FakeSource(firms(4), dropped={"5000": "no_link"}, texts={"1003": [""]})
    with killed_at(memory, 0), prefetcher(memory, source) as each:
        report = each.plan_quarter(QUARTER, limit=2)
    assert (report.is_stored, report.n_planned, report.pending) == (False, 4, ("1000", "1001"))
    assert (report.n_calls, report.reasons) == (5, {"no_link": 1})
    prefetch(memory, source, limit=2)
    with killed_at(memory, 0), prefetcher(memory, source) as each:
        report = each.plan_quarter(QUARTER)
    assert (report.is_stored, report.n_stored, report.pending) == (True, 2, ("1002", "1003"))
    assert source.n_discoveries == 2


def test_a_prefetch_killed_while_cleaning_up_stands_in_nobodys_way(memory: ObjectStore) -> None:
    """It is published; another command needs neither its options nor its chunk size."""
    with killed_at(memory, None) as events:
        prefetch(memory, FakeSource(firms(6)))
    last_put = events.index(("after put", LAYOUT.manifest))
    for then in (
        lambda store: prefetch(store, FakeSource(firms(6)), chunk=3, refresh=True),
        lambda store: prefetch(store, FakeSource(firms(6)), ["1001"], chunk=3),
        lambda store: preprocess(store, FakePreprocessor("other")),
    ):
        store = open_store("memory://")
        with killed_at(store, last_put + 1), pytest.raises(Killed):
            prefetch(store, FakeSource(firms(6)))
        assert store.exists(LAYOUT.checkpoint)
        then(store)
        assert manifest(store).complete
        assert not store.exists(LAYOUT.checkpoint)
