"""Calls by themes, zeros included: what goes into a regression."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from ftm.core.schemas import PANEL
from ftm.reduce.calls import CALL_COLUMNS
from ftm.reduce.counts import GROUPS, CallCounts, share
from ftm.storage.parquet import fit


def panel_table(
    counts: CallCounts,
    calls: pa.Table,
    *,
    themes: pa.Array,
    series: Mapping[str, str],
) -> pa.Table:
    """One row per call with topics and theme (schema PANEL), sorted by firm_id, then theme.

    Args:
        counts: a row for each call, a column for each theme.
        calls: of `calls.calls_table`, a row for each call; its columns and shares are repeated on
            every row of the call.
        themes: theme_ids in order.
        series: theme → its series; those that are missing get none.
    """
    with_topics = np.flatnonzero(calls["n_topics"].to_numpy() > 0)
    n_calls, n_themes = len(with_topics), len(themes)
    call = np.repeat(with_topics, n_themes)
    theme = np.tile(np.arange(n_themes), n_calls)
    repeated = calls.take(pa.array(call))
    themed = counts.themed[with_topics]
    assigned = np.repeat(themed.sum(axis=1), n_themes)
    in_series = pa.array([series.get(name) for name in themes.to_pylist()], pa.string())
    found = {
        **{name: repeated[name] for name in CALL_COLUMNS},
        "theme_id": themes.take(pa.array(theme)),
        "series_id": in_series.take(pa.array(theme)),
        "n_sentences": themed.ravel(),
        "n_words": counts.themed_words[with_topics].ravel(),
        "share_all": share(themed.ravel(), counts.n[call]),
        "share_assigned": share(themed.ravel(), assigned),
        **{
            f"share_{name}": share(
                counts.themed_groups[name][with_topics].ravel(), counts.groups[name][call]
            )
            for name in GROUPS
        },
        **{name: repeated[name] for name in ("outlier_share", "unthemed_share", "excluded_share")},
        "estimation": repeated["estimation"],
        "themes_from": repeated["themes_from"],
        "run_id": repeated["run_id"],
    }
    return fit(pa.table({name: found[name] for name in PANEL.names}), PANEL)
