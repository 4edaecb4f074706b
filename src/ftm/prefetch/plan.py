"""The plan of a quarter: which call represents each firm, and what the calendar says about it.

Pure: a discovery in, a table out; the same discovery gives the same bytes.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ftm.connectors.discovery import Discovery, firm_calls
from ftm.core.records import FirmCall
from ftm.core.schemas import CALLS, PLAN_REASONS

if TYPE_CHECKING:
    import numpy.typing as npt

NEW_YORK = ZoneInfo("America/New_York")

_FISCAL = re.compile(r"(?:\bQ([1-4]) )?\b((?:19|20)\d\d)\b[^,]*\bCalls?\b")
"""In `Costco Wholesale Corporation, Q2 2023 Earnings Call, Mar 02, 2023` the fiscal period is
what stands before "Call"; a name with a year in it stands before a comma."""

_LINK_COLUMNS = ("gvkey", "permno", "permco", "liid", "linktype", "linkprim")
_LINK_DATES = ("link_date", "link_end_date")


def build_plan(discovery: Discovery) -> pa.Table:
    """The plan (schema CALLS), sorted by firm_id, call_ts_utc, keydevid.

    Empty in, empty out. A time of 00:00:00 means that WRDS has no time: such a call keeps its
    date as the New York date, and its day0 is the first session on or after that date.
    """
    rows = discovery.calls.to_pylist()
    moments = [row["call_ts_utc"] for row in rows]
    missing = [row["time_missing"] for row in rows]
    days = first_sessions(moments, missing)
    for row, day0 in zip(rows, days, strict=True):
        row["fiscal_year"], row["fiscal_quarter"] = fiscal_period(row["headline"])
        row["call_date_et"] = new_york_date(row["call_ts_utc"], time_missing=row["time_missing"])
        row["day0"] = day0
    rows.sort(key=lambda row: (row["firm_id"], row["call_ts_utc"], row["keydevid"]))
    return pa.Table.from_pylist(rows, schema=CALLS)


def kept_calls(plan: pa.Table) -> list[FirmCall]:
    """The calls the plan keeps, one per firm, sorted by firm_id."""
    return firm_calls(plan)


def fiscal_period(headline: str | None) -> tuple[int | None, int | None]:
    """Fiscal year and quarter a headline states; None where it states none."""
    found = _FISCAL.search(headline or "")
    if found is None:
        return None, None
    return int(found[2]), int(found[1]) if found[1] else None


def new_york_date(moment: datetime, *, time_missing: bool) -> date:
    """The date of a call in New York; the date as it stands when there is no time."""
    return moment.date() if time_missing else moment.astimezone(NEW_YORK).date()


def first_sessions(moments: Sequence[datetime], time_missing: Sequence[bool]) -> list[date]:
    """Day 0 of each call: the first NYSE session whose close is after the call starts.

    Early closes count as they were. A call without a time belongs to its date: the session on
    or after it.
    """
    if not moments:
        return []
    sessions, closes = _nyse(min(moments).year, max(moments).year)
    starts = np.array([m.astimezone(UTC).replace(tzinfo=None) for m in moments], "datetime64[us]")
    by_close = np.searchsorted(closes, starts, side="right")
    by_date = np.searchsorted(sessions, starts.astype("datetime64[D]"), side="left")
    chosen = sessions[np.where(np.asarray(time_missing, bool), by_date, by_close)]
    return [day.item() for day in chosen]


@cache
def _nyse(
    first_year: int, last_year: int
) -> tuple[npt.NDArray[np.datetime64], npt.NDArray[np.datetime64]]:
    """NYSE sessions (days) and their closes (UTC, naive) of whole years and a month more."""
    import exchange_calendars  # heavy: only a plan needs it

    start, end = date(first_year, 1, 1), date(last_year, 12, 31) + timedelta(days=31)
    calendar = exchange_calendars.get_calendar("XNYS", start=str(start), end=str(end))
    closes = calendar.closes.dt.tz_convert(None).to_numpy("datetime64[us]")
    return calendar.sessions.to_numpy().astype("datetime64[D]"), closes


def count_reasons(plan: pa.Table) -> dict[str, int]:
    """Calls per reason, in the order of the waterfall, `kept` last; they add up to the plan."""
    found = plan["reason"].to_pylist()
    counts = {reason: found.count(reason) for reason in PLAN_REASONS if reason in found}
    return {**counts, "kept": found.count(None)}


def shared_permnos(plan: pa.Table) -> dict[int, tuple[str, ...]]:
    """PERMNOs that more than one kept firm has → their firm ids, both sorted.

    Both firms stay: two Capital IQ companies may stand for one security, and which is meant is
    the researcher's to say.
    """
    firms: dict[int, list[str]] = defaultdict(list)
    for call in kept_calls(plan):
        firms[call.permno].append(call.firm_id)
    return {permno: tuple(ids) for permno, ids in sorted(firms.items()) if len(ids) > 1}


@dataclass(frozen=True, slots=True)
class PlanChange:
    """One firm that WRDS now shows differently: what was planned and what it says today."""

    firm_id: str
    firm_name: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class PlanRevision:
    """How a fresh discovery differs from a stored plan; nothing is taken in.

    Args:
        new_firms: kept now, not in the plan or not kept there.
        vanished_firms: kept by the plan, now gone or dropped.
        other_calls: another event represents the firm now.
        newer_versions: the same event, another transcript.
        changed_links: the same transcript or not, another gvkey, PERMNO or link dates.
        arrived_texts: skipped for want of text, of which WRDS has some now.
    """

    new_firms: tuple[PlanChange, ...] = field(default=())
    vanished_firms: tuple[PlanChange, ...] = field(default=())
    other_calls: tuple[PlanChange, ...] = field(default=())
    newer_versions: tuple[PlanChange, ...] = field(default=())
    changed_links: tuple[PlanChange, ...] = field(default=())
    arrived_texts: tuple[PlanChange, ...] = field(default=())

    @property
    def n_changes(self) -> int:
        """All changes together; 0 means that WRDS still says what the plan says."""
        return sum(len(changes) for changes in self._groups())

    def _groups(self) -> tuple[tuple[PlanChange, ...], ...]:
        return (
            self.new_firms,
            self.vanished_firms,
            self.other_calls,
            self.newer_versions,
            self.changed_links,
            self.arrived_texts,
        )


def compare_plans(old: pa.Table, new: pa.Table) -> PlanRevision:
    """What `--refresh` would take in, each list sorted by firm_id."""
    before, after = _representatives(old), _representatives(new)
    firms = sorted(before.keys() | after.keys())
    kept_before = {firm for firm in firms if before.get(firm, _ABSENT)["kept"]}
    kept_after = {firm for firm in firms if after.get(firm, _ABSENT)["kept"]}
    both = [firm for firm in firms if firm in kept_before & kept_after]

    def changes(ids: Sequence[str], text: Callable[[dict[str, Any]], str]) -> list[PlanChange]:
        rows = [(before.get(firm, _ABSENT), after.get(firm, _ABSENT)) for firm in ids]
        return [
            PlanChange(firm, _name(firm, b, a), text(b), text(a))
            for firm, (b, a) in zip(ids, rows, strict=True)
            if text(b) != text(a)
        ]

    same_event = [firm for firm in both if before[firm]["keydevid"] == after[firm]["keydevid"]]
    return PlanRevision(
        new_firms=tuple(changes(sorted(kept_after - kept_before), _standing)),
        vanished_firms=tuple(changes(sorted(kept_before - kept_after), _standing)),
        other_calls=tuple(changes(both, _event)),
        newer_versions=tuple(changes(same_event, _version)),
        changed_links=tuple(changes(both, _link)),
    )


_ABSENT: dict[str, Any] = {"kept": False, "reason": "not on WRDS", "firm_name": None}


def _representatives(plan: pa.Table) -> dict[str, dict[str, Any]]:
    """The row that stands for each firm: every firm has one that is not `other_call`."""
    reason = pc.fill_null(plan["reason"], "")
    rows = plan.filter(pc.not_equal(reason, "other_call")).to_pylist()
    return {row["firm_id"]: row for row in rows}


def _name(firm: str, before: dict[str, Any], after: dict[str, Any]) -> str:
    return str(after["firm_name"] or before["firm_name"] or firm)


def _standing(row: dict[str, Any]) -> str:
    return "kept" if row["kept"] else str(row["reason"])


def _event(row: dict[str, Any]) -> str:
    return f"{row['headline']} (event {row['keydevid']})"


def _version(row: dict[str, Any]) -> str:
    created = row["created_ts_utc"]
    day = f", {created:%Y-%m-%d}" if created else ""
    return f"transcript {row['transcript_id']} ({row['collection_type']}{day})"


def _link(row: dict[str, Any]) -> str:
    ids = " ".join(f"{name}={row[name]}" for name in _LINK_COLUMNS)
    start, end = (row[name] or "open" for name in _LINK_DATES)
    return f"{ids} {start}..{end}"
