"""The real calls in WRDS layout, loaded once; tests that need them skip where they are missing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ftm.demo.wrds_tables import TABLES, load_tables
from tests.support.postgres import PostgresServer

_REPOSITORY = Path(__file__).resolve().parents[2]


def real_calls_folder() -> Path:
    """Where the real calls lie: FTM_REAL_CALLS, else beside the repository; skips without."""
    folder = Path(
        os.environ.get("FTM_REAL_CALLS") or _REPOSITORY.parent / "shared" / "data" / "calls"
    )
    if not folder.is_dir():
        pytest.skip(f"no real calls at {folder}; set FTM_REAL_CALLS to their folder")
    return folder


def real_tables() -> dict[str, pa.Table]:
    """The five tables, as `load_tables` takes them."""
    folder = real_calls_folder()
    return {name: pq.read_table(folder / f"{name}.parquet") for name in TABLES}


@pytest.fixture(scope="session")
def real_wrds(postgres: PostgresServer) -> Iterator[PostgresServer]:
    """The real calls in a database of their own, loaded once per session; read only."""
    tables = real_tables()
    with postgres.database() as server:
        connection = server.connect()
        load_tables(connection, tables)
        connection.close()
        yield server
