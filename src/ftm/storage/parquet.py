"""Parquet with a schema: checked on write and read, the same bytes for the same table."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ftm.core.errors import CorruptObjectError, SchemaError
from ftm.core.plain import one_line


def to_bytes(
    table: pa.Table,
    schema: pa.Schema,
    *,
    metadata: Mapping[str, str] | None = None,
    group_sizes: Sequence[int] | None = None,
) -> bytes:
    """Serialise a table, zstd, fixed writer settings.

    Args:
        table: its columns must be those of the schema, in order, with castable types.
        schema: one of core.schemas.
        metadata: goes into the Parquet key-value metadata.
        group_sizes: rows per row group, in order; they must add up. None: one group.

    Raises:
        SchemaError: columns, types or nulls do not fit.
    """
    fitted = fit(table, schema).replace_schema_metadata(
        dict(sorted((metadata or {}).items())) or None
    )
    sizes = [fitted.num_rows] if group_sizes is None else list(group_sizes)
    if sum(sizes) != fitted.num_rows:
        raise SchemaError(
            f"row groups add up to {sum(sizes)} rows, the table has {fitted.num_rows}"
        )
    sink = io.BytesIO()
    with pq.ParquetWriter(sink, fitted.schema, **_writer_settings(fitted.schema)) as writer:
        start = 0
        for size in sizes:
            if size:
                # One array per column: page boundaries must not tell how the table was put
                # together, or a resumed prefetch would write other bytes.
                group = fitted.slice(start, size).combine_chunks()
                writer.write_table(group, row_group_size=size)
            start += size
    return sink.getvalue()


def _writer_settings(schema: pa.Schema) -> dict[str, Any]:
    """Texts and sentence ids are plain: nearly all differ, and zstd finds what repeats.

    No statistics of texts either: they would put whole sentences into the footer, four times each.
    """
    texts = {field.name for field in schema if field.name.endswith("_text")}
    return {
        "compression": "zstd",
        "compression_level": 3,
        "version": "2.6",
        "write_statistics": [name for name in schema.names if name not in texts],
        "use_dictionary": [name for name in schema.names if name not in {*texts, "sentence_id"}],
    }


def from_bytes(data: bytes, schema: pa.Schema, *, key: str = "") -> pa.Table:
    """Read a whole Parquet file and check it against its schema."""
    try:
        # A Python file would be read by threads of a pool, which may abort the process at its exit.
        table = pq.ParquetFile(pa.BufferReader(data)).read(use_threads=False)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise CorruptObjectError(
            f"{key or 'Parquet data'} cannot be read: {one_line(str(error))}", key=key
        ) from error
    return fit(table, schema, key=key)


def fit(table: pa.Table, schema: pa.Schema, *, key: str = "") -> pa.Table:
    """The table cast to exactly this schema.

    Raises:
        SchemaError: names the first column that does not fit.
    """
    what = key or "table"
    if table.column_names != schema.names:
        raise SchemaError(f"{what} has columns {table.column_names}, expected {schema.names}")
    for field in schema:
        if not field.nullable and (n_nulls := table[field.name].null_count):
            raise SchemaError(f"{what}: column {field.name} has {n_nulls} nulls")
    try:
        return table.cast(pa.schema(list(schema)))
    except (pa.ArrowException, ValueError) as error:
        raise SchemaError(f"{what} does not fit its schema: {error}") from error


def from_rows(rows: Sequence[Mapping[str, Any]], schema: pa.Schema) -> pa.Table:
    """A table of this schema from dicts; no rows give a typed empty table."""
    return pa.Table.from_pylist(list(rows), schema=schema)
