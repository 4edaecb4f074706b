"""Tables of published quarters as CSV or Stata files."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from ftm.analysis.flat import flatten, with_quarter
from ftm.analysis.frames import require_pandas, to_pandas
from ftm.analysis.results import RESULT_TABLES, read_linked, read_result
from ftm.core.codebook_tables import define
from ftm.core.errors import ConfigError
from ftm.core.quarter import Quarter
from ftm.core.schemas import DATASETS
from ftm.storage.linked import LINK_FILES
from ftm.storage.object_store import ObjectStore

STATA_VERSION = 118
"""UTF-8, strL, up to 32,767 variables: Stata 14 and later."""

LONGEST_STR = 244
"""Bytes above which a text becomes strL: a str takes its full width in every row."""

_LABEL_LENGTH = 80
_EPOCH = datetime(1960, 1, 1)  # noqa: DTZ001  Stata's zero; a real time would change the bytes

Style = Literal["csv", "dta"]


@dataclass(frozen=True, slots=True)
class Selection:
    """What is exported.

    Args:
        table: one of RESULT_TABLES.
        quarters: which; none for series and theme_links, which are those of all linked quarters.
        themes_from: panel and panel_calls with the themes of another quarter.
    """

    table: str
    quarters: Sequence[Quarter] = ()
    themes_from: Quarter | None = None

    def __post_init__(self) -> None:
        if self.table not in RESULT_TABLES:
            raise ConfigError(f"no table {self.table!r}; there are: {', '.join(RESULT_TABLES)}")
        if self.table in LINK_FILES and (self.quarters or self.themes_from):
            raise ConfigError(f"{self.table} is one table of all linked quarters: name no quarter")
        if self.table not in LINK_FILES and not self.quarters:
            raise ConfigError(f"{self.table} of which quarter? Name one, like 2016Q2")

    @property
    def title(self) -> str:
        """Like `ftm panel 2016Q2..2016Q4, themes of 2016Q1`."""
        spans = list(dict.fromkeys([str(q) for q in (*self.quarters[:1], *self.quarters[-1:])]))
        words = [" ".join(["ftm", self.table, "..".join(spans)]).strip()]
        words += [f"themes of {self.themes_from}"] if self.themes_from else []
        return ", ".join(words)


def export_table(
    store: ObjectStore, selection: Selection, path: Path, *, style: Style, force: bool = False
) -> int:
    """Write a table to a file, whole or not at all.

    Args:
        store: where the quarters are.
        selection: which table of which quarters.
        path: the file.
        style: csv: UTF-8, ISO dates, missing empty; dta: Stata 14 and later, with labels.
        force: replace a file that is there.

    Returns:
        Number of rows.

    Raises:
        ConfigError: the file is there, or cannot be written; or pandas is not installed (dta).
        OrchestratorError: a quarter is not published, or these themes are not assigned to it.
        CorruptObjectError: a file of the store differs from what was published.
    """
    check_target(path, force=force)
    if style == "dta":
        require_pandas()
    with whole_file(path) as unfinished:
        write = _write_csv if style == "csv" else _write_stata
        return write(selection, read_tables(store, selection), unfinished)


def read_tables(store: ObjectStore, selection: Selection) -> Iterator[pa.Table]:
    """The table of each quarter, the quarter's name in it, one in memory at a time."""
    if selection.table in LINK_FILES:
        yield read_linked(store, selection.table)
    for quarter in selection.quarters:
        table = read_result(store, quarter, selection.table, themes_from=selection.themes_from)
        yield with_quarter(table, quarter)


def check_target(path: Path, *, force: bool) -> None:
    """Whether a file may be written, before anything is read.

    Raises:
        ConfigError: it is there already, is no file, or has no folder.
    """
    if path.exists() and not path.is_file():
        raise ConfigError(f"{path} is no file; name one to write")
    if path.exists() and not force:
        raise ConfigError(f"{path} is there already; pass --force to replace it")
    if not path.parent.is_dir():
        raise ConfigError(f"cannot write {path}: there is no folder {path.parent}")


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A file beside `path` to write to, which takes its place if nothing is raised.

    Raises:
        ConfigError: it cannot be written.
    """
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield unfinished
        unfinished.replace(path)
    except OSError as error:
        if error.errno is None:  # pyarrow's, on what was read
            raise
        raise ConfigError(f"cannot write {path}: {error.strerror}") from error
    finally:
        unfinished.unlink(missing_ok=True)


def _write_csv(_selection: Selection, tables: Iterator[pa.Table], path: Path) -> int:
    first = flatten(next(tables))
    n_rows = 0
    with path.open("wb") as file, pa_csv.CSVWriter(file, first.schema) as writer:
        for table in (first, *map(flatten, tables)):
            writer.write_table(table)
            n_rows += table.num_rows
    return n_rows


def _write_stata(selection: Selection, tables: Iterator[pa.Table], path: Path) -> int:
    table = for_stata(flatten(pa.concat_tables(tables)))
    labels = {name: label_of(selection.table, name) for name in table.column_names}
    dates = [f.name for f in table.schema if pa.types.is_date(f.type)]
    times = [f.name for f in table.schema if pa.types.is_timestamp(f.type)]
    long = [f.name for f in table.schema if _is_long(table[f.name])]
    to_pandas(table).to_stata(
        path,
        version=STATA_VERSION,
        write_index=False,
        convert_dates={**dict.fromkeys(dates, "td"), **dict.fromkeys(times, "tc")},
        convert_strl=long,
        variable_labels=labels,
        data_label=selection.title[:_LABEL_LENGTH],
        time_stamp=_EPOCH,
    )
    return int(table.num_rows)


def label_of(table: str, column: str) -> str:
    """A column's label: the first sentence of its definition."""
    is_added = column not in DATASETS[table].names
    return define("panel" if is_added else table, column).label


def for_stata(table: pa.Table) -> pa.Table:
    """Missing texts empty, which is Stata's missing; times without a zone, in UTC."""
    columns = []
    for field in table.schema:
        column = table[field.name]
        if pa.types.is_string(field.type):
            column = column.fill_null("")
        elif pa.types.is_timestamp(field.type):
            column = column.cast(pa.timestamp("ms"))
        columns.append(column)
    return pa.table(columns, names=table.column_names)


def _is_long(column: pa.ChunkedArray) -> bool:
    if not pa.types.is_string(column.type):
        return False
    longest = pc.max(pc.binary_length(column)).as_py()
    return longest is not None and longest > LONGEST_STR
