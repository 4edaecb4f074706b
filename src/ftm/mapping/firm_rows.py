"""One firm's clustering as rows of firm-topics and firm-sentences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa

from ftm.core.errors import TopicModelError
from ftm.core.records import FirmTranscriptData
from ftm.core.schemas import FIRM_SENTENCES, FIRM_TOPICS
from ftm.storage.parquet import fit, from_rows
from ftm.topics.base import Topic, TopicModelResult


@dataclass(frozen=True, slots=True)
class FirmRows:
    """A firm's rows.

    Args:
        topics: schema FIRM_TOPICS, ordered by local_topic_id; may be empty.
        sentences: schema FIRM_SENTENCES, one row per sentence of the firm, in order of position.
    """

    topics: pa.Table
    sentences: pa.Table


def build_rows(
    firm: FirmTranscriptData,
    *,
    kinds: Sequence[str],
    clustered: Sequence[int],
    result: TopicModelResult | None,
    timestamp: datetime,
) -> FirmRows:
    """The rows of one firm.

    Args:
        firm: whose.
        kinds: one per sentence of the firm.
        clustered: indexes of the sentences the model saw, in its order.
        result: what it found; None when it saw none. No topics at all: too few sentences, so
            every sentence counts as not clustered.
        timestamp: the run's start.

    Raises:
        TopicModelError: the result does not fit the sentences.
        SchemaError: the firm's metadata lack what the schema needs.
    """
    _check(result, len(clustered), firm.firm_id)
    topics = [] if result is None else result.topics
    topic_rows = [_topic_row(firm, clustered, t, timestamp) for t in topics]
    place = {} if result is None or not topics else _assignments(result, clustered)
    sentence_rows = [
        {
            "sentence_id": sentence.sentence_id,
            "firm_id": firm.firm_id,
            "local_topic_id": place.get(i, (None, None))[0],
            "probability": place.get(i, (None, None))[1],
            "kind": kinds[i],
        }
        for i, sentence in enumerate(firm.sentences)
    ]
    return FirmRows(
        fit(from_rows(topic_rows, FIRM_TOPICS), FIRM_TOPICS, key=f"firm {firm.firm_id}"),
        fit(from_rows(sentence_rows, FIRM_SENTENCES), FIRM_SENTENCES, key=f"firm {firm.firm_id}"),
    )


def _check(result: TopicModelResult | None, n_clustered: int, firm_id: str) -> None:
    if result is None:
        return
    found = (len(result.assignments), len(result.probabilities))
    if found != (n_clustered, n_clustered):
        raise TopicModelError(
            f"firm {firm_id}: the model answered {found} assignments and probabilities "
            f"for {n_clustered} sentences"
        )


def _assignments(
    result: TopicModelResult, clustered: Sequence[int]
) -> dict[int, tuple[int, float]]:
    pairs: Iterator[tuple[int, float]] = zip(
        result.assignments.tolist(), result.probabilities.tolist(), strict=True
    )
    return dict(zip(clustered, pairs, strict=True))


def _topic_row(
    firm: FirmTranscriptData, clustered: Sequence[int], topic: Topic, timestamp: datetime
) -> dict[str, Any]:
    about = firm.metadata
    return {
        "firm_id": firm.firm_id,
        "firm_name": firm.firm_name,
        "quarter": about["quarter"],
        "permno": about["permno"],
        "gvkey": about["gvkey"],
        "earnings_call_date": about["earnings_call_date"],
        "topic_id": f"{firm.firm_id}_{topic.local_topic_id}",
        "local_topic_id": topic.local_topic_id,
        "representation": topic.representation,
        "summary": topic.representation,
        "naming_method": "keywords",
        "keywords": list(topic.keywords),
        "n_sentences": len(topic.sentences),
        "sentence_ids": [firm.sentences[clustered[i]].sentence_id for i in topic.sentences],
        "centroid": topic.centroid,
        "processing_timestamp": timestamp,
    }
