"""A PrefetchSource and a text step in memory: many small firms, fast, counted, breakable."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any, TypeVar

from ftm.connectors.discovery import Discovery, PlanOptions, SourceRecord
from ftm.core.errors import PreprocessingError
from ftm.core.quarter import Quarter
from ftm.core.records import FirmCall, FirmTurns, SpeakerTurn, TranscriptSentence
from ftm.core.schemas import CALLS
from ftm.storage.parquet import from_rows
from ftm.text.base import FirmText

T = TypeVar("T")
EXTRACTED_AT = datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC)
DERIVED = ("fiscal_year", "fiscal_quarter", "call_date_et", "day0")


def firm_name(firm_id: str) -> str:
    return f"Firm {firm_id}"


@dataclass
class FakeSource:
    """Firms with one call each.

    `turns` per firm default to three; `dropped` are firms with a call but no PERMNO. `stop_after`
    raises `stop_error` after so many firms were delivered.
    """

    firm_ids: Sequence[str]
    version: str = "v1"
    dropped: Mapping[str, str] = field(default_factory=dict)
    texts: Mapping[str, Sequence[str]] = field(default_factory=dict)
    stop_after: int | None = None
    stop_error: BaseException | None = None
    n_discoveries: int = 0
    queries: list[list[str]] = field(default_factory=list)
    n_closed: int = 0
    n_delivered: int = 0

    def discover(self, quarter: Quarter, options: PlanOptions) -> Discovery:  # noqa: ARG002
        self.n_discoveries += 1
        rows = [self._row(firm, quarter) for firm in sorted({*self.firm_ids, *self.dropped})]
        calls = from_rows(rows, CALLS_AS_DISCOVERED)
        tables = {"detail": "ciq.wrds_transcript_detail"}
        source = SourceRecord("host", "wrds", tables, "abc", date(2023, 12, 31), EXTRACTED_AT)
        return Discovery(calls, source)

    def _row(self, firm: str, quarter: Quarter) -> dict[str, Any]:
        number = abs(hash_of(firm)) % 100_000
        reason = self.dropped.get(firm)
        return {
            "firm_id": firm,
            "firm_name": firm_name(firm),
            "keydevid": number,
            "transcript_id": f"{number}{self.version}",
            "headline": f"{firm_name(firm)}, Q4 2022 Earnings Call",
            "call_ts_utc": datetime(quarter.start.year, quarter.start.month, 15, 14, tzinfo=UTC),
            "time_missing": False,
            "earnings_call_date": date(quarter.start.year, quarter.start.month, 15),
            "collection_type": "Edited Transcript",
            "presentation_type": "Final",
            "created_ts_utc": datetime(2023, 2, 1, tzinfo=UTC),
            "n_versions": 1,
            "n_calls_in_quarter": 1,
            "gvkey": f"{number:06d}",
            "permno": None if reason else 10_000 + number,
            "permco": None if reason else number,
            "liid": "01",
            "linktype": "LU",
            "linkprim": "P",
            "link_date": date(2000, 1, 1),
            "link_end_date": None,
            "kept": reason is None,
            "reason": reason,
        }

    def iter_turns(self, calls: Sequence[FirmCall]) -> Iterator[FirmTurns]:
        self.queries.append([call.firm_id for call in calls])
        for call in calls:
            if self.stop_after is not None and self.n_delivered >= self.stop_after:
                raise self.stop_error or KeyboardInterrupt
            self.n_delivered += 1
            yield FirmTurns(call, self._turns(call))

    def _turns(self, call: FirmCall) -> tuple[SpeakerTurn, ...]:
        default = [f"{call.firm_id} {call.transcript_id} {word}" for word in ("one", "two", "six")]
        texts = self.texts.get(call.firm_id, default)
        return tuple(
            SpeakerTurn(i, "Answer", "qa", f"p{i}", "Ann Lee", "Executives", text)
            for i, text in enumerate(texts)
        )

    def close(self) -> None:
        self.n_closed += 1


CALLS_AS_DISCOVERED = CALLS
for _name in DERIVED:
    CALLS_AS_DISCOVERED = CALLS_AS_DISCOVERED.remove(CALLS_AS_DISCOVERED.get_field_index(_name))


def hash_of(text: str) -> int:
    """A hash that does not change from process to process."""
    return int.from_bytes(text.encode()[-4:], "big") + 7 * len(text)


@dataclass
class FakePreprocessor:
    """One sentence per turn; a turn that says BAD fails its firm, no text skips it."""

    name: str = "fake"
    n_closed: int = 0

    @property
    def fingerprint(self) -> Mapping[str, str]:
        return {"pipeline": self.name, "text_version": "1"}

    def map(
        self, firms: Iterable[FirmTurns], make: Callable[[FirmTurns, FirmText], T]
    ) -> Iterator[T]:
        for firm in firms:
            try:
                text = self.process(firm)
            except PreprocessingError as error:
                text = FirmText(firm.call.firm_id, (), {}, error=str(error))
            yield make(firm, text)

    def process(self, firm: FirmTurns) -> FirmText:
        call = firm.call
        if any(turn.raw_text == "BAD" for turn in firm.turns):
            raise PreprocessingError("cannot read BAD")
        if not firm.turns:
            return FirmText(call.firm_id, (), {}, skip_reason="no_components")
        spoken = [turn for turn in firm.turns if turn.raw_text]
        if not spoken:
            return FirmText(call.firm_id, (), {}, skip_reason="no_text")
        sentences = tuple(
            TranscriptSentence(
                f"{call.firm_id}_{call.transcript_id}_{i:04d}",
                turn.raw_text,
                f"{self.name} {turn.raw_text}".lower(),
                turn.speaker_type,
                i,
            )
            for i, turn in enumerate(spoken)
        )
        spans = {turn.component_order: (i, i) for i, turn in enumerate(spoken)}
        return FirmText(call.firm_id, sentences, spans)

    def close(self) -> None:
        self.n_closed += 1


class Picky(FakePreprocessor):
    """Another pipeline, which fails on some firms."""

    def __init__(self, *bad: str) -> None:
        super().__init__("picky")
        self.bad = set(bad)

    def process(self, firm: FirmTurns) -> FirmText:
        """See FakePreprocessor."""
        if firm.call.firm_id in self.bad:
            raise PreprocessingError("too long")
        return super().process(firm)
