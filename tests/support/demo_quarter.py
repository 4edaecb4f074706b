"""A small synthetic WRDS, made and served once per session; read only."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import pytest

from ftm.core.settings import Settings
from ftm.demo.embedded_postgres import EmbeddedPostgres, embedded_postgres
from ftm.demo.synthetic import SyntheticWRDS, make_quarters
from ftm.demo.traps import TRAPS
from ftm.demo.wrds_tables import load_tables

QUARTERS = ("2022Q4", "2023Q1")
N_FIRMS = 12


@dataclass(frozen=True)
class DemoQuarter:
    """Two synthetic quarters of 12 ordinary firms and every trap, on a running server."""

    server: EmbeddedPostgres
    data: SyntheticWRDS

    def environment(self) -> dict[str, str]:
        """The variables that point a process at the server."""
        return self.server.environment()

    def settings(self, **given: Any) -> Settings:
        """Settings that point WRDS at the server."""
        server = self.server
        where = {
            "wrds_host": server.host,
            "wrds_port": server.port,
            "wrds_dbname": server.dbname,
            "wrds_sslmode": "disable",
            "wrds_username": server.user,
        }
        return Settings.load(**{**where, **given})

    def expected(self, quarter: str) -> list[dict[str, Any]]:
        """What a plan should make of the calls of a quarter."""
        rows: list[dict[str, Any]] = self.data.expected.to_pylist()
        return [row for row in rows if row["quarter"] == quarter]

    def truth(self, quarter: str) -> list[dict[str, Any]]:
        """The sentences of a quarter with topic and kind."""
        rows: list[dict[str, Any]] = self.data.truth.to_pylist()
        return [row for row in rows if row["quarter"] == quarter]


@pytest.fixture(scope="session")
def demo_wrds() -> SyntheticWRDS:
    """The tables and the truth, in memory."""
    return make_quarters(N_FIRMS, QUARTERS, seed=7, traps=TRAPS)


@pytest.fixture(scope="session")
def demo_quarter(demo_wrds: SyntheticWRDS) -> Iterator[DemoQuarter]:
    """The same, loaded into an embedded PostgreSQL of the session's own."""
    with embedded_postgres() as server:
        with closing(server.connect()) as connection:
            load_tables(connection, demo_wrds.tables, layout=demo_wrds.layout)
        yield DemoQuarter(server, demo_wrds)
