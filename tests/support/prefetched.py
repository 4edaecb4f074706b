"""A valid prefetched quarter of generated firms, without WRDS and without a text pipeline."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from datetime import date
from hashlib import sha256

from ftm.core.layout import PrefetchLayout
from ftm.core.quarter import Quarter
from ftm.core.records import FirmTranscriptData, TranscriptSentence
from ftm.core.schemas import CALLS, CHUNK, COMPONENTS
from ftm.storage.manifest import PlanEntry, PrefetchManifest, Source, encode_manifest
from ftm.storage.object_store import ObjectStore
from ftm.storage.parquet import from_rows, to_bytes
from ftm.storage.parquet_layout import FirmFacts, encode_firm_facts, write_firm_file

QUARTER = Quarter(2023, 1)
CALL_DATE = date(2023, 2, 14)
_BUSINESS = {
    "pricing": "price increase offset inflation cost input margin surcharge list pass volume",
    "cloud": "cloud migration workload customer consumption platform data capacity region server",
    "supply": "supply chain freight port container supplier lead inventory shortage logistics",
    "people": "hiring talent wage employee retention office training headcount engineer turnover",
    "debt": "debt leverage covenant maturity refinance interest bond credit liquidity facility",
}
_GREETING = "Good morning, everyone, and thank you for joining us today."


def make_firm(
    number: int, *, n_sentences: int = 60, quarter: Quarter = QUARTER
) -> FirmTranscriptData:
    """Firm `number`: a greeting, then sentences from five business topics; always the same."""
    rng = random.Random(number)
    firm_id, transcript_id = f"{100000 + number}", f"{900000 + number}"
    texts = [(_GREETING, "good morning join today")]
    texts += [_sentence(rng) for _ in range(n_sentences - 1)]
    sentences = [
        TranscriptSentence(
            sentence_id=f"{firm_id}_{transcript_id}_{i:04d}",
            raw_text=raw,
            cleaned_text=cleaned,
            speaker_type="Executives",
            position=i,
        )
        for i, (raw, cleaned) in enumerate(texts[:n_sentences])
    ]
    metadata = {
        "permno": 10000 + number,
        "gvkey": f"{number:06d}",
        "transcript_id": transcript_id,
        "earnings_call_date": CALL_DATE,
        "quarter": str(quarter),
    }
    return FirmTranscriptData(firm_id, f"Firm {number} Inc.", sentences, metadata)


def make_firms(n: int, *, n_sentences: int = 60) -> list[FirmTranscriptData]:
    """The first n firms, sorted by firm_id."""
    return [make_firm(i, n_sentences=n_sentences) for i in range(n)]


def write_prefetched(
    store: ObjectStore,
    firms: Sequence[FirmTranscriptData],
    *,
    quarter: Quarter = QUARTER,
    chunk_firms: int = 200,
    skipped: Mapping[str, str] | None = None,
    failed: Mapping[str, str] | None = None,
) -> PrefetchManifest:
    """Chunks, components, plan and manifest of a finished prefetch of these firms."""
    layout = PrefetchLayout(quarter)
    chunks, components, firm_to_chunk = {}, {}, {}
    for number, start in enumerate(range(0, len(firms), chunk_firms)):
        some = firms[start : start + chunk_firms]
        facts = encode_firm_facts({f.firm_id: FirmFacts(CALL_DATE, 1) for f in some})
        for files, name, table, schema in (
            (chunks, layout.chunk_file(1, number), _chunk_rows(some), CHUNK),
            (components, layout.components_file(1, number), _turn_rows(some), COMPONENTS),
        ):
            data, files[name] = write_firm_file(
                from_rows(table, schema), schema, metadata=facts if schema is CHUNK else None
            )
            store.put(layout.key(name), data)
        firm_to_chunk |= {f.firm_id: layout.chunk_file(1, number) for f in some}
    plan = to_bytes(CALLS.empty_table(), CALLS)
    store.put(layout.key(layout.plan_file(1)), plan)
    manifest = PrefetchManifest(
        quarter=str(quarter),
        created_at="2023-04-02T00:00:00+00:00",
        n_firms=len(firms),
        n_chunks=len(chunks),
        chunk_sizes={
            name: len([f for f in firm_to_chunk.values() if f == name]) for name in chunks
        },
        firm_to_chunk=firm_to_chunk,
        generation=1,
        complete=True,
        n_sentences=sum(len(f.sentences) for f in firms),
        chunks=chunks,
        components=components,
        plan=PlanEntry(file=layout.plan_file(1), sha256=sha256(plan).hexdigest()),
        skipped=dict(skipped or {}),
        failed=dict(failed or {}),
        preprocessing={"pipeline": "generated"},
        source=Source(
            host="nowhere",
            database="wrds",
            tables={},
            query_sha256="0" * 64,
            link_vintage=None,
            extracted_at="2023-04-02T00:00:00+00:00",
        ),
        ftm_version="0.1.0",
    )
    store.put(layout.manifest, encode_manifest(manifest), gzip_encoded=True)
    return manifest


def _sentence(rng: random.Random) -> tuple[str, str]:
    words = rng.choice(list(_BUSINESS.values())).split()
    chosen = rng.sample(words, 6)
    raw = f"We saw {chosen[0]} and {chosen[1]} with {' '.join(chosen[2:])} in unit {rng.random()}."
    return raw, " ".join(chosen)


def _chunk_rows(firms: Sequence[FirmTranscriptData]) -> list[dict[str, object]]:
    return [
        {
            "firm_id": f.firm_id,
            "firm_name": f.firm_name,
            "permno": f.metadata["permno"],
            "gvkey": f.metadata["gvkey"],
            "transcript_id": f.metadata["transcript_id"],
            "earnings_call_date": f.metadata["earnings_call_date"],
            "sentence_id": s.sentence_id,
            "raw_text": s.raw_text,
            "cleaned_text": s.cleaned_text,
            "speaker_type": s.speaker_type,
            "position": s.position,
            "quarter": f.metadata["quarter"],
        }
        for f in firms
        for s in f.sentences
    ]


def _turn_rows(firms: Sequence[FirmTranscriptData]) -> list[dict[str, object]]:
    return [
        {
            "firm_id": f.firm_id,
            "transcript_id": f.metadata["transcript_id"],
            "component_order": 1,
            "component_type": "Presenter Speech",
            "section": "presentation",
            "person_id": "1",
            "speaker_name": "Ann Speaker",
            "speaker_type": "Executives",
            "raw_text": " ".join(s.raw_text for s in f.sentences),
            "first_position": 0,
            "last_position": len(f.sentences) - 1,
        }
        for f in firms
    ]
