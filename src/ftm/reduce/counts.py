"""How much of each call is said where, by whom and about what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Counts = npt.NDArray[np.int64]

GROUPS: Mapping[str, tuple[str, str]] = {
    "presentation": ("section", "presentation"),
    "qa": ("section", "qa"),
    "executive": ("speaker_type", "Executives"),
    "analyst": ("speaker_type", "Analysts"),
}
"""Group → column of the sentences and its value, as Capital IQ spells it."""


@dataclass(frozen=True, slots=True)
class CallCounts:
    """Sentences of each call, rows as the firms given; arrays of shape (n_calls,) unless said.

    Args:
        n: all.
        n_words: of all.
        groups: of each of GROUPS.
        outliers: clustered, in no topic.
        unthemed: in a topic outside every theme.
        excluded: not clustered.
        themed: by theme, shape (n_calls, n_themes).
        themed_words: words of these.
        themed_groups: of each of GROUPS, shape (n_calls, n_themes).
    """

    n: Counts
    n_words: Counts
    groups: Mapping[str, Counts]
    outliers: Counts
    unthemed: Counts
    excluded: Counts
    themed: Counts
    themed_words: Counts
    themed_groups: Mapping[str, Counts]


def count_calls(sentences: pa.Table, firms: pa.Array, themes: pa.Array) -> CallCounts:
    """Count the sentences of calls.

    Args:
        sentences: schema SENTENCES; those of other firms are not looked at.
        firms: firm_ids, one per call.
        themes: theme_ids, one per column.
    """
    shape = (len(firms), len(themes))
    row = _place(sentences["firm_id"], firms)
    column = _place(sentences["theme_id"], themes)
    words = sentences["n_words"].to_numpy().astype(np.int64)
    here = row >= 0
    has_topic = pc.is_valid(sentences["topic_id"]).to_numpy()
    outlier = sentences["is_outlier"].to_numpy()
    groups = {
        name: pc.fill_null(pc.equal(sentences[field], value), False).to_numpy()
        for name, (field, value) in GROUPS.items()
    }

    def per_call(mask: npt.NDArray[np.bool_], weights: Counts | None = None) -> Counts:
        return _sums(row[mask], shape[0], None if weights is None else weights[mask])

    def per_theme(mask: npt.NDArray[np.bool_], weights: Counts | None = None) -> Counts:
        kept = mask & here & (column >= 0)
        flat = row[kept] * shape[1] + column[kept]
        return _sums(flat, shape[0] * shape[1], None if weights is None else weights[kept]).reshape(
            shape
        )

    everything = np.ones(len(row), np.bool_)
    return CallCounts(
        n=per_call(here),
        n_words=per_call(here, words),
        groups={name: per_call(here & mask) for name, mask in groups.items()},
        outliers=per_call(here & outlier),
        unthemed=per_call(here & has_topic & (column < 0)),
        excluded=per_call(here & ~has_topic & ~outlier),
        themed=per_theme(everything),
        themed_words=per_theme(everything, words),
        themed_groups={name: per_theme(mask) for name, mask in groups.items()},
    )


def share(part: Counts, whole: Counts, valid: npt.NDArray[np.bool_] | None = None) -> pa.Array:
    """Of a whole, as float64 and flat; null where it is 0, or not valid."""
    defined = (whole > 0) if valid is None else valid & (whole > 0)
    shares = np.divide(part, whole, out=np.zeros(part.shape), where=defined)
    return pa.array(shares.ravel(), pa.float64(), mask=~defined.ravel())


def _place(values: pa.ChunkedArray, among: pa.Array) -> Counts:
    found = pc.fill_null(pc.index_in(values.combine_chunks(), value_set=among), -1)
    # A null is no member, even where the values have one.
    return np.where(values.is_null().to_numpy(), -1, found.to_numpy(zero_copy_only=False)).astype(
        np.int64
    )


def _sums(places: Counts, n: int, weights: Counts | None) -> Counts:
    return np.bincount(places, weights, minlength=n).astype(np.int64)
