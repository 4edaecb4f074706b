"""Earnings calls from WRDS: one login, one discovery, then the speaker turns of the plan."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from itertools import groupby
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from ftm.connectors import wrds_queries as queries
from ftm.connectors.base import DataConnector, Day, list_ids, read_day, unknown_firms
from ftm.connectors.discovery import Discovery, PlanOptions, SourceRecord, firm_calls
from ftm.connectors.wrds_credentials import Notify
from ftm.connectors.wrds_login import LoginTimes
from ftm.connectors.wrds_session import WRDSSession
from ftm.core.errors import ConfigError, PreprocessingError, WRDSPermissionError, WRDSQueryError
from ftm.core.progress import OnlyMessages
from ftm.core.quarter import Quarter
from ftm.core.records import (
    FirmCall,
    FirmTranscriptData,
    FirmTurns,
    SpeakerTurn,
    TranscriptData,
)
from ftm.core.schemas import CALLS
from ftm.core.settings import Settings

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine

    from ftm.text.base import TextPipeline

DERIVED = ("fiscal_year", "fiscal_quarter", "call_date_et", "day0")
"""Columns of the plan that discovery leaves to `ftm.prefetch.plan`."""

DISCOVERY_SCHEMA = pa.schema([f for f in CALLS if f.name not in DERIVED])

FIRMS_PER_QUERY = 100
"""Firms whose turns `iter_firms` asks for at a time."""

# Capital IQ's component types: id → name and the section it belongs to.
_COMPONENT_TYPES = {
    1: ("Presentation Operator Message", "presentation"),
    2: ("Presenter Speech", "presentation"),
    3: ("Question", "qa"),
    4: ("Answer", "qa"),
    7: ("Question and Answer Operator Message", "qa"),
    8: ("Unknown Question and Answer Message", "qa"),
}
_OPERATOR_TYPES = {1, 7}
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class ResolvedTables:
    """Where this account has each table: need → qualified name."""

    names: Mapping[str, str]
    primaryflag: bool


class WRDSConnector(DataConnector):
    """Reads WRDS; a context manager. Logs in once, at the first question asked.

    Args:
        connection: an open `wrds.Connection`; None: ftm logs in itself, once, with the
            credentials of the settings (see `find_credentials`).
        settings: None: from environment and `ftm.toml`.
        quarter: the quarter of `iter_firms` and `get_available_firm_ids`; None: QUARTER.
        options: which call represents a firm, for the methods that take dates.
        pipeline: text pipeline of `fetch_transcripts` and `iter_firms`; None: that of FTM_NLP.
        notify: told, line by line, what a person should know while waiting (Duo); None: stderr.
        clock: the time of extraction.
        times: deadlines of the login.
    """

    def __init__(
        self,
        connection: Any = None,
        *,
        settings: Settings | None = None,
        quarter: str | Quarter | None = None,
        options: PlanOptions | None = None,
        pipeline: TextPipeline | None = None,
        notify: Notify | None = None,
        clock: Callable[[], datetime] | None = None,
        times: LoginTimes | None = None,
    ) -> None:
        self._settings = settings or Settings.load()
        named = quarter or self._settings.quarter
        self._quarter = Quarter.parse(named) if named else None
        self._options = options or PlanOptions()
        self._pipeline = pipeline
        self._clock = clock or (lambda: datetime.now(UTC))
        self._session = WRDSSession(
            self._settings,
            attach=_wrds_connection,
            given=connection,
            notify=notify or OnlyMessages().message,
            times=times,
        )
        self._tables: ResolvedTables | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._quarter or 'of no quarter'} {self._session.state}>"

    def log_in(self) -> None:
        """Log in now: where a person may be asked, it is not for a thread, nor below a bar.

        Raises:
            WRDSConnectionError: no credentials, no server, or it refused.
        """
        self._session.log_in()

    def discover(self, quarter: Quarter, options: PlanOptions) -> Discovery:
        """Every earnings call of the quarter and the one that represents each firm.

        Raises:
            WRDSConnectionError: no login, or the connection was lost.
            WRDSPermissionError: this account may not read a table.
            WRDSQueryError: an event type's id and name disagree.
        """
        return self._discover(quarter.start, quarter.end, options)

    def iter_turns(self, calls: Sequence[FirmCall]) -> Iterator[FirmTurns]:
        """The speaker turns of these transcripts, in the order of `calls`; one query.

        Rows are streamed: one firm is held at a time. A transcript without components comes
        with no turns; no calls ask nothing.

        Raises:
            WRDSConnectionError: the connection was lost; the firms before are complete.
        """
        if not calls:
            return
        rows = self._session.rows(
            queries.TURNS.format(**self._resolved().names),
            {"transcripts": [int(call.transcript_id) for call in calls]},
        )
        for n, group in groupby(rows, key=lambda row: row[0]):
            turns = tuple(_turn(row[1:]) for row in group if row[1:] != _NO)
            yield FirmTurns(calls[n - 1], _numbered(turns))

    def get_firm_ids_in_range(self, start: Day, end: Day) -> list[str]:
        """Ids of the firms with a usable, linked call from start to end, both included, sorted.

        Raises:
            ConfigError: a text that is no ISO date, or the end before the start.
        """
        return [call.firm_id for call in self._kept(*self._range(start, end))]

    def get_available_firm_ids(self) -> list[str]:
        """Ids of the firms the plan of this connector's quarter keeps, sorted.

        A firm whose call turns out to hold no sentence is among them: only reading it tells.
        """
        return [call.firm_id for call in self._kept(*self._range(None, None))]

    def fetch_transcripts(
        self,
        firm_ids: Iterable[str] | None,
        start_date: Day | None = None,
        end_date: Day | None = None,
    ) -> TranscriptData:
        """See DataConnector; without dates, the connector's quarter."""
        ids = list_ids(firm_ids)
        if ids is not None and not ids:
            return TranscriptData({})
        start, end = self._range(start_date, end_date)
        return TranscriptData({f.firm_id: f for f in self._firms(ids, start, end)})

    def iter_firms(self, firm_ids: Iterable[str] | None = None) -> Iterator[FirmTranscriptData]:
        """See DataConnector; the firms of the connector's quarter, sorted by id."""
        ids = list_ids(firm_ids)
        if ids is None or ids:
            yield from self._firms(ids, *self._range(None, None))

    def look_for_tables(self) -> dict[str, str | WRDSPermissionError]:
        """Every table ftm needs: where this account reads it, or why it cannot.

        Raises:
            WRDSConnectionError: no login, or the connection was lost.
        """
        found: dict[str, str | WRDSPermissionError] = {}
        for key, need in queries.NEEDS.items():
            try:
                found[key] = self._resolve(key, need)
            except WRDSPermissionError as error:
                found[key] = error
        return found

    def close(self) -> None:
        """End the session; a connection that was given stays open."""
        self._session.close()

    def _discover(self, start: date, end: date, options: PlanOptions) -> Discovery:
        tables = self._resolved()
        # People write an open end as 9999-12-31, after which there is no day.
        days = {"start": start, "after": min(end, date.max - _DAY) + _DAY}
        type_id, type_name = queries.EARNINGS_CALLS
        event = {**days, "type_id": type_id, "type_name": type_name}
        self._check_event_types(tables, event)
        statement = queries.discovery_sql(
            tables.names, primaryflag=tables.primaryflag, latest=options.calls == "latest"
        )
        asked = {**event, "as_of": options.as_of, "linktypes": list(options.linktypes)}
        rows = list(self._session.rows(statement, asked))
        return Discovery(_calls_table(rows), self._source(tables, statement))

    def _check_event_types(self, tables: ResolvedTables, event: Mapping[str, Any]) -> None:
        statement = queries.EVENT_TYPES.format(**tables.names)
        found = list(self._session.rows(statement, event))
        if found:
            shown = ", ".join(f"{number} is named {name!r}" for number, name in found[:3])
            type_id, type_name = queries.EARNINGS_CALLS
            raise WRDSQueryError(
                f"{tables.names['detail']}: event type {shown}, but {type_id} should be"
                f" {type_name!r} and nothing else; Capital IQ changed its codes, so no call can be"
                " told from another event. Please report this"
            )

    def _source(self, tables: ResolvedTables, statement: str) -> SourceRecord:
        (vintage,) = next(self._session.rows(queries.VINTAGE.format(**tables.names)))
        host, database = self._session.where
        turns = queries.TURNS.format(**tables.names)
        return SourceRecord(
            host=host,
            database=database,
            tables=dict(tables.names),
            query_sha256=queries.query_sha256(statement, turns),
            link_vintage=vintage,
            extracted_at=self._clock(),
        )

    def _resolved(self) -> ResolvedTables:
        """Where this account has the tables; looked up once."""
        if self._tables is None:
            names = {key: self._resolve(key, need) for key, need in queries.NEEDS.items()}
            optional = queries.NEEDS["gvkey"].optional
            probe = f"SELECT {optional} FROM {names['gvkey']} LIMIT 0"
            self._tables = ResolvedTables(names, self._session.readable(probe) is None)
        return self._tables

    def _resolve(self, key: str, need: queries.TableNeed) -> str:
        """The first candidate a real query can read.

        Raises:
            WRDSPermissionError: none can be read.
        """
        denied = []
        for name in need.candidates:
            why = self._session.readable(f"SELECT {', '.join(need.columns)} FROM {name} LIMIT 0")
            if why is None:
                return name
            denied.append(f"{name} ({why})")
        raise WRDSPermissionError(
            f"this WRDS account cannot read the {key} table"
            f" {need.candidates[0].partition('.')[2]!r}; tried {', '.join(denied)}. Ask your WRDS"
            " representative for Capital IQ Transcripts and the CRSP/Compustat link"
        )

    def _kept(self, start: date, end: date) -> list[FirmCall]:
        return firm_calls(self._discover(start, end, self._options).calls)

    def _range(self, start: Day | None, end: Day | None) -> tuple[date, date]:
        """First and last day; what is not given is the connector's quarter's."""
        if start is None or end is None:
            if self._quarter is None:
                raise ConfigError(
                    "which calls? Pass start_date and end_date, or WRDSConnector(quarter='2023Q1')"
                )
            start = self._quarter.start if start is None else start
            end = self._quarter.end if end is None else end
        first, last = read_day(start), read_day(end)
        if last < first:
            raise ConfigError(f"the dates run backwards: from {first} to {last}")
        return first, last

    def _firms(
        self, firm_ids: Sequence[str] | None, start: date, end: date
    ) -> Iterator[FirmTranscriptData]:
        calls = self._kept(start, end)
        if firm_ids is not None:
            known = {call.firm_id for call in calls}
            if unknown := [firm for firm in firm_ids if firm not in known]:
                span = f"the linked earnings calls of {start} to {end} on WRDS"
                raise unknown_firms(unknown, source=span, known=sorted(known))
            calls = [call for call in calls if call.firm_id in set(firm_ids)]
        pipeline = self._text_pipeline()
        for first in range(0, len(calls), FIRMS_PER_QUERY):
            for firm in self.iter_turns(calls[first : first + FIRMS_PER_QUERY]):
                if (data := _firm_data(firm, pipeline)) is not None:
                    yield data

    def _text_pipeline(self) -> TextPipeline:
        if self._pipeline is None:
            from ftm.text.pipelines import load_pipeline

            self._pipeline = load_pipeline(self._settings.nlp)
        return self._pipeline


def _wrds_connection(settings: Settings) -> Callable[[Engine], Any]:
    """A real `wrds.Connection`, to be put on our engine.

    Its own `connect()` would log in again, fall back to another host, then prompt.
    """
    import wrds

    connection = wrds.Connection(
        autoconnect=False, wrds_hostname=settings.wrds_host, wrds_port=settings.wrds_port
    )

    def attach(engine: Engine) -> Any:
        connection.engine = engine
        connection.connection = engine.connect()
        return connection

    return attach


def _calls_table(rows: list[tuple[Any, ...]]) -> pa.Table:
    """Rows of the discovery query, which come in the schema's order but for `kept`."""
    names = [name for name in DISCOVERY_SCHEMA.names if name != "kept"]
    columns = dict(zip(names, zip(*rows, strict=True), strict=True)) if rows else {}
    columns["kept"] = tuple(reason is None for reason in columns.get("reason", ()))
    columns["call_ts_utc"] = _utc(columns.get("call_ts_utc", ()))
    columns["created_ts_utc"] = _utc(columns.get("created_ts_utc", ()))
    return pa.table(
        {f.name: pa.array(columns.get(f.name, ()), f.type) for f in DISCOVERY_SCHEMA},
        schema=DISCOVERY_SCHEMA,
    )


def _utc(moments: Sequence[datetime | None]) -> tuple[datetime | None, ...]:
    """WRDS keeps UTC without saying so."""
    return tuple(moment.replace(tzinfo=UTC) if moment else None for moment in moments)


_NO = (None,) * 7
"""The row of a transcript without components."""


def _turn(row: tuple[Any, ...]) -> SpeakerTurn:
    """One row of the turns query; a component the person view lacks is told by its type."""
    order, type_id, type_name, person_id, name, speaker_type, text = row
    known_name, section = _COMPONENT_TYPES.get(type_id, ("Unknown", "unknown"))
    return SpeakerTurn(
        component_order=order if order is not None else 0,
        component_type=type_name or known_name,
        section=section,
        person_id=person_id or "",
        speaker_name=name or "",
        speaker_type=speaker_type or ("Operator" if type_id in _OPERATOR_TYPES else "Unknown"),
        raw_text=text or "",
    )


def _numbered(turns: tuple[SpeakerTurn, ...]) -> tuple[SpeakerTurn, ...]:
    """The turns with strictly rising orders: one that does not rise becomes the next number.

    WRDS's own numbers rise already, so nothing changes. Should two components of a transcript
    share one, or have none, they would be one turn downstream.
    """
    found: list[SpeakerTurn] = []
    for turn in turns:
        least = found[-1].component_order + 1 if found else turn.component_order
        found.append(replace(turn, component_order=max(turn.component_order, least)))
    return tuple(found)


def _firm_data(firm: FirmTurns, pipeline: TextPipeline) -> FirmTranscriptData | None:
    """A firm's sentences; None when nothing is left of its call, as the store leaves it out."""
    text = pipeline.process(firm)
    if text.error is not None:
        raise PreprocessingError(f"firm {firm.call.firm_id}: {text.error}")
    if text.skip_reason is not None:
        return None
    call = firm.call
    metadata = {
        "permno": call.permno,
        "gvkey": call.gvkey,
        "transcript_id": call.transcript_id,
        "earnings_call_date": call.earnings_call_date,
        "quarter": str(Quarter.containing(call.earnings_call_date)),
        "link_date": call.link_date,
        "n_components": len(firm.turns),
    }
    return FirmTranscriptData(call.firm_id, call.firm_name, list(text.sentences), metadata)
