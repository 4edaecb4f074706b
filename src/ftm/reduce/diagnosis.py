"""A short diagnosis of a run: what a referee asks first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Figures of a run, over the calls with topics unless said otherwise.

    Args:
        n_calls: calls the plan keeps.
        n_calls_with_topics: of these.
        n_topics: of all firms.
        topics_per_call: mean.
        topics_length_correlation: Pearson, between a call's topics and its sentences; None with
            fewer than three calls, or without variance.
        outlier_share: of all sentences; clustered, in no topic.
        excluded_share: of all sentences; of kinds that are not clustered.
        themed_share: of all sentences; in a theme.
        topics_themed_share: of all topics; in a theme.
        n_themes: how many.
        largest_theme_share: of the sentences in themes, in the theme with most of them.
        firms_per_theme: median.
        is_partial: batches were left out.
    """

    n_calls: int
    n_calls_with_topics: int
    n_topics: int
    topics_per_call: float
    topics_length_correlation: float | None
    outlier_share: float
    excluded_share: float
    themed_share: float
    topics_themed_share: float
    n_themes: int
    largest_theme_share: float
    firms_per_theme: float
    is_partial: bool = False

    def as_dict(self) -> dict[str, float | int | bool | None]:
        """Rounded, for records and JSON."""
        return {
            name: round(value, 4) if isinstance(value, float) else value
            for name, value in asdict(self).items()
        }


def diagnose(tables: Mapping[str, pa.Table], *, is_partial: bool) -> Diagnosis:
    """Work out the figures from the tables of a run."""
    calls = tables["panel_calls"]
    calls = calls.filter(pc.greater(calls["n_topics"], 0))
    lengths = calls["n_sentences"].to_numpy()
    topics = calls["n_topics"].to_numpy()
    themes = tables["themes"]
    sizes = themes["n_sentences"].to_numpy()
    contributions = tables["theme_contributions"]
    n_themed = contributions.num_rows - contributions["theme_id"].null_count

    def share(name: str) -> float:
        # Shares of calls, each with the weight of its sentences: shares of sentences.
        return float((calls[name].to_numpy() * lengths).sum() / max(lengths.sum(), 1))

    return Diagnosis(
        n_calls=tables["panel_calls"].num_rows,
        n_calls_with_topics=calls.num_rows,
        n_topics=contributions.num_rows,
        topics_per_call=float(topics.mean()) if topics.size else 0.0,
        topics_length_correlation=_correlation(topics, lengths),
        outlier_share=share("outlier_share"),
        excluded_share=share("excluded_share"),
        themed_share=share("themed_share"),
        topics_themed_share=n_themed / max(contributions.num_rows, 1),
        n_themes=themes.num_rows,
        largest_theme_share=float(sizes.max() / sizes.sum()) if sizes.size else 0.0,
        firms_per_theme=float(np.median(themes["n_firms"].to_numpy())) if sizes.size else 0.0,
        is_partial=is_partial,
    )


def _correlation(first: np.ndarray, second: np.ndarray) -> float | None:
    if len(first) < 3 or not first.std() or not second.std():
        return None
    return float(np.corrcoef(first, second)[0, 1])
