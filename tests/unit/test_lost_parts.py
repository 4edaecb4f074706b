"""A part of an unfinished session is damaged or gone: its firms are tried again, the rest stays."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from ftm.care.faults import Grade
from ftm.care.verify import verify_quarter
from ftm.core.errors import CorruptObjectError, UnknownFirmError
from ftm.core.records import FirmCall, FirmTurns
from ftm.prefetch.base import PrefetchSummary
from ftm.storage.checkpoint import Session, decode_session
from ftm.storage.object_store import ObjectStore, open_store
from ftm.storage.open_lease import peek_leased
from ftm.storage.sealed import encode_sealed
from tests.support.damage import copy_of
from tests.support.fake_source import FakePreprocessor, FakeSource
from tests.support.prefetch_quarter import (
    LAYOUT,
    QUARTER,
    START,
    Killed,
    Lines,
    everything,
    firms,
    killed_at,
    manifest,
    prefetch,
    preprocess,
    stored_rows,
)

FIRMS = firms(14)
TEXTS = {"1003": ["BAD"], "1007": ["BAD"], "1008": ["", ""], "1011": []}
FIRST_PART = 1000 * int(START.timestamp())
CHUNK = 6
"""Firms a chunk: parts 0 to 2 make the first one, 3 to 5, of two firms each, are open."""

Command = Callable[..., object]
Damage = Callable[[bytes], bytes | None]


def source(**given: Any) -> FakeSource:
    """Every open part has firms that are stored, and one that fails or has no text."""
    return FakeSource(FIRMS, texts=TEXTS, **given)


def flipped(data: bytes) -> bytes:
    """One bit of it is another."""
    return data[:40] + bytes([data[40] ^ 1]) + data[41:]


DAMAGES: dict[str, Damage] = {
    "flipped": flipped,
    "cut short": lambda data: data[:-7],
    "empty": lambda _: b"",
    "gone": lambda _: None,
}


def fresh(store: ObjectStore, read: FakeSource | None = None, **given: Any) -> PrefetchSummary:
    """The first prefetch."""
    return prefetch(store, read or source(), chunk=CHUNK, **given)


@contextmanager
def killed_before(store: ObjectStore, name: str) -> Iterator[None]:
    """Die before a file of this name is put."""

    def hook(moment: str, key: str) -> None:
        if moment == "before put" and name in key:
            raise Killed(key)

    store.hook = hook
    with pytest.raises(Killed):
        yield
    store.hook = lambda _moment, _key: None


def part_key(number: int, dataset: str = "chunk", generation: int = 1) -> str:
    """Of a part of the session that began at START."""
    name = f"_parts/gen={generation:04d}/{dataset}_part_{FIRST_PART + number:05d}.parquet"
    return LAYOUT.key(name)


def damage(store: ObjectStore, key: str, how: str = "flipped") -> None:
    """Change or remove an object."""
    found = DAMAGES[how](store.get(key))
    store.delete(key)
    if found is not None:
        store.put(key, found)


def quarter_of(store: ObjectStore) -> dict[str, bytes]:
    """Every object of the quarter; a folder has locks beside it."""
    return {k: v for k, v in everything(store).items() if k.startswith(LAYOUT.root)}


def session_of(store: ObjectStore) -> Session:
    """What the checkpoint holds."""
    found = decode_session(peek_leased(store, LAYOUT.checkpoint), key="")
    assert found is not None
    return found


def whole(command: Command = fresh, start: dict[str, bytes] | None = None) -> dict[str, bytes]:
    """What the command leaves if nothing disturbs it."""
    store = copy_of(start or {})
    command(store)
    return quarter_of(store)


def read_firms(read: FakeSource) -> list[str]:
    """Firms asked for, in order."""
    return [firm for query in read.queries for firm in query]


def no_closed_file_is_written(store: ObjectStore) -> None:
    """From now on."""

    def hook(moment: str, key: str) -> None:
        assert "_0000.parquet" not in key, f"{moment} {key}"

    store.hook = hook


UNTRIED = FIRMS[12:]
LOST = [
    ([(3, "chunk")], "flipped"),
    ([(3, "components")], "gone"),
    ([(4, "chunk")], "cut short"),
    ([(4, "components")], "flipped"),
    ([(5, "chunk")], "gone"),
    ([(5, "components")], "empty"),
    ([(3, "chunk"), (5, "chunk")], "flipped"),
    ([(n, dataset) for n in (3, 4, 5) for dataset in ("chunk", "components")], "gone"),
]


@pytest.mark.parametrize(("lost", "how"), LOST)
def test_the_firms_of_a_lost_part_are_read_again_and_all_else_is_kept(
    store: ObjectStore, lost: list[tuple[int, str]], how: str
) -> None:
    """First, middle, last, several, all: the bytes of a quarter whose parts stayed whole."""
    with killed_before(store, "/chunk_0001"):
        fresh(store)
    keys = [part_key(n, dataset) for n, dataset in lost]
    for key in keys:
        damage(store, key, how)
    no_closed_file_is_written(store)
    read, lines = source(), Lines()
    fresh(store, read, progress=lines)
    again = sorted({firm for n, _ in lost for firm in FIRMS[2 * n : 2 * n + 2]})
    assert read_firms(read) == [*again, *UNTRIED]
    assert quarter_of(store) == whole()
    (said,) = [line for line in lines.messages if "again" in line]
    state = "is gone" if how == "gone" else "is damaged"
    assert said.startswith(f"2023Q1: {store.name(keys[0])} {state}")
    assert said.endswith(f"{len(again)} firms are read again, the rest is kept")


@pytest.mark.parametrize("number", [4, 5])
def test_a_chunk_that_is_not_full_yet_ends_with_the_same_firms(
    memory: ObjectStore, number: int
) -> None:
    """The firms read again go before those that were not tried, into the same chunk."""
    with killed_before(memory, part_key(6)):
        prefetch(memory, source(), chunk=8)
    damage(memory, part_key(number))
    read = source()
    prefetch(memory, read, chunk=8)
    assert read_firms(read) == [*FIRMS[2 * number : 2 * number + 2], *UNTRIED]
    assert quarter_of(memory) == whole(lambda store: prefetch(store, source(), chunk=8))


@pytest.mark.parametrize(("number", "mended"), [(3, "1007"), (4, "1008"), (5, "1011")])
def test_who_failed_or_was_skipped_for_a_lost_part_is_tried_again(
    memory: ObjectStore, number: int, mended: str
) -> None:
    """And may be stored this time; those of other parts stay as they are, each in one place."""
    with killed_before(memory, "/chunk_0001"):
        fresh(memory)
    damage(memory, part_key(number))
    texts = {firm: text for firm, text in TEXTS.items() if firm != mended}
    summary = fresh(memory, FakeSource(FIRMS, texts=texts))
    found = manifest(memory)
    n_failed = 1 if mended == "1007" else 2
    assert (summary.n_new_firms, summary.n_new_failed) == (11, n_failed)
    assert found.failed.keys() | found.skipped.keys() == texts.keys()
    stored = [f for entry in found.chunks.values() for g in entry.row_groups for f in g.firms]
    assert sorted([*stored, *found.skipped, *found.failed]) == FIRMS


def test_the_checkpoint_names_no_lost_part_before_anything_is_read(store: ObjectStore) -> None:
    """Whoever dies after that leaves a session without it."""
    with killed_before(store, "/chunk_0001"):
        fresh(store)
    damage(store, part_key(4))
    seen: list[Session] = []

    class Looking(FakeSource):
        def iter_turns(self, calls: Sequence[FirmCall]) -> Iterator[FirmTurns]:
            seen.append(session_of(store))
            yield from super().iter_turns(calls)

    fresh(store, Looking(FIRMS, texts=TEXTS))
    assert seen[0].again == ["1008", "1009"]
    assert [part.tried for part in seen[0].parts] == [["1006", "1007"], ["1010", "1011"]]
    assert "1008" not in seen[0].skipped
    assert seen[0].failed.keys() == {"1003", "1007"}


@pytest.mark.parametrize("number", [3, 4, 5])
def test_invariant_5_killed_at_every_write_of_the_mending(number: int) -> None:
    """Also between the checkpoint without the part and the first new one."""
    broken = open_store("memory://")
    with killed_before(broken, "/chunk_0001"):
        fresh(broken)
    damage(broken, part_key(number))
    start, expected = quarter_of(broken), whole()
    with killed_at(broken, None) as events:
        fresh(broken)
    n_between = 0
    for nth, event in enumerate(events):
        store = copy_of(start)
        with killed_at(store, nth), pytest.raises(Killed):
            fresh(store)
        if event == ("after delete", LAYOUT.checkpoint):
            continue
        session = session_of(store)
        n_between += bool(session.again) and part_key(6) not in everything(store)
        no_closed_file_is_written(store)
        fresh(store)
        assert quarter_of(store) == expected, f"killed at {event}"
    assert n_between


def test_two_parts_are_lost_one_after_the_other(memory: ObjectStore) -> None:
    """One by one, with a kill between; the one mended first stays mended."""
    with killed_before(memory, "/chunk_0001"):
        fresh(memory)
    damage(memory, part_key(3))
    with killed_before(memory, "/chunk_0001"):
        fresh(memory)
    damage(memory, part_key(5), "gone")
    read = source()
    fresh(memory, read)
    assert read_firms(read) == ["1010", "1011", *UNTRIED]
    assert quarter_of(memory) == whole()


def test_invariant_2_the_plan_is_kept_though_every_part_is_lost(memory: ObjectStore) -> None:
    """Firms were read by it: one that is damaged is not made anew by what WRDS has now."""
    with killed_before(memory, part_key(2)):
        fresh(memory)
    for number in (0, 1):
        damage(memory, part_key(number))
    with killed_before(memory, "chunk_part"):
        fresh(memory)
    assert session_of(memory).n_attempted == 0
    plan = LAYOUT.key("calls.parquet")
    sound = memory.get(plan)
    memory.put(plan, b"broken")
    read = source(version="v2")
    with pytest.raises(CorruptObjectError, match=r"calls\.parquet"):
        fresh(memory, read)
    assert read.n_discoveries == 0
    assert plan in {fault.key for fault in verify_quarter(memory, QUARTER, deep=True).damaged}
    memory.put(plan, sound)
    fresh(memory)
    assert quarter_of(memory) == whole()


def rest_of(
    selection: dict[str, Any], store: ObjectStore, read: FakeSource | None = None
) -> object:
    """The rest, of whoever is asked for."""
    return prefetch(store, read or source(), chunk=CHUNK, **selection)


@pytest.mark.parametrize(
    ("first", "then"),
    [
        ({}, {"firm_ids": ["1001"]}),
        ({"firm_ids": FIRMS[5:]}, {"firm_ids": ["1001"]}),
        ({"firm_ids": FIRMS[5:]}, {}),
        ({"limit": 5}, {"limit": 5}),
        ({"limit": 5}, {"limit": 2}),
    ],
)
@pytest.mark.parametrize("is_killed_again", [False, True])
def test_whoever_is_asked_for_next_what_was_lost_comes_back(
    memory: ObjectStore, first: dict[str, Any], then: dict[str, Any], is_killed_again: bool
) -> None:
    """Firms of another selection and of an earlier limit, as if no part had been lost."""
    with killed_before(memory, part_key(2)):
        rest_of(first, memory)
    start = quarter_of(memory)
    damage(memory, part_key(0))
    if is_killed_again:
        with killed_before(memory, "chunk_part"):
            rest_of(first, memory)
        assert session_of(memory).again
    read = source()
    rest_of(then, memory, read)
    assert all(query == sorted(query) for query in read.queries)
    assert quarter_of(memory) == whole(lambda store: rest_of(then, store), start)


def test_a_firm_that_is_unknown_is_not_recorded_as_asked_for(memory: ObjectStore) -> None:
    """The checkpoint without the part keeps the selection that it had."""
    with killed_before(memory, "/chunk_0001"):
        fresh(memory)
    damage(memory, part_key(3))
    with pytest.raises(UnknownFirmError):
        fresh(memory, firm_ids=["nobody"])
    assert session_of(memory).selection.firm_ids is None
    fresh(memory)
    assert quarter_of(memory) == whole()


def other_text(store: ObjectStore, **given: Any) -> object:
    """The text step again."""
    return preprocess(store, FakePreprocessor("other"), checkpoint_interval=2, **given)


def refresh(store: ObjectStore, **given: Any) -> object:
    """All of it from WRDS again."""
    return fresh(store, refresh=True, **given)


@pytest.mark.parametrize(
    ("command", "done"), [(other_text, "preprocessed"), (refresh, "read")], ids=["text", "refresh"]
)
@pytest.mark.parametrize("dataset", ["chunk", "components"])
def test_a_new_generation_gets_its_lost_parts_back(
    store: ObjectStore, command: Command, done: str, dataset: str
) -> None:
    """From WRDS or from the stored turns; what is published stays until all is there."""
    fresh(store)
    start = quarter_of(store)
    with killed_before(store, "gen=0002/chunk_0001"):
        command(store)
    damage(store, part_key(4, dataset, generation=2))
    published = store.get(LAYOUT.manifest)
    no_closed_file_is_written(store)
    lines = Lines()
    with killed_before(store, LAYOUT.manifest):
        command(store, progress=lines)
    assert store.get(LAYOUT.manifest) == published
    assert any(f"2 firms are {done} again, the rest is kept" in line for line in lines.messages)
    command(store)
    assert quarter_of(store) == whole(command, start)


@pytest.mark.parametrize("dataset", ["chunk", "components"])
@pytest.mark.parametrize("how", DAMAGES)
def test_a_part_damaged_before_its_chunk_is_closed_makes_no_chunk(
    store: ObjectStore, dataset: str, how: str
) -> None:
    """Of the very process that put it; the error says what helps, and it does."""

    def hook(moment: str, key: str) -> None:
        if moment == "after put" and key == part_key(2):
            damage(store, part_key(1, dataset), how)

    store.hook = hook
    with pytest.raises(CorruptObjectError) as caught:
        fresh(store)
    store.hook = lambda _moment, _key: None
    assert store.name(part_key(1, dataset)) in str(caught.value)
    assert "run the same command again (`ftm prefetch --quarter 2023Q1`)" in str(caught.value)
    assert not any("chunk_0" in key for key in everything(store))
    read = source()
    fresh(store, read)
    assert read_firms(read) == [*FIRMS[2:4], *FIRMS[6:]]
    assert quarter_of(store) == whole()


def test_verify_says_that_the_same_command_helps(memory: ObjectStore) -> None:
    """And so it does; afterwards nothing is damaged."""
    with killed_before(memory, "/chunk_0001"):
        fresh(memory)
    damage(memory, part_key(3))
    damage(memory, part_key(5), "gone")
    found = verify_quarter(memory, QUARTER, deep=True)
    assert [fault.key for fault in found.damaged] == [part_key(3), part_key(5)]
    fix = "`ftm prefetch --quarter 2023Q1` does the firms of that part again and keeps the rest"
    assert {fault.fix for fault in found.damaged} == {fix}
    with killed_before(memory, part_key(7)):
        fresh(memory)
    during = verify_quarter(memory, QUARTER, deep=True)
    assert {fault.grade for fault in during.faults} == {Grade.NOTE}
    fresh(memory)
    assert verify_quarter(memory, QUARTER, deep=True).faults == ()


def written_by_an_older_ftm(store: ObjectStore) -> None:
    """The checkpoint, without what became of firms that are not stored."""
    document = dict(peek_leased(store, LAYOUT.checkpoint))
    for part in document["session"]["parts"]:
        del part["not_stored"]
    store.put(LAYOUT.checkpoint, encode_sealed(document))


def test_a_checkpoint_that_does_not_say_whose_part_it_was_is_not_guessed_at(
    memory: ObjectStore,
) -> None:
    """Nothing is dropped, and what is advised leads on."""
    with killed_before(memory, part_key(4)):
        fresh(memory)
    written_by_an_older_ftm(memory)
    damage(memory, part_key(3))
    with pytest.raises(CorruptObjectError, match="by an older ftm") as caught:
        fresh(memory)
    assert f"delete {memory.name(LAYOUT.checkpoint)} and run the command" in str(caught.value)
    assert session_of(memory).n_attempted == 8
    memory.delete(LAYOUT.checkpoint)
    fresh(memory)
    assert stored_rows(memory).keys() == set(FIRMS) - TEXTS.keys()


def test_a_part_of_stored_firms_only_needs_no_such_word(memory: ObjectStore) -> None:
    """Most parts of a checkpoint by an older ftm come back, too."""
    with killed_before(memory, part_key(2)):
        fresh(memory)
    written_by_an_older_ftm(memory)
    damage(memory, part_key(0))
    fresh(memory)
    assert quarter_of(memory) == whole()
