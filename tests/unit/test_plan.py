"""The plan's pure parts: calendar, headlines, comparison."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftm.connectors.discovery import Discovery, SourceRecord
from ftm.connectors.wrds_connector import DERIVED, DISCOVERY_SCHEMA
from ftm.core.schemas import CALLS
from ftm.prefetch.plan import (
    build_plan,
    compare_plans,
    count_reasons,
    first_sessions,
    fiscal_period,
    kept_calls,
    new_york_date,
)

SOURCE = SourceRecord("host", "wrds", {}, "0" * 64, None, datetime(2024, 1, 1, tzinfo=UTC))
MOMENT = datetime(2023, 2, 15, 21, 0, tzinfo=UTC)


def call(firm: str, **other: Any) -> dict[str, Any]:
    """A row of a discovery; kept, unless a reason is given."""
    row = {
        "firm_id": firm, "firm_name": f"Firm {firm}", "keydevid": 1, "transcript_id": "11",
        "headline": "Firm, Q4 2022 Earnings Call, Feb 15, 2023", "call_ts_utc": MOMENT,
        "time_missing": False, "collection_type": "Proofed Copy", "presentation_type": "Final",
        "created_ts_utc": MOMENT, "n_versions": 1, "n_calls_in_quarter": 1, "gvkey": "000001",
        "permno": 5, "permco": 6, "liid": "01", "linktype": "LC", "linkprim": "P",
        "link_date": date(2010, 1, 1), "link_end_date": None, "reason": None, **other,
    }  # fmt: skip
    row["earnings_call_date"] = row["call_ts_utc"].date()
    row["kept"] = row["reason"] is None
    return row


def plan(*rows: dict[str, Any]) -> pa.Table:
    """The plan of these rows."""
    return build_plan(Discovery(pa.Table.from_pylist(list(rows), schema=DISCOVERY_SCHEMA), SOURCE))


def at(text: str) -> datetime:
    """A UTC moment."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("moment", "day"),
    [
        ("2023-02-15 14:00", "2023-02-15"),  # before the open
        ("2023-02-15 20:59", "2023-02-15"),  # before the close, 16:00 in New York
        ("2023-02-15 21:00", "2023-02-16"),  # at the close: its close is not after the call
        ("2023-02-16 01:30", "2023-02-16"),  # evening of the 15th in New York
        ("2023-07-12 20:00", "2023-07-13"),  # summer time: the close is at 20:00 UTC
        ("2023-07-12 19:59", "2023-07-12"),
        ("2023-02-17 22:00", "2023-02-21"),  # Friday evening before Presidents' Day
        ("2022-11-25 17:59", "2022-11-25"),  # early close at 13:00, the day after Thanksgiving
        ("2022-11-25 18:00", "2022-11-28"),
        ("2012-10-29 12:00", "2012-10-31"),  # closed for Hurricane Sandy
        ("2022-12-30 23:00", "2023-01-03"),  # over New Year
    ],
)
def test_day0_is_the_first_session_that_can_react(moment: str, day: str) -> None:
    """Day 0 closes strictly after the call starts, holidays and early closes included."""
    assert first_sessions([at(moment)], [False]) == [date.fromisoformat(day)]


def test_day0_without_a_time() -> None:
    """A call without a time belongs to its date, or the next session after a weekend."""
    moments = [at("2023-02-15 00:00"), at("2023-02-18 00:00")]
    assert first_sessions(moments, [True, True]) == [date(2023, 2, 15), date(2023, 2, 21)]
    assert first_sessions([], []) == []


@pytest.mark.parametrize(
    ("headline", "period"),
    [
        ("Costco Wholesale Corporation, Q2 2023 Earnings Call, Mar 02, 2023", (2023, 2)),
        ("Forever 2000 Inc., Q4 2022 Earnings Call, Feb 09, 2023", (2022, 4)),
        ("Sappi Limited, 2022 Earnings Call, Nov 10, 2022", (2022, None)),
        ("Investec Group, H1 2023 Earnings Call, Nov 17, 2022", (2023, None)),
        ("RWE AG, Nine Months 2022 Earnings Call, Nov 10, 2022", (2022, None)),
        ("Nestle S.A., Q1 2023 Sales/ Trading Statement Call, Apr 25, 2023", (2023, 1)),
        ("ScanSource, Inc. - Company Conference Presentation, May 10, 2016", (None, None)),
        ("XQ4 2022 Earnings", (None, None)),
        ("", (None, None)),
        (None, (None, None)),
    ],
)
def test_fiscal_period_of_a_headline(
    headline: str | None, period: tuple[int | None, int | None]
) -> None:
    """Year and quarter stand before "Call"; where none stands, none is made up."""
    assert fiscal_period(headline) == period


@given(st.integers(0, 900_000_000).map(lambda s: at("2004-01-01 00:00") + timedelta(seconds=s)))
def test_new_york_is_at_most_a_day_behind(moment: datetime) -> None:
    """The New York date is the UTC date or the day before; without a time the UTC date."""
    behind = moment.date() - new_york_date(moment, time_missing=False)
    assert behind.days in (0, 1)
    assert new_york_date(moment, time_missing=True) == moment.date()


@given(st.permutations([call("10"), call("9"), call("10", keydevid=2, reason="other_call")]))
def test_the_plan_does_not_depend_on_row_order(rows: list[dict[str, Any]]) -> None:
    """Any order of discovery rows gives the same sorted, typed plan; ids sort as text."""
    found = plan(*rows)
    assert found.schema == CALLS
    assert found["firm_id"].to_pylist() == ["10", "10", "9"]
    assert found["keydevid"].to_pylist() == [1, 2, 1]
    assert [c.firm_id for c in kept_calls(found)] == ["10", "9"]


def test_discovery_and_plan_share_the_schema() -> None:
    """A discovery has the plan's columns but for those the plan derives."""
    assert {*DISCOVERY_SCHEMA.names, *DERIVED} == set(CALLS.names)


def test_an_empty_discovery() -> None:
    """No calls: an empty typed plan, no reasons but zero kept."""
    found = plan()
    assert found.schema == CALLS
    assert count_reasons(found) == {"kept": 0}
    assert kept_calls(found) == []


def test_a_firm_without_a_name_goes_by_its_id() -> None:
    """A NULL companyname does not stop a firm."""
    (only,) = kept_calls(plan(call("7", firm_name=None)))
    assert only.firm_name == "7"


def test_reasons_are_counted_in_the_waterfalls_order() -> None:
    """Counts add up to the rows, kept last."""
    found = plan(call("1"), call("2", reason="link_dates"), call("3", reason="no_gvkey"))
    assert list(count_reasons(found).items()) == [("no_gvkey", 1), ("link_dates", 1), ("kept", 1)]


def test_nothing_changed() -> None:
    """Equal plans have no changes."""
    assert compare_plans(plan(call("1")), plan(call("1"))).n_changes == 0


@pytest.mark.parametrize(
    ("after", "group", "said"),
    [
        ({"transcript_id": "12"}, "newer_versions", "transcript 12 (Proofed Copy, 2023-02-15)"),
        ({"permno": 6}, "changed_links", "permno=6"),
        ({"link_end_date": date(2023, 6, 30)}, "changed_links", "..2023-06-30"),
        ({"gvkey": "000002"}, "changed_links", "gvkey=000002"),
        ({"keydevid": 2, "transcript_id": "12"}, "other_calls", "(event 2)"),
        ({"reason": "link_dates", "permno": None}, "vanished_firms", "link_dates"),
    ],
)
def test_what_a_revision_changes(after: dict[str, Any], group: str, said: str) -> None:
    """Each kind of change is told under its own head, once, with before and after."""
    revision = compare_plans(plan(call("1"), call("2")), plan(call("1", **after), call("2")))
    (change,) = getattr(revision, group)
    assert revision.n_changes == 1
    assert change.firm_id == "1"
    assert said in change.after
    assert said not in change.before


def test_firms_that_come_and_go() -> None:
    """New firms, kept or only now linked, and vanished ones are named."""
    old = plan(call("1"), call("2", reason="link_not_yet_published", permno=None))
    new = plan(call("2"), call("3"), call("4", reason="no_gvkey", permno=None))
    revision = compare_plans(old, new)
    assert [(c.firm_id, c.before) for c in revision.new_firms] == [
        ("2", "link_not_yet_published"), ("3", "not on WRDS"),
    ]  # fmt: skip
    assert [(c.firm_id, c.after) for c in revision.vanished_firms] == [("1", "not on WRDS")]
    assert revision.n_changes == 3
