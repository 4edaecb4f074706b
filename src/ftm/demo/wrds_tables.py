"""The WRDS tables ftm reads, with their true column names and types, created and filled.

A WRDS server delivers the ids of its `wrds_*` views and of the CRSP tables as double precision,
and those of the raw Capital IQ tables as integers; so does this one.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg2
import pyarrow as pa
import pyarrow.compute as pc
from psycopg2 import sql
from pyarrow import csv

DETAIL = "ciq.wrds_transcript_detail"
COMPONENT = "ciq.ciqtranscriptcomponent"
PERSON = "ciq.wrds_transcript_person"
GVKEY = "ciq.wrds_gvkey"
LINK = "crsp.ccmxpf_linktable"
TABLES = (DETAIL, COMPONENT, PERSON, GVKEY, LINK)
"""Keys of the mapping `load_tables` takes; where each goes is the layout's business."""

COPY_ROWS = 20_000
"""Rows rendered at a time, so that a large table does not stand in memory twice."""

_F8, _I4, _I2, _TEXT = "double precision", "integer", "smallint", "text"

COLUMNS: dict[str, dict[str, str]] = {
    DETAIL: {
        "companyid": _F8,
        "keydevid": _F8,
        "transcriptid": _F8,
        "headline": _TEXT,
        "mostimportantdateutc": "date",
        "mostimportanttimeutc": "time",
        "keydeveventtypeid": _F8,
        "keydeveventtypename": _TEXT,
        "companyname": _TEXT,
        "transcriptcollectiontypeid": _I4,
        "transcriptcollectiontypename": _TEXT,
        "transcriptpresentationtypeid": _I4,
        "transcriptpresentationtypename": _TEXT,
        "transcriptcreationdate_utc": "date",
        "transcriptcreationtime_utc": "time",
        "audiolengthsec": _F8,
    },
    COMPONENT: {
        "transcriptcomponentid": _I4,
        "transcriptid": _I4,
        "componentorder": _I2,
        "transcriptcomponenttypeid": _I2,
        "transcriptpersonid": _I4,
        "componenttext": _TEXT,
    },
    PERSON: {
        "transcriptid": _F8,
        "transcriptcomponentid": _F8,
        "componentorder": _I4,
        "transcriptcomponenttypeid": _I4,
        "transcriptcomponenttypename": _TEXT,
        "transcriptpersonid": _F8,
        "transcriptpersonname": _TEXT,
        "proid": _F8,
        "companyofperson": _TEXT,
        "speakertypeid": _I4,
        "speakertypename": _TEXT,
        "componenttextpreview": _TEXT,
        "word_count": _I4,
    },
    GVKEY: {
        "companyid": _F8,
        "gvkey": _TEXT,
        "startdate": "date",
        "enddate": "date",
        "companyname": _TEXT,
    },
    LINK: {
        "gvkey": _TEXT,
        "linkprim": _TEXT,
        "liid": _TEXT,
        "linktype": _TEXT,
        "lpermno": _F8,
        "lpermco": _F8,
        "usedflag": _I4,
        "linkdt": "date",
        "linkenddt": "date",
    },
}
"""Column → PostgreSQL type, in WRDS's order."""


@dataclass(frozen=True, slots=True)
class WRDSLayout:
    """How one account sees the data; accounts differ.

    Args:
        transcripts_schema: schema of the detail, component and person tables:
            `ciq` or `ciq_transcripts`.
        common_schema: schema of wrds_gvkey: `ciq` or `ciq_common`.
        link_tables: each is made, with the same rows; `ccmxpf_lnkhist` has no usedflag.
        primaryflag: whether wrds_gvkey has that column; taken from the data, 1 where absent.
    """

    transcripts_schema: str = "ciq"
    common_schema: str = "ciq"
    link_tables: tuple[str, ...] = ("crsp.ccmxpf_lnkhist", "crsp.ccmxpf_linktable")
    primaryflag: bool = False

    def names(self, table: str) -> tuple[str, ...]:
        """The qualified names under which one of TABLES appears."""
        if table == LINK:
            return self.link_tables
        schema = self.common_schema if table == GVKEY else self.transcripts_schema
        return (f"{schema}.{table.partition('.')[2]}",)

    def columns(self, table: str, name: str) -> dict[str, str]:
        """Column → type of one of TABLES under one of its names."""
        columns = dict(COLUMNS[table])
        if name.endswith("lnkhist"):
            del columns["usedflag"]
        if table == GVKEY and self.primaryflag:
            columns["primaryflag"] = _I2
        return columns


def load_tables(
    connection: Any, tables: Mapping[str, pa.Table], *, layout: WRDSLayout | None = None
) -> None:
    """Create the five tables and fill them.

    Args:
        connection: a psycopg2 connection, or a DSN to open one with for the time of the call.
        tables: name (one of TABLES) → rows; a table that is missing stays empty, columns that
            WRDS does not have are an error.
        layout: where the tables appear; None: as most accounts see them.

    Raises:
        ValueError: a table or a column is not one of WRDS's.
        psycopg2.Error: the server refused; nothing is left behind.
    """
    layout = layout or WRDSLayout()
    with _transaction(connection) as cursor:
        _create(cursor, layout)
        _append(cursor, tables, layout)
        _index(cursor, layout)


def create_tables(connection: Any, *, layout: WRDSLayout | None = None) -> None:
    """Create the schemas and tables, empty; those that exist stay as they are."""
    with _transaction(connection) as cursor:
        _create(cursor, layout or WRDSLayout())


def append_tables(
    connection: Any, tables: Mapping[str, pa.Table], *, layout: WRDSLayout | None = None
) -> None:
    """Add rows to tables that exist; call it per batch of firms to bound memory.

    Raises:
        ValueError: a table or a column is not one of WRDS's.
    """
    with _transaction(connection) as cursor:
        _append(cursor, tables, layout or WRDSLayout())


def index_tables(connection: Any, *, layout: WRDSLayout | None = None) -> None:
    """Index the transcript ids, as WRDS does, and gather statistics."""
    with _transaction(connection) as cursor:
        _index(cursor, layout or WRDSLayout())


@contextmanager
def _transaction(connection: Any) -> Iterator[Any]:
    """A cursor in one transaction: committed at the end, rolled back on an error."""
    conn = psycopg2.connect(connection) if isinstance(connection, str) else connection
    try:
        with conn, conn.cursor() as cursor:
            yield cursor
    finally:
        if isinstance(connection, str):
            conn.close()


def _create(cursor: Any, layout: WRDSLayout) -> None:
    for table in TABLES:
        for name in layout.names(table):
            schema, relation = name.split(".")
            cursor.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(schema)))
            columns = ", ".join(f"{c} {t}" for c, t in layout.columns(table, name).items())
            cursor.execute(
                sql.SQL("CREATE TABLE IF NOT EXISTS {} (" + columns + ")").format(
                    sql.Identifier(schema, relation)
                )
            )


def _append(cursor: Any, tables: Mapping[str, pa.Table], layout: WRDSLayout) -> None:
    if unknown := sorted(tables.keys() - set(TABLES)):
        raise ValueError(f"not a WRDS table: {unknown[0]!r}; expected one of {', '.join(TABLES)}")
    for table, rows in tables.items():
        for name in layout.names(table):
            _copy(cursor, name, _conform(rows, table, layout.columns(table, name)))


def _index(cursor: Any, layout: WRDSLayout) -> None:
    for table in TABLES:
        for name in layout.names(table):
            relation = sql.Identifier(*name.split("."))
            if "transcriptid" in COLUMNS[table]:
                index = sql.Identifier(name.partition(".")[2] + "_transcriptid")
                cursor.execute(
                    sql.SQL("CREATE INDEX IF NOT EXISTS {} ON {} (transcriptid)").format(
                        index, relation
                    )
                )
            cursor.execute(sql.SQL("ANALYZE {}").format(relation))


def _conform(rows: pa.Table, table: str, columns: Mapping[str, str]) -> pa.Table:
    """Rows with exactly these columns as text; missing ones are NULL, a missing flag is 1."""
    known = {*COLUMNS[table], "primaryflag"}
    if unknown := sorted(set(rows.column_names) - known):
        raise ValueError(f"{table} has no column {unknown[0]!r}; it has {', '.join(known)}")
    found = {}
    for column in columns:
        if column in rows.column_names:
            found[column] = pc.cast(rows[column], pa.string())
        else:
            value = "1" if column == "primaryflag" else None
            found[column] = pa.array([value] * len(rows), pa.string())
    return pa.table(found)


def _copy(cursor: Any, name: str, rows: pa.Table) -> None:
    """COPY text columns; CSV with every value quoted tells NULL from the empty string."""
    options = csv.WriteOptions(include_header=False, quoting_style="all_valid")
    command = sql.SQL("COPY {} ({}) FROM STDIN WITH (FORMAT csv)").format(
        sql.Identifier(*name.split(".")),
        sql.SQL(", ").join(sql.Identifier(column) for column in rows.column_names),
    )
    for start in range(0, len(rows), COPY_ROWS):
        text = io.BytesIO()
        csv.write_csv(rows.slice(start, COPY_ROWS), text, write_options=options)
        text.seek(0)
        cursor.copy_expert(command, text)
