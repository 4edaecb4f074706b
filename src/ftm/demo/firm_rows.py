"""The rows one synthetic firm adds to the WRDS tables, before they become Arrow tables."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from random import Random
from typing import Any

import pyarrow as pa

from ftm.core.quarter import Quarter
from ftm.demo.firms import Firm
from ftm.demo.script import Turn
from ftm.demo.wrds_tables import COMPONENT, DETAIL, GVKEY, LINK, PERSON

Row = dict[str, Any]

_S, _I64, _I32, _I16 = pa.string(), pa.int64(), pa.int32(), pa.int16()
_D, _T = pa.date32(), pa.time64("us")

SCHEMAS: dict[str, pa.Schema] = {
    DETAIL: pa.schema(
        {
            "companyid": _I64,
            "keydevid": _I64,
            "transcriptid": _I64,
            "headline": _S,
            "mostimportantdateutc": _D,
            "mostimportanttimeutc": _T,
            "keydeveventtypeid": _I64,
            "keydeveventtypename": _S,
            "companyname": _S,
            "transcriptcollectiontypeid": _I32,
            "transcriptcollectiontypename": _S,
            "transcriptpresentationtypeid": _I32,
            "transcriptpresentationtypename": _S,
            "transcriptcreationdate_utc": _D,
            "transcriptcreationtime_utc": _T,
            "audiolengthsec": pa.float64(),
        }
    ),
    COMPONENT: pa.schema(
        {
            "transcriptcomponentid": _I32,
            "transcriptid": _I32,
            "componentorder": _I16,
            "transcriptcomponenttypeid": _I16,
            "transcriptpersonid": _I32,
            "componenttext": _S,
        }
    ),
    PERSON: pa.schema(
        {
            "transcriptid": _I64,
            "transcriptcomponentid": _I64,
            "componentorder": _I32,
            "transcriptcomponenttypeid": _I32,
            "transcriptcomponenttypename": _S,
            "transcriptpersonid": _I64,
            "transcriptpersonname": _S,
            "proid": _I64,
            "companyofperson": _S,
            "speakertypeid": _I32,
            "speakertypename": _S,
            "componenttextpreview": _S,
            "word_count": _I32,
        }
    ),
    GVKEY: pa.schema(
        {"companyid": _I64, "gvkey": _S, "startdate": _D, "enddate": _D, "companyname": _S}
    ),
    LINK: pa.schema(
        {
            "gvkey": _S,
            "linkprim": _S,
            "liid": _S,
            "linktype": _S,
            "lpermno": _I64,
            "lpermco": _I64,
            "usedflag": _I32,
            "linkdt": _D,
            "linkenddt": _D,
        }
    ),
}
"""Arrow schema per table: WRDS's names in WRDS's order, ids as integers."""

TRUTH = pa.schema(
    {
        "firm_id": _S,
        "quarter": _S,
        "transcript_id": _S,
        "component_order": _I32,
        "ordinal": _I32,
        "text": _S,
        "topic": _S,
        "kind": _S,
    }
)
"""One row per sentence said: `ordinal` counts from 0 within the component; topic is null where
none was planted."""

EXPECTED = pa.schema(
    {
        "firm_id": _S,
        "quarter": _S,
        "transcript_id": _S,
        "trap": _S,
        "kept": pa.bool_(),
        "reason": _S,
        "skipped": _S,
        "permno": _I64,
    }
)
"""One row per call: whether the plan keeps it, else the reason (core.schemas.PLAN_REASONS), the
SKIP_REASONS entry if no sentence of a kept call survives, and the PERMNO of a kept call. `trap` is
the name of the trap, null for ordinary firms; transcript_id is null if no version is Final."""

COMPONENT_TYPES = {
    1: "Presentation Operator Message",
    2: "Presenter Speech",
    3: "Question",
    4: "Answer",
    7: "Question and Answer Operator Message",
}
SPEAKER_TYPES = {1: (1, "Operator"), 7: (1, "Operator"), 3: (3, "Analysts")}
_EXECUTIVE = (2, "Executives")
COLLECTIONS = {1: "Proofed Copy", 2: "Edited Copy", 7: "Spellchecked Copy", 8: "Audited Copy"}
PRESENTATIONS = {4: "Preliminary", 5: "Final"}

_COMPONENTS_PER_TRANSCRIPT = 200
_PRO_IDS = 400_000_000
_PREVIEW_CHARACTERS = 200


@dataclass(slots=True)
class FirmRows:
    """A firm's rows in every table, its truth and what the plan should make of its calls."""

    firm: Firm
    tables: dict[str, list[Row]] = field(default_factory=lambda: {name: [] for name in SCHEMAS})
    truth: list[Row] = field(default_factory=list)
    expected: list[Row] = field(default_factory=list)

    @property
    def links(self) -> list[Row]:
        """Rows of the CCM link table."""
        return self.tables[LINK]

    @property
    def gvkeys(self) -> list[Row]:
        """Rows of wrds_gvkey."""
        return self.tables[GVKEY]

    @property
    def details(self) -> list[Row]:
        """Rows of wrds_transcript_detail."""
        return self.tables[DETAIL]

    def expect(self, **values: Any) -> None:
        """Say what becomes of every call of this firm."""
        for row in self.expected:
            row.update(values)
            if not row["kept"]:
                row["permno"] = None

    def keep_turns(self, transcriptid: int, types: Iterable[int]) -> None:
        """Keep only a transcript's components of these types, in their order."""
        wanted = set(types)

        def keeps(row: Row) -> bool:
            own = row["transcriptid"] == transcriptid
            return not own or row["transcriptcomponenttypeid"] in wanted

        for name in (COMPONENT, PERSON):
            self.tables[name] = [row for row in self.tables[name] if keeps(row)]
        orders = {r["componentorder"] for r in self.transcript(COMPONENT, transcriptid)}
        self.truth = [
            row
            for row in self.truth
            if row["transcript_id"] != str(transcriptid) or row["component_order"] in orders
        ]

    def transcript(self, table: str, transcriptid: int) -> list[Row]:
        """Rows of one transcript in a table."""
        return [row for row in self.tables[table] if row["transcriptid"] == transcriptid]


@dataclass(frozen=True, slots=True)
class Version:
    """One transcript of a call; `created` is naive UTC, ids are WRDS's."""

    number: int
    collection: int
    presentation: int
    created: datetime


def detail_row(
    firm: Firm, quarter: Quarter, called: datetime, version: Version, *, call: int = 0
) -> Row:
    """The wrds_transcript_detail row of a version; `called` is naive UTC."""
    day = called.date()
    return {
        "companyid": firm.companyid,
        "keydevid": firm.keydevid(quarter, call),
        "transcriptid": firm.transcriptid(quarter, version.number),
        "headline": f"{firm.name}, {fiscal_quarter(quarter)} Earnings Call, {day:%b %d, %Y}",
        "mostimportantdateutc": day,
        "mostimportanttimeutc": called.time(),
        "keydeveventtypeid": 48,
        "keydeveventtypename": "Earnings Calls",
        "companyname": firm.name,
        "transcriptcollectiontypeid": version.collection,
        "transcriptcollectiontypename": COLLECTIONS[version.collection],
        "transcriptpresentationtypeid": version.presentation,
        "transcriptpresentationtypename": PRESENTATIONS[version.presentation],
        "transcriptcreationdate_utc": version.created.date(),
        "transcriptcreationtime_utc": version.created.time(),
        "audiolengthsec": None,
    }


def fiscal_quarter(quarter: Quarter) -> str:
    """The quarter a call reports on, the one before it is held, like `Q4 2022`."""
    if quarter.number == 1:
        return f"Q4 {quarter.year - 1}"
    return f"Q{quarter.number - 1} {quarter.year}"


def add_turns(rows: FirmRows, transcriptid: int, turns: Iterable[Turn]) -> None:
    """Add a transcript's components and their speakers."""
    for order, turn in enumerate(turns):
        component = transcriptid * _COMPONENTS_PER_TRANSCRIPT + order
        text, person = turn.text, turn.person
        ids = {
            "transcriptcomponentid": component,
            "transcriptid": transcriptid,
            "componentorder": order,
            "transcriptcomponenttypeid": turn.component_type,
            "transcriptpersonid": person.person_id,
        }
        rows.tables[COMPONENT].append({**ids, "componenttext": text})
        speaker_id, speaker = SPEAKER_TYPES.get(turn.component_type, _EXECUTIVE)
        rows.tables[PERSON].append(
            {
                **ids,
                "transcriptcomponenttypename": COMPONENT_TYPES[turn.component_type],
                "transcriptpersonname": person.name,
                "proid": None if person.person_id == 1 else _PRO_IDS + person.person_id,
                "companyofperson": None,
                "speakertypeid": speaker_id,
                "speakertypename": speaker,
                "componenttextpreview": text[:_PREVIEW_CHARACTERS],
                "word_count": len(text.split()),
            }
        )


def add_truth(rows: FirmRows, quarter: Quarter, transcriptid: int, turns: Iterable[Turn]) -> None:
    """Put aside what was planted in a transcript."""
    head = {
        "firm_id": rows.firm.firm_id,
        "quarter": str(quarter),
        "transcript_id": str(transcriptid),
    }
    for order, turn in enumerate(turns):
        for ordinal, line in enumerate(turn.lines):
            rows.truth.append(
                {
                    **head,
                    "component_order": order,
                    "ordinal": ordinal,
                    "text": line.text,
                    "topic": line.topic,
                    "kind": line.kind,
                }
            )


def gvkey_row(firm: Firm, **changes: Any) -> Row:
    """An open row of wrds_gvkey; not every account sees `primaryflag`."""
    row = {
        "companyid": firm.companyid,
        "gvkey": firm.gvkey,
        "startdate": None,
        "enddate": None,
        "companyname": firm.name,
        "primaryflag": 1,
    }
    return {**row, **changes}


def link_row(firm: Firm, linkdt: date, **changes: Any) -> Row:
    """An open primary link."""
    row = {
        "gvkey": firm.gvkey,
        "linkprim": "P",
        "liid": "01",
        "linktype": "LU",
        "lpermno": firm.permno,
        "lpermco": firm.permco,
        "usedflag": 1,
        "linkdt": linkdt,
        "linkenddt": None,
    }
    return {**row, **changes}


def draw_call_time(quarter: Quarter, rng: Random) -> datetime:
    """A weekday well inside the quarter, at an hour at which calls are held (UTC)."""
    span = (quarter.end - quarter.start).days - 30
    day = quarter.start + timedelta(days=rng.randint(12, 12 + span))
    day -= timedelta(days=max(0, day.weekday() - 4))
    clock = rng.choice((time(12, 30), time(13), time(14), time(15), time(16), time(21), time(22)))
    return datetime.combine(day, clock)
