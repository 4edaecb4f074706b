"""How the answer to `ftm sql` looks: on a terminal, as CSV, JSON or a file."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import click
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from ftm.analysis.codebook import type_name
from ftm.analysis.export import check_target, whole_file
from ftm.analysis.flat import SEPARATOR, flatten
from ftm.analysis.sql import Answer
from ftm.analysis.sql_views import StoreViews
from ftm.cli.console import PlainConsole
from ftm.cli.tables import make_table, print_facts, writes_utf8
from ftm.core.counted import counted
from ftm.core.errors import ConfigError, OrchestratorError

SHOWN_ROWS = 100
"""Rows that a terminal gets; the rest is counted."""

_PIPE_WIDTH = 10_000
_NUMBERS = (pa.types.is_integer, pa.types.is_floating)


def print_rows(answer: Answer) -> None:
    """The first rows as a table, or one below the other where they are too wide for it."""
    shown: list[dict[str, Any]] = []
    n_rows = 0
    for batch in answer.batches():
        n_rows += batch.num_rows
        if room := SHOWN_ROWS - len(shown):
            shown += batch.slice(0, room).to_pylist()
    console = PlainConsole()
    if not console.is_terminal:
        console.width = _PIPE_WIDTH
    table = _table(answer.schema, shown)
    if Measurement.get(console, console.options, table).minimum <= console.width:
        console.print(table)
    else:
        _print_records(console, shown)
    if n_rows == 0:
        console.print(Text("no rows", style="dim"))
    elif n_rows > len(shown):
        text = f"{n_rows - len(shown):,} more rows; --csv, --json or --output FILE gives all"
        console.print(Text(text, style="dim"))


def _table(schema: pa.Schema, rows: Sequence[dict[str, Any]]) -> Table:
    table = make_table()
    for field in schema:
        is_number = any(check(field.type) for check in _NUMBERS)
        table.add_column(Text(field.name), justify="right" if is_number else "left", no_wrap=True)
    for row in rows:
        table.add_row(*(_cell(value) for value in row.values()))
    return table


def _print_records(console: Console, rows: Sequence[dict[str, Any]]) -> None:
    for number, row in enumerate(rows, start=1):
        console.print(Text(f"row {number}", style="bold"))
        print_facts(console, {name: _cell(value).plain for name, value in row.items()})


def _cell(value: object) -> Text:
    if value is None:
        return Text("null", style="dim")
    if isinstance(value, bool):
        return Text(str(value).lower())
    if isinstance(value, float):
        return Text(f"{value:.6g}")
    if isinstance(value, list):
        return Text(SEPARATOR.join(_cell(item).plain for item in value))
    return Text(str(value))


def write_csv(answer: Answer, file: BinaryIO) -> int:
    """All rows as CSV: UTF-8, missing empty, lists joined; returns their number."""
    n_rows = 0
    schema = flatten(answer.schema.empty_table()).schema
    with pa_csv.CSVWriter(file, schema) as writer:
        for batch in answer.batches():
            writer.write_table(flatten(pa.Table.from_batches([batch])))
            n_rows += batch.num_rows
    return n_rows


def print_json(answer: Answer) -> None:
    """All rows as a list of objects, one a line; numbers that are none are null."""
    before = "["
    for row in _rows(answer):
        text = json.dumps(_finite(row), ensure_ascii=not writes_utf8(), default=_to_text)
        click.echo(f"{before}\n{text}", nl=False)
        before = ","
    click.echo("[]" if before == "[" else "\n]")


def _rows(answer: Answer) -> Iterator[dict[str, Any]]:
    for batch in answer.batches():
        yield from batch.to_pylist()


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {str(k): _finite(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return value


def _to_text(value: Any) -> str:
    return str(value.isoformat()) if hasattr(value, "isoformat") else str(value)


def check_output(path: Path, *, force: bool) -> None:
    """Whether a file may be written, before anything is read.

    Raises:
        ConfigError: as check_target says, or it is neither Parquet nor CSV.
    """
    if path.suffix not in (".parquet", ".csv"):
        raise ConfigError(f"{path} is neither FILE.parquet nor FILE.csv")
    check_target(path, force=force)


def write_file(answer: Answer, path: Path) -> int:
    """All rows as Parquet or CSV, by the file's name, whole or not at all; returns their number."""
    with whole_file(path) as unfinished:
        if path.suffix == ".csv":
            with unfinished.open("wb") as file:
                return write_csv(answer, file)
        n_rows = 0
        with pq.ParquetWriter(unfinished, answer.schema, compression="zstd") as writer:
            for batch in answer.batches():
                writer.write_batch(batch)
                n_rows += batch.num_rows
        return n_rows


def print_views(views: StoreViews, *, as_json: bool) -> None:
    """Tables with their rows and columns; a table that does not exist yet says so."""
    found = [
        {
            "table": name,
            "rows": _count(views, name),
            "columns": {field.name: type_name(field.type) for field in view.schema},
        }
        for name, view in views.all.items()
    ]
    if as_json:
        click.echo(json.dumps(found, indent=1))
        return
    console = PlainConsole()
    if not console.is_terminal:
        console.width = 100
    for line in found:
        rows = line["rows"]
        n_rows = "not there yet" if rows is None else counted(int(str(rows)), "row")
        console.print(Text.assemble((str(line["table"]), "bold"), f"  {n_rows}"))
        columns = views.all[str(line["table"])].schema.names
        console.print(Text("  " + ", ".join(columns), style="dim"))


def _count(views: StoreViews, name: str) -> int | None:
    try:
        return views.count(name)
    except OrchestratorError:
        return None
