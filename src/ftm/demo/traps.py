"""Difficult cases planted in a synthetic quarter, each with what ftm should make of it.

A trap changes the rows of firms made for it (never of the ordinary ones) and what is expected of
their calls. They are what real WRDS data hold: see the reasons in core.schemas.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from types import MappingProxyType

from ftm.core.quarter import Quarter
from ftm.demo.firm_rows import FirmRows, Row, gvkey_row, link_row
from ftm.demo.wrds_tables import COMPONENT, DETAIL, PERSON

VINTAGE_DAYS = 10
"""Days from the newest link to the last quarter's end, where the link table stops early."""

_LONG_AGO = date(1990, 5, 1)
_PRELIMINARY = {
    "transcriptcollectiontypeid": 7,
    "transcriptcollectiontypename": "Spellchecked Copy",
    "transcriptpresentationtypeid": 4,
    "transcriptpresentationtypename": "Preliminary",
}
_EDITED = {"transcriptcollectiontypeid": 2, "transcriptcollectiontypename": "Edited Copy"}
_OPERATOR_TYPES = (1, 7)


@dataclass(frozen=True, slots=True)
class Trap:
    """One difficult case.

    Args:
        apply: changes the rows of the firms made for this trap.
        about: one line on what is difficult and what is right.
        n_firms: how many firms it needs.
    """

    apply: Callable[[Sequence[FirmRows], Sequence[Quarter]], None]
    about: str
    n_firms: int = 1


def _midnight(made: Sequence[FirmRows], _: Sequence[Quarter]) -> None:
    for row in made[0].details:
        row["mostimportanttimeutc"] = time(0)


def _last_day(made: Sequence[FirmRows], quarters: Sequence[Quarter]) -> None:
    for row, quarter in zip(made[0].details, quarters, strict=True):
        move_call(row, datetime.combine(quarter.end, time(23, 30)))


def _shared_permno(made: Sequence[FirmRows], _: Sequence[Quarter]) -> None:
    first, second = made
    second.links[0].update(lpermno=first.firm.permno, lpermco=first.firm.permco)
    second.expect(permno=first.firm.permno)


def _primaryflag(made: Sequence[FirmRows], _: Sequence[Quarter]) -> None:
    """Every other tie-breaker speaks for the gvkey that is not primary."""
    firm = made[0].firm
    made[0].gvkeys[0]["primaryflag"] = 1
    made[0].links[0].update(linkprim="C", linktype="LU", linkdt=_LONG_AGO)
    made[0].gvkeys.append(gvkey_row(firm, gvkey=_second_gvkey(made[0]), primaryflag=0))
    other = link_row(firm, date(1999, 3, 1), gvkey=_second_gvkey(made[0]), linktype="LC")
    made[0].links.append({**other, "lpermno": firm.permno - 5_000})


def _after_link_vintage(made: Sequence[FirmRows], quarters: Sequence[Quarter]) -> None:
    """A new listing that called after the link table was last made; its earlier calls fail too."""
    made[0].links.clear()
    made[0].expect(kept=False, reason="no_link")
    last = max(quarters)
    for row, quarter, expected in zip(made[0].details, quarters, made[0].expected, strict=True):
        if quarter == last:
            move_call(row, datetime.combine(last.end - timedelta(days=3), time(14)))
            expected["reason"] = "link_not_yet_published"


def _no_gvkey(made: Sequence[FirmRows], _: Sequence[Quarter]) -> None:
    made[0].gvkeys.clear()
    made[0].expect(kept=False, reason="no_gvkey")


def _gvkey_ended(made: Sequence[FirmRows], quarters: Sequence[Quarter]) -> None:
    made[0].gvkeys[0]["enddate"] = min(quarters).start - timedelta(days=1)
    made[0].expect(kept=False, reason="gvkey_dates")


def _no_link(made: Sequence[FirmRows], _: Sequence[Quarter]) -> None:
    made[0].links[0].update(linktype="NU", lpermno=None, lpermco=None, usedflag=-1)
    made[0].expect(kept=False, reason="no_link")


def _link_ended(made: Sequence[FirmRows], quarters: Sequence[Quarter]) -> None:
    made[0].links[0]["linkenddt"] = min(quarters).start - timedelta(days=1)
    made[0].expect(kept=False, reason="link_dates")


def _link_type(made: Sequence[FirmRows], _: Sequence[Quarter]) -> None:
    made[0].links[0]["linktype"] = "LS"
    made[0].expect(kept=False, reason="link_type")


def _secondary_link(made: Sequence[FirmRows], _: Sequence[Quarter]) -> None:
    made[0].links[0]["linkprim"] = "J"
    made[0].expect(kept=False, reason="link_type")


def _link_on_call_date(made: Sequence[FirmRows], _: Sequence[Quarter]) -> None:
    """Both ends of a link are inclusive."""
    days = [row["mostimportantdateutc"] for row in made[0].details]
    made[0].links[0].update(linkdt=min(days), linkenddt=max(days))


def _preliminary_only(made: Sequence[FirmRows], _: Sequence[Quarter]) -> None:
    for row in made[0].details:
        row.update(_PRELIMINARY)
    made[0].expect(kept=False, reason="preliminary_only")


def _versions(made: Sequence[FirmRows], _: Sequence[Quarter]) -> None:
    """Two earlier versions, one cut short, and a later preliminary one: the last Final counts."""
    for row in list(made[0].details):
        copy_transcript(made[0], row, 1, timedelta(hours=-30), _PRELIMINARY)
        copy_transcript(made[0], row, 2, timedelta(hours=-20), _EDITED, share=0.7)
        copy_transcript(made[0], row, 3, timedelta(days=40), _PRELIMINARY)


def _two_calls(made: Sequence[FirmRows], _: Sequence[Quarter]) -> None:
    """An earlier call of the quarter, which the later one stands for."""
    for row, expected in list(zip(made[0].details, made[0].expected, strict=True)):
        copy_transcript(made[0], row, 1, timedelta(), {"keydevid": row["keydevid"] + 1})
        earlier = made[0].details[-1]
        move_call(earlier, call_time(row) - timedelta(days=2))
        made[0].expected.append(
            {
                **expected,
                "transcript_id": str(earlier["transcriptid"]),
                "kept": False,
                "reason": "other_call",
                "permno": None,
            }
        )


def _operator_only(made: Sequence[FirmRows], _: Sequence[Quarter]) -> None:
    for row in made[0].details:
        made[0].keep_turns(row["transcriptid"], _OPERATOR_TYPES)
    made[0].expect(skipped="operator_only")


def _no_components(made: Sequence[FirmRows], _: Sequence[Quarter]) -> None:
    for row in made[0].details:
        made[0].keep_turns(row["transcriptid"], ())
    made[0].expect(skipped="no_components")


def _empty_text(made: Sequence[FirmRows], _: Sequence[Quarter]) -> None:
    for i, row in enumerate(made[0].tables[COMPONENT]):
        row["componenttext"] = (None, "", " \n", "\u00a0")[i % 4]
    made[0].truth.clear()
    made[0].expect(skipped="no_text")


def _other_event(made: Sequence[FirmRows], _: Sequence[Quarter]) -> None:
    """A conference presentation is no earnings call, so it is not even considered."""
    for row in made[0].details:
        row.update(keydeveventtypeid=51, keydeveventtypename="Company Conference Presentations")
    made[0].expected.clear()


def _null_row(made: Sequence[FirmRows], _: Sequence[Quarter]) -> None:
    """WRDS holds detail rows of which little more than the transcript is known."""
    known = ("keydevid", "transcriptid")
    for row in list(made[0].details):
        blank = {k: v for k, v in row.items() if k in known or k.startswith("transcript")}
        blank.update(keydevid=row["keydevid"] + 1, transcriptid=row["transcriptid"] + 1)
        made[0].details.append(blank)


def _joint_call(made: Sequence[FirmRows], _: Sequence[Quarter]) -> None:
    """One transcript with three detail rows: two headlines, and a second company."""
    first, second = made
    second.tables[COMPONENT].clear()
    second.tables[PERSON].clear()
    second.gvkeys.clear()
    second.truth.clear()
    for row in list(first.details):
        first.details.append({**row, "headline": f"Joint call: {row['headline']}"})
    shared = ("keydevid", "transcriptid", "mostimportantdateutc", "mostimportanttimeutc")
    for row, other in zip(second.details, first.details, strict=False):
        row.update({name: other[name] for name in shared})
    for row, other in zip(second.expected, first.expected, strict=True):
        row["transcript_id"] = other["transcript_id"]
    second.expect(kept=False, reason="no_gvkey")


def _falling_ids(made: Sequence[FirmRows], _: Sequence[Quarter]) -> None:
    """Component ids that fall while componentorder rises."""
    for row in made[0].details:
        for table in (COMPONENT, PERSON):
            turns = made[0].transcript(table, row["transcriptid"])
            ids = [turn["transcriptcomponentid"] for turn in turns]
            for turn, number in zip(turns, reversed(ids), strict=True):
                turn["transcriptcomponentid"] = number


TRAPS: Mapping[str, Trap] = MappingProxyType(
    {
        "midnight": Trap(_midnight, "00:00:00 means that the time is missing; kept"),
        "last_day": Trap(_last_day, "a call on the quarter's last evening belongs to it"),
        "shared_permno": Trap(_shared_permno, "two companies, one PERMNO: both kept", 2),
        "primaryflag": Trap(_primaryflag, "of two linked gvkeys the primary one counts"),
        "after_link_vintage": Trap(_after_link_vintage, "called after the newest link"),
        "no_gvkey": Trap(_no_gvkey, "not in wrds_gvkey"),
        "gvkey_ended": Trap(_gvkey_ended, "the gvkey ended before the call"),
        "no_link": Trap(_no_link, "only a link without PERMNO"),
        "link_ended": Trap(_link_ended, "the link ended before the call"),
        "link_type": Trap(_link_type, "only a link of type LS"),
        "secondary_link": Trap(_secondary_link, "only a link with linkprim J"),
        "link_on_call_date": Trap(_link_on_call_date, "a link from and to the call date; kept"),
        "preliminary_only": Trap(_preliminary_only, "no Final version"),
        "versions": Trap(_versions, "four versions: the latest Final one counts"),
        "two_calls": Trap(_two_calls, "the later of two calls counts"),
        "operator_only": Trap(_operator_only, "kept, then skipped: only the operator speaks"),
        "no_components": Trap(_no_components, "kept, then skipped: nothing in the transcript"),
        "empty_text": Trap(_empty_text, "kept, then skipped: NULL and white space"),
        "other_event": Trap(_other_event, "a conference presentation: not considered"),
        "null_row": Trap(_null_row, "a detail row without a company; the firm's call is kept"),
        "joint_call": Trap(_joint_call, "three detail rows for one transcript", 2),
        "falling_ids": Trap(_falling_ids, "componentorder orders the turns, not their ids; kept"),
    }
)
"""Name → trap, in the order in which their firms are made."""


def call_time(row: Row) -> datetime:
    """When the call of a detail row starts, naive UTC."""
    return datetime.combine(row["mostimportantdateutc"], row["mostimportanttimeutc"])


def move_call(row: Row, called: datetime) -> None:
    """Hold the call at another time; its transcript is made as long after it as before."""
    shift = called - call_time(row)
    row.update(mostimportantdateutc=called.date(), mostimportanttimeutc=called.time())
    _set_created(row, _created(row) + shift)


def copy_transcript(
    rows: FirmRows, row: Row, number: int, later: timedelta, changes: Row, share: float = 1.0
) -> None:
    """Add a further transcript of a detail row's firm and quarter: the first turns of its text.

    Args:
        rows: of the firm.
        row: whose transcript is copied.
        number: 1 to 3, added to the transcript id.
        later: how much later it was made.
        changes: to the detail row.
        share: of the turns.
    """
    old, new = row["transcriptid"], row["transcriptid"] + number
    detail = {**row, "transcriptid": new, **changes}
    _set_created(detail, _created(row) + later)
    rows.tables[DETAIL].append(detail)
    for table in (COMPONENT, PERSON):
        found = rows.transcript(table, old)
        for turn in found[: max(1, round(share * len(found)))]:
            component = turn["transcriptcomponentid"] + 200 * number
            copied = {**turn, "transcriptid": new, "transcriptcomponentid": component}
            rows.tables[table].append(copied)


def _created(row: Row) -> datetime:
    return datetime.combine(row["transcriptcreationdate_utc"], row["transcriptcreationtime_utc"])


def _set_created(row: Row, created: datetime) -> None:
    row.update(transcriptcreationdate_utc=created.date(), transcriptcreationtime_utc=created.time())


def _second_gvkey(rows: FirmRows) -> str:
    return f"{500_000 + rows.firm.index:06d}"
