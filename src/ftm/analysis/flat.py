"""Tables without nested columns, for formats that know none: CSV and Stata."""

from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.compute as pc

SEPARATOR = "; "
"""Between the items of a list."""


def with_quarter(table: pa.Table, quarter: object) -> pa.Table:
    """The table with a first column `quarter`, unless it has one: tables of several add up."""
    if "quarter" in table.column_names:
        return table
    return table.add_column(0, "quarter", pa.array([str(quarter)] * table.num_rows, pa.string()))


def flatten(table: pa.Table) -> pa.Table:
    """Lists joined, records as JSON, booleans 0 and 1; all else as it is."""
    columns = [_flat(table[name]) for name in table.column_names]
    return pa.table(columns, names=table.column_names)


def _flat(column: pa.ChunkedArray) -> pa.ChunkedArray:
    kind = column.type
    if pa.types.is_boolean(kind):
        return column.cast(pa.int8())
    if not pa.types.is_nested(kind):
        return column
    if pa.types.is_list(kind) and not pa.types.is_nested(kind.value_type):
        return pc.binary_join(column.cast(pa.list_(pa.string())), SEPARATOR)
    texts = [None if value is None else _to_json(value) for value in column.to_pylist()]
    return pa.chunked_array([pa.array(texts, pa.string())])


def _to_json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)
