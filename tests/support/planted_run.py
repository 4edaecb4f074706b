"""A complete run of planted topics, its parts written as map writes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

import numpy as np

from ftm.core.layout import RunLayout
from ftm.core.quarter import Quarter
from ftm.core.records import FirmTranscriptData, TranscriptSentence
from ftm.core.schemas import FIRM_SENTENCES, FIRM_TOPICS
from ftm.storage.manifest import PrefetchManifest
from ftm.storage.object_store import ObjectStore
from ftm.storage.parquet import from_rows, to_bytes
from ftm.storage.run_reader import RunRecords, read_calls, read_run
from ftm.storage.run_records import BatchProgress
from tests.support.business_firms import CALL_DATE, QUARTER
from tests.support.quarters import call_row, replace_plan, write_quarter
from tests.support.runs import make_lines, noop_settings, write_run

N_DIMS = 16
TOPIC_SIZE = 6
RUN_ID = "planted-run"
WORDS = {
    0: "price increase surcharge inflation",
    1: "cloud migration workload server",
    2: "freight port container shortage",
    3: "hiring talent wage retention",
    4: "debt covenant maturity refinance",
    5: "patient trial dose approval",
}


@dataclass(frozen=True)
class Planted:
    """What was planted: firm → the theme of each of its topics, in order of local topic."""

    store: ObjectStore
    layout: RunLayout
    themes: dict[str, tuple[int, ...]]

    @property
    def run(self) -> RunRecords:
        """The run as it lies in the store."""
        return read_run(self.store, self.layout.quarter, self.layout.run_id)


def plant_run(
    store: ObjectStore,
    firms: Sequence[Sequence[int]],
    *,
    quarter: Quarter = QUARTER,
    batch_size: int = 4,
    noise: float = 0.05,
    run_id: str = RUN_ID,
    incomplete: Sequence[int] = (),
    chunk_order: Sequence[int] | None = None,
    plan: Mapping[int, Mapping[str, Any]] | None = None,
    outcomes: Mapping[int, str] | None = None,
    backwards: bool = False,
) -> Planted:
    """Write a prefetched quarter and a run over it.

    Args:
        store: where to.
        firms: of each firm, the theme of each of its topics; a firm without any has sentences only.
        quarter: which.
        batch_size: firms per batch.
        noise: of centroids around their theme's direction.
        run_id: of the run.
        incomplete: numbers of batches that were never completed.
        chunk_order: in which firms were prefetched, five a chunk, sorted in it; None: by id.
        plan: number of a firm → what its row of the plan says instead.
        outcomes: number of a firm that has no results → skipped or failed.
        backwards: parts have their rows in the opposite order.
    """
    made = [_firm(number, themes, quarter) for number, themes in enumerate(firms)]
    for number, given in (plan or {}).items():
        made[number].metadata.update({k: v for k, v in given.items() if k == "permno"})
    order = [made[i] for i in chunk_order or range(len(made))]
    manifest = write_quarter(store, order, quarter=quarter, firms_per_chunk=5, turns_of=_turns)
    if plan or chunk_order:
        # The plan of a quarter numbers firms as they come; here they have numbers of their own.
        about = ("firm_name", "transcript_id", "gvkey", "permno", "permco")
        own = {f.firm_id: call_row(f.firm_id, number=i) for i, f in enumerate(made)}
        changes = {
            made[i].firm_id: {k: own[made[i].firm_id][k] for k in about}
            | dict((plan or {}).get(i, {}))
            for i in range(len(made))
        }
        manifest = _change_plan(store, manifest, changes)
    ids = [firm.firm_id for firm in made]
    lines = make_lines([f.firm_id for f in order], batch_size=batch_size, quarter=quarter)
    lost = {made[i].firm_id: outcome for i, outcome in (outcomes or {}).items()}
    settings = noop_settings()
    layout = write_run(store, manifest, lines, run_id=run_id, settings=settings)
    for number, line in enumerate(lines):
        if number not in incomplete:
            rows = [(made[ids.index(f)], tuple(firms[ids.index(f)])) for f in line.firm_ids]
            shape = _Shape(noise, lost, backwards)
            _write_batch(store, layout, line.batch_id, rows, shape)
    return Planted(store, layout, {f.firm_id: tuple(t) for f, t in zip(made, firms, strict=True)})


@dataclass(frozen=True)
class _Shape:
    """How a batch is written; see `plant_run`."""

    noise: float
    lost: Mapping[str, str]
    backwards: bool


def _change_plan(
    store: ObjectStore, manifest: PrefetchManifest, changes: Mapping[str, dict[str, Any]]
) -> PrefetchManifest:
    rows = read_calls(store, manifest).to_pylist()
    changed = [row | (changes.get(row["firm_id"], {}) if row["kept"] else {}) for row in rows]
    return replace_plan(store, manifest, changed)


def _firm(number: int, themes: Sequence[int], quarter: Quarter) -> FirmTranscriptData:
    """A greeting, TOPIC_SIZE sentences a topic, two outliers; executives, then analysts."""
    firm_id, transcript_id = f"{100000 + number}", f"{900000 + number}"
    texts = [("Good morning, everyone.", "good morning")]
    for topic, theme in enumerate(themes):
        words = WORDS[theme % len(WORDS)].split()
        for i in range(TOPIC_SIZE):
            a, b = words[i % 4], words[(i + 1) % 4]
            texts.append((f"We see {a} and {b} in area {topic} of {number}.", f"{a} {b}"))
    texts += [(f"Something else {i}.", f"odd{number} thing{i}") for i in range(2)]
    sentences = [
        TranscriptSentence(
            f"{firm_id}_{transcript_id}_{i:04d}", raw, clean, _speaker(i, len(texts)), i
        )
        for i, (raw, clean) in enumerate(texts)
    ]
    about = {
        "permno": 10000 + number,
        "gvkey": f"{number:06d}",
        "transcript_id": transcript_id,
        "earnings_call_date": CALL_DATE,
        "quarter": str(quarter),
    }
    return FirmTranscriptData(firm_id, f"Firm {number} Inc.", sentences, about)


def _speaker(position: int, n: int) -> str:
    return "Executives" if position < 2 * n / 3 else "Analysts"


def _turns(firm: FirmTranscriptData) -> list[dict[str, Any]]:
    """Half of it is presented, the rest is questions and answers."""
    n = len(firm.sentences)
    middle = n // 2
    spans = [("presentation", 0, middle - 1), ("qa", middle, n - 1)]
    return [
        {
            "firm_id": firm.firm_id,
            "transcript_id": firm.metadata["transcript_id"],
            "component_order": order,
            "component_type": "Presenter Speech",
            "section": section,
            "person_id": str(order),
            "speaker_name": ("Ann Speaker", "Bo Asker")[order],
            "speaker_type": ("Executives", "Analysts")[order],
            "raw_text": " ".join(s.raw_text for s in firm.sentences[first : last + 1]),
            "first_position": first,
            "last_position": last,
        }
        for order, (section, first, last) in enumerate(spans)
        if last >= first
    ]


def _write_batch(
    store: ObjectStore,
    layout: RunLayout,
    batch_id: str,
    firms: Sequence[tuple[FirmTranscriptData, tuple[int, ...]]],
    shape: _Shape,
) -> None:
    lost = {f.firm_id: shape.lost[f.firm_id] for f, _ in firms if f.firm_id in shape.lost}
    firms = [(firm, themes) for firm, themes in firms if firm.firm_id not in lost]
    topics = [row for firm, themes in firms for row in _topic_rows(firm, themes, shape.noise)]
    labels = [row for firm, themes in firms for row in _label_rows(firm, len(themes))]
    parts = {}
    for key, rows, schema in (
        (layout.firm_topics_part(batch_id, 0), topics, FIRM_TOPICS),
        (layout.firm_sentences_part(batch_id, 0), labels, FIRM_SENTENCES),
    ):
        ordered = rows[::-1] if shape.backwards else rows
        data = to_bytes(from_rows(ordered, schema), schema)
        if not firms:
            continue  # as map does: a batch without results has no part
        store.put(key, data)
        parts[key] = sha256(data).hexdigest()
    done = [firm.firm_id for firm, _ in firms]
    progress = BatchProgress(
        batch_id=batch_id,
        parts=parts,
        done=done,
        failed={f: "ValueError: made up" for f, outcome in lost.items() if outcome == "failed"},
        skipped={f: "no_text" for f, outcome in lost.items() if outcome == "skipped"},
        complete=True,
    )
    key = layout.progress(batch_id)
    store.put(key, progress.encode(key))


def direction(theme: int) -> np.ndarray:
    """Of a planted theme; those of different themes are at right angles."""
    return np.eye(N_DIMS)[theme]


def topic_row(number: int, topic: int, **given: Any) -> dict[str, Any]:
    """A row of schema FIRM_TOPICS, whose centroid is its own."""
    rng = np.random.default_rng([number, topic])
    return {
        "firm_id": f"{100000 + number}",
        "firm_name": f"Firm {number} Inc.",
        "quarter": str(QUARTER),
        "permno": 10000 + number,
        "gvkey": f"{number:06d}",
        "earnings_call_date": CALL_DATE,
        "topic_id": f"{100000 + number}_{topic}",
        "local_topic_id": topic,
        "representation": "some, words",
        "summary": "some, words",
        "naming_method": "keywords",
        "keywords": ["some", "words"],
        "n_sentences": TOPIC_SIZE,
        "sentence_ids": [f"{100000 + number}_{topic}_{i}" for i in range(TOPIC_SIZE)],
        "centroid": rng.standard_normal(N_DIMS).astype(np.float32).tolist(),
        "processing_timestamp": datetime(2023, 4, 3, 12, tzinfo=UTC),
        **given,
    }


def _topic_rows(
    firm: FirmTranscriptData, themes: Sequence[int], noise: float
) -> list[dict[str, Any]]:
    rows = []
    for topic, theme in enumerate(themes):
        rng = np.random.default_rng([int(firm.firm_id), topic])
        vector = direction(theme) + noise * rng.standard_normal(N_DIMS)
        sentences = firm.sentences[1 + topic * TOPIC_SIZE : 1 + (topic + 1) * TOPIC_SIZE]
        words = WORDS[theme % len(WORDS)]
        rows.append(
            topic_row(
                int(firm.firm_id) - 100000,
                topic,
                **{k: firm.metadata[k] for k in ("quarter", "permno", "gvkey")},
                earnings_call_date=firm.metadata["earnings_call_date"],
                representation=words.replace(" ", ", "),
                summary=words.replace(" ", ", "),
                keywords=words.split(),
                n_sentences=len(sentences),
                sentence_ids=[s.sentence_id for s in reversed(sentences)],
                centroid=vector.astype(np.float32).tolist(),
            )
        )
    return rows


def _label_rows(firm: FirmTranscriptData, n_topics: int) -> list[dict[str, Any]]:
    rows = []
    for sentence in firm.sentences:
        topic: int | None = (sentence.position - 1) // TOPIC_SIZE
        if sentence.position == 0 or not n_topics:
            topic = None
        elif topic is not None and topic >= n_topics:
            topic = -1
        rows.append(
            {
                "sentence_id": sentence.sentence_id,
                "firm_id": firm.firm_id,
                "local_topic_id": topic,
                "probability": None if topic is None else float(topic >= 0),
                "kind": "greeting" if sentence.position == 0 else "content",
            }
        )
    return rows
