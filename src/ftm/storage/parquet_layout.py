"""Files of whole firms: row groups of ten firms, every byte of the file hashed range by range.

A file is four magic bytes, the row groups one after another, and the footer (the metadata, its
length and the closing magic). `describe_file` checks that these ranges tile the file, so a
change of any byte that a reader uses is found by a hash, before anything is parsed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from hashlib import sha256
from itertools import pairwise
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ftm.core.errors import CorruptObjectError, SchemaError
from ftm.core.plain import one_line
from ftm.storage.manifest import FileEntry, Footer, RowGroup
from ftm.storage.parquet import to_bytes

FIRMS_PER_GROUP = 10
MAGIC = b"PAR1"
FIRM_FACTS_KEY = "ftm.firms"
_FOOTER_TAIL = 8
"""Bytes after the metadata: its length (4) and the closing magic (4)."""


@dataclass(frozen=True, slots=True)
class FirmFacts:
    """What a file says of a firm beyond its rows.

    Args:
        link_date: first day of the CCM link that gave the PERMNO; None if WRDS has none.
        n_components: speaker turns of the call as delivered.
    """

    link_date: date | None
    n_components: int


def encode_firm_facts(facts: Mapping[str, FirmFacts]) -> dict[str, str]:
    """Key-value metadata to hand to `write_firm_file`: JSON under `ftm.firms`, sorted."""
    rows = {firm: asdict(fact) for firm, fact in facts.items()}
    text = json.dumps(rows, sort_keys=True, separators=(",", ":"), default=date.isoformat)
    return {FIRM_FACTS_KEY: text}


def decode_firm_facts(metadata: Mapping[bytes, bytes] | None, *, key: str) -> dict[str, FirmFacts]:
    """The facts in a file's key-value metadata; empty if it has none.

    Raises:
        CorruptObjectError: they are there and cannot be read.
    """
    text = (metadata or {}).get(FIRM_FACTS_KEY.encode(), b"{}")
    try:
        return {firm: _firm_facts(row) for firm, row in json.loads(text).items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CorruptObjectError(f"{key}: its {FIRM_FACTS_KEY} cannot be read", key=key) from error


def _firm_facts(row: Mapping[str, Any]) -> FirmFacts:
    link_date = row["link_date"]
    return FirmFacts(
        link_date=None if link_date is None else date.fromisoformat(link_date),
        n_components=int(row["n_components"]),
    )


def write_firm_file(
    table: pa.Table,
    schema: pa.Schema,
    *,
    firms_per_group: int = FIRMS_PER_GROUP,
    metadata: Mapping[str, str] | None = None,
) -> tuple[bytes, FileEntry]:
    """Serialise a chunk or a components file and describe it for the manifest.

    Args:
        table: sorted by firm_id, then position or component_order; sorts nothing itself. No
            rows give a valid file without row groups.
        schema: CHUNK or COMPONENTS.
        firms_per_group: whole firms per row group; the last one may have fewer.
        metadata: key-value metadata, see `encode_firm_facts`.

    Raises:
        SchemaError: the table does not fit the schema or is not sorted.
    """
    firms, n_rows = firm_runs(table)
    _check_order(table, firms)
    starts = range(0, len(firms), firms_per_group)
    data = to_bytes(
        table,
        schema,
        metadata=metadata,
        group_sizes=[sum(n_rows[i : i + firms_per_group]) for i in starts],
    )
    return data, describe_file(data, [firms[i : i + firms_per_group] for i in starts])


def describe_file(data: bytes, group_firms: Sequence[Sequence[str]]) -> FileEntry:
    """Offsets and hashes of a Parquet file's row groups and footer.

    Args:
        data: the whole file.
        group_firms: the firms of each row group, in order.

    Raises:
        SchemaError: the row groups and the footer do not tile the file, or are not as many as
            `group_firms` says (a writer setting that adds bytes elsewhere, such as a page index).
    """
    footer = parse_footer(data)
    if footer.num_row_groups != len(group_firms):
        raise SchemaError(f"{footer.num_row_groups} row groups, expected {len(group_firms)}")
    groups = []
    position = len(MAGIC)
    for number, firms in enumerate(group_firms):
        start, end = _group_range(footer.row_group(number))
        if start != position:
            raise SchemaError(f"row group {number} starts at {start}, expected {position}")
        digest = sha256(data[start:end]).hexdigest()
        groups.append(RowGroup(offset=start, bytes=end - start, sha256=digest, firms=list(firms)))
        position = end
    tail = data[position:]
    if len(tail) != footer.serialized_size + _FOOTER_TAIL:
        raise SchemaError(f"{len(tail)} bytes after the row groups, the footer has fewer")
    return FileEntry(
        bytes=len(data),
        sha256=sha256(data).hexdigest(),
        footer=Footer(offset=position, bytes=len(tail), sha256=sha256(tail).hexdigest()),
        row_groups=groups,
    )


def parse_footer(data: bytes, *, key: str = "Parquet data") -> pq.FileMetaData:
    """The metadata of a Parquet file, or of its footer alone.

    Raises:
        CorruptObjectError: it is neither.
    """
    # pyarrow insists on the opening magic; a footer alone gets one, offsets are left as they are.
    whole = data if data.startswith(MAGIC) else MAGIC + data
    try:
        return pq.read_metadata(pa.BufferReader(whole))
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        # What Thrift says ends with a newline.
        said = one_line(str(error))
        raise CorruptObjectError(f"{key}: its footer cannot be read ({said})", key=key) from error


def firm_runs(table: pa.Table) -> tuple[list[str], list[int]]:
    """The firms of a table in the order they come, and the rows of each."""
    if table.num_rows == 0:
        return [], []
    runs = pc.run_end_encode(table["firm_id"].combine_chunks())
    ends = runs.run_ends.to_pylist()
    rows = [end - start for start, end in zip([0, *ends[:-1]], ends, strict=True)]
    return runs.values.to_pylist(), rows


def _check_order(table: pa.Table, firms: Sequence[str]) -> None:
    for before, after in pairwise(firms):
        if before >= after:
            raise SchemaError(f"rows are not sorted by firm_id: {after!r} comes after {before!r}")
    column = "position" if "position" in table.column_names else "component_order"
    order, firm = table[column], table["firm_id"]
    falls = pc.less_equal(order[1:], order[:-1])
    wrong = pc.and_(pc.equal(firm[1:], firm[:-1]), falls)
    if table.num_rows > 1 and pc.any(wrong).as_py():
        row = pc.index(wrong, True).as_py() + 1
        raise SchemaError(f"rows of firm {firm[row].as_py()} are not sorted by {column}")


def _group_range(group: pq.RowGroupMetaData) -> tuple[int, int]:
    """First byte of a row group's columns, and the byte after the last."""
    starts, ends = [], []
    for number in range(group.num_columns):
        column = group.column(number)
        pages = [column.data_page_offset]
        if column.has_dictionary_page:
            pages.append(column.dictionary_page_offset)
        starts.append(min(pages))
        ends.append(min(pages) + column.total_compressed_size)
    for end, start in zip(sorted(ends), sorted(starts)[1:], strict=False):
        if end != start:
            raise SchemaError(f"columns leave a gap in the file between bytes {end} and {start}")
    return min(starts), max(ends)
