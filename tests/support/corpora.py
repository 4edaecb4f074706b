"""Sentences to cluster: planted topics with their truth, and real calls."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import groupby
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ftm.core.records import FirmCall, FirmTurns, SpeakerTurn
from ftm.demo.synthetic import make_quarters
from ftm.text.kinds import classify_kinds
from ftm.text.pipelines import load_pipeline

QUARTER = "2023Q1"


@dataclass(frozen=True)
class Firm:
    """A firm's content sentences, preprocessed.

    Args:
        name: firm id or name.
        raw: as spoken; what is embedded.
        documents: cleaned; where keywords come from.
        labels: planted topic of each, 0 = none; empty for a real call.
    """

    name: str
    raw: list[str]
    documents: list[str]
    labels: npt.NDArray[np.intp]


def planted_firms(n: int, *, seed: int = 3, n_sentences: int = 400) -> list[Firm]:
    """Synthetic firms with the topic behind every sentence."""
    truth = make_quarters(n, [QUARTER], seed=seed, n_sentences=n_sentences).truth.to_pylist()
    content = (row for row in truth if row["kind"] == "content")
    return [
        _planted(firm_id, list(rows)) for firm_id, rows in groupby(content, lambda r: r["firm_id"])
    ]


def _planted(firm_id: str, rows: Sequence[dict[str, str]]) -> Firm:
    topics = sorted({row["topic"] or "" for row in rows} | {""})
    turns = [_turn(i, row["text"], "Executives") for i, row in enumerate(rows)]
    text = load_pipeline("rules").process(_firm_turns(firm_id, turns))
    labels = np.zeros(len(text.sentences), np.intp)
    for order, (first, last) in text.spans.items():
        labels[first : last + 1] = topics.index(rows[order]["topic"] or "")
    raw = [s.raw_text for s in text.sentences]
    return Firm(firm_id, raw, [s.cleaned_text for s in text.sentences], labels)


def real_firms(folder: Path, n: int) -> list[Firm]:
    """n calls spread over 2023Q1 of a folder of real calls, latest version, content only."""
    return [_real(*call) for call in _real_calls(folder, n)]


def _real_calls(folder: Path, n: int) -> Iterator[tuple[str, list[SpeakerTurn]]]:
    detail = pq.read_table(folder / "ciq.wrds_transcript_detail.parquet")
    dates = detail["mostimportantdateutc"].cast("date32")
    wanted = pc.and_(
        pc.and_(pc.greater_equal(dates, date(2023, 1, 1)), pc.less(dates, date(2023, 4, 1))),
        pc.equal(detail["keydeveventtypeid"], 48),
    )
    rows = detail.filter(wanted).sort_by("transcriptid").to_pylist()
    latest = {row["keydevid"]: row for row in rows}
    calls = sorted(latest.values(), key=lambda row: row["transcriptid"])
    for row in calls[:: max(1, len(calls) // n)][:n]:
        yield row["companyname"], _real_turns(folder, int(row["transcriptid"]))


def _real_turns(folder: Path, transcript_id: int) -> list[SpeakerTurn]:
    only = [("transcriptid", "=", transcript_id)]
    components = pq.read_table(folder / "ciq.ciqtranscriptcomponent.parquet", filters=only)
    persons = pq.read_table(folder / "ciq.wrds_transcript_person.parquet", filters=only)
    speakers = {row["componentorder"]: row for row in persons.to_pylist()}
    return [
        _turn(i, row["componenttext"] or "", speakers[row["componentorder"]]["speakertypename"])
        for i, row in enumerate(components.sort_by("componentorder").to_pylist())
    ]


def _real(name: str, turns: list[SpeakerTurn]) -> Firm:
    sentences = load_pipeline("rules").process(_firm_turns(name, turns)).sentences
    kinds = classify_kinds([s.raw_text for s in sentences], [s.speaker_type for s in sentences])
    kept = [s for s, kind in zip(sentences, kinds, strict=True) if kind == "content"]
    documents = [s.cleaned_text for s in kept]
    return Firm(name, [s.raw_text for s in kept], documents, np.zeros(0, np.intp))


def _turn(order: int, text: str, speaker_type: str) -> SpeakerTurn:
    return SpeakerTurn(order, "Answer", "qa", str(order), "", speaker_type, text)


def _firm_turns(firm_id: str, turns: Sequence[SpeakerTurn]) -> FirmTurns:
    call = FirmCall(firm_id, firm_id, "1", 1, "1", date(2023, 1, 1), None)
    return FirmTurns(call, tuple(turns))
