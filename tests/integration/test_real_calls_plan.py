"""Every trap of the real calls' README, with the right answer, on a real PostgreSQL."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import date, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from ftm.connectors.discovery import PlanOptions
from ftm.connectors.wrds_connector import WRDSConnector
from ftm.core.quarter import Quarter
from ftm.core.records import FirmTurns
from ftm.core.schemas import CALLS, PLAN_REASONS
from ftm.demo.wrds_tables import LINK
from ftm.prefetch.plan import build_plan, count_reasons, kept_calls, shared_permnos
from tests.support.postgres import PostgresServer
from tests.support.real_calls import real_tables

pytestmark = pytest.mark.real_calls

FIRMS_WITH_PERMNO = {
    "2015Q1": 19, "2015Q2": 114, "2015Q3": 104, "2015Q4": 123, "2016Q1": 127, "2016Q2": 207,
    "2016Q3": 206, "2016Q4": 109, "2017Q1": 152, "2017Q2": 68, "2017Q3": 26, "2017Q4": 20,
    "2018Q1": 38, "2018Q2": 56, "2019Q1": 1, "2020Q1": 1, "2022Q4": 4, "2023Q1": 91, "2023Q2": 1,
}  # fmt: skip


class RealQuarters:
    """Plans of all quarters and the turns of three, read with one login."""

    def __init__(self, connector: WRDSConnector) -> None:
        self._connector = connector
        self.plans = {q: self.plan(q) for q in FIRMS_WITH_PERMNO}
        self.turns = {q: self._turns(q) for q in ("2016Q1", "2016Q2", "2023Q1")}

    def plan(self, quarter: str, **options: Any) -> pa.Table:
        """The plan of a quarter, under other options if given."""
        found = self._connector.discover(Quarter.parse(quarter), PlanOptions(**options))
        return build_plan(found)

    def _turns(self, quarter: str) -> dict[str, FirmTurns]:
        firms = self._connector.iter_turns(kept_calls(self.plans[quarter]))
        return {firm.call.firm_id: firm for firm in firms}

    def rows(self, firm: int, quarter: str | None = None) -> list[dict[str, Any]]:
        """All plan rows of a firm, in one quarter or all."""
        quarters = [quarter] if quarter else list(self.plans)
        return [row for q in quarters for row in _rows(self.plans[q], firm)]

    def call(self, firm: int, quarter: str) -> dict[str, Any]:
        """The row that represents a firm."""
        (row,) = [r for r in self.rows(firm, quarter) if r["reason"] != "other_call"]
        return row


def _rows(plan: pa.Table, firm: int) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = plan.filter(pc.equal(plan["firm_id"], str(firm))).to_pylist()
    return rows


@pytest.fixture(scope="module")
def real(real_wrds: PostgresServer) -> Iterator[RealQuarters]:
    """All quarters of the real calls; that it took one login is read in the server's log."""
    before = real_wrds.logins()
    with WRDSConnector(settings=real_wrds.settings()) as connector:
        yield RealQuarters(connector)
    assert real_wrds.logins() - before == 1


@pytest.mark.parametrize("quarter", FIRMS_WITH_PERMNO)
def test_firms_with_a_permno_are_those_of_the_readme(real: RealQuarters, quarter: str) -> None:
    """Each quarter keeps exactly the firms that the README counted independently."""
    plan = real.plans[quarter]
    calls = kept_calls(plan)
    assert len(calls) == len({call.firm_id for call in calls}) == FIRMS_WITH_PERMNO[quarter]
    assert shared_permnos(plan) == {}


@pytest.mark.parametrize(
    ("quarter", "reasons"),
    [
        (
            "2023Q1",
            {"other_call": 3, "preliminary_only": 1, "no_gvkey": 6, "no_link": 3,
             "link_type": 3, "link_dates": 5, "kept": 91},
        ),
        (
            "2016Q2",
            {"preliminary_only": 1, "no_gvkey": 10, "no_link": 6, "link_type": 7,
             "link_dates": 9, "kept": 207},
        ),
        (
            "2016Q3",
            {"preliminary_only": 1, "no_gvkey": 8, "no_link": 8, "link_type": 4,
             "link_dates": 13, "kept": 206},
        ),
    ],
)  # fmt: skip
def test_reasons_add_up(real: RealQuarters, quarter: str, reasons: dict[str, int]) -> None:
    """Every call is kept or has one reason, and these are the counts."""
    plan = real.plans[quarter]
    assert count_reasons(plan) == reasons
    assert sum(reasons.values()) == len(plan)


def test_every_plan_is_sound(real: RealQuarters) -> None:
    """One row per firm and event, at most one kept per firm, dates in the quarter, sorted."""
    for text, plan in real.plans.items():
        assert plan.schema == CALLS
        rows = plan.to_pylist()
        events = [(row["firm_id"], row["keydevid"]) for row in rows]
        assert len(events) == len(set(events))
        standing = Counter(r["firm_id"] for r in rows if r["reason"] != "other_call")
        assert standing == {firm: 1 for firm, _ in events}
        assert all(row["earnings_call_date"] in Quarter.parse(text) for row in rows)
        assert all((row["reason"] is None) == row["kept"] for row in rows)
        assert {row["reason"] for row in rows} <= {None, *PLAN_REASONS}
        assert all(row["permno"] and row["gvkey"] for row in rows if row["kept"])
        assert all(row["firm_id"].isdigit() for row in rows)
        order = [(row["firm_id"], row["call_ts_utc"], row["keydevid"]) for row in rows]
        assert order == sorted(order)


@pytest.mark.parametrize(
    ("firm", "quarter", "transcript", "versions"),
    [
        (681522798, "2023Q1", "2079390", 3),
        (722981694, "2023Q1", "2135968", 4),  # audited a year later
        (370022117, "2023Q1", "2101803", 3),
        (45234982, "2023Q1", "2114739", 2),  # both created the same day
        (633413199, "2023Q1", "2075493", 2),
        (407241510, "2016Q3", "1554043", 4),
        (654888311, "2016Q3", "1264134", 2),
        (278497885, "2016Q2", "1554230", 4),
        (142309790, "2016Q2", "1080439", 2),
        (275512703, "2016Q2", "1062582", 2),
    ],
)
def test_the_latest_version_represents_a_call(
    real: RealQuarters, firm: int, quarter: str, transcript: str, versions: int
) -> None:
    """Of several versions of one call the last created counts, whole."""
    row = real.call(firm, quarter)
    assert (row["transcript_id"], row["n_versions"]) == (transcript, versions)
    assert row["presentation_type"] == "Final"


def test_as_of_takes_the_version_known_then(real: RealQuarters) -> None:
    """Embraer's audited copy of later is not there as of the end of its quarter."""
    plan = real.plan("2023Q1", as_of=date(2023, 3, 31))
    (row,) = [r for r in _rows(plan, 722981694) if r["reason"] != "other_call"]
    assert row["transcript_id"] == "2074970"
    assert row["collection_type"] == "Proofed Copy"
    assert row["n_versions"] == 3


@pytest.mark.parametrize(
    ("firm", "quarter", "transcript"),
    [
        (581278574, "2023Q1", "2086134"),
        (442388251, "2016Q3", "1240748"),
        (139103925, "2016Q2", "1113719"),
    ],
)
def test_preliminary_copies_are_not_kept(
    real: RealQuarters, firm: int, quarter: str, transcript: str
) -> None:
    """A call that only has a Preliminary copy is dropped by name, and still shown."""
    row = real.call(firm, quarter)
    assert (row["reason"], row["transcript_id"]) == ("preliminary_only", transcript)
    assert row["presentation_type"] == "Preliminary"


@pytest.mark.parametrize(
    ("firm", "quarter", "first", "latest"),
    [
        (107547967, "2023Q1", "2065408", "2123671"),
        (465489703, "2023Q1", "2070423", "2128334"),
        (8668777, "2015Q2", "747822", "808174"),
        (703251225, "2016Q1", "962436", "1033659"),
        (543322929, "2023Q1", "2082060", "2129651"),
    ],
)
def test_two_calls_in_a_quarter(
    real: RealQuarters, firm: int, quarter: str, first: str, latest: str
) -> None:
    """The latest call represents the firm, the first with `--calls first`; the other is named."""
    rows = real.rows(firm, quarter)
    assert [row["transcript_id"] for row in rows] == [first, latest]
    assert [row["reason"] == "other_call" for row in rows] == [True, False]
    assert [row["n_calls_in_quarter"] for row in rows] == [2, 2]
    rows = _rows(real.plan(quarter, calls="first"), firm)
    assert [row["reason"] == "other_call" for row in rows] == [False, True]


@pytest.mark.parametrize(
    ("firm", "quarter", "transcript", "day"),
    [
        (61582065, "2023Q1", "2132178", date(2023, 3, 31)),
        (645064381, "2015Q1", "748155", date(2015, 3, 31)),
        (706310620, "2023Q1", "2064764", date(2023, 1, 3)),
    ],
)
def test_first_and_last_days_belong_to_the_quarter(
    real: RealQuarters, firm: int, quarter: str, transcript: str, day: date
) -> None:
    """Calls on the last day, and on 3 January, are in their quarter."""
    row = real.call(firm, quarter)
    assert (row["transcript_id"], row["earnings_call_date"]) == (transcript, day)


def test_an_evening_in_march_is_april_in_utc(real: RealQuarters) -> None:
    """Quhuo's call of 31 March, New York, is dated 1 April UTC and so lies in 2023Q2."""
    assert real.rows(289485263, "2023Q1") == []
    row = real.call(289485263, "2023Q2")
    assert row["transcript_id"] == "2129078"
    assert row["kept"]
    assert row["earnings_call_date"] == date(2023, 4, 1)
    assert row["call_date_et"] == date(2023, 3, 31)
    assert row["day0"] == date(2023, 4, 3), "after Friday's close: Monday"


@pytest.mark.parametrize(
    ("firm", "quarter", "transcript"),
    [(33641604, "2016Q2", 1132444), (212411299, "2018Q1", 1515470), (375465127, "2017Q3", 1486640)],
)
def test_other_events_are_no_earnings_calls(
    real: RealQuarters, firm: int, quarter: str, transcript: int
) -> None:
    """A conference presentation (type 51) is nowhere in the plan."""
    assert str(transcript) not in [row["transcript_id"] for row in real.rows(firm)]
    assert real.rows(firm, quarter) == []


def test_rows_of_nulls_are_nowhere(real: RealQuarters) -> None:
    """Detail rows without company, date and type neither stop the discovery nor turn up."""
    found = {row for plan in real.plans.values() for row in plan["transcript_id"].to_pylist()}
    assert found.isdisjoint({"1339163", "1148792"})


def test_three_detail_rows_are_one_call_per_company(real: RealQuarters) -> None:
    """A joint call with two headlines gives Rockwell one row and its partner another."""
    row = real.call(84345199, "2016Q2")
    assert row["transcript_id"] == "1268499"
    assert row["headline"] == "Rockwell Collins, Q1 2016 Earnings Call, Apr 21, 2016"
    assert (row["n_versions"], row["n_calls_in_quarter"]) == (1, 1)
    partner = real.call(359399766, "2016Q2")
    assert partner["transcript_id"] == "1268499"
    assert partner["reason"] == "no_gvkey"
    orders = [turn.component_order for turn in real.turns["2016Q2"]["84345199"].turns]
    assert orders == sorted(set(orders)), "no turn twice"


def test_a_joint_call_is_one_event_and_a_call_of_each_firm(real: RealQuarters) -> None:
    """The plan counts calls of firms: 2016Q2 has 240 of them in 239 events."""
    plan = real.plans["2016Q2"]
    assert (len(plan), len(set(plan["keydevid"].to_pylist()))) == (240, 239)


def test_headlines_state_the_fiscal_quarter(real: RealQuarters) -> None:
    """Every real headline's fiscal period is read."""
    row = real.call(61582065, "2023Q1")
    assert (row["fiscal_year"], row["fiscal_quarter"]) == (2022, 4)
    for plan in real.plans.values():
        assert plan["fiscal_quarter"].null_count == plan["fiscal_year"].null_count == 0


@pytest.mark.parametrize(
    ("reason", "firms"),
    [
        ("no_gvkey", [632251925, 86046229, 328016749, 209751621, 469790119, 14876845, 682452745,
                      559457392, 655497680, 683641148, 717184776, 636279523]),
        ("no_link", [624996015, 100431171, 633413199, 496903262, 488748073, 656307754, 456617257,
                     538470550, 318196161, 338083588, 333519837, 420572838]),
        ("link_dates", [217616368, 552384524, 701496689, 61582065, 275089405, 611823546, 562011435,
                        232622369, 517676564, 33545477, 535827247, 87038457]),
        ("link_dates", [708181773, 488600310]),
        ("link_type", [262057051, 334048145, 101461991, 626557806, 96526889, 453905410, 127518561,
                       493078224, 196243876, 547775883, 417083481, 318669830]),
        ("link_type", [39633153, 641458231, 200346635, 367951723, 722325965, 116790272, 486187698,
                       399344509]),
    ],
    ids=["no-gvkey", "no-link", "ended-before", "starts-after", "linkprim-J-N", "linktype-L-S-D-X"],
)  # fmt: skip
def test_unlinked_firms_have_the_right_reason(
    real: RealQuarters, reason: str, firms: list[int]
) -> None:
    """Every firm the README lists without a usable link is dropped for just that, in all calls."""
    for firm in firms:
        rows = [r for r in real.rows(firm) if r["reason"] not in ("other_call", "preliminary_only")]
        assert rows, firm
        assert {row["reason"] for row in rows} == {reason}, firm
        assert all(row["permno"] is None for row in rows)


@pytest.mark.parametrize(
    "firms",
    [
        [300124877, 7725799, 402302872, 467456886, 125539748, 649163502, 647480859, 328968973,
         532994122, 466951482, 385890528, 79543162],
        [506213518, 545712146, 129065873, 117749508, 292292600, 594866864, 405563097, 140583098,
         525466766, 670474137, 232541462, 667837820],
        [343021598, 158928396, 580144948, 328029896, 176034885, 298763569, 486434673, 456488540,
         206905571, 139100028, 495435929, 613053998],
        [458906716, 56970750, 284492915, 632936688, 360992133, 415705846, 371568284, 251717518],
        [430449849, 639744193],
        [14169588, 181245204, 49959257, 197690040, 306675761, 60858274, 147317509, 116905530],
        [395666157, 273932467],
        [253370743, 210046890],
    ],
    ids=["permno-changes", "P-beside-J", "P-then-C", "two-gvkeys-dated", "two-gvkeys-open",
         "extra-LN", "ends-on-call-day", "starts-on-call-day"],
)  # fmt: skip
def test_linked_firms_have_the_right_permno(real: RealQuarters, firms: list[int]) -> None:
    """Every firm the README lists with a link is kept, with the one PERMNO valid on its day."""
    links = real_tables()[LINK].to_pylist()
    for firm in firms:
        rows = [r for r in real.rows(firm) if r["reason"] not in ("other_call", "preliminary_only")]
        assert rows, firm
        for row in rows:
            assert row["kept"], (firm, row["reason"])
            assert row["linktype"] in ("LU", "LC")
            assert row["linkprim"] in ("P", "C")
            assert [row["permno"]] == _valid_permnos(links, row["gvkey"], row["earnings_call_date"])


def _valid_permnos(links: list[dict[str, Any]], gvkey: str, day: date) -> list[int]:
    """The PERMNOs of a gvkey on a day, worked out without SQL."""
    fitting = {
        link["lpermno"]
        for link in links
        if link["gvkey"] == gvkey
        and link["linktype"] in ("LU", "LC")
        and link["linkprim"] in ("P", "C")
        and link["linkdt"] <= day <= (link["linkenddt"] or date.max)
    }
    return sorted(fitting)


def test_a_permno_changes_with_the_call_date(real: RealQuarters) -> None:
    """Among the firms with two primary links, one after the other, both PERMNOs occur."""
    firms = [7725799, 402302872, 467456886, 125539748, 649163502, 647480859, 328968973]
    permnos = {firm: {row["permno"] for row in real.rows(firm) if row["kept"]} for firm in firms}
    assert any(len(found) == 2 for found in permnos.values())


def test_link_dates_are_inclusive(real: RealQuarters) -> None:
    """A link that ends, or starts, on the call date is valid on it."""
    for firm, end in [(395666157, "link_end_date"), (273932467, "link_end_date"),
                      (253370743, "link_date"), (210046890, "link_date")]:  # fmt: skip
        assert any(row[end] == row["earnings_call_date"] for row in real.rows(firm)), firm


def test_a_transcript_without_components_has_no_turns(real: RealQuarters) -> None:
    """NextEra's empty transcript is planned, and comes with nothing."""
    assert real.call(516659631, "2016Q1")["kept"]
    assert real.turns["2016Q1"]["516659631"].turns == ()


def test_only_the_operator_speaks(real: RealQuarters) -> None:
    """TeamViewer's call comes with operator turns alone."""
    turns = real.turns["2023Q1"]["682223696"].turns
    assert {turn.speaker_type for turn in turns} == {"Operator"}


@pytest.mark.parametrize(
    ("quarter", "firm", "empty"),
    [("2023Q1", "628638659", 3), ("2023Q1", "530732203", 2), ("2016Q2", "451319824", 2)],
)
def test_empty_components_are_empty_strings(
    real: RealQuarters, quarter: str, firm: str, empty: int
) -> None:
    """NULL, empty and blank texts come as strings, none of them lost."""
    turns = real.turns[quarter][firm].turns
    assert sum(not turn.raw_text.strip() for turn in turns) == empty


def test_components_of_type_8_are_questions_and_answers(real: RealQuarters) -> None:
    """The Unknown Question and Answer Message belongs to the Q&A."""
    sections = {
        turn.section
        for firm in real.turns["2023Q1"].values()
        for turn in firm.turns
        if turn.component_type == "Unknown Question and Answer Message"
    }
    assert sections == {"qa"}


def test_turns_come_in_the_plans_order_and_whole(real: RealQuarters) -> None:
    """Firms come as planned, each with its components from 0, none missing, none twice."""
    calls = kept_calls(real.plans["2016Q2"])
    firms = real.turns["2016Q2"]
    assert list(firms) == [call.firm_id for call in calls]
    for firm in firms.values():
        orders = [turn.component_order for turn in firm.turns]
        assert orders == list(range(len(orders)))


def test_call_times_are_utc(real: RealQuarters) -> None:
    """A call at 21:00 UTC in August starts after the close: day 0 is the next session."""
    rows = [r for r in real.plans["2016Q3"].to_pylist() if r["call_ts_utc"].hour == 21]
    assert rows
    assert all(row["day0"] > row["call_date_et"] for row in rows)
    morning = [r for r in real.plans["2016Q3"].to_pylist() if r["call_ts_utc"].hour == 14]
    assert all(row["day0"] == row["call_date_et"] for row in morning if _weekday(row))


def _weekday(row: dict[str, Any]) -> bool:
    moment: datetime = row["call_ts_utc"]
    return moment.weekday() < 5 and (moment.month, moment.day) not in {(7, 4), (9, 5)}
