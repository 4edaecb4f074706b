"""The synthetic quarter read through the real `wrds.Connection`, every planted trap included."""

from __future__ import annotations

from typing import Any

import pytest

from ftm.connectors.discovery import PlanOptions, firm_calls
from ftm.connectors.wrds_connector import WRDSConnector
from ftm.core.quarter import Quarter
from ftm.core.schemas import PLAN_REASONS, SKIP_REASONS
from ftm.demo.traps import TRAPS
from ftm.prefetch.plan import build_plan, shared_permnos
from tests.support.demo_quarter import N_FIRMS, QUARTERS, DemoQuarter

Row = dict[str, Any]


@pytest.fixture(scope="module")
def plans(demo_quarter: DemoQuarter) -> dict[str, list[Row]]:
    """Quarter → rows of its plan, read in one login."""
    with WRDSConnector(settings=demo_quarter.settings()) as wrds:
        found = {q: wrds.discover(Quarter.parse(q), PlanOptions()) for q in QUARTERS}
    return {quarter: build_plan(discovery).to_pylist() for quarter, discovery in found.items()}


def of_trap(demo_quarter: DemoQuarter, plans: dict[str, list[Row]], trap: str) -> list[Row]:
    """The plan's rows of a trap's firms in the last quarter."""
    firms = {e["firm_id"] for e in demo_quarter.expected(QUARTERS[-1]) if e["trap"] == trap}
    return [row for row in plans[QUARTERS[-1]] if row["firm_id"] in firms]


@pytest.mark.parametrize("quarter", QUARTERS)
def test_the_plan_is_what_was_planted(
    demo_quarter: DemoQuarter, plans: dict[str, list[Row]], quarter: str
) -> None:
    """Call by call: which are there, which are kept with which PERMNO, and why the rest is not."""
    planned = {
        (
            r["firm_id"],
            r["transcript_id"],
            r["kept"],
            r["reason"],
            r["permno"] if r["kept"] else None,
        )
        for r in plans[quarter]
    }
    expected = {
        (e["firm_id"], e["transcript_id"], e["kept"], e["reason"], e["permno"])
        for e in demo_quarter.expected(quarter)
    }
    assert planned == expected
    assert len(planned) == len(plans[quarter])


def test_every_reason_a_plan_knows_is_planted(demo_quarter: DemoQuarter) -> None:
    """Reasons for a call, and for a firm without sentences but the one of the text pipeline."""
    rows = [row for quarter in QUARTERS for row in demo_quarter.expected(quarter)]
    assert {row["reason"] for row in rows} - {None} == set(PLAN_REASONS) - {"not_yet_known"}
    skips = {row["skipped"] for row in rows} - {None}
    assert skips == set(SKIP_REASONS) - {"no_sentences"}
    assert {row["trap"] for row in rows} - {None} == set(TRAPS) - {"other_event"}
    assert sum(row["trap"] is None for row in rows) == N_FIRMS * len(QUARTERS)


def test_midnight_is_a_missing_time(demo_quarter: DemoQuarter, plans: dict[str, list[Row]]) -> None:
    """The trap's call, and no other, has no time."""
    (row,) = of_trap(demo_quarter, plans, "midnight")
    missing = [r["firm_id"] for r in plans[QUARTERS[-1]] if r["time_missing"]]
    assert missing == [row["firm_id"]]


def test_the_last_evening_belongs_to_the_quarter(
    demo_quarter: DemoQuarter, plans: dict[str, list[Row]]
) -> None:
    """A call at 23:30 on 31 March is in the plan of the first quarter."""
    (row,) = of_trap(demo_quarter, plans, "last_day")
    assert str(row["call_ts_utc"]) == "2023-03-31 23:30:00+00:00"


def test_a_shared_permno_is_reported(
    demo_quarter: DemoQuarter, plans: dict[str, list[Row]]
) -> None:
    """Both firms of the trap, and only they, have one PERMNO."""
    first, second = of_trap(demo_quarter, plans, "shared_permno")
    with WRDSConnector(settings=demo_quarter.settings()) as wrds:
        plan = build_plan(wrds.discover(Quarter.parse(QUARTERS[-1]), PlanOptions()))
    assert shared_permnos(plan) == {first["permno"]: (first["firm_id"], second["firm_id"])}


def test_the_turns_read_are_the_sentences_planted(demo_quarter: DemoQuarter) -> None:
    """What the connector delivers for a kept call is, word for word, the truth."""
    quarter = QUARTERS[-1]
    truth: dict[tuple[str, int], list[str]] = {}
    for row in demo_quarter.truth(quarter):
        key = (row["transcript_id"], row["component_order"])
        truth.setdefault(key, []).append(row["text"])
    with WRDSConnector(settings=demo_quarter.settings()) as wrds:
        plan = build_plan(wrds.discover(Quarter.parse(quarter), PlanOptions()))
        read = {
            (firm.call.transcript_id, turn.component_order): turn.raw_text
            for firm in wrds.iter_turns(firm_calls(plan))
            for turn in firm.turns
            if turn.raw_text and turn.raw_text.strip()
        }
    kept = {e["transcript_id"] for e in demo_quarter.expected(quarter) if e["kept"]}
    said = {key: " ".join(texts) for key, texts in truth.items() if key[0] in kept}
    assert {key: text.replace("\n", " ") for key, text in read.items()} == said
