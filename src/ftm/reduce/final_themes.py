"""Themes with their names, and with what was decided by hand."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from typing import Any

import numpy as np
import pyarrow as pa

from ftm.core.schemas import THEME_CONTRIBUTIONS, THEMES
from ftm.reduce.aggregator import FirmTopics, cosines_to
from ftm.reduce.labels import Labels
from ftm.storage.parquet import fit, from_rows

N_KEYWORDS = 10


@dataclass(frozen=True, slots=True)
class FinalThemes:
    """What readers get.

    Args:
        themes: schema THEMES, in order of theme_id.
        contributions: schema THEME_CONTRIBUTIONS, a row per topic in order of `FirmTopics`.
    """

    themes: pa.Table
    contributions: pa.Table


def finish_themes(
    topics: FirmTopics,
    *,
    themes: pa.Table,
    contributions: pa.Table,
    names: Mapping[str, Mapping[str, str]],
    labels: Labels,
) -> FinalThemes:
    """Themes as stage reduce made and stage name named them, then what the labels say.

    A theme that others go into keeps its id; its figures are those of all their topics. Topics of
    an excluded theme are in none.

    Args:
        topics: of the run.
        themes: schema THEMES, of stage reduce.
        contributions: schema THEME_CONTRIBUTIONS, of stage reduce, in order of `topics`.
        names: theme → row of schema THEME_NAMES.
        labels: by hand.
    """
    final = [
        None if theme is None else labels.final(theme)
        for theme in contributions["theme_id"].to_pylist()
    ]
    rows = {row["theme_id"]: row for row in themes.to_pylist()}
    into: dict[str, list[str]] = {}
    for theme in rows:
        if (target := labels.final(theme)) is not None:
            into.setdefault(target, []).append(theme)
    members: dict[str, list[int]] = {}
    for i, target in enumerate(final):
        if target is not None:
            members.setdefault(target, []).append(i)
    found = [
        _named(_row(rows, theme, into[theme], topics, members[theme]), names[theme], labels)
        for theme in rows
        if theme in into
    ]
    table = contributions.set_column(0, "theme_id", pa.array(final, pa.string()))
    return FinalThemes(fit(from_rows(found, THEMES), THEMES), fit(table, THEME_CONTRIBUTIONS))


def _row(
    rows: Mapping[str, dict[str, Any]],
    theme: str,
    parts: Sequence[str],
    topics: FirmTopics,
    members: Sequence[int],
) -> dict[str, Any]:
    if list(parts) == [theme]:
        return rows[theme]
    centroids = topics.centroids[members]
    centroid = centroids.mean(axis=0)
    ordered = [theme, *(part for part in parts if part != theme)]
    return rows[theme] | {
        "keywords": _interleaved(rows[part]["keywords"] for part in ordered),
        "n_topics": len(members),
        "n_firms": len(np.unique(topics.firms[members])),
        "n_sentences": sum(rows[part]["n_sentences"] for part in parts),
        "centroid": centroid,
        "cohesion": float(cosines_to(centroids, centroid).mean()),
    }


def _named(row: dict[str, Any], name: Mapping[str, str], labels: Labels) -> dict[str, Any]:
    theme = row["theme_id"]
    by_hand = {
        key: given[theme]
        for key, given in (("name", labels.names), ("description", labels.descriptions))
        if theme in given
    }
    method = {"naming_method": "hand"} if by_hand else {}
    told = {key: name[key] for key in ("name", "description", "naming_method")}
    return row | told | by_hand | method


def _interleaved(lists: Iterable[Sequence[str]]) -> list[str]:
    """The first of each, then the second of each, …; each once."""
    found = chain.from_iterable(zip_longest(*lists))
    return list(dict.fromkeys(word for word in found if word))[:N_KEYWORDS]
