"""What must hold of the tables of a run before anybody is pointed at them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ftm.core.errors import OrchestratorError

TOLERANCE = 1e-9
_SHARES = ("themed_share", "outlier_share", "unthemed_share", "excluded_share")


def check_tables(tables: Mapping[str, pa.Table]) -> None:
    """Every constraint between the tables of a run.

    Args:
        tables: name, like `panel` → the table, as it is going to be written.

    Raises:
        OrchestratorError: one does not hold; nothing has been published. That is a bug.
    """
    for wrong in (*_keys(tables), *_sums(tables), *_grain(tables)):
        raise OrchestratorError(
            f"nothing was published: {wrong}; this is a bug of ftm, please report it"
        )


def _keys(tables: Mapping[str, pa.Table]) -> list[str]:
    """Foreign keys that lead nowhere."""
    found = []
    for table, column, other in (
        ("theme_contributions", "theme_id", "themes"),
        ("theme_contributions", "topic_id", "topics"),
        ("theme_contributions", "firm_id", "firms"),
        ("sentences", "theme_id", "themes"),
        ("sentences", "topic_id", "topics"),
        ("sentences", "firm_id", "firms"),
        ("sentences", "call_id", "panel_calls"),
        ("panel", "theme_id", "themes"),
        ("panel", "call_id", "panel_calls"),
        ("themes_for_sentiment", "theme_id", "themes"),
        ("themes_for_sentiment", "topic_id", "topics"),
        ("themes_for_sentiment", "firm_id", "firms"),
    ):
        values = pc.drop_null(tables[table][column].unique())
        missing = values.filter(pc.invert(pc.is_in(values, tables[other][column].combine_chunks())))
        if len(missing):
            found.append(f"{table} has {column} {missing[0]}, which {other} has not")
    return found


def _sums(tables: Mapping[str, pa.Table]) -> list[str]:
    """Counts and shares that do not add up."""
    found = []
    calls, ready = tables["panel_calls"], tables["themes_for_sentiment"]
    with_topics = calls.filter(pc.greater(calls["n_topics"], 0))
    total = sum(with_topics[name].to_numpy() for name in _SHARES)
    # Not the other way round: a null share is NaN here, which is not over anything.
    if with_topics.num_rows and not np.abs(total - 1.0).max() <= TOLERANCE:
        found.append("the shares of a call do not add up to 1")
    without = calls.filter(pc.equal(calls["n_topics"], 0))
    if any(without[name].null_count != without.num_rows for name in _SHARES):
        found.append("a call without topics has a share")
    if ready["permno"].null_count:
        found.append("themes_for_sentiment has a row without PERMNO")
    lengths = pc.list_value_length(ready["sentences"])
    if not pc.all(pc.equal(lengths, ready["n_sentences"])).as_py() and ready.num_rows:
        found.append("n_sentences is not the number of sentences in themes_for_sentiment")
    contributions = tables["theme_contributions"]
    themed = contributions.filter(pc.is_valid(contributions["theme_id"]))
    for name, n in (
        ("themes", pc.sum(tables["themes"]["n_sentences"]).as_py()),
        ("themes_for_sentiment", pc.sum(ready["n_sentences"]).as_py()),
        ("panel", pc.sum(tables["panel"]["n_sentences"]).as_py()),
    ):
        if (n or 0) != (pc.sum(themed["n_sentences"]).as_py() or 0):
            found.append(f"{name} does not have the sentences of the topics in themes")
    return found


def _grain(tables: Mapping[str, pa.Table]) -> list[str]:
    """Rows that come twice, or not at all."""
    found = [
        f"{table} has two rows of one {' and '.join(columns)}"
        for table, columns in (
            ("firms", ("firm_id",)),
            ("topics", ("topic_id",)),
            ("themes", ("theme_id",)),
            ("theme_contributions", ("topic_id",)),
            ("sentences", ("sentence_id",)),
            ("panel", ("call_id", "theme_id")),
            ("panel_calls", ("call_id",)),
            ("themes_for_sentiment", ("topic_id",)),
        )
        if _n_distinct(tables[table], columns) != tables[table].num_rows
    ]
    calls = tables["panel_calls"]
    primary = calls.filter(calls["primary_firm"])
    if _n_distinct(primary, ("permno", "call_date_et")) != primary.num_rows:
        found.append("two primary firms share a PERMNO and a day")
    n_calls = pc.sum(pc.greater(calls["n_topics"], 0)).as_py() or 0
    if tables["panel"].num_rows != n_calls * tables["themes"].num_rows:
        found.append("panel has not a row for every call with topics and every theme")
    return found


def _n_distinct(table: pa.Table, columns: tuple[str, ...]) -> int:
    return int(table.select(list(columns)).group_by(list(columns)).aggregate([]).num_rows)
