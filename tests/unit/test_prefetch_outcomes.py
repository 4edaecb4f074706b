"""What a prefetch stores, records and refuses."""

from __future__ import annotations

import re
from datetime import datetime

import pytest

from ftm.connectors.discovery import PlanOptions
from ftm.core.errors import (
    ConfigError,
    CorruptObjectError,
    UnknownFirmError,
    WRDSConnectionError,
    WRDSQueryError,
)
from ftm.core.schemas import COMPONENTS
from ftm.storage.object_store import ObjectStore, open_store
from ftm.storage.parquet import from_bytes
from ftm.storage.parquet_layout import decode_firm_facts, parse_footer
from tests.support.fake_source import FakeSource
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
    stored_keys,
    stored_rows,
)


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
    """The checkpoint's hash tells, though the part reads well; its firms are read again."""
    other, whole = open_store("memory://"), open_store("memory://")
    for store, version in ((memory, "v1"), (other, "v2")):
        with killed_at(store, 14), pytest.raises(Killed):
            prefetch(store, FakeSource(firms(6), version=version))
    (key,) = [k for k in everything(memory) if re.search(r"chunk_part_\d+00000\.", k)]
    memory.put(key, other.get(key))
    lines = Lines()
    prefetch(memory, FakeSource(firms(6)), progress=lines)
    assert any("00000.parquet is damaged; its 2" in line for line in lines.messages)
    prefetch(whole, FakeSource(firms(6)))
    assert everything(memory) == everything(whole)


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


def test_the_chunk_says_link_date_and_components_of_each_firm(memory: ObjectStore) -> None:
    """In its key-value metadata, where the connector finds them."""
    prefetch(memory, FakeSource(firms(3)))
    data = memory.get(LAYOUT.key("chunk_0000.parquet"))
    facts = decode_firm_facts(parse_footer(data).metadata, key="chunk")
    assert list(facts) == firms(3)
    assert {fact.n_components for fact in facts.values()} == {3}


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
