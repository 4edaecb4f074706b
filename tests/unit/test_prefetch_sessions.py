"""Prefetching in several sittings: refreshes, subsets, limits, unfinished sessions taken up."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ftm.connectors.discovery import PlanOptions
from ftm.core.errors import (
    ConfigError,
    CorruptObjectError,
    PreprocessingError,
    WRDSConnectionError,
)
from ftm.core.schemas import CHUNK
from ftm.prefetch.plan_file import read_plan
from ftm.storage.checkpoint import decode_session
from ftm.storage.object_store import ObjectStore, open_store
from ftm.storage.open_lease import peek_leased
from ftm.storage.parquet import from_bytes
from tests.support.fake_source import FakePreprocessor, FakeSource, Picky
from tests.support.prefetch_quarter import (
    LAYOUT,
    QUARTER,
    Clock,
    Killed,
    Lines,
    everything,
    firms,
    killed_at,
    manifest,
    prefetch,
    prefetcher,
    preprocess,
    stored_rows,
)


def test_another_plan_is_refused_without_a_refresh(memory: ObjectStore) -> None:
    """A quarter's plan is made once; the message says with what, and how to make another."""
    prefetch(memory, FakeSource(firms(3)))
    with pytest.raises(ConfigError, match=r"--calls latest .*--calls first .*--refresh"):
        prefetch(memory, FakeSource(firms(3)), options=PlanOptions(calls="first"))
    options = PlanOptions(calls="first")
    assert prefetch(memory, FakeSource(firms(3)), options=options, refresh=True).generation == 2
    same = PlanOptions(calls="first", linktypes=("LC", "LU"))
    assert prefetch(memory, FakeSource(firms(3)), options=same).n_new_firms == 0


def test_without_options_a_plan_keeps_those_it_was_made_with(memory: ObjectStore) -> None:
    """To add firms, to resume, and in a refresh: nobody changes the policy by leaving it out."""
    first = PlanOptions(calls="first", linktypes=("LC",))
    prefetch(memory, FakeSource(firms(2)), ["1000"], options=first)
    assert prefetch(memory, FakeSource(firms(2))).n_firms == 2
    with killed_at(memory, 12), pytest.raises(Killed):
        prefetch(memory, FakeSource(firms(6)), refresh=True)
    assert prefetch(memory, FakeSource(firms(6))).generation == 2
    plan = read_plan(memory, LAYOUT.key(manifest(memory).plan.file))
    assert (plan.options.calls, plan.options.linktypes) == ("first", ["LC"])


def test_without_a_chunk_size_an_unfinished_prefetch_keeps_its_own(memory: ObjectStore) -> None:
    """And its parts may get another size: the chunks are the same bytes."""
    whole = open_store("memory://")
    prefetch(whole, FakeSource(firms(9)), chunk=3)
    with killed_at(memory, 14), pytest.raises(Killed):
        prefetch(memory, FakeSource(firms(9)), chunk=3)
    prefetch(memory, FakeSource(firms(9)), chunk=None, part=1)
    assert everything(memory) == everything(whole)


def test_what_becomes_of_an_unfinished_prefetch_is_said_as_it_is(memory: ObjectStore) -> None:
    """A dry run says what would become of it; nothing published, nothing is said to stay."""
    with killed_at(memory, 14), pytest.raises(Killed):
        prefetch(memory, FakeSource(firms(6)))
    before, lines = everything(memory), Lines()
    with prefetcher(memory, FakeSource(firms(6)), progress=lines) as each:
        each.plan_quarter(QUARTER, refresh=True)
        each.plan_quarter(QUARTER)
    assert everything(memory) == before
    told = "would begin by: 2023Q1: "
    assert lines.messages == [
        f"{told}dropping an unfinished prefetch (2 firms done), as asked; nothing is published yet",
        f"{told}taking up an unfinished prefetch (2 firms done)",
    ]


def test_an_unfinished_refresh_is_named_where_it_is_in_the_way(memory: ObjectStore) -> None:
    """With the options it was begun with, how to finish it, and how to be rid of it."""
    prefetch(memory, FakeSource(firms(6)))
    with killed_at(memory, 12), pytest.raises(Killed):
        prefetch(memory, FakeSource(firms(6)), refresh=True, options=PlanOptions(calls="first"))
    with pytest.raises(ConfigError, match=r"unfinished refresh with --calls first.*--give-up"):
        prefetch(memory, FakeSource(firms(6)), options=PlanOptions())


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
    assert any("(4 firms done), as asked; nothing is published yet" in m for m in lines.messages)
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


def test_a_deleted_checkpoint_costs_work_but_not_the_plan(memory: ObjectStore) -> None:
    """The stored plan says with what options and from where it was made."""
    whole = open_store("memory://")
    prefetch(whole, FakeSource(firms(6)), options=PlanOptions(calls="first"))
    first = PlanOptions(calls="first")
    with killed_at(memory, 20), pytest.raises(Killed):
        prefetch(memory, FakeSource(firms(6)), options=first)
    memory.delete(LAYOUT.checkpoint)
    moved = FakeSource(firms(9), version="v2")
    with pytest.raises(ConfigError, match="--calls latest"):
        prefetch(memory, moved, options=PlanOptions())
    prefetch(memory, FakeSource(firms(6)))
    assert manifest(memory).plan == manifest(whole).plan
    assert manifest(memory).source.tables == manifest(whole).source.tables
    assert stored_rows(memory) == stored_rows(whole)


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


def test_a_lost_manifest_of_a_refresh_is_no_quarter_that_was_never_begun() -> None:
    """A prefetch would follow the first generation's plan again, and read WRDS for it."""
    store = open_store("memory://")
    prefetch(store, FakeSource(firms(5)))
    prefetch(store, FakeSource(firms(5), version="v2"), refresh=True)
    store.delete(LAYOUT.manifest)
    before, source = everything(store), FakeSource(firms(5))
    with pytest.raises(CorruptObjectError, match=r"manifest\.json is gone.*generation 2; `ftm ver"):
        prefetch(store, source)
    assert (everything(store), source.n_delivered) == (before, 0)
    assert prefetch(store, source, refresh=True).generation == 3
