"""Quarters with planted topics, real embeddings and clustering, published in a store.

The sentences are those of synthetic calls, and go straight into the store, without WRDS and without
the text pipeline: a sentence is as it was planted, and its words in lower case stand for its
cleaned text. Embeddings are what it costs, so firms share sentences: POOL_SIZE of a topic are said
in a quarter, each firm says some, and half of them are new in the next quarter.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from hashlib import sha256
from itertools import combinations
from random import Random
from typing import Any

import numpy as np
import pyarrow as pa

from ftm.core.layout import RunLayout
from ftm.core.quarter import Quarter
from ftm.core.records import FirmTranscriptData, TranscriptSentence
from ftm.core.schemas import FIRM_SENTENCES, FIRM_TOPICS
from ftm.core.settings import Settings
from ftm.demo.firm_rows import TRUTH
from ftm.demo.firms import Scenario
from ftm.demo.phrasebook import Speaker, load_phrasebook
from ftm.demo.theme_recovery import ThemeLink, ThemeRecovery, measure_themes
from ftm.mapping.firm_processor import FirmProcessor
from ftm.reduce.name_stage import name_run
from ftm.reduce.package_stage import package_run, publish_package
from ftm.reduce.reduce_stage import reduce_run
from ftm.storage.linked import read_linked_table
from ftm.storage.object_store import ObjectStore
from ftm.storage.parquet import to_bytes
from ftm.storage.published import read_published_table, require_published
from ftm.storage.run_reader import read_run
from ftm.storage.run_records import BatchProgress
from ftm.topics.base import Embedder, FloatArray, InlinePool
from ftm.wiring.models import get_embedder, get_topic_model
from ftm.wiring.stages import get_name_options, get_reduce_options
from tests.support.business_firms import CALL_DATE
from tests.support.quarters import write_quarter
from tests.support.runs import make_lines, write_run

RUN_ID = "planted"
TOPICS_PER_FIRM = 3
SENTENCES_PER_TOPIC = 12
"""Of a firm in a quarter; of half as many a firm's topics shatter."""
POOL_SIZE = 48
"""Different sentences of a topic in a quarter."""
_FILLING = {
    "company": "Alder Stores Inc",
    "fiscal": "Q4 2022",
    "year": "2022",
    "this_year": "2022",
    "date": "March 1",
    "daytime": "morning",
    "name": ("Ines Novak",),
    "surname": ("Novak",),
}
_NO_WORD = re.compile(r"[^a-z]+")


@dataclass(frozen=True)
class PlantedQuarters:
    """Published quarters, and what was planted.

    Args:
        store: they are in.
        quarters: in time.
        truth: quarter → planted topic of every sentence, schema demo.firm_rows.TRUTH.
        texts: quarter → firm_id, sentence_id and raw_text of every sentence.
    """

    store: ObjectStore
    quarters: tuple[Quarter, ...]
    truth: Mapping[Quarter, pa.Table]
    texts: Mapping[Quarter, pa.Table]

    def recovery(self, quarter: Quarter) -> ThemeRecovery:
        """Planted topics against the published themes."""
        published = require_published(self.store, quarter)
        sentences = read_published_table(self.store, published, "sentences")
        found = self.texts[quarter].join(
            sentences.select(["sentence_id", "theme_id"]), "sentence_id"
        )
        return measure_themes(self.truth[quarter], found)

    def links(self, quarter: Quarter) -> list[ThemeLink]:
        """Of a linked quarter to the one before."""
        table = read_linked_table(self.store, quarter, "theme_links")
        columns = table.select(["theme_from", "theme_to", "is_match"])
        return [ThemeLink(**row) for row in columns.to_pylist()]

    def series(self, quarter: Quarter) -> dict[str, str]:
        """Theme → its series, of a linked quarter."""
        table = read_linked_table(self.store, quarter, "series")
        return dict(zip(table["theme_id"].to_pylist(), table["series_id"].to_pylist(), strict=True))


@dataclass
class OnceEmbedder:
    """Embeds every text once, however often it is asked for."""

    embedder: Embedder
    known: dict[str, FloatArray] = field(default_factory=dict)

    def encode(self, texts: Sequence[str]) -> FloatArray:
        """See Embedder."""
        new = [text for text in dict.fromkeys(texts) if text not in self.known]
        self.known.update(zip(new, self.embedder.encode(new), strict=True))
        return np.stack([self.known[text] for text in texts])

    @property
    def n_dims(self) -> int:
        """See Embedder."""
        return self.embedder.n_dims

    @property
    def fingerprint(self) -> Mapping[str, str]:
        """See Embedder."""
        return self.embedder.fingerprint


def publish_planted_quarters(
    store: ObjectStore,
    quarters: Sequence[Quarter],
    *,
    scenario: Scenario,
    topics: Sequence[str],
    seed: int = 1,
) -> PlantedQuarters:
    """Calls of every quarter to published themes, with the default models and settings.

    Args:
        store: where to.
        quarters: in time.
        scenario: of the topics.
        topics: planted; for each TOPICS_PER_FIRM of them there is one firm that speaks of these.
        seed: of the sentences.
    """
    rows = _plant(quarters, scenario, topics, seed)
    settings = Settings.load(device="cpu")
    embedder = OnceEmbedder(get_embedder(settings))
    embedder.encode(sorted({row["text"] for row in rows}))
    truth, texts = {}, {}
    for quarter in quarters:
        own = [row for row in rows if row["quarter"] == str(quarter)]
        firms = _firms(own, quarter)
        layout = _map(store, quarter, firms, settings, embedder)
        _publish(store, layout, settings)
        truth[quarter] = pa.Table.from_pylist(own, schema=TRUTH)
        texts[quarter] = pa.table(
            {
                "firm_id": [f.firm_id for f in firms for _ in f.sentences],
                "sentence_id": [s.sentence_id for f in firms for s in f.sentences],
                "raw_text": [s.raw_text for f in firms for s in f.sentences],
            }
        )
    return PlantedQuarters(store, tuple(quarters), truth, texts)


def _plant(
    quarters: Sequence[Quarter], scenario: Scenario, topics: Sequence[str], seed: int
) -> list[dict[str, Any]]:
    """Every sentence of every firm, as rows of TRUTH."""
    return [
        _truth_row(number, quarter, topic=topic, text=text)
        for when, quarter in enumerate(quarters)
        for number, own in enumerate(combinations(topics, TOPICS_PER_FIRM))
        for topic in scenario.apply(own, quarter)
        for text in _said(topic, when, number=number, seed=seed)
    ]


def _said(topic: str, when: int, *, number: int, seed: int) -> list[str]:
    """What a firm says of a topic in a quarter."""
    old, new = (_statements(topic, f"{seed}:{topic}:{block}") for block in (when, when + 1))
    pool = list(dict.fromkeys(old + new))
    return Random(f"{seed}:{number}:{topic}:{when}").sample(pool, SENTENCES_PER_TOPIC)


@cache
def _statements(topic: str, seed: str) -> tuple[str, ...]:
    """Half a pool of different sentences."""
    speaker = Speaker(Random(seed), _FILLING, load_phrasebook())
    found: dict[str, None] = {}
    while len(found) < POOL_SIZE // 2:
        found[speaker.statement(topic)] = None
    return tuple(found)


def _truth_row(number: int, quarter: Quarter, *, topic: str, text: str) -> dict[str, Any]:
    return {
        "firm_id": f"{100_000 + number}",
        "quarter": str(quarter),
        "transcript_id": f"{900_000 + number}",
        "component_order": 0,
        "ordinal": 0,
        "kind": "content",
        "topic": topic,
        "text": text,
    }


def _firms(rows: Sequence[Mapping[str, str]], quarter: Quarter) -> list[FirmTranscriptData]:
    texts: dict[str, list[str]] = {}
    for row in rows:
        texts.setdefault(row["firm_id"], []).append(row["text"])
    return [
        FirmTranscriptData(
            firm_id,
            f"Firm {number} Inc.",
            [
                TranscriptSentence(
                    f"{firm_id}_{900000 + number}_{i:04d}",
                    text,
                    " ".join(_NO_WORD.sub(" ", text.lower()).split()),
                    "Executives",
                    i,
                )
                for i, text in enumerate(said)
            ],
            {
                "permno": 10000 + number,
                "gvkey": f"{number:06d}",
                "transcript_id": f"{900000 + number}",
                "earnings_call_date": CALL_DATE,
                "quarter": str(quarter),
            },
        )
        for number, (firm_id, said) in enumerate(sorted(texts.items()))
    ]


def _map(
    store: ObjectStore,
    quarter: Quarter,
    firms: Sequence[FirmTranscriptData],
    settings: Settings,
    embedder: Embedder,
) -> RunLayout:
    """Stage map in this process, one batch of one part."""
    manifest = write_quarter(store, firms, quarter=quarter)
    (line,) = make_lines([f.firm_id for f in firms], batch_size=len(firms), quarter=quarter)
    layout = write_run(store, manifest, [line], run_id=RUN_ID, settings=settings)
    processor = FirmProcessor(
        embedder, InlinePool(get_topic_model(settings)), timestamp=datetime(2023, 4, 3, tzinfo=UTC)
    )
    made = [processor.process(firm) for firm in firms]
    parts = {}
    for key, table, schema in (
        (
            layout.firm_topics_part(line.batch_id, 0),
            pa.concat_tables([rows.topics for rows in made]),
            FIRM_TOPICS,
        ),
        (
            layout.firm_sentences_part(line.batch_id, 0),
            pa.concat_tables([rows.sentences for rows in made]),
            FIRM_SENTENCES,
        ),
    ):
        data = to_bytes(table, schema)
        store.put(key, data)
        parts[key] = sha256(data).hexdigest()
    progress = BatchProgress(batch_id=line.batch_id, parts=parts, done=line.firm_ids, complete=True)
    key = layout.progress(line.batch_id)
    store.put(key, progress.encode(key))
    return layout


def _publish(store: ObjectStore, layout: RunLayout, settings: Settings) -> None:
    run = read_run(store, layout.quarter, layout.run_id)
    reduce_run(store, run, get_reduce_options(settings))
    name_run(store, run, get_name_options(settings, store, report=lambda _done, _n: None))
    publish_package(store, run, package_run(store, run), lambda: None)
