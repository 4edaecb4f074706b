"""One firm's speaker turns and sentences as tables, or the reason why there are none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pyarrow as pa

from ftm.core.errors import SchemaError
from ftm.core.quarter import Quarter
from ftm.core.records import FirmTurns
from ftm.core.schemas import CHUNK, COMPONENTS
from ftm.storage.parquet import fit
from ftm.storage.parquet_layout import FirmFacts
from ftm.text.base import FirmText


@dataclass(frozen=True, slots=True)
class FirmOutcome:
    """What became of one firm: stored, skipped or failed.

    Args:
        firm_id: whose.
        sentences: schema CHUNK; empty unless stored.
        components: schema COMPONENTS; empty when failed.
        facts: for the chunk's metadata.
        skip_reason: one of core.schemas.SKIP_REASONS, or None.
        error: what failed, or None.
    """

    firm_id: str
    sentences: pa.Table
    components: pa.Table
    facts: FirmFacts
    skip_reason: str | None = None
    error: str | None = None

    @property
    def is_stored(self) -> bool:
        """Its sentences go into a chunk."""
        return self.error is None and self.skip_reason is None

    def __reduce__(self) -> tuple[Callable[..., FirmOutcome], tuple[Any, ...]]:
        """Between processes tables go as Arrow's own stream, far faster than pickling them."""
        tables = (_to_stream(self.sentences), _to_stream(self.components))
        others = (self.facts, self.skip_reason, self.error)
        return _from_streams, (self.firm_id, *tables, *others)


def _to_stream(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    return bytes(sink.getvalue())


def _from_streams(firm_id: str, sentences: bytes, components: bytes, *others: Any) -> FirmOutcome:
    tables = [pa.ipc.open_stream(data).read_all() for data in (sentences, components)]
    return FirmOutcome(firm_id, *tables, *others)


def firm_outcome(turns: FirmTurns, text: FirmText, quarter: Quarter) -> FirmOutcome:
    """Turn one firm into rows; whatever is wrong with it is recorded, never raised."""
    if text.error is not None:
        return _failed(turns, text.error)
    try:
        return _rows(turns, text, quarter)
    except Exception as error:  # noqa: BLE001 - the per-firm guard: one bad firm stops no quarter
        return _failed(turns, f"{type(error).__name__}: {error}")


def _rows(turns: FirmTurns, text: FirmText, quarter: Quarter) -> FirmOutcome:
    reason = text.skip_reason
    if reason is None and not text.sentences:
        reason = "no_sentences"
    return FirmOutcome(
        firm_id=turns.call.firm_id,
        sentences=_sentences(turns, text, quarter) if reason is None else CHUNK.empty_table(),
        components=_components(turns, text),
        facts=_facts(turns),
        skip_reason=reason,
    )


def _failed(turns: FirmTurns, error: str) -> FirmOutcome:
    return FirmOutcome(
        firm_id=turns.call.firm_id,
        sentences=CHUNK.empty_table(),
        components=COMPONENTS.empty_table(),
        facts=_facts(turns),
        error=" ".join(error.split()) or "unknown error",
    )


def _facts(turns: FirmTurns) -> FirmFacts:
    return FirmFacts(link_date=turns.call.link_date, n_components=len(turns.turns))


def _sentences(turns: FirmTurns, text: FirmText, quarter: Quarter) -> pa.Table:
    call, n = turns.call, len(text.sentences)
    columns = {
        "firm_id": [call.firm_id] * n,
        "firm_name": [call.firm_name] * n,
        "permno": [call.permno] * n,
        "gvkey": [call.gvkey] * n,
        "transcript_id": [call.transcript_id] * n,
        "earnings_call_date": [call.earnings_call_date] * n,
        "sentence_id": [s.sentence_id for s in text.sentences],
        "raw_text": [s.raw_text for s in text.sentences],
        "cleaned_text": [s.cleaned_text for s in text.sentences],
        "speaker_type": [s.speaker_type for s in text.sentences],
        "position": [s.position for s in text.sentences],
        "quarter": [str(quarter)] * n,
    }
    _check_rising([s.position for s in text.sentences], "position")
    return fit(pa.table(columns, schema=CHUNK), CHUNK)


def _components(turns: FirmTurns, text: FirmText) -> pa.Table:
    call, rows = turns.call, turns.turns
    spans = [text.spans.get(turn.component_order, (None, None)) for turn in rows]
    columns = {
        "firm_id": [call.firm_id] * len(rows),
        "transcript_id": [call.transcript_id] * len(rows),
        "component_order": [turn.component_order for turn in rows],
        "component_type": [turn.component_type for turn in rows],
        "section": [turn.section for turn in rows],
        "person_id": [turn.person_id for turn in rows],
        "speaker_name": [_storable(turn.speaker_name) for turn in rows],
        "speaker_type": [turn.speaker_type for turn in rows],
        "raw_text": [_storable(turn.raw_text) for turn in rows],
        "first_position": [first for first, _ in spans],
        "last_position": [last for _, last in spans],
    }
    _check_rising([turn.component_order for turn in rows], "component_order")
    return fit(pa.table(columns, schema=COMPONENTS), COMPONENTS)


def _storable(text: str | None) -> str | None:
    """As delivered, but for lone surrogates: UTF-8, and so Parquet, holds none."""
    if text is None or text.isascii():
        return text
    return text.encode(errors="surrogatepass").decode(errors="replace")


def _check_rising(numbers: list[int], name: str) -> None:
    for before, after in pairwise(numbers):
        if after <= before:
            raise SchemaError(f"{name} {after} comes after {before}")
