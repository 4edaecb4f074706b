"""The codebook as Markdown, made from the schemas and what is defined of their columns."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from ftm.core.codebook_tables import TABLES, define
from ftm.core.errors import ConfigError
from ftm.core.schemas import DATASETS

_TYPES = {
    pa.string(): "text",
    pa.bool_(): "true/false",
    pa.date32(): "date",
    pa.int32(): "integer",
    pa.int64(): "integer",
    pa.float32(): "number",
    pa.float64(): "number",
}
_HEAD = """# Codebook

Every column of the tables that a published quarter consists of, and of those across quarters.
Made by `ftm codebook` from the schemas; `ftm codebook --table panel` prints one table. How to
read them: [results.md](results.md).

A share is between 0 and 1. Null means that a share is not defined, 0 that it is and nothing was
said: never replace one by the other. Dates are calendar days; only day0 is a trading day.
"""


def codebook_markdown(tables: Sequence[str] = ()) -> str:
    """The codebook.

    Args:
        tables: which; none: all of them, with an introduction.

    Raises:
        ConfigError: there is no such table; names those there are.
    """
    for name in tables:
        if name not in TABLES:
            raise ConfigError(f"no table {name!r} in the codebook; there are: {', '.join(TABLES)}")
    parts = [_table_section(name) for name in tables or TABLES]
    return "\n".join(parts if tables else [_HEAD, *parts])


def type_name(kind: pa.DataType) -> str:
    """A column's type in a reader's words: text, integer, list of numbers."""
    if pa.types.is_list(kind):
        inner = kind.value_type
        return "list of records" if pa.types.is_struct(inner) else f"list of {type_name(inner)}"
    if pa.types.is_timestamp(kind):
        return "date and time"
    return _TYPES.get(kind, str(kind))


def _table_section(table: str) -> str:
    rows = [
        f"| `{field.name}` | {type_name(field.type)} | {_cells(table, field.name)} |"
        for field in DATASETS[table]
    ]
    head = "| name | type | unit | definition | missing |\n|---|---|---|---|---|"
    return f"## {table}\n\n{TABLES[table]}\n\n{head}\n" + "\n".join(rows) + "\n"


def _cells(table: str, column: str) -> str:
    found = define(table, column)
    return f"{found.unit} | {found.text} | {found.missing}"
