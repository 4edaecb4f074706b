"""What is said in each topic, and whose names are to be masked in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ftm.storage.object_store import ObjectStore
from ftm.storage.quarter_reader import iter_chunks, read_turns
from ftm.storage.run_reader import RunRecords, read_run_manifest

MAX_SENTENCES = 60
"""Of a topic; no prompt has room for more."""


@dataclass(frozen=True, slots=True)
class TopicTexts:
    """The sentences of a topic, as spoken.

    Args:
        sentences: most typical first, at most MAX_SENTENCES.
        firms: names of the firm.
        persons: names of those who speak in the call.
    """

    sentences: tuple[str, ...]
    firms: tuple[str, ...]
    persons: tuple[str, ...]

    def first(self, n: int) -> TopicTexts:
        """With so many sentences at most."""
        return TopicTexts(self.sentences[:n], self.firms, self.persons)


def iter_topic_texts(
    store: ObjectStore, run: RunRecords, topics: pa.Table
) -> Iterator[tuple[int, TopicTexts]]:
    """(row, texts) of each topic, one chunk of sentences in memory at a time.

    They come in order of chunks, which is not that of firms: a firm that is prefetched later than
    others lies in a later chunk.

    Args:
        store: where the run is.
        run: whose topics.
        topics: schema FIRM_TOPICS.

    Raises:
        CorruptObjectError: a chunk differs from what the run's manifest says.
    """
    manifest = read_run_manifest(store, run.layout, run.spec)
    columns = ["firm_id", "firm_name", "sentence_ids"]
    n_seen = 0
    for chunk in iter_chunks(store, manifest):
        firms = chunk.sentences["firm_id"].unique()
        mask = pc.is_in(topics["firm_id"], firms)
        own, rows = topics.select(columns).filter(mask), np.flatnonzero(mask.to_numpy())
        rosters = _rosters(read_turns(store, manifest, chunk))
        n_seen += own.num_rows
        yield from zip(rows.tolist(), _of_chunk(own, chunk.sentences, rosters), strict=True)
    if n_seen != topics.num_rows:
        raise ValueError(f"chunks have {n_seen} of {topics.num_rows} topics")


def _of_chunk(
    topics: pa.Table, sentences: pa.Table, rosters: Mapping[str, tuple[str, ...]]
) -> Iterator[TopicTexts]:
    ids = [found[:MAX_SENTENCES] for found in topics["sentence_ids"].to_pylist()]
    flat = pa.array([name for found in ids for name in found], pa.string())
    place = pc.index_in(flat, value_set=sentences["sentence_id"].combine_chunks())
    texts = sentences["raw_text"].take(place).to_pylist()
    ends = np.cumsum([0, *(len(found) for found in ids)])
    for i, (firm, name) in enumerate(
        zip(topics["firm_id"].to_pylist(), topics["firm_name"].to_pylist(), strict=True)
    ):
        said = tuple(texts[ends[i] : ends[i + 1]])
        yield TopicTexts(said, (name,) if name else (), rosters.get(firm, ()))


def _rosters(turns: pa.Table) -> dict[str, tuple[str, ...]]:
    """Firm → everybody who speaks in its call."""
    pairs = turns.select(["firm_id", "speaker_name"]).group_by(["firm_id", "speaker_name"])
    found: dict[str, list[str]] = {}
    for row in (
        pairs.aggregate([])
        .sort_by([("firm_id", "ascending"), ("speaker_name", "ascending")])
        .to_pylist()
    ):
        if row["speaker_name"]:
            found.setdefault(row["firm_id"], []).append(row["speaker_name"])
    return {firm: tuple(names) for firm, names in found.items()}
