"""What a prefetch asks of its source: one discovery, then the speaker turns of the plan's calls."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal, Protocol

import pyarrow as pa

from ftm.core.quarter import Quarter
from ftm.core.records import FirmCall, FirmTurns


@dataclass(frozen=True, slots=True)
class PlanOptions:
    """Which call represents a firm, and which links count.

    Args:
        calls: the firm's latest or first earnings call of the quarter.
        as_of: decide as on this UTC date: transcript versions created later do not exist, and a
            call without any other represents no firm that has a known one; None: as of now.
        linktypes: accepted CCM linktypes.
    """

    calls: Literal["latest", "first"] = "latest"
    as_of: date | None = None
    linktypes: tuple[str, ...] = ("LU", "LC")


@dataclass(frozen=True, slots=True)
class SourceRecord:
    """Where a quarter was read from; goes into the manifest."""

    host: str
    database: str
    tables: Mapping[str, str]
    query_sha256: str
    link_vintage: date | None
    extracted_at: datetime


@dataclass(frozen=True, slots=True)
class Discovery:
    """Every earnings call of a quarter.

    Args:
        calls: schema core.schemas.CALLS but for day0, call_date_et, fiscal_year and
            fiscal_quarter, which the plan derives; every firm with a call, kept or not.
        source: where from.
    """

    calls: pa.Table
    source: SourceRecord


class PrefetchSource(Protocol):
    """What `WRDSPrefetcher` reads; `WRDSConnector` is the real one."""

    def discover(self, quarter: Quarter, options: PlanOptions) -> Discovery:
        """Every earnings call of the quarter and the one that represents each firm.

        Raises:
            WRDSConnectionError, WRDSQueryError.
        """

    def iter_turns(self, calls: Sequence[FirmCall]) -> Iterator[FirmTurns]:
        """The speaker turns of these transcripts, in the order of `calls`; one query per call.

        A transcript without components comes with no turns.
        """

    def close(self) -> None:
        """End the session."""


def firm_calls(calls: pa.Table) -> list[FirmCall]:
    """The kept calls of a discovery or a plan, sorted by firm_id; empty when none is kept."""
    rows = [row for row in calls.select(_CALL_COLUMNS).to_pylist() if row.pop("kept")]
    for row in rows:
        row["firm_name"] = row["firm_name"] or row["firm_id"]
    return sorted((FirmCall(**row) for row in rows), key=lambda call: call.firm_id)


_CALL_COLUMNS = [
    "firm_id",
    "firm_name",
    "transcript_id",
    "permno",
    "gvkey",
    "earnings_call_date",
    "link_date",
    "kept",
]
