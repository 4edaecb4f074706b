"""Traps that the real calls lack, one hand-made table at a time, on a real PostgreSQL."""

from __future__ import annotations

from datetime import date, time
from typing import Any

import pyarrow as pa
import pytest

from ftm.connectors.discovery import PlanOptions
from ftm.connectors.wrds_connector import WRDSConnector
from ftm.core.errors import WRDSPermissionError, WRDSQueryError
from ftm.core.quarter import Quarter
from ftm.demo.wrds_tables import COMPONENT, DETAIL, GVKEY, LINK, WRDSLayout
from ftm.prefetch.plan import build_plan, kept_calls, shared_permnos
from tests.support.postgres import PostgresServer
from tests.support.tiny_wrds import CALL_DAY, TinyWRDS

QUARTER = Quarter(2023, 1)


def plan_of(
    postgres: PostgresServer, tiny: TinyWRDS, *, layout: WRDSLayout | None = None, **options: Any
) -> pa.Table:
    """The plan of 2023Q1 that these rows give."""
    with (
        tiny.served(postgres, layout) as server,
        WRDSConnector(settings=server.settings()) as wrds,
    ):
        return build_plan(wrds.discover(QUARTER, PlanOptions(**options)))


def one(postgres: PostgresServer, tiny: TinyWRDS, **given: Any) -> dict[str, Any]:
    """The only row of the plan."""
    (row,) = plan_of(postgres, tiny, **given).to_pylist()
    found: dict[str, Any] = row
    return found


def test_an_empty_database_gives_an_empty_typed_plan(postgres: PostgresServer) -> None:
    """No call, no row, and still a typed table."""
    plan = plan_of(postgres, TinyWRDS())
    assert len(plan) == 0
    assert kept_calls(plan) == []


def test_midnight_is_a_missing_time(postgres: PostgresServer) -> None:
    """A call at 00:00:00, or at NULL, keeps its date in New York and is marked."""
    tiny = TinyWRDS().vintage().firm(1, mostimportanttimeutc=time(0, 0))
    tiny.firm(2, mostimportanttimeutc=None).firm(3, mostimportanttimeutc=time(0, 1))
    rows = plan_of(postgres, tiny).to_pylist()
    assert [row["time_missing"] for row in rows] == [True, True, False]
    assert [row["call_date_et"] for row in rows] == [CALL_DAY, CALL_DAY, date(2023, 2, 14)]
    assert [row["day0"] for row in rows] == [CALL_DAY, CALL_DAY, CALL_DAY]
    assert all(row["kept"] for row in rows)


def test_two_companies_with_one_permno_are_both_kept(postgres: PostgresServer) -> None:
    """Two firms that share a PERMNO stay in the plan and are named."""
    tiny = TinyWRDS().vintage().firm(1, permno=77).firm(2, permno=77).firm(3)
    plan = plan_of(postgres, tiny)
    assert [call.firm_id for call in kept_calls(plan)] == ["1", "2", "3"]
    assert shared_permnos(plan) == {77: ("1", "2")}


def test_primaryflag_chooses_between_two_gvkeys(postgres: PostgresServer) -> None:
    """Where wrds_gvkey has a primaryflag it decides, and before P, LC and linkdt do."""
    tiny = TinyWRDS().vintage().call(1, 1)
    tiny.gvkey(1, "000001", primaryflag=0).link("000001", 10, linkdt=date(2020, 1, 1))
    tiny.gvkey(1, "000002", primaryflag=1).link("000002", 20, linkprim="C", linktype="LU")
    assert one(postgres, tiny, layout=WRDSLayout(primaryflag=True))["permno"] == 20
    for row in tiny.rows[GVKEY]:
        del row["primaryflag"]
    assert one(postgres, tiny)["permno"] == 10


def test_a_primary_gvkey_without_a_link_yields_to_one_with(postgres: PostgresServer) -> None:
    """A valid link comes before the primaryflag."""
    tiny = TinyWRDS().vintage().call(1, 1).gvkey(1, "000001", primaryflag=1)
    tiny.gvkey(1, "000002", primaryflag=0).link("000002", 20)
    assert one(postgres, tiny, layout=WRDSLayout(primaryflag=True))["permno"] == 20


@pytest.mark.parametrize(
    ("loser", "winner"),
    [
        ({"linkprim": "C", "linktype": "LC", "linkdt": date(2020, 1, 1)}, {"linktype": "LU"}),
        ({"linktype": "LU", "linkdt": date(2020, 1, 1)}, {"linktype": "LC"}),
        ({"linkdt": date(2011, 1, 1)}, {"linkdt": date(2012, 1, 1)}),
        ({"linkdt": None}, {"linkdt": date(2012, 1, 1)}),
        ({"lpermno": 21}, {"lpermno": 20}),
    ],
    ids=["P-before-C", "LC-before-LU", "latest-linkdt", "a-date-before-none", "lowest-permno"],
)
@pytest.mark.parametrize("winner_first", [True, False])
def test_ties_between_links(
    postgres: PostgresServer, loser: dict[str, Any], winner: dict[str, Any], winner_first: bool
) -> None:
    """Overlapping links never multiply the firm, and one rule after the other breaks the tie."""
    tiny = TinyWRDS().vintage().call(1, 1).gvkey(1, "000001")
    links = [{"lpermno": 20, **winner}, {"lpermno": 10, **loser}]
    for link in links if winner_first else links[::-1]:
        tiny.link("000001", link.pop("lpermno"), **link)
    assert one(postgres, tiny)["permno"] == 20


def test_overlapping_gvkey_rows_do_not_multiply(postgres: PostgresServer) -> None:
    """The same gvkey twice, and the same link twice, is still one firm."""
    tiny = TinyWRDS().vintage().firm(1).gvkey(1, "000001").link("000001", 501)
    assert one(postgres, tiny)["permno"] == 501


def test_null_dates_are_open(postgres: PostgresServer) -> None:
    """NULL start and end dates of gvkey and link mean always."""
    assert one(postgres, TinyWRDS().call(1, 1).gvkey(1, "000001").link("000001", 9, linkdt=None))[
        "kept"
    ]


@pytest.mark.parametrize(
    ("gvkey", "link", "reason"),
    [
        (None, {}, "no_gvkey"),
        ({"enddate": date(2023, 2, 14)}, {}, "gvkey_dates"),
        ({"startdate": date(2023, 2, 16)}, {}, "gvkey_dates"),
        ({"startdate": CALL_DAY, "enddate": CALL_DAY}, {}, None),
        ({}, None, "no_link"),
        ({}, {"lpermno": None, "linktype": "NU"}, "no_link"),
        ({}, {"linkprim": "J"}, "link_type"),
        ({}, {"linkprim": None}, "link_type"),
        ({}, {"linktype": "LS"}, "link_type"),
        ({}, {"linktype": "LX", "linkenddt": date(2022, 1, 1)}, "link_type"),
        ({}, {"linkenddt": date(2023, 2, 14)}, "link_dates"),
        ({}, {"linkdt": date(2023, 2, 16)}, "link_dates"),
        ({}, {"linkdt": CALL_DAY, "linkenddt": CALL_DAY}, None),
    ],
)
def test_reasons(
    postgres: PostgresServer,
    gvkey: dict[str, Any] | None,
    link: dict[str, Any] | None,
    reason: str | None,
) -> None:
    """A firm without PERMNO is dropped with the furthest point its candidates reached."""
    tiny = TinyWRDS().vintage().call(1, 1)
    if gvkey is not None:
        tiny.gvkey(1, "000001", **gvkey)
    if link is not None:
        tiny.link("000001", **{"permno": 9, **link} if "lpermno" not in link else _nameless(link))
    row = one(postgres, tiny)
    assert (row["reason"], row["kept"]) == (reason, reason is None)
    assert (row["permno"] is None) == (reason is not None)


def test_a_link_without_a_permno_shows_nothing(postgres: PostgresServer) -> None:
    """The link columns of a firm without a link are empty, not those of its NU row."""
    tiny = TinyWRDS().vintage().call(1, 1).gvkey(1, "000001")
    row = one(postgres, tiny.link("000001", None, linktype="NU", liid="00X"))
    assert row["reason"] == "no_link"
    shown = ("permno", "permco", "liid", "linktype", "linkprim", "link_date", "link_end_date")
    assert {row[name] for name in shown} == {None}


def _nameless(link: dict[str, Any]) -> dict[str, Any]:
    """A link row without PERMNO, as NU rows are."""
    return {"permno": None, "linktype": link["linktype"]}


def test_linktypes_can_be_widened(postgres: PostgresServer) -> None:
    """`--linktypes LU,LC,LS` accepts an LS link, and LU alone refuses LC."""
    tiny = TinyWRDS().vintage().call(1, 1).gvkey(1, "000001").link("000001", 9, linktype="LS")
    assert one(postgres, tiny, linktypes=("LU", "LC", "LS"))["kept"]
    assert one(postgres, TinyWRDS().vintage().firm(1), linktypes=("LU",))["reason"] == "link_type"


def test_a_call_later_than_the_link_vintage(postgres: PostgresServer) -> None:
    """After the newest link, a missing or ended link may only be unpublished; others are not."""
    old = date(2022, 12, 30)
    tiny = TinyWRDS().vintage(old).call(1, 1).gvkey(1, "000001")
    tiny.call(2, 2).gvkey(2, "000002").link("000002", 9, linkenddt=date(2022, 6, 30))
    tiny.call(3, 3).gvkey(3, "000003").link("000003", 9, linktype="LS")
    tiny.call(4, 4).firm(5)
    rows = plan_of(postgres, tiny).to_pylist()
    unpublished = "link_not_yet_published"
    assert [r["reason"] for r in rows] == [unpublished, unpublished, "link_type", "no_gvkey", None]


def test_the_vintage_day_itself_is_published(postgres: PostgresServer) -> None:
    """A call on the day of the newest link is not later than the vintage."""
    tiny = TinyWRDS().vintage(CALL_DAY).call(1, 1).gvkey(1, "000001")
    assert one(postgres, tiny)["reason"] == "no_link"


def test_lnkhist_comes_before_linktable(postgres: PostgresServer) -> None:
    """Where both link tables can be read, the newer one is."""
    layout = WRDSLayout(link_tables=("crsp.ccmxpf_linktable", "crsp_a_ccm.ccmxpf_lnkhist"))
    assert _tables(postgres, layout)["link"] == "crsp_a_ccm.ccmxpf_lnkhist"


@pytest.mark.parametrize(
    "layout",
    [
        WRDSLayout(link_tables=("crsp.ccmxpf_linktable",)),
        WRDSLayout(link_tables=("crsp_q_ccm.ccmxpf_lnkhist",)),
        WRDSLayout(transcripts_schema="ciq_transcripts", common_schema="ciq_common"),
    ],
    ids=["linktable", "quarterly", "ciq_transcripts"],
)
def test_accounts_with_other_layouts(postgres: PostgresServer, layout: WRDSLayout) -> None:
    """Every known layout is found by itself and gives the same plan."""
    tables = _tables(postgres, layout)
    assert tables["link"] in layout.link_tables
    assert tables["detail"] == layout.names(DETAIL)[0]
    assert tables["gvkey"] == layout.names(GVKEY)[0]


def _tables(postgres: PostgresServer, layout: WRDSLayout) -> dict[str, str]:
    tiny = TinyWRDS().vintage().firm(1).turn(1, 0, "Hello.")
    with (
        tiny.served(postgres, layout) as server,
        WRDSConnector(settings=server.settings()) as wrds,
    ):
        found = wrds.discover(QUARTER, PlanOptions())
        (firm,) = wrds.iter_turns(kept_calls(build_plan(found)))
    assert firm.turns[0].raw_text == "Hello."
    return dict(found.source.tables)


def test_an_account_without_rights_on_one_schema(postgres: PostgresServer) -> None:
    """A table this account may not read is passed over for one it may."""
    layout = WRDSLayout(link_tables=("crsp.ccmxpf_lnkhist", "crsp_a_ccm.ccmxpf_linktable"))
    with (
        TinyWRDS().vintage().firm(1).served(postgres, layout) as server,
        server.role(schemas=["ciq", "crsp_a_ccm"]) as role,
        WRDSConnector(settings=role.settings()) as wrds,
    ):
        found = wrds.discover(QUARTER, PlanOptions())
        assert found.source.tables["link"] == "crsp_a_ccm.ccmxpf_linktable"
        assert len(kept_calls(build_plan(found))) == 1
        assert server.logins(role.user) == 1


def test_an_account_without_any_link_table(postgres: PostgresServer) -> None:
    """When no candidate can be read, the error names the table and all that was tried."""
    with (
        TinyWRDS().served(postgres) as server,
        server.role(schemas=["ciq"]) as role,
        WRDSConnector(settings=role.settings()) as wrds,
        pytest.raises(WRDSPermissionError) as caught,
    ):
        wrds.discover(QUARTER, PlanOptions())
    message = str(caught.value)
    assert "'ccmxpf_lnkhist'" in message
    assert "crsp.ccmxpf_lnkhist (permission denied for schema crsp)" in message
    assert "crsp_a_ccm.ccmxpf_linktable (" in message
    assert role.password not in message


def test_samples_and_old_tables_are_never_read(postgres: PostgresServer) -> None:
    """With only ciqsamp and *_old tables there, ftm stops rather than reading them."""
    with TinyWRDS().served(postgres) as server:
        server.execute("ALTER SCHEMA ciq RENAME TO ciqsamp_transcripts")
        server.execute("ALTER SCHEMA crsp RENAME TO crsp_old")
        with (
            WRDSConnector(settings=server.settings()) as wrds,
            pytest.raises(WRDSPermissionError, match="wrds_transcript_detail"),
        ):
            wrds.discover(QUARTER, PlanOptions())


@pytest.mark.parametrize(
    "event",
    [
        {"keydeveventtypeid": 48, "keydeveventtypename": "Dividend Affirmations"},
        {"keydeveventtypeid": 149, "keydeveventtypename": "Earnings Calls"},
        {"keydeveventtypeid": 48, "keydeveventtypename": None},
        {"keydeveventtypeid": None, "keydeveventtypename": "Earnings Calls"},
    ],
)
def test_event_id_and_name_must_agree(postgres: PostgresServer, event: dict[str, Any]) -> None:
    """Should id 48 and the name Earnings Calls part ways, nothing is guessed."""
    tiny = TinyWRDS().vintage().firm(1).call(2, 2, **event)
    with pytest.raises(WRDSQueryError, match="event type"):
        plan_of(postgres, tiny)


def test_other_event_types_and_other_quarters_pass(postgres: PostgresServer) -> None:
    """A conference is no call, named or not; outside the quarter nothing is our business."""
    tiny = TinyWRDS().vintage().firm(1)
    tiny.firm(2, keydeveventtypeid=51, keydeveventtypename="Company Conference Presentations")
    tiny.call(3, 3, keydeveventtypeid=9, mostimportantdateutc=date(2023, 4, 1))
    tiny.call(4, 4, **dict.fromkeys(("companyid", "headline", "companyname")))
    tiny.call(5, 5, keydeveventtypeid=50, keydeveventtypename=None)
    tiny.call(6, 6, keydeveventtypeid=None, keydeveventtypename="Dividend Affirmations")
    tiny.call(7, 7, keydeveventtypeid=None, keydeveventtypename=None)
    assert one(postgres, tiny)["firm_id"] == "1"


@pytest.mark.parametrize(
    ("day", "inside"),
    [
        (date(2022, 12, 31), False), (date(2023, 1, 1), True),
        (date(2023, 3, 31), True), (date(2023, 4, 1), False),
    ],
)  # fmt: skip
def test_the_quarters_edges(postgres: PostgresServer, day: date, inside: bool) -> None:
    """The first and the last day belong to the quarter, whole; their neighbours do not."""
    late = {"mostimportantdateutc": day, "mostimportanttimeutc": time(23, 59, 59)}
    assert len(plan_of(postgres, TinyWRDS().vintage().firm(1, **late))) == inside


def test_versions_are_ordered_by_creation_then_id(postgres: PostgresServer) -> None:
    """Creation date, then time, then transcriptid decide; Preliminary never beats Final."""
    tiny = TinyWRDS().vintage().firm(1, keydevid=5)
    tiny.call(1, 8, keydevid=5).call(1, 3, keydevid=5)
    assert one(postgres, tiny)["transcript_id"] == "8"
    tiny.call(1, 2, keydevid=5, transcriptcreationtime_utc=time(23, 1))
    assert one(postgres, tiny)["transcript_id"] == "2"
    tiny.call(1, 4, keydevid=5, transcriptcreationdate_utc=date(2023, 2, 16),
              transcriptcreationtime_utc=time(0, 0))  # fmt: skip
    tiny.call(1, 9, keydevid=5, transcriptcreationdate_utc=date(2024, 1, 1),
              transcriptpresentationtypename="Preliminary")  # fmt: skip
    row = one(postgres, tiny)
    assert (row["transcript_id"], row["n_versions"]) == ("4", 6)


def test_calls_of_one_day_are_ordered_by_time_then_event(postgres: PostgresServer) -> None:
    """Date, then time, then keydevid choose the latest call, and mirrored the first."""
    tiny = TinyWRDS().vintage().firm(1).call(1, 7).call(1, 5, mostimportanttimeutc=time(20, 0))
    assert _chosen(plan_of(postgres, tiny)) == "7"
    assert _chosen(plan_of(postgres, tiny, calls="first")) == "5"


def _chosen(plan: pa.Table) -> str:
    (call,) = kept_calls(plan)
    return call.transcript_id


def test_no_fallback_to_an_earlier_call(postgres: PostgresServer) -> None:
    """A firm whose latest call is preliminary is dropped, though an earlier one is Final."""
    tiny = TinyWRDS().vintage().firm(1, mostimportantdateutc=date(2023, 1, 10))
    tiny.call(1, 2, transcriptpresentationtypename="Preliminary")
    reasons = {r["transcript_id"]: r["reason"] for r in plan_of(postgres, tiny).to_pylist()}
    assert reasons == {"1": "other_call", "2": "preliminary_only"}


def test_as_of_ignores_later_versions(postgres: PostgresServer) -> None:
    """The as-of day itself counts whole; a call without a version by then is not yet known."""
    tiny = TinyWRDS().vintage().firm(1, keydevid=5)
    tiny.call(1, 2, keydevid=5, transcriptcreationdate_utc=date(2023, 2, 20))
    assert one(postgres, tiny, as_of=date(2023, 2, 20))["transcript_id"] == "2"
    earlier = one(postgres, tiny, as_of=date(2023, 2, 19))
    assert (earlier["transcript_id"], earlier["n_versions"]) == ("1", 1)
    before = one(postgres, tiny, as_of=date(2023, 2, 14))
    assert (before["transcript_id"], before["n_versions"]) == (None, 0)
    assert before["reason"] == "not_yet_known"


def test_as_of_dates_an_event_by_what_was_known(postgres: PostgresServer) -> None:
    """A date corrected later moves the event neither within the quarter nor out of it."""
    for later in (date(2023, 3, 30), date(2023, 4, 1)):
        tiny = TinyWRDS().vintage().firm(1, keydevid=5)
        tiny.call(1, 2, keydevid=5, mostimportantdateutc=later)
        row = one(postgres, tiny, as_of=date(2023, 2, 20))
        assert (row["earnings_call_date"], row["transcript_id"]) == (CALL_DAY, "1")


def test_as_of_chooses_among_the_known_calls(postgres: PostgresServer) -> None:
    """A later call that had no transcript by then represents nobody and is not counted."""
    tiny = TinyWRDS().vintage().firm(1).call(1, 2, mostimportantdateutc=date(2023, 3, 15))
    tiny.call(1, 3, mostimportantdateutc=date(2023, 3, 16), transcriptcreationdate_utc=None)
    plan = plan_of(postgres, tiny, as_of=date(2023, 2, 20))
    assert _chosen(plan) == "1"
    assert plan["reason"].to_pylist() == [None, "other_call", "other_call"]
    assert set(plan["n_calls_in_quarter"].to_pylist()) == {1}
    assert _chosen(plan_of(postgres, tiny)) == "3"


def test_an_event_is_dated_by_its_newest_version(postgres: PostgresServer) -> None:
    """An event whose date was corrected across the quarter's end lies in one quarter only."""
    tiny = TinyWRDS().vintage().firm(1, keydevid=5, mostimportantdateutc=date(2023, 3, 31))
    tiny.call(1, 2, keydevid=5, mostimportantdateutc=date(2023, 4, 1))
    assert len(plan_of(postgres, tiny)) == 0


def test_date_and_time_are_the_newest_versions_though_an_older_one_is_read(
    postgres: PostgresServer,
) -> None:
    """A Preliminary version that moves the call moves its date, its time and its day 0 together."""
    tiny = TinyWRDS().vintage().firm(1, keydevid=5)
    tiny.call(1, 2, keydevid=5, mostimportantdateutc=date(2023, 2, 16),
              mostimportanttimeutc=time(15, 0),
              transcriptpresentationtypename="Preliminary")  # fmt: skip
    row = one(postgres, tiny)
    assert (row["transcript_id"], row["n_versions"]) == ("1", 2)
    assert str(row["call_ts_utc"]) == "2023-02-16 15:00:00+00:00"
    assert row["earnings_call_date"] == row["day0"] == date(2023, 2, 16)


LATER = {"keydevid": 5, "transcriptcreationdate_utc": date(2023, 2, 20)}


def test_a_version_without_a_date_takes_none_away(postgres: PostgresServer) -> None:
    """The event keeps the newest date it has, and is read in its newest version all the same."""
    tiny = TinyWRDS().vintage().firm(1, keydevid=5).call(1, 2, **LATER)
    tiny.rows[DETAIL][-1]["mostimportantdateutc"] = None
    row = one(postgres, tiny)
    assert (row["earnings_call_date"], row["transcript_id"]) == (CALL_DAY, "2")
    assert (row["n_versions"], row["kept"]) == (2, True)


def test_a_known_version_without_a_date_is_dated_by_a_later_one(postgres: PostgresServer) -> None:
    """As of a day when no version had a date yet, the call is in the plan and not lost."""
    tiny = TinyWRDS().vintage().firm(1, keydevid=5).call(1, 2, **LATER)
    tiny.rows[DETAIL][0]["mostimportantdateutc"] = None
    row = one(postgres, tiny, as_of=date(2023, 2, 16))
    assert (row["earnings_call_date"], row["transcript_id"]) == (CALL_DAY, "1")
    assert row["time_missing"]


@pytest.mark.parametrize("missing", [None, time(0, 0)], ids=["NULL", "midnight"])
def test_a_version_without_a_time_takes_none_away(
    postgres: PostgresServer, missing: time | None
) -> None:
    """A newer version of the same date without a time leaves the call its time."""
    tiny = TinyWRDS().vintage().firm(1, keydevid=5)
    tiny.call(1, 2, **LATER, mostimportanttimeutc=missing)
    row = one(postgres, tiny)
    assert str(row["call_ts_utc"]) == "2023-02-15 21:00:00+00:00"
    assert (row["time_missing"], row["transcript_id"]) == (False, "2")


def test_the_time_of_another_date_is_no_time(postgres: PostgresServer) -> None:
    """A call moved to a day without a time does not keep the hour of the old day."""
    tiny = TinyWRDS().vintage().firm(1, keydevid=5)
    tiny.call(1, 2, **LATER, mostimportantdateutc=date(2023, 2, 21), mostimportanttimeutc=None)
    row = one(postgres, tiny)
    assert (row["earnings_call_date"], row["time_missing"]) == (date(2023, 2, 21), True)


def test_as_of_ignores_a_time_learned_later(postgres: PostgresServer) -> None:
    """What was not known on the day gives the call no time; today it does."""
    tiny = TinyWRDS().vintage().firm(1, keydevid=5, mostimportanttimeutc=None)
    tiny.call(1, 2, **LATER)
    assert one(postgres, tiny, as_of=date(2023, 2, 16))["time_missing"]
    assert not one(postgres, tiny)["time_missing"]


def test_of_two_rows_of_a_transcript_the_one_with_a_date_dates_it(
    postgres: PostgresServer,
) -> None:
    """The row with the shortest headline names the call, though only the other has its date."""
    tiny = TinyWRDS().vintage().firm(1).call(1, 1, headline="Firm 1, Q4")
    tiny.rows[DETAIL][-1]["mostimportantdateutc"] = None
    row = one(postgres, tiny)
    assert (row["headline"], row["earnings_call_date"]) == ("Firm 1, Q4", CALL_DAY)
    assert (row["time_missing"], row["n_versions"]) == (False, 1)


@pytest.mark.parametrize("reverse", [False, True])
def test_the_shortest_headline_names_a_call(postgres: PostgresServer, reverse: bool) -> None:
    """Not the first in the alphabet, and whichever row comes first."""
    tiny = TinyWRDS().vintage().firm(1, headline="Zeta, Q4")
    tiny.call(1, 1, headline="A joint call of Alpha and Zeta, Q4")
    if reverse:
        tiny.rows[DETAIL].reverse()
    assert one(postgres, tiny)["headline"] == "Zeta, Q4"


def test_a_call_without_a_transcript_is_not_yet_known(postgres: PostgresServer) -> None:
    """It has its row and reason, and stands for no firm that has a call with one."""
    tiny = TinyWRDS().vintage().firm(1).firm(2).call(3, 3)
    tiny.call(2, 9, transcriptid=None, mostimportantdateutc=date(2023, 3, 1))
    tiny.rows[DETAIL][-2]["transcriptid"] = None
    rows = plan_of(postgres, tiny).to_pylist()
    found = [(r["firm_id"], r["transcript_id"], r["reason"], r["n_versions"]) for r in rows]
    assert found == [
        ("1", "1", None, 1), ("2", "2", None, 1), ("2", None, "other_call", 0),
        ("3", None, "not_yet_known", 0),
    ]  # fmt: skip
    assert rows[1]["n_calls_in_quarter"] == 1


def test_rows_that_are_nobodys_call_pass(postgres: PostgresServer) -> None:
    """Without a company, an event or any date a row is no call of a firm in a quarter."""
    tiny = TinyWRDS().vintage().firm(1).call(2, 2, companyid=None).call(3, 3, keydevid=None)
    tiny.call(4, 4)
    tiny.rows[DETAIL][-1]["mostimportantdateutc"] = None
    assert one(postgres, tiny)["firm_id"] == "1"


def test_components_with_the_same_number_are_numbered_on(postgres: PostgresServer) -> None:
    """Doubled and missing numbers become rising ones, in the order of the component ids."""
    tiny = TinyWRDS().vintage().firm(1)
    for order, text in ((0, "a"), (3, "c"), (4, "d"), (7, "e"), (9, "f")):
        tiny.turn(1, order, text)
    component = tiny.rows[COMPONENT]
    tiny.turn(1, 2, "b")
    component[-1] |= {"componentorder": 3}
    component[-2] |= {"componentorder": None}
    with (
        tiny.served(postgres) as server,
        WRDSConnector(settings=server.settings()) as wrds,
    ):
        calls = kept_calls(build_plan(wrds.discover(QUARTER, PlanOptions())))
        (firm,) = wrds.iter_turns(calls)
    found = [(turn.component_order, turn.raw_text) for turn in firm.turns]
    assert found == [(0, "a"), (3, "b"), (4, "c"), (5, "d"), (7, "e"), (8, "f")]


def test_large_ids_lose_no_digit(postgres: PostgresServer) -> None:
    """Ids that arrive as double precision leave as whole numbers, without .0 or exponent."""
    row = one(postgres, TinyWRDS().vintage().firm(1_000_000_007, keydevid=9_007_199_254_740_991))
    assert (row["firm_id"], row["keydevid"]) == ("1000000007", 9_007_199_254_740_991)
    assert (row["permno"], row["permco"]) == (1_000_000_507, 1_000_000_508)


def test_the_source_is_recorded(postgres: PostgresServer) -> None:
    """Host, database, tables, query and link vintage go with the discovery."""
    with (
        TinyWRDS().vintage().firm(1).served(postgres) as server,
        WRDSConnector(settings=server.settings()) as wrds,
    ):
        source = wrds.discover(QUARTER, PlanOptions()).source
        again = wrds.discover(QUARTER, PlanOptions(calls="first")).source
    assert (source.host, source.database) == (server.host, server.dbname)
    assert source.link_vintage == date(2023, 12, 29)
    assert source.tables["link"] == LINK.replace("linktable", "lnkhist")
    assert len(source.query_sha256) == 64
    assert source.query_sha256 != again.query_sha256
