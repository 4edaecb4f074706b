"""Files of whole firms: sorted, in groups of ten, every byte in a hashed range."""

from __future__ import annotations

import subprocess
import sys
from datetime import date
from hashlib import sha256
from itertools import pairwise

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftm.core.errors import CorruptObjectError, SchemaError
from ftm.core.schemas import CHUNK, COMPONENTS, DATASETS
from ftm.storage.manifest import firms_of
from ftm.storage.parquet import from_bytes, from_rows, to_bytes
from ftm.storage.parquet_layout import (
    FIRM_FACTS_KEY,
    FirmFacts,
    decode_firm_facts,
    describe_file,
    encode_firm_facts,
    parse_footer,
    write_firm_file,
)
from tests.support.stored_quarter import chunk_file, chunk_table, firm

FIRMS = [firm(number, n_sentences=3 + number % 4) for number in range(25)]


def test_row_groups_hold_ten_whole_firms() -> None:
    """25 firms make groups of 10, 10 and 5, and the file reads back unchanged."""
    data, entry = chunk_file(FIRMS)
    assert [len(group.firms) for group in entry.row_groups] == [10, 10, 5]
    assert firms_of(entry) == [f.firm_id for f in FIRMS]
    table = from_bytes(data, CHUNK)
    assert table.schema.names == CHUNK.names
    assert table.equals(chunk_table(FIRMS))


def test_ranges_tile_the_file_and_carry_their_hashes() -> None:
    """Magic, groups and footer leave no byte out."""
    data, entry = chunk_file(FIRMS)
    position = 4
    for part in (*entry.row_groups, entry.footer):
        assert part.offset == position
        position += part.bytes
        assert sha256(data[part.offset : position]).hexdigest() == part.sha256
    assert position == len(data) == entry.bytes
    assert sha256(data).hexdigest() == entry.sha256


def test_bytes_do_not_tell_how_the_table_was_put_together() -> None:
    """A table concatenated from parts is written as one made at once: resuming changes nothing.

    Large enough for several pages: only then can the parts' borders show.
    """
    table = chunk_table([firm(1, n_sentences=25_000)])
    whole, _ = write_firm_file(table, CHUNK)
    for cuts in ([1], [500], [17, 18, 19, 2_000, 3_999]):
        edges = [0, *cuts, table.num_rows]
        parts = [table.slice(start, end - start) for start, end in pairwise(edges)]
        assert write_firm_file(pa.concat_tables(parts), CHUNK)[0] == whole


def test_no_firms_give_a_typed_file_without_groups() -> None:
    """A chunk or components file may be empty."""
    data, entry = write_firm_file(from_rows([], COMPONENTS), COMPONENTS)
    assert entry.row_groups == []
    assert from_bytes(data, COMPONENTS).num_rows == 0


@pytest.mark.parametrize("name", DATASETS)
def test_every_dataset_keeps_its_types_when_empty_or_null(name: str) -> None:
    """No inference: no rows and all-null columns come back with the schema's types."""
    schema = DATASETS[name]
    nulls = pa.table({f.name: pa.nulls(2, f.type) for f in schema if f.nullable})
    for table in (from_rows([], schema), None):
        chosen = schema if table is not None else nulls.schema
        back = from_bytes(to_bytes(table if table is not None else nulls, chosen), chosen)
        assert back.schema.types == chosen.types


def test_rows_out_of_order_are_refused() -> None:
    """By firm, and by position within a firm; a firm in two places is out of order."""
    table = chunk_table(FIRMS[:3])
    for indices, message in (
        ([3, 4, 0, 1], "not sorted by firm_id"),
        ([0, 3, 1], "not sorted by firm_id: '100000' comes after '100001'"),
        ([0, 2, 1], "firm 100000 are not sorted by position"),
        ([0, 0], "firm 100000 are not sorted by position"),
    ):
        with pytest.raises(SchemaError, match=message):
            write_firm_file(table.take(indices), CHUNK)


def test_tables_that_do_not_fit_their_schema_are_refused() -> None:
    """A missing column, a wrong type and a null where none may be, each by name."""
    table = chunk_table(FIRMS[:1])
    with pytest.raises(SchemaError, match="columns"):
        to_bytes(table.drop_columns(["permno"]), CHUNK)
    permno = CHUNK.names.index("permno")
    with pytest.raises(SchemaError, match="schema"):
        to_bytes(table.set_column(permno, "permno", pa.array(["x"] * table.num_rows)), CHUNK)
    with pytest.raises(SchemaError, match="permno has 3 nulls"):
        to_bytes(table.set_column(permno, "permno", pa.nulls(3, pa.int64())), CHUNK)


def test_another_number_of_groups_is_refused() -> None:
    """describe_file cannot be told a wrong grouping."""
    data, _ = chunk_file(FIRMS)
    with pytest.raises(SchemaError, match="3 row groups, expected 2"):
        describe_file(data, [["a"], ["b"]])


def test_a_file_with_bytes_beside_groups_and_footer_is_refused() -> None:
    """A page index would lie outside every hashed range."""
    import io

    import pyarrow.parquet as pq

    sink = io.BytesIO()
    pq.write_table(chunk_table(FIRMS[:1]), sink, write_page_index=True)
    with pytest.raises(SchemaError, match="bytes after the row groups"):
        describe_file(sink.getvalue(), [[FIRMS[0].firm_id]])


_FACTS = st.builds(FirmFacts, st.none() | st.dates(), st.integers(0, 10_000))


@given(st.dictionaries(st.text(min_size=1), _FACTS, max_size=5))
def test_firm_facts_round_trip(facts: dict[str, FirmFacts]) -> None:
    """Through the dictionary form, in any order the same text."""
    encoded = encode_firm_facts(facts)
    assert encode_firm_facts(dict(reversed(facts.items()))) == encoded
    raw = {name.encode(): text.encode() for name, text in encoded.items()}
    assert decode_firm_facts(raw, key="k") == facts


def test_firm_facts_ride_in_the_footer() -> None:
    """They are read from the footer alone."""
    table = chunk_table(FIRMS[:2])
    facts = {FIRMS[0].firm_id: FirmFacts(date(2001, 2, 3), 7), FIRMS[1].firm_id: FirmFacts(None, 0)}
    data, entry = write_firm_file(table, CHUNK, metadata=encode_firm_facts(facts))
    footer = parse_footer(data[entry.footer.offset :])
    assert decode_firm_facts(footer.metadata, key="k") == facts


@pytest.mark.parametrize("text", [b"no json", b"[]", b'{"1": {}}', b'{"1": {"link_date": "x"}}'])
def test_unreadable_firm_facts_are_refused(text: bytes) -> None:
    """The message names the file."""
    with pytest.raises(CorruptObjectError, match="chunk_x"):
        decode_firm_facts({FIRM_FACTS_KEY.encode(): text}, key="chunk_x")


READ_WHOLE = "from_bytes(data, CHUNK)"
READ_GROUP = "reader.parse_group(0, reader.fetch_group(0))"


@pytest.mark.parametrize("read", [READ_WHOLE, READ_GROUP])
def test_reading_starts_no_thread_of_pyarrow(read: str) -> None:
    """A thread of pyarrow's pool that holds a Python file at exit aborts the whole process."""
    program = (
        "import os\n"
        "from ftm.core.schemas import CHUNK\n"
        "from ftm.storage.object_store import open_store\n"
        "from ftm.storage.parquet import from_bytes\n"
        "from ftm.storage.row_groups import FirmFileReader\n"
        "from tests.support.stored_quarter import chunk_file, firm\n"
        "data, entry = chunk_file([firm(n, n_sentences=4) for n in range(12)])\n"
        "store = open_store('memory://')\n"
        "store.put('c', data)\n"
        "reader = FirmFileReader(store, 'c', entry, schema=CHUNK, mend='')\n"
        "reader.fetch_group(0)  # starts the store's own threads\n"
        "before = os.listdir('/proc/self/task')\n"
        f"{read}\n"
        "print(sorted(os.listdir('/proc/self/task')) == sorted(before))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "True\n"


def test_a_footer_that_cannot_be_read_is_told_in_one_line() -> None:
    """What Thrift says of a footer that ends too early has a line end in it."""
    with pytest.raises(CorruptObjectError, match="No more data to read") as caught:
        parse_footer(b"PAR1\x15\x04\x19\x03\0\0\0PAR1", key="a.parquet")
    assert "\n" not in str(caught.value)
