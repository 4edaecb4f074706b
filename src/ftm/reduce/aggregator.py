"""Firm topics to cross-firm themes: who belongs together, and which groups are themes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ftm.core.schemas import THEME_CONTRIBUTIONS, THEMES
from ftm.storage.parquet import fit, from_rows

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float32]

Cluster = Callable[[FloatArray, int], npt.NDArray[np.intp]]
"""(centroids, number of firms) → a label for each, -1 for none."""


@dataclass(frozen=True, slots=True)
class ThemeRules:
    """Which groups of topics are themes.

    Args:
        min_firms: that a theme needs.
        max_firm_share: of a theme's topics that one firm may have; exactly so much stays.
    """

    min_firms: int = 2
    max_firm_share: float = 0.4


@dataclass(frozen=True, slots=True)
class FirmTopics:
    """Topics of all firms, in order of firm and local topic.

    Args:
        table: schema FIRM_TOPICS, sorted by firm_id, then local_topic_id.
        centroids: float32, shape (n_topics, n_dims).
        firms: a number per firm, of each topic, shape (n_topics,).
    """

    table: pa.Table
    centroids: FloatArray
    firms: IntArray

    @property
    def n_firms(self) -> int:
        """Firms with at least one topic."""
        return int(self.firms.max(initial=-1)) + 1


class ThemeAggregator:
    """Groups firm topics into themes.

    Args:
        cluster: labels centroids.
        rules: which groups are themes.
    """

    def __init__(self, cluster: Cluster, rules: ThemeRules | None = None) -> None:
        self._cluster = cluster
        self._rules = rules or ThemeRules()

    def assign(self, topics: FirmTopics) -> IntArray:
        """The theme of each topic: 0 has most topics; -1 for topics outside every theme.

        Themes of one size come in order of their sentences, then of their first topic.

        Returns:
            Shape (n_topics,).
        """
        if not topics.table.num_rows:
            return np.zeros(0, np.int64)
        labels = self._cluster(topics.centroids, topics.n_firms)
        sizes = topics.table["n_sentences"].to_numpy()
        ranked = []
        for label in np.unique(labels[labels >= 0]):
            members = np.flatnonzero(labels == label)
            if is_theme(topics.firms[members], self._rules):
                ranked.append((-len(members), -int(sizes[members].sum()), int(members[0])))
        themes = np.full(len(labels), -1, np.int64)
        for number, (_, _, first) in enumerate(sorted(ranked)):
            themes[labels == labels[first]] = number
        return themes


def is_theme(firms: IntArray, rules: ThemeRules) -> bool:
    """Whether enough firms share a group of topics, and none has too many of them.

    Args:
        firms: of each topic of the group.
        rules: how many are enough, and too many.
    """
    counts = np.unique(firms, return_counts=True)[1]
    # Whole numbers: 2 of 5 is exactly 40 %, whatever floating point makes of it.
    limit = rules.max_firm_share * len(firms)
    return len(counts) >= rules.min_firms and bool(counts.max() <= limit + 1e-9)


def theme_id(quarter: str, number: int) -> str:
    """`theme_2023Q1_000`."""
    return f"theme_{quarter}_{number:03d}"


def firm_topics(table: pa.Table) -> FirmTopics:
    """Topics as the parts hold them, sorted, with their centroids as one array."""
    ordered = table.sort_by([("firm_id", "ascending"), ("local_topic_id", "ascending")])
    flat = ordered["centroid"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    n = ordered.num_rows
    centroids = np.asarray(flat, np.float32).reshape(n, -1) if n else np.zeros((0, 0), np.float32)
    firms = ordered["firm_id"].combine_chunks().dictionary_encode().indices
    return FirmTopics(ordered, centroids, firms.to_numpy(zero_copy_only=False).astype(np.int64))


def themes_table(
    topics: FirmTopics, themes: IntArray, keywords: Sequence[tuple[str, ...]], *, quarter: str
) -> pa.Table:
    """One row per theme (schema THEMES), named by its keywords until stage name has its say.

    Args:
        topics: of all firms.
        themes: of each topic.
        keywords: of each theme.
        quarter: like 2023Q1.
    """
    sizes = topics.table["n_sentences"].to_numpy()
    rows = []
    for number, words in enumerate(keywords):
        members = np.flatnonzero(themes == number)
        centroid = topics.centroids[members].mean(axis=0)
        rows.append(
            {
                "theme_id": theme_id(quarter, number),
                "name": "",
                "description": "",
                "keywords": list(words),
                "n_topics": len(members),
                "n_firms": len(np.unique(topics.firms[members])),
                "centroid": centroid,
                "quarter": quarter,
                "naming_method": "keywords",
                "n_sentences": int(sizes[members].sum()),
                "cohesion": float(cosines_to(topics.centroids[members], centroid).mean()),
            }
        )
    return fit(from_rows(rows, THEMES), THEMES)


def contributions_table(topics: FirmTopics, themes: IntArray, *, quarter: str) -> pa.Table:
    """One row per topic (schema THEME_CONTRIBUTIONS), theme_id null outside every theme."""
    ids = [None if number < 0 else theme_id(quarter, int(number)) for number in themes]
    table = topics.table.select([n for n in THEME_CONTRIBUTIONS.names if n != "theme_id"])
    table = table.add_column(0, "theme_id", pa.array(ids, pa.string()))
    return fit(table, THEME_CONTRIBUTIONS)


def cosines_to(rows: FloatArray, to: FloatArray) -> FloatArray:
    """Of each row to one vector; 0 where either is zero."""
    norms = np.linalg.norm(rows, axis=1) * np.linalg.norm(to)
    found = np.divide(rows @ to, norms, out=np.zeros(len(rows), np.float32), where=norms > 0)
    return np.asarray(found)
