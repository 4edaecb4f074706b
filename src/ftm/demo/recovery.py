"""How well topics that were planted are found again."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa


@dataclass(frozen=True, slots=True)
class FirmRecovery:
    """Planted against found topics of one firm.

    Args:
        firm_id: the firm.
        n_sentences: content sentences with a planted topic that were clustered or left out.
        n_planted: planted topics among them.
        n_found: topics found among them, outliers not counted.
        ari: adjusted Rand index over the sentences that were put into a topic.
        outlier_share: share of n_sentences that were left out.
    """

    firm_id: str
    n_sentences: int
    n_planted: int
    n_found: int
    ari: float
    outlier_share: float


def adjusted_rand_index(first: Sequence[Hashable], second: Sequence[Hashable]) -> float:
    """Agreement of two labellings of the same things, corrected for chance (Hubert, Arabie 1985).

    Returns:
        1 for the same partition, about 0 for unrelated ones; 1 where there is nothing to
        disagree about: no or one thing, or all (or none) together in both.

    Raises:
        ValueError: the labellings have different lengths.
    """
    if len(first) != len(second):
        raise ValueError(f"labels of {len(first)} and {len(second)} things cannot be compared")
    rows, columns = _codes(first), _codes(second)
    if len(rows) < 2:
        return 1.0
    table = np.zeros((rows.max() + 1, columns.max() + 1))
    np.add.at(table, (rows, columns), 1)
    together, in_rows, in_columns = (
        _pairs(counts) for counts in (table, table.sum(axis=1), table.sum(axis=0))
    )
    expected = in_rows * in_columns / _pairs(np.array([float(len(rows))]))
    largest = (in_rows + in_columns) / 2
    return 1.0 if largest == expected else float((together - expected) / (largest - expected))


def measure_recovery(truth: pa.Table, found: pa.Table) -> list[FirmRecovery]:
    """Planted topics against a run's, firm by firm in the order of their ids.

    Sentences are matched by firm and text; a text that was said twice with different topics, or
    that preprocessing split otherwise, is left out.

    Args:
        truth: schema demo.firm_rows.TRUTH, of one quarter.
        found: columns firm_id, raw_text, local_topic_id (-1 an outlier, null not clustered).
    """
    planted = planted_topics(truth)
    pairs: dict[str, list[tuple[str, int]]] = {}
    for row in found.select(["firm_id", "raw_text", "local_topic_id"]).to_pylist():
        topic = planted.get((row["firm_id"], row["raw_text"]))
        if topic is not None and row["local_topic_id"] is not None:
            pairs.setdefault(row["firm_id"], []).append((topic, row["local_topic_id"]))
    return [_firm(firm_id, pairs[firm_id]) for firm_id in sorted(pairs)]


def _firm(firm_id: str, pairs: Sequence[tuple[str, int]]) -> FirmRecovery:
    kept = [(topic, label) for topic, label in pairs if label >= 0]
    topics, labels = [topic for topic, _ in kept], [label for _, label in kept]
    return FirmRecovery(
        firm_id,
        n_sentences=len(pairs),
        n_planted=len({topic for topic, _ in pairs}),
        n_found=len(set(labels)),
        ari=adjusted_rand_index(topics, labels),
        outlier_share=1 - len(kept) / len(pairs),
    )


def planted_topics(truth: pa.Table) -> Mapping[tuple[str, str], str | None]:
    """(firm, text) → topic; None where there is none, or more than one."""
    topics: dict[tuple[str, str], str | None] = {}
    for row in truth.select(["firm_id", "text", "topic"]).to_pylist():
        key = (row["firm_id"], row["text"])
        seen = topics.setdefault(key, row["topic"])
        if seen != row["topic"]:
            topics[key] = None
    return topics


def _codes(labels: Sequence[Hashable]) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
    """Labels as 0 … n - 1, in order of appearance."""
    numbers: dict[Hashable, int] = {}
    codes = [numbers.setdefault(label, len(numbers)) for label in labels]
    return np.array(codes, dtype=np.intp)


def _pairs(counts: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> float:
    """How many pairs lie within the groups of these sizes."""
    return float((counts * (counts - 1) / 2).sum())
