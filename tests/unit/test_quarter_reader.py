"""Whole chunks of a quarter, and the section each sentence is said in."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from ftm.core.errors import CorruptObjectError
from ftm.core.schemas import CHUNK, COMPONENTS
from ftm.reduce.run_sentences import iter_sentences
from ftm.storage.object_store import open_store
from ftm.storage.parquet import from_rows
from ftm.storage.quarter_reader import Chunk, iter_chunks, read_turns, sections_of
from ftm.storage.run_reader import read_run_manifest
from tests.support.business_firms import CALL_DATE
from tests.support.planted_run import Planted, plant_run


@pytest.fixture
def planted() -> Planted:
    """Six firms in two chunks."""
    return plant_run(open_store("memory://"), [(0, 1)] * 6)


def chunk_of(*firms: tuple[str, int]) -> Chunk:
    """Firms with so many sentences each."""
    rows = [
        {
            "firm_id": firm,
            "firm_name": firm,
            "permno": 1,
            "gvkey": "1",
            "transcript_id": "9",
            "earnings_call_date": CALL_DATE,
            "sentence_id": f"{firm}_{i}",
            "raw_text": "Words.",
            "cleaned_text": "word",
            "speaker_type": "Executives",
            "position": i,
            "quarter": "2023Q1",
        }
        for firm, n in firms
        for i in range(n)
    ]
    return Chunk("chunk_0000.parquet", from_rows(rows, CHUNK))


def turns_of(*turns: tuple[str, str, int, int | None]) -> pa.Table:
    """(firm, section, first, last) in order."""
    rows: list[dict[str, Any]] = [
        {
            "firm_id": firm,
            "transcript_id": "9",
            "component_order": order,
            "section": section,
            "first_position": first,
            "last_position": last,
        }
        for order, (firm, section, first, last) in enumerate(turns)
    ]
    return from_rows(rows, COMPONENTS)


def test_every_sentence_gets_the_section_of_its_turn() -> None:
    """Turns of several firms, of one sentence and of many."""
    chunk = chunk_of(("a", 3), ("b", 4))
    turns = turns_of(
        ("a", "presentation", 0, 0), ("a", "qa", 1, 2), ("b", "unknown", 0, 2), ("b", "qa", 3, 3)
    )
    assert sections_of(chunk, turns).to_pylist() == [
        *("presentation", "qa", "qa"),
        *("unknown", "unknown", "unknown", "qa"),
    ]


def test_a_chunk_without_sentences_has_no_sections() -> None:
    """Nor turns that left any."""
    assert sections_of(chunk_of(), turns_of()).to_pylist() == []


@pytest.mark.parametrize(
    "turns",
    [
        [("a", "qa", 0, 1)],
        [("a", "qa", 0, 3)],
        [("b", "qa", 0, 2)],
        [("a", "qa", 0, 0), ("a", "qa", 2, 2)],
        [("a", "qa", 1, 2), ("a", "qa", 0, 0)],
        [("a", "qa", 0, 1), ("a", "qa", 1, 1)],
        [("a", "qa", 0, 1), ("a", "qa", 5, 2)],
        [("a", "qa", 0, None)],
        [],
    ],
    ids=[
        *("too-few", "too-many", "another-firm", "gap", "order", "twice"),
        *("backwards", "no-end", "none"),
    ],
)
def test_turns_that_do_not_fit_are_an_error(turns: list[tuple[str, str, int, int]]) -> None:
    """It names the chunk and the command that makes the quarter anew."""
    with pytest.raises(CorruptObjectError, match=r"chunk_0000\.parquet: .*ftm prefetch --refresh"):
        sections_of(chunk_of(("a", 3)), turns_of(*turns))


def test_chunks_come_in_order_and_are_checked(planted: Planted) -> None:
    """Other bytes than the manifest says are an error, with the chunk's name."""
    store, manifest = planted.store, read_run_manifest(planted.store, planted.layout)
    assert [chunk.file for chunk in iter_chunks(store, manifest)] == [
        "chunk_0000.parquet",
        "chunk_0001.parquet",
    ]
    key = "prefetch/transcripts/quarter=2023Q1/chunk_0001.parquet"
    store.put(key, store.get(key) + b" ")
    with pytest.raises(CorruptObjectError, match=r"chunk_0001\.parquet is not what was written"):
        list(iter_chunks(store, manifest))
    store.delete(key)
    with pytest.raises(CorruptObjectError, match=r"chunk_0001\.parquet is gone"):
        list(iter_chunks(store, manifest))


def test_turns_are_checked(planted: Planted) -> None:
    """Components with other bytes than the manifest says are an error."""
    store, manifest = planted.store, read_run_manifest(planted.store, planted.layout)
    chunk = next(iter_chunks(store, manifest))
    key = "prefetch/transcripts/quarter=2023Q1/components_0000.parquet"
    store.put(key, b"nothing")
    with pytest.raises(
        CorruptObjectError, match=r"components_0000\.parquet is not what was written"
    ):
        read_turns(store, manifest, chunk)


def test_sentences_of_a_run_know_where_they_are_said_and_what_they_are_of(
    planted: Planted,
) -> None:
    """Section, kind and topic of each, in order of firm and position; outliers have no topic."""
    tables = list(iter_sentences(planted.store, planted.run))
    rows = pa.concat_tables(tables).to_pylist()
    assert [table.num_rows for table in tables] == [75, 15]
    first = rows[:15]
    assert [row["section"] for row in first] == ["presentation"] * 7 + ["qa"] * 8
    assert [row["kind"] for row in first] == ["greeting"] + ["content"] * 14
    assert [row["topic_id"] for row in first] == [
        None,
        *["100000_0"] * 6,
        *["100000_1"] * 6,
        None,
        None,
    ]
    assert [row["local_topic_id"] for row in first] == [None, *[0] * 6, *[1] * 6, -1, -1]


def test_a_sentence_that_no_chunk_has_is_an_error(planted: Planted) -> None:
    """A part that names it belongs to other sentences than the chunk's."""
    other = plant_run(open_store("memory://"), [(0, 1, 2)] * 6)
    for info in other.store.list("intermediate/firm-sentences"):
        planted.store.put(info.key, other.store.get(info.key))
    for info in other.store.list("progress"):
        planted.store.put(info.key, other.store.get(info.key))
    with pytest.raises(CorruptObjectError, match=r"chunk_0000\.parquet has not all sentences"):
        list(iter_sentences(planted.store, planted.run))
