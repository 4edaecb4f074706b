"""A small prefetched quarter put straight into a store, without WRDS or a text pipeline."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from hashlib import sha256

import pyarrow as pa

from ftm.core.layout import PrefetchLayout
from ftm.core.quarter import Quarter
from ftm.core.records import FirmTranscriptData, TranscriptSentence
from ftm.core.schemas import CALLS, CHUNK, COMPONENTS
from ftm.storage.manifest import (
    FileEntry,
    PlanEntry,
    PrefetchManifest,
    Source,
    encode_manifest,
)
from ftm.storage.object_store import ObjectStore
from ftm.storage.parquet import from_rows, to_bytes
from ftm.storage.parquet_layout import FirmFacts, encode_firm_facts, write_firm_file

QUARTER = Quarter(2023, 1)
_WORDS = [
    "revenue",
    "margin",
    "demand",
    "supply",
    "inventory",
    "pricing",
    "cloud",
    "retail",
    "energy",
]


def firm(number: int, *, n_sentences: int = 6, seed: int = 0) -> FirmTranscriptData:
    """A firm with made-up sentences; the same number, length and seed give the same firm."""
    rng = random.Random(f"{seed}-{number}")
    firm_id = str(100_000 + number)
    sentences = []
    for position in range(n_sentences):
        words = [f"{rng.choice(_WORDS)}{rng.randrange(100)}" for _ in range(rng.randrange(8, 24))]
        raw = " ".join(words).capitalize() + "."
        speaker = rng.choice(["Executives", "Analysts"])
        sentence_id = f"{firm_id}_{9_000_000 + number}_{position:04d}"
        sentences.append(TranscriptSentence(sentence_id, raw, " ".join(words), speaker, position))
    metadata = {
        "permno": 10_000 + number,
        "gvkey": f"{number:06d}",
        "transcript_id": str(9_000_000 + number),
        "earnings_call_date": date(2023, 2, 1 + number % 28),
        "quarter": str(QUARTER),
        "link_date": None if number % 5 == 0 else date(2001, 1, 1 + number % 28),
        "n_components": 3 + number % 40,
    }
    return FirmTranscriptData(firm_id, f"Firm {number} Inc.", sentences, metadata)


def chunk_table(firms: Sequence[FirmTranscriptData]) -> pa.Table:
    """The firms' rows in the chunk's schema."""
    rows = [
        {
            "firm_id": f.firm_id,
            "firm_name": f.firm_name,
            **{name: f.metadata[name] for name in CHUNK.names if name in f.metadata},
            **{name: getattr(s, name) for name in CHUNK.names if hasattr(s, name)},
        }
        for f in firms
        for s in f.sentences
    ]
    return from_rows(rows, CHUNK)


def chunk_file(firms: Sequence[FirmTranscriptData]) -> tuple[bytes, FileEntry]:
    """The firms as a chunk, and its entry in the manifest."""
    facts = {
        f.firm_id: FirmFacts(f.metadata.get("link_date"), f.metadata.get("n_components", 1))
        for f in firms
    }
    return write_firm_file(chunk_table(firms), CHUNK, metadata=encode_firm_facts(facts))


def turn_row(firm: FirmTranscriptData) -> dict[str, object]:
    """All the firm says, as one speaker turn."""
    return {
        "firm_id": firm.firm_id,
        "transcript_id": firm.metadata["transcript_id"],
        "component_order": 1,
        "component_type": "Presenter Speech",
        "section": "presentation",
        "person_id": "1",
        "speaker_name": "Ann Speaker",
        "speaker_type": "Executives",
        "raw_text": " ".join(s.raw_text for s in firm.sentences),
        "first_position": 0,
        "last_position": len(firm.sentences) - 1,
    }


def store_quarter(
    store: ObjectStore,
    firms: Sequence[FirmTranscriptData],
    *,
    quarter: Quarter = QUARTER,
    firms_per_chunk: int = 200,
    skipped: Mapping[str, str] | None = None,
    failed: Mapping[str, str] | None = None,
    turns_of: Callable[[FirmTranscriptData], list[dict[str, object]]] | None = None,
    calls: Sequence[Mapping[str, object]] = (),
) -> PrefetchManifest:
    """Put chunks, components, plan and manifest of a quarter; a firm is one turn by default."""
    layout = PrefetchLayout(quarter)
    chunks, components, firm_to_chunk = {}, {}, {}
    for number, start in enumerate(range(0, len(firms), firms_per_chunk)):
        part = firms[start : start + firms_per_chunk]
        file, other = layout.chunk_file(1, number), layout.components_file(1, number)
        data, chunks[file] = chunk_file(part)
        store.put(layout.key(file), data)
        rows = [row for f in part for row in (turns_of(f) if turns_of else [turn_row(f)])]
        turns = from_rows(rows, COMPONENTS)
        data, components[other] = write_firm_file(turns, COMPONENTS)
        store.put(layout.key(other), data)
        firm_to_chunk |= {f.firm_id: file for f in part}
    plan = to_bytes(from_rows(calls, CALLS), CALLS)
    store.put(layout.key(layout.plan_file(1)), plan)
    manifest = PrefetchManifest(
        quarter=str(quarter),
        created_at="2026-01-02T03:04:05+00:00",
        n_firms=len(firms),
        n_chunks=len(chunks),
        chunk_sizes={f: len([x for x in firm_to_chunk.values() if x == f]) for f in chunks},
        firm_to_chunk=firm_to_chunk,
        generation=1,
        complete=True,
        n_sentences=sum(len(f.sentences) for f in firms),
        chunks=chunks,
        components=components,
        plan=PlanEntry(file=layout.plan_file(1), sha256=sha256(plan).hexdigest()),
        skipped=dict(skipped or {}),
        failed=dict(failed or {}),
        preprocessing={"pipeline": "none", "text_version": "0"},
        source=Source(
            host="localhost",
            database="wrds",
            tables={},
            query_sha256="0" * 64,
            link_vintage=None,
            extracted_at="2026-01-02T03:04:05+00:00",
        ),
        ftm_version="0.1.0",
    )
    store.put(layout.manifest, encode_manifest(manifest), gzip_encoded=True)
    return manifest
