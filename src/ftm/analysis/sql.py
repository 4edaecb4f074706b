"""SQL over the results: DuckDB in memory, with the store's tables and nothing else.

The connection reads no file, writes none and loads no extension: what it sees are Arrow objects
handed to it. So local folders and S3 are the same to it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from ftm.analysis.frames import Quarters, Store, open_given, parse_quarters, to_pandas
from ftm.analysis.sql_views import StoreViews
from ftm.core.errors import ConfigError, FtmError, OrchestratorError, QueryError

if TYPE_CHECKING:
    import duckdb
    import pandas as pd

_CONFIG: dict[str, Any] = {
    "enable_external_access": False,
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "allow_community_extensions": False,
    "python_enable_replacements": False,
}
_ROWS_PER_BATCH = 10_000
_ASKS_FOR_COLUMNS = re.compile(r"\s*(describe|desc|show)\b", re.IGNORECASE)
"""What is answered from schemas; no file is needed."""


def sql(query: str, store: Store = None, *, quarters: Quarters | None = None) -> pd.DataFrame:
    """What a query gives, as a DataFrame.

    Tables are those of `ftm sql --tables`, each over all quarters that are published.

    Args:
        query: one SELECT of DuckDB's SQL, like `select quarter, count(*) from panel group by 1`.
        store: a URL, an open store, or None for the store of the settings.
        quarters: read these only, like "2016Q1..2016Q4"; None: all.

    Raises:
        QueryError: the SQL is wrong, or is no SELECT.
        OrchestratorError: a table that it names does not exist yet; says what to run.
        CorruptObjectError: a file differs from what was published.
    """
    chosen = None if quarters is None else parse_quarters(quarters)
    with ask(StoreViews(open_given(store), chosen), query) as answer:
        return to_pandas(pa.Table.from_batches(list(answer.batches()), answer.schema))


@dataclass(frozen=True)
class Answer:
    """What a query gives; to be read while its connection is open.

    Args:
        reader: the rows as DuckDB sends them.
        tables: what the query reads, for the errors they meet.
    """

    reader: pa.RecordBatchReader
    tables: tuple[_LazyTable, ...]

    @property
    def schema(self) -> pa.Schema:
        """Columns, each name once, in types that pandas and CSV know."""
        names = _unique(self.reader.schema.names)
        types = [_plain(field.type) for field in self.reader.schema]
        return pa.schema(list(zip(names, types, strict=True)))

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows, in order.

        Raises:
            QueryError: a value could not be computed.
        """
        schema = self.schema
        with _errors_in_words(self.tables):
            for batch in self.reader:
                columns = [c.cast(f.type) for c, f in zip(batch.columns, schema, strict=True)]
                yield pa.RecordBatch.from_arrays(columns, schema=schema)


@contextmanager
def ask(views: StoreViews, query: str) -> Iterator[Answer]:
    """Run a query; what it does not name is not read.

    Raises:
        QueryError: the SQL is wrong, is not one SELECT, or wants files.
        ConfigError: DuckDB is not installed.
        OrchestratorError, CorruptObjectError, SchemaError: a table it names cannot be read.
    """
    connection = _connect()
    try:
        tables = {name: _LazyTable(views, name) for name in views.all}
        for name, table in tables.items():
            connection.register(name, table)
        connection.execute("set lock_configuration = true")
        with _errors_in_words(tables.values()):
            for name in sorted(views.all.keys() & _named(connection, query)):
                _register_dataset(connection, views, name)
            reader = connection.sql(query).to_arrow_reader(_ROWS_PER_BATCH)
        yield Answer(reader, tuple(tables.values()))
    finally:
        connection.close()


def _register_dataset(connection: duckdb.DuckDBPyConnection, views: StoreViews, name: str) -> None:
    """Let DuckDB scan only the columns and rows it needs, where the view's files can be fetched."""
    if not views.all[name].fetched:
        return
    try:
        dataset = views.dataset(name)
    except OrchestratorError:
        return  # if the name means this view at all, scanning it says so
    connection.unregister(name)
    connection.register(name, dataset)


class _LazyTable:
    """A view as an Arrow stream that begins anew, and is only opened, when DuckDB scans it."""

    def __init__(self, views: StoreViews, name: str) -> None:
        self._views = views
        self._name = name
        self.error: FtmError | None = None

    def __arrow_c_schema__(self) -> object:
        return self._views.all[self._name].schema.__arrow_c_schema__()

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        schema = self._views.all[self._name].schema
        reader = pa.RecordBatchReader.from_batches(schema, self._batches())
        return reader.__arrow_c_stream__(requested_schema)

    def _batches(self) -> Iterator[pa.RecordBatch]:
        try:
            yield from self._views.reader(self._name)
        except FtmError as error:
            # DuckDB would pass on its text alone, wrapped twice.
            self.error = error
            raise


def _connect() -> duckdb.DuckDBPyConnection:
    try:
        import duckdb
    except ModuleNotFoundError as error:
        raise ConfigError("SQL needs DuckDB; install it with: pip install 'ftm[sql]'") from error
    return duckdb.connect(":memory:", config=_CONFIG)


def _named(connection: duckdb.DuckDBPyConnection, query: str) -> set[str]:
    """Names, in lower case, that one SELECT may mean tables by.

    What is wrong with it shows here, before anything is read.
    """
    statements = connection.extract_statements(query)
    if len(statements) != 1:
        raise QueryError(f"one SELECT at a time: {len(statements)} statements were given")
    kind = str(statements[0].type).rpartition(".")[2]
    if kind not in ("SELECT", "EXPLAIN", "MULTI"):
        raise QueryError(f"SQL only reads here: SELECT, not {kind.replace('_', ' ')}")
    if _ASKS_FOR_COLUMNS.match(query):
        return set()
    if kind != "SELECT":  # EXPLAIN holds a SELECT, PIVOT is several statements in one
        return set(re.findall(r"\w+", query.lower()))
    connection.execute(f"explain {query}").fetchall()
    parse = "select json_serialize_sql(?::varchar)"
    tree = connection.execute(parse, [query]).fetchall()[0][0]
    return {name.lower() for name in _base_tables(json.loads(tree))}


def _base_tables(tree: Any) -> Iterator[str]:
    """Tables in a parsed query; get_table_names would fail where a join says USING."""
    if isinstance(tree, dict):
        if tree.get("type") == "BASE_TABLE":
            yield str(tree["table_name"])
        tree = list(tree.values())
    if isinstance(tree, list):
        for branch in tree:
            yield from _base_tables(branch)


@contextmanager
def _errors_in_words(tables: Any) -> Iterator[None]:
    """DuckDB's errors in one line; what a table met while it was read, as it is."""
    import duckdb

    try:
        yield
    except (duckdb.Error, pa.ArrowException) as error:
        for table in tables:
            if table.error is not None:
                raise table.error from error
        raise QueryError(_one_line(str(error))) from error


def _one_line(text: str) -> str:
    """Without the query and its caret, and with a way out where files were asked for."""
    told = " ".join(text.partition("\nLINE ")[0].split())
    if "disabled by configuration" in told or "disabled through configuration" in told:
        return f"{told}; SQL sees the store's tables only, --output writes what it gives"
    if "Table with name" in told:
        told = told.partition(" Did you mean")[0]
        return f"{told} `ftm sql --tables` lists those there are"
    return told


def _plain(kind: pa.DataType) -> pa.DataType:
    """Sums of integers are integers again, other decimals numbers."""
    if pa.types.is_decimal(kind):
        return pa.int64() if kind.scale == 0 else pa.float64()
    return kind


def _unique(names: list[str]) -> list[str]:
    """A name that comes again gets a number, as in DuckDB's own frames: quarter, quarter_1."""
    found: list[str] = []
    for name in names:
        number, candidate = 0, name
        while candidate in found:
            number += 1
            candidate = f"{name}_{number}"
        found.append(candidate)
    return found
