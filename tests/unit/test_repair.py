"""`ftm verify --repair`: damaged files come back byte for byte, or stay and say why."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from ftm.core.errors import (
    CorruptObjectError,
    FingerprintMismatchError,
    LeaseHeldError,
    LeaseLostError,
)
from ftm.prefetch.repair import RepairSummary, is_left_by_repair, repair_quarter
from ftm.storage.lease import Writer
from ftm.storage.manifest import encode_manifest
from ftm.storage.object_store import ObjectStore, open_store
from ftm.storage.open_lease import open_leased
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
)

CHUNK, TURNS = "chunk_0001.parquet", "components_0001.parquet"
TEXTS = {"1001": [], "1006": [], "1007": ["Two words.", "And more."]}


@pytest.fixture
def store() -> ObjectStore:
    """A prefetched quarter of three chunks; a firm in the second is skipped."""
    store = open_store("memory://")
    prefetch(store, FakeSource(firms(11), texts=TEXTS))
    return store


def damage(store: ObjectStore, *files: str) -> dict[str, bytes]:
    """Flip a bit of each; what was there before."""
    before = everything(store)
    for file in files:
        data = bytearray(before[LAYOUT.key(file)])
        data[20] ^= 4
        store.put(LAYOUT.key(file), bytes(data))
    return before


def repair(
    store: ObjectStore,
    source: FakeSource,
    *files: str,
    text: FakePreprocessor | None = None,
    progress: Lines | None = None,
    clock: Clock | None = None,
) -> RepairSummary:
    """One `ftm verify --repair` of these files."""
    return repair_quarter(
        store,
        QUARTER,
        files,
        source=lambda: source,
        preprocessor=text or FakePreprocessor(),
        clock=clock or Clock(),
        progress=progress,
        new_identity=dead_writer,
    )


def test_sentences_come_back_from_stored_turns_without_a_login(store: ObjectStore) -> None:
    """The very bytes, of that chunk only; WRDS is not asked."""
    before = damage(store, CHUNK)
    source, lines = FakeSource(firms(11), texts=TEXTS), Lines()
    done = repair(store, source, CHUNK, progress=lines)
    assert (done.repaired, done.not_repaired, done.used_wrds) == ([CHUNK], {}, False)
    assert everything(store) == before
    assert source.queries == []
    assert (lines.started, lines.n_firms) == ([(3, 0)], 3)


@pytest.mark.parametrize("files", [(TURNS,), (TURNS, CHUNK)])
def test_damaged_turns_are_read_from_wrds_for_their_firms_only(
    store: ObjectStore, files: Sequence[str]
) -> None:
    """One query, with the firms of the file."""
    before = damage(store, *files)
    source = FakeSource(firms(11), texts=TEXTS)
    done = repair(store, source, *files)
    assert (sorted(done.repaired), done.used_wrds) == (sorted(files), True)
    assert everything(store) == before
    assert source.queries == [["1004", "1005", "1007"]]
    assert source.n_closed == 1


def test_files_that_are_gone_come_back(store: ObjectStore) -> None:
    """Whole chunks, with their turns."""
    before = everything(store)
    gone = ["chunk_0000.parquet", "components_0000.parquet", "chunk_0002.parquet"]
    for file in gone:
        store.delete(LAYOUT.key(file))
    assert sorted(repair(store, FakeSource(firms(11), texts=TEXTS), *gone).repaired) == sorted(gone)
    assert everything(store) == before


def test_what_wrds_no_longer_delivers_stays_as_it_is_and_is_said(store: ObjectStore) -> None:
    """Other bytes under the same name would be a wrong result; nothing is written."""
    damage(store, TURNS)
    before = everything(store)
    done = repair(store, FakeSource(firms(11), texts=TEXTS | {"1005": ["Corrected."]}), TURNS)
    assert done.repaired == []
    assert "WRDS has moved on" in done.not_repaired[TURNS]
    assert everything(store) == before


def test_sentences_that_come_out_differently_are_not_blamed_on_wrds(store: ObjectStore) -> None:
    """It was not asked: another pyarrow writes other bytes of the same rows, so that is said."""
    whole = manifest(store)
    other = whole.chunks[CHUNK].model_copy(update={"sha256": "0" * 64})
    changed = whole.model_copy(update={"chunks": {**whole.chunks, CHUNK: other}})
    store.put(LAYOUT.manifest, encode_manifest(changed))
    why = repair(store, FakeSource(firms(11), texts=TEXTS), CHUNK).not_repaired[CHUNK]
    assert "pyarrow" in why
    assert "WRDS" not in why


def test_a_firm_that_fails_in_a_repair_is_said(store: ObjectStore) -> None:
    """With its error: that can be mended, unlike what WRDS has changed."""
    damage(store, TURNS)
    done = repair(store, FakeSource(firms(11), texts=TEXTS | {"1005": ["BAD"]}), TURNS)
    assert "firm 1005 failed: " in done.not_repaired[TURNS]
    assert "moved on" not in done.not_repaired[TURNS]


def test_another_text_pipeline_is_refused_before_anything_is_read(store: ObjectStore) -> None:
    """It could not make the same bytes; the message names both."""
    damage(store, TURNS)
    before, source = everything(store), FakeSource(firms(11))
    with pytest.raises(
        FingerprintMismatchError, match=r"'fake', this is 'other'.*--nlp.*--refresh"
    ):
        repair(store, source, TURNS, text=FakePreprocessor("other"))
    assert (everything(store), source.queries) == (before, [])


def test_without_its_plan_nothing_is_repaired(store: ObjectStore) -> None:
    """The plan says which calls; another plan might choose others."""
    damage(store, CHUNK, "calls.parquet")
    with pytest.raises(CorruptObjectError, match=r"calls\.parquet.*--refresh"):
        repair(store, FakeSource(firms(11)), CHUNK)


def test_an_unfinished_prefetch_is_not_disturbed(store: ObjectStore) -> None:
    """A refresh that was killed keeps its checkpoint and its parts, and ends as if nothing was."""
    refreshed = FakeSource(firms(11), texts=TEXTS, version="v2")
    with pytest.raises(Killed), killed_at(store, 14):
        prefetch(store, refreshed, refresh=True)
    before = damage(store, CHUNK)
    assert LAYOUT.checkpoint in before
    assert repair(store, FakeSource(firms(11), texts=TEXTS), CHUNK).repaired == [CHUNK]
    after = everything(store)
    assert {k: v for k, v in after.items() if k != LAYOUT.checkpoint} == {
        k: v for k, v in before.items() if k != LAYOUT.checkpoint
    }
    assert prefetch(store, refreshed, refresh=True).generation == 2


def test_a_quarter_that_is_being_written_is_not_repaired(store: ObjectStore) -> None:
    """The lease protects repairs from prefetches and these from repairs."""
    damage(store, CHUNK)
    alive = Writer("ann", "laptop", 4242, "n", is_alive=lambda _pid: True)
    lease = open_leased(
        store,
        LAYOUT.checkpoint,
        lock_name=LAYOUT.lock_name,
        writer=alive,
        clock=Clock(),
        say=lambda _text: None,
    )
    lease.acquire()
    with pytest.raises(LeaseHeldError, match="ann"):
        repair(store, FakeSource(firms(11)), CHUNK)


def test_a_repair_that_slept_past_its_lease_writes_nothing(store: ObjectStore) -> None:
    """Another command may be at the quarter by now."""
    damage(store, CHUNK)
    before, clock = everything(store), Clock()

    class Sleeping(Lines):
        def advance(self, *, firms: int = 0, sentences: int = 0) -> None:  # noqa: ARG002
            clock.advance(hours=1)

    with pytest.raises(LeaseLostError):
        repair(store, FakeSource(firms(11), texts=TEXTS), CHUNK, progress=Sleeping(), clock=clock)
    assert {k: v for k, v in everything(store).items() if k != LAYOUT.checkpoint} == before


def test_a_lease_that_a_dead_repair_left_is_taken_away(store: ObjectStore) -> None:
    """One without content and holder is all that there is to do; a living one is left alone."""
    before = damage(store, CHUNK)
    assert not is_left_by_repair(store, LAYOUT.quarter, clock=Clock())
    with pytest.raises(Killed), killed_at(store, 4):
        repair(store, FakeSource(firms(11), texts=TEXTS), CHUNK)
    assert everything(store).keys() - before.keys() == {LAYOUT.checkpoint}
    alive = Writer("bo", "workstation", 1, "other", is_alive=lambda _pid: True)
    given = {"clock": Clock(), "new_identity": lambda: alive}
    assert not is_left_by_repair(store, LAYOUT.quarter, **given)
    assert is_left_by_repair(store, LAYOUT.quarter, clock=Clock(), new_identity=dead_writer)
    repair(store, FakeSource(firms(11), texts=TEXTS))
    assert everything(store) == before


def test_nothing_to_repair_opens_nothing(store: ObjectStore) -> None:
    """A file the manifest does not name is not made."""
    before, source = everything(store), FakeSource(firms(11))
    assert repair(store, source, "chunk_0009.parquet").n_firms == 0
    assert (everything(store), source.queries) == (before, [])


@pytest.mark.parametrize("boundary", range(6))
def test_killed_at_any_write_a_repair_is_done_by_the_next(
    store: ObjectStore, boundary: int
) -> None:
    """A file is replaced in one put, so it is the damaged one or the right one."""
    before = damage(store, CHUNK, TURNS, "chunk_0000.parquet")
    files = (CHUNK, TURNS, "chunk_0000.parquet")
    try:
        with killed_at(store, boundary):
            repair(store, FakeSource(firms(11), texts=TEXTS), *files)
    except Killed:
        pass
    repair(store, FakeSource(firms(11), texts=TEXTS), *files)
    assert everything(store) == before
