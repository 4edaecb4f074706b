"""What must not be lost: firms to a new generation, a manifest to nothing, work to a failure."""

from __future__ import annotations

from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

import pytest

from ftm.connectors.discovery import PlanOptions
from ftm.core.errors import (
    ConfigError,
    CorruptObjectError,
    PreprocessingError,
    WRDSConnectionLostError,
    WRDSQueryError,
)
from ftm.core.quarter import Quarter
from ftm.core.records import FirmTurns
from ftm.core.schemas import CHUNK
from ftm.prefetch.plan_file import make_plan, read_plan
from ftm.prefetch.prefetcher import WRDSPrefetcher
from ftm.storage.manifest import PrefetchManifest, encode_manifest, load_manifest
from ftm.storage.object_store import ObjectStore, open_store
from ftm.storage.parquet import from_bytes
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
    preprocess,
    stored_rows,
)


def silent(*firm_ids: str) -> dict[str, list[str]]:
    """These firms have no components."""
    return {firm: [] for firm in firm_ids}


class Deaf(FakePreprocessor):
    """Another pipeline, which leaves no sentence of some firms."""

    def __init__(self, *deaf: str) -> None:
        super().__init__(f"deaf to {deaf}")
        self.deaf = set(deaf)

    def process(self, firm: FirmTurns) -> FirmText:
        """See FakePreprocessor."""
        if firm.call.firm_id in self.deaf:
            return FirmText(firm.call.firm_id, (), {}, skip_reason="no_sentences")
        return super().process(firm)


@pytest.mark.parametrize(
    "source",
    [
        FakeSource(firms(5), texts=silent(*firms(5))),
        FakeSource([], dropped=dict.fromkeys(firms(5), "no_link")),
        FakeSource(firms(2), dropped=dict.fromkeys(firms(5)[2:], "no_link")),
        FakeSource(firms(5), texts=silent(*firms(3))),
    ],
    ids=["no components", "no links", "most links gone", "most components gone"],
)
def test_a_refresh_that_would_lose_most_firms_leaves_the_old_generation(
    memory: ObjectStore, source: FakeSource
) -> None:
    """Whatever makes them go: failing, being skipped, or a plan that keeps them no more."""
    prefetch(memory, FakeSource(firms(5)))
    before = stored_rows(memory)
    with pytest.raises(PreprocessingError, match=r"of the 5 firms stored .*lost.*--give-up"):
        prefetch(memory, source, refresh=True)
    assert (manifest(memory).generation, stored_rows(memory)) == (1, before)


def test_a_refresh_that_loses_a_few_firms_names_them(memory: ObjectStore) -> None:
    """S&P takes calls and links back, too; the summary says whom it took."""
    prefetch(memory, FakeSource(firms(6)))
    source = FakeSource(firms(5), texts=silent("1001"), dropped={"1005": "no_link"})
    summary = prefetch(memory, source, refresh=True)
    assert (summary.generation, summary.n_firms) == (2, 4)
    assert summary.lost == {
        "1001": "skipped: no_components",
        "1005": "the new plan does not keep it",
    }
    assert prefetch(memory, source).lost == {}


def test_a_plan_with_other_options_may_leave_most_firms_out(memory: ObjectStore) -> None:
    """They are not lost: they were not asked for; but a generation of none is refused."""
    prefetch(memory, FakeSource(firms(5)))
    few = FakeSource(firms(1), dropped=dict.fromkeys(firms(5)[1:], "link_type"))
    narrow = PlanOptions(linktypes=("LC",))
    summary = prefetch(memory, few, refresh=True, options=narrow)
    assert (summary.generation, summary.n_firms, len(summary.lost)) == (2, 1, 4)
    none = FakeSource([], dropped=dict.fromkeys(firms(5), "link_type"))
    with pytest.raises(PreprocessingError, match="1 of the 1 firms"):
        prefetch(memory, none, refresh=True, options=PlanOptions(linktypes=("LN",)))


def test_a_refresh_that_loses_firms_and_brings_others_is_taken(memory: ObjectStore) -> None:
    """Who began with one firm that is linked no more is not held up by it."""
    prefetch(memory, FakeSource(firms(6)), ["1000"])
    source = FakeSource(firms(6)[1:], dropped={"1000": "no_link"})
    summary = prefetch(memory, source, refresh=True)
    assert (summary.generation, summary.n_firms, list(summary.lost)) == (2, 5, ["1000"])


def test_losses_may_be_accepted(memory: ObjectStore) -> None:
    """What was read is published by the same command with the flag that the refusal names."""
    prefetch(memory, FakeSource(firms(5)))
    source = FakeSource(firms(5), texts=silent(*firms(4)))
    with pytest.raises(PreprocessingError, match="same command with --accept-losses"):
        prefetch(memory, source, refresh=True)
    n_queries = len(source.queries)
    summary = prefetch(memory, source, refresh=True, accept_losses=True)
    assert (summary.generation, summary.n_firms, len(summary.lost)) == (2, 1, 4)
    assert len(source.queries) == n_queries
    with pytest.raises(PreprocessingError, match=r"1 of the 1 firms.*--accept-losses"):
        preprocess(memory, Deaf("1004"), accept_losses=False)
    assert preprocess(memory, Deaf("1004"), accept_losses=True).n_firms == 0


def test_a_refresh_of_some_firms_does_not_replace_a_damaged_manifest(memory: ObjectStore) -> None:
    """Nobody knows by then which others are stored."""
    prefetch(memory, FakeSource(firms(5)))
    memory.put(LAYOUT.manifest, b"?")
    for some in ({"firm_ids": ["1001"]}, {"limit": 2}):
        with pytest.raises(ConfigError, match="leave out --firms and --limit"):
            prefetch(memory, FakeSource(firms(5)), refresh=True, **some)


def test_a_refresh_says_what_it_assumes_of_a_plan_that_cannot_be_read(memory: ObjectStore) -> None:
    """Its options are lost with it; nobody takes others without a word."""
    prefetch(memory, FakeSource(firms(3)), options=PlanOptions(calls="first"))
    memory.put(LAYOUT.key("calls.parquet"), b"junk")
    lines = Lines()
    prefetch(memory, FakeSource(firms(3)), refresh=True, progress=lines)
    assert any("cannot be read; the new one takes --calls latest" in m for m in lines.messages)


def test_a_preprocess_may_empty_a_firm_but_not_many(memory: ObjectStore) -> None:
    """One of ten firms left without a sentence is told, two are refused."""
    prefetch(memory, FakeSource(firms(10)))
    with pytest.raises(PreprocessingError, match=r"2 of the 10 firms.*no_sentences"):
        preprocess(memory, Deaf("1001", "1002"))
    assert manifest(memory).generation == 1
    summary = preprocess(memory, Deaf("1001"))
    assert (summary.generation, summary.lost) == (3, {"1001": "skipped: no_sentences"})


def test_a_firm_that_fails_again_changes_nothing(memory: ObjectStore) -> None:
    """Runs hash the manifest: another time in it would have every topic computed again."""
    source = FakeSource(firms(5), texts={"1002": ["BAD"]})
    prefetch(memory, source)
    before = everything(memory)
    later = Clock(datetime(2024, 4, 1, tzinfo=UTC))
    again = prefetch(memory, source, clock=later)
    assert source.queries[-1] == ["1002"]
    assert (again.complete, list(again.failed)) == (True, ["1002"])
    assert everything(memory) == before


def test_a_firm_that_failed_and_has_no_text_now_is_skipped(memory: ObjectStore) -> None:
    """It is in one of the two only: a manifest that has it in both could not be read."""
    prefetch(memory, FakeSource(firms(3), texts={"1001": ["BAD"]}))
    prefetch(memory, FakeSource(firms(3), texts=silent("1001")))
    assert (manifest(memory).failed, manifest(memory).skipped) == ({}, {"1001": "no_components"})


def test_sentences_are_counted_over_all_prefetches(memory: ObjectStore) -> None:
    """A subset and a later full run add up to what the chunks hold."""
    prefetch(memory, FakeSource(firms(5)), firms(2))
    prefetch(memory, FakeSource(firms(5)))
    chunks = [from_bytes(memory.get(LAYOUT.key(f)), CHUNK) for f in manifest(memory).chunks]
    assert manifest(memory).n_sentences == sum(chunk.num_rows for chunk in chunks) == 15


def test_text_that_arrived_is_found_by_check_revisions(memory: ObjectStore) -> None:
    """A skipped firm is not asked for again; whoever checks learns that there is text now."""
    prefetch(memory, FakeSource(firms(3), texts={"1001": [], "1002": [""]}))
    source = FakeSource(firms(3), texts={"1002": [""]})
    prefetch(memory, source)
    assert source.queries == []
    with prefetcher(memory, source) as each:
        revision = each.check_revisions(QUARTER)
    assert [(c.firm_id, c.before) for c in revision.arrived_texts] == [("1001", "no_components")]
    assert revision.n_changes == 1
    assert source.queries == [["1001", "1002"]]
    assert prefetch(memory, source, refresh=True).n_firms == 2


class Dying(FakePreprocessor):
    """Its worker dies at a firm."""

    def process(self, firm: FirmTurns) -> FirmText:
        """See FakePreprocessor."""
        return super().process(firm)

    def map(self, firms: Any, make: Any) -> Any:
        """See FakePreprocessor."""
        for n, outcome in enumerate(super().map(firms, make)):
            if n == 3:
                raise PreprocessingError("a text worker died")
            yield outcome


def test_what_was_processed_before_the_text_step_died_is_durable(memory: ObjectStore) -> None:
    """Also the firms of a part that was not full."""
    with pytest.raises(PreprocessingError, match="worker died"):
        prefetch(memory, FakeSource(firms(6)), text=Dying())
    source = FakeSource(firms(6))
    prefetch(memory, source)
    assert sum(map(len, source.queries)) == 3


def test_a_source_that_ends_early_is_an_error(memory: ObjectStore) -> None:
    """The firm it owed is named; it does not go missing without a word."""

    class Short(FakeSource):
        def iter_turns(self, calls: Any) -> Any:
            yield from super().iter_turns(calls[:-1])

    with pytest.raises(WRDSQueryError, match="delivered nothing for firm 1002"):
        prefetch(memory, Short(firms(3)))


def test_the_same_prefetcher_logs_in_again_when_it_is_asked_again(memory: ObjectStore) -> None:
    """After a cut the first source is closed, and the next call opens another."""
    cut = WRDSConnectionLostError("the connection was cut; run it again")
    sources = [FakeSource(firms(6), stop_after=3, stop_error=cut), FakeSource(firms(6))]
    opened = iter(sources)
    with WRDSPrefetcher(
        lambda: next(opened), memory, FakePreprocessor(), new_identity=dead_writer
    ) as each:
        with pytest.raises(WRDSConnectionLostError):
            each.prefetch_quarter(QUARTER)
        assert sources[0].n_closed == 1
        assert each.prefetch_quarter(QUARTER).n_firms == 6
    assert sources[1].queries == [firms(6)[3:]]


DAMAGES = {
    "cut": lambda data: data[: len(data) // 2],
    "empty": lambda _: b"",
    "a list": lambda _: b"[]",
    "flipped": lambda data: data[:40] + bytes([data[40] ^ 8]) + data[41:],
}


@pytest.mark.parametrize("how", DAMAGES)
def test_a_refresh_replaces_a_damaged_manifest(store: ObjectStore, how: str) -> None:
    """As its error says; beside the chunks that are there, and killed, it is resumed."""
    prefetch(store, FakeSource(firms(5)), options=PlanOptions(calls="first"))
    store.put(LAYOUT.manifest, DAMAGES[how](store.get(LAYOUT.manifest)))
    with pytest.raises(CorruptObjectError, match=f"`ftm prefetch --quarter {QUARTER} --refresh`"):
        prefetch(store, FakeSource(firms(5)))
    with killed_at(store, 12), pytest.raises(Killed):
        prefetch(store, FakeSource(firms(5)), refresh=True)
    lines = Lines()
    summary = prefetch(store, FakeSource(firms(5)), refresh=True, progress=lines)
    assert (summary.generation, summary.n_firms, summary.resumed) == (2, 5, True)
    assert any("damaged manifest is replaced" in line for line in lines.messages)
    assert manifest(store).generation == 2
    plan = read_plan(store, LAYOUT.key(manifest(store).plan.file))
    assert plan.options.calls == "first"


def test_the_manifest_of_another_quarter_is_not_taken_for_this_ones(memory: ObjectStore) -> None:
    """A folder that was copied would else be filled with another quarter's firms."""
    prefetch(memory, FakeSource(firms(3)))
    other: PrefetchManifest = manifest(memory).model_copy(update={"quarter": "2023Q2"})
    memory.put(LAYOUT.manifest, encode_manifest(other))
    with pytest.raises(CorruptObjectError, match="it is the manifest of 2023Q2"):
        prefetch(memory, FakeSource(firms(4)))


@pytest.mark.parametrize("damage", [lambda d: d[: len(d) // 2], lambda d: d[:-30] + b"x" * 30])
def test_a_damaged_plan_is_one_line_with_a_way_out_that_works(
    memory: ObjectStore, damage: Any
) -> None:
    """For every command; a refresh makes another."""
    prefetch(memory, FakeSource(firms(3)))
    key = LAYOUT.key("calls.parquet")
    memory.put(key, damage(memory.get(key)))
    with pytest.raises(CorruptObjectError, match=r"--quarter 2023Q1 --refresh`") as caught:
        prefetch(memory, FakeSource(firms(4)))
    assert "\n" not in str(caught.value)
    assert prefetch(memory, FakeSource(firms(4)), refresh=True).n_firms == 4


def test_a_plan_put_in_place_of_the_one_a_session_follows_is_found(memory: ObjectStore) -> None:
    """Also before anything is published, when only the checkpoint knows which plan it was."""
    with killed_at(memory, 14), pytest.raises(Killed):
        prefetch(memory, FakeSource(firms(6)))
    other = open_store("memory://")
    prefetch(other, FakeSource(firms(7)))
    memory.put(LAYOUT.key("calls.parquet"), other.get(LAYOUT.key("calls.parquet")))
    with pytest.raises(CorruptObjectError, match=r"=2023Q1/calls.parquet, differs from what was"):
        prefetch(memory, FakeSource(firms(6)))


def test_a_generation_number_is_never_given_twice(memory: ObjectStore) -> None:
    """A killed refresh whose checkpoint somebody deleted leaves its plan; the next has its own."""
    prefetch(memory, FakeSource(firms(5)))
    with killed_at(memory, 12), pytest.raises(Killed):
        prefetch(memory, FakeSource(firms(5), version="v2"), refresh=True)
    memory.delete(LAYOUT.checkpoint)
    summary = prefetch(memory, FakeSource(firms(5), version="v3"), refresh=True)
    assert summary.generation == 3
    assert all("v3" in text for texts in stored_rows(memory).values() for text in texts)


def test_a_session_that_only_repeats_a_failure_is_not_taken_for_published(
    memory: ObjectStore,
) -> None:
    """What it recorded is in the manifest already; the firms after that are still to come."""
    texts = {"1002": ["BAD"]}
    prefetch(memory, FakeSource(firms(4), texts=texts), ["1000", "1002"])
    stop = FakeSource(firms(4), texts=texts, stop_after=1, stop_error=WRDSQueryError("stop"))
    later = Clock(datetime(2024, 4, 1, tzinfo=UTC))
    with pytest.raises(WRDSQueryError):
        prefetch(memory, stop, ["1002", "1003"], part=1, chunk=1, clock=later)
    source = FakeSource(firms(4), texts=texts)
    assert prefetch(memory, source, ["1002", "1003"], chunk=1, clock=later).n_firms == 2
    assert source.queries == [["1003"]]


def test_a_plan_is_the_same_bytes_whenever_it_is_read(memory: ObjectStore) -> None:
    """The time it was read at is the session's, not the file's."""
    prefetch(memory, FakeSource(firms(2)))
    calls = memory.get(LAYOUT.key("calls.parquet"))
    source = load_manifest(memory, Quarter.parse(QUARTER)).source
    plan = read_plan(memory, LAYOUT.key("calls.parquet"))
    later = source.model_copy(update={"extracted_at": "2031-01-01T00:00:00+00:00"})
    again = make_plan(plan.calls, plan.options, later).data
    assert sha256(again).hexdigest() == sha256(calls).hexdigest()
