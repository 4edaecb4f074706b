"""SQL over the results: DuckDB in memory, with the store's tables and nothing else.

The connection reads no file, writes none and loads no extension: what it sees are Arrow objects
handed to it. So local folders and S3 are the same to it. What does not fit into memory goes to a
temporary folder of its own, gone with the connection: DuckDB would make one where the user stands.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from ftm.analysis.frames import Quarters, Store, open_given, parse_quarters, to_pandas
from ftm.analysis.sql_views import StoreViews
from ftm.core.errors import ConfigError, QueryError

if TYPE_CHECKING:
    import duckdb
    import pandas as pd

    from ftm.analysis.sql_datasets import ViewDataset

_CONFIG: dict[str, Any] = {
    "enable_external_access": False,
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "allow_community_extensions": False,
    "python_enable_replacements": False,
}
_ROWS_PER_BATCH = 10_000


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
    tables: tuple[ViewDataset, ...]

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
    """Run a query; a file is read when the query scans its table and may find rows in it.

    Raises:
        QueryError: the SQL is wrong, is not one SELECT, or wants files.
        ConfigError: DuckDB is not installed.
        OrchestratorError, CorruptObjectError, SchemaError: a table it names cannot be read.
    """
    from ftm.analysis.sql_datasets import view_datasets  # loads pandas

    with TemporaryDirectory(prefix="ftm-sql-") as spill, closing(_connect(spill)) as connection:
        tables = view_datasets(views)
        for name, table in tables.items():
            connection.register(name, table)
        connection.execute("set lock_configuration = true")
        with _errors_in_words(tables.values()):
            _require_one_select(connection, query)
            reader = connection.sql(query).to_arrow_reader(_ROWS_PER_BATCH)
        yield Answer(reader, tuple(tables.values()))


def _connect(spill: str) -> duckdb.DuckDBPyConnection:
    try:
        import duckdb
    except ModuleNotFoundError as error:
        raise ConfigError("SQL needs DuckDB; install it with: pip install 'ftm[sql]'") from error
    return duckdb.connect(":memory:", config={**_CONFIG, "temp_directory": spill})


def _require_one_select(connection: duckdb.DuckDBPyConnection, query: str) -> None:
    if any("\ud800" <= character <= "\udfff" for character in query):
        raise QueryError("the query is not UTF-8 text")
    statements = connection.extract_statements(query)
    if len(statements) != 1:
        raise QueryError(f"one SELECT at a time: {len(statements)} statements were given")
    kind = str(statements[0].type).rpartition(".")[2]
    if kind not in ("SELECT", "EXPLAIN", "MULTI"):  # PIVOT is several statements in one
        raise QueryError(f"SQL only reads here: SELECT, not {kind.replace('_', ' ')}")


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
