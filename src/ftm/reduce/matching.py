"""Themes of two quarters compared by their centroids. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ftm.topics.keywords import unit

FloatArray = npt.NDArray[np.float32]
Cosines = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ThemeVectors:
    """Themes of a quarter.

    Args:
        theme_ids: in order.
        centroids: shape (n_themes, n_dims).
        centre: mean direction of all topics of the quarter, shape (n_dims,).
        n_topics: that it is the mean of.
    """

    theme_ids: tuple[str, ...]
    centroids: FloatArray
    centre: FloatArray
    n_topics: int


@dataclass(frozen=True, slots=True)
class Link:
    """Two themes of neighbouring quarters that are alike.

    Args:
        before: theme of the earlier quarter.
        after: theme of the later one.
        cosine: of their centroids, relative to the mean of both quarters' topics.
        is_match: carries a series on.
    """

    before: str
    after: str
    cosine: float
    is_match: bool


def centre_of(centroids: FloatArray) -> FloatArray:
    """Mean direction of topic centroids; zeros for none."""
    if not len(centroids):
        return np.zeros(centroids.shape[1] if centroids.ndim == 2 else 0, np.float32)
    return np.asarray(unit(centroids).mean(axis=0), np.float32)


def relative(rows: FloatArray, centre: FloatArray) -> FloatArray:
    """Directions relative to a centre: what all topics share tells no two apart."""
    return unit(unit(rows) - centre)


def theme_cosines(before: ThemeVectors, after: ThemeVectors) -> Cosines:
    """Of every theme with every other, shape (n_before, n_after)."""
    n = before.n_topics + after.n_topics
    centre = (before.n_topics * before.centre + after.n_topics * after.centre) / max(n, 1)
    first = relative(before.centroids, centre.astype(np.float32))
    second = relative(after.centroids, centre.astype(np.float32))
    return np.asarray(first.astype(np.float64) @ second.T.astype(np.float64))


def find_links(
    before: ThemeVectors, after: ThemeVectors, *, threshold: float, series_threshold: float
) -> list[Link]:
    """Every pair at least as alike as the threshold, nearest first; ties in order of the ids.

    Matches are one-to-one: of all ways to match pairs at least as alike as the series threshold,
    the one whose cosines, each less that threshold, add up to most.

    Args:
        before: of the earlier quarter.
        after: of the later one.
        threshold: cosine from which two themes are linked.
        series_threshold: from which a link may carry a series on; not under the other.
    """
    if not before.theme_ids or not after.theme_ids:
        return []
    cosines = theme_cosines(before, after)
    matched = _assign(cosines, series_threshold)
    found = [
        Link(
            before.theme_ids[i],
            after.theme_ids[j],
            float(np.float32(cosines[i, j])),
            bool((int(i), int(j)) in matched),
        )
        for i, j in zip(*np.nonzero(cosines >= threshold), strict=True)
    ]
    return sorted(found, key=lambda link: (-link.cosine, link.before, link.after))


def _assign(cosines: Cosines, threshold: float) -> set[tuple[int, int]]:
    from scipy.optimize import linear_sum_assignment

    # A pair under the threshold is worth nothing, so it never displaces a match.
    gains = np.maximum(cosines - threshold, 0.0)
    rows, columns = linear_sum_assignment(-gains)
    return {
        (int(i), int(j)) for i, j in zip(rows, columns, strict=True) if cosines[i, j] >= threshold
    }


def carry_on(
    links: Sequence[Link], after: Sequence[str], series: Mapping[str, str]
) -> dict[str, str]:
    """Theme of the later quarter → its series: that of its match, else one of its own.

    Args:
        links: of both quarters.
        after: themes of the later quarter.
        series: theme of the earlier quarter → its series.
    """
    carried = {link.after: series[link.before] for link in links if link.is_match}
    return {theme: carried.get(theme, new_series(theme)) for theme in after}


def new_series(theme_id: str) -> str:
    """The series that begins with a theme: `series_2016Q2_007` for `theme_2016Q2_007`."""
    return "series_" + theme_id.removeprefix("theme_")


def nearest_theme(
    topics: FloatArray, themes: ThemeVectors, *, min_cosine: float
) -> npt.NDArray[np.int64]:
    """The theme each topic is nearest to, relative to the centre of the themes' own quarter.

    Nothing of the topics' quarter is looked at but each topic itself.

    Args:
        topics: centroids, shape (n_topics, n_dims).
        themes: frozen.
        min_cosine: a topic less alike than this is in no theme.

    Returns:
        Shape (n_topics,); -1 for none.
    """
    if not len(topics) or not themes.theme_ids:
        return np.full(len(topics), -1, np.int64)
    cosines = relative(topics, themes.centre) @ relative(themes.centroids, themes.centre).T
    best = cosines.argmax(axis=1)
    return np.where(cosines[np.arange(len(topics)), best] < min_cosine, -1, best).astype(np.int64)
