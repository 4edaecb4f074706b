"""Hand-made WRDS tables of a few firms, for one trap at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, time
from typing import Any

import pyarrow as pa

from ftm.demo.wrds_tables import (
    COMPONENT,
    DETAIL,
    GVKEY,
    LINK,
    PERSON,
    WRDSLayout,
    load_tables,
)
from tests.support.postgres import PostgresServer

CALL_DAY = date(2023, 2, 15)


@dataclass
class TinyWRDS:
    """Rows of the five tables; every method adds one and has a sound default for the rest."""

    rows: dict[str, list[dict[str, Any]]] = field(
        default_factory=lambda: {name: [] for name in (DETAIL, COMPONENT, PERSON, GVKEY, LINK)}
    )

    def call(self, firm: int, transcript: int, **other: Any) -> TinyWRDS:
        """A version of an earnings call; the event has the transcript's number but for 10,000."""
        day = other.get("mostimportantdateutc", CALL_DAY)
        row = {
            "companyid": firm,
            "keydevid": 10_000 + transcript,
            "transcriptid": transcript,
            "headline": f"Firm {firm}, Q4 2022 Earnings Call, {day:%b %d, %Y}",
            "mostimportantdateutc": day,
            "mostimportanttimeutc": time(21, 0),
            "keydeveventtypeid": 48,
            "keydeveventtypename": "Earnings Calls",
            "companyname": f"Firm {firm}",
            "transcriptcollectiontypename": "Proofed Copy",
            "transcriptpresentationtypename": "Final",
            "transcriptcreationdate_utc": day,
            "transcriptcreationtime_utc": time(23, 0),
        }
        self.rows[DETAIL].append({**row, **other})
        return self

    def gvkey(self, firm: int, gvkey: str, **other: Any) -> TinyWRDS:
        """A gvkey of a firm, valid always."""
        row = {"companyid": firm, "gvkey": gvkey, "startdate": None, "enddate": None}
        self.rows[GVKEY].append({**row, **other})
        return self

    def link(self, gvkey: str, permno: int | None, **other: Any) -> TinyWRDS:
        """A CCM link, LC and primary, open since 2010."""
        row = {
            "gvkey": gvkey, "linkprim": "P", "liid": "01", "linktype": "LC", "lpermno": permno,
            "lpermco": None if permno is None else permno + 1, "usedflag": 1,
            "linkdt": date(2010, 1, 1), "linkenddt": None,
        }  # fmt: skip
        self.rows[LINK].append({**row, **other})
        return self

    def vintage(self, day: date = date(2023, 12, 29)) -> TinyWRDS:
        """A link of nobody's that says how far the link table reaches."""
        return self.link("999999", 99999, linkdt=day)

    def firm(self, firm: int, *, permno: int | None = None, **call: Any) -> TinyWRDS:
        """A firm with one call (transcript = firm) and one good link."""
        gvkey = f"{firm:06d}"
        return self.call(firm, firm, **call).gvkey(firm, gvkey).link(gvkey, permno or firm + 500)

    def turn(self, transcript: int, order: int, text: str | None, **other: Any) -> TinyWRDS:
        """A speaker turn, answered by an executive; `person=False` leaves it out of the view."""
        component, kind = transcript * 100 + order, other.get("kind", 4)
        self.rows[COMPONENT].append(
            {
                "transcriptcomponentid": component, "transcriptid": transcript,
                "componentorder": order, "transcriptcomponenttypeid": kind,
                "transcriptpersonid": 7, "componenttext": text,
            }
        )  # fmt: skip
        for _ in range(other.get("person", 1)):
            self.rows[PERSON].append(
                {
                    "transcriptid": transcript, "transcriptcomponentid": component,
                    "componentorder": order, "transcriptcomponenttypeid": kind,
                    "transcriptcomponenttypename": "Answer", "transcriptpersonid": 7,
                    "transcriptpersonname": "Ada Byron", "speakertypeid": 2,
                    "speakertypename": other.get("speaker", "Executives"),
                }
            )  # fmt: skip
        return self

    @contextmanager
    def served(
        self, postgres: PostgresServer, layout: WRDSLayout | None = None
    ) -> Iterator[PostgresServer]:
        """These rows in a database of their own."""
        tables = {n: pa.Table.from_pylist(r, _schema(r)) for n, r in self.rows.items() if r}
        with postgres.database() as server:
            connection = server.connect()
            load_tables(connection, tables, layout=layout)
            connection.close()
            yield server


def _schema(rows: list[dict[str, Any]]) -> pa.Schema:
    """The union of the rows' columns; pyarrow alone would look at the first row only."""
    return pa.unify_schemas([pa.Table.from_pylist([row]).schema for row in rows])
