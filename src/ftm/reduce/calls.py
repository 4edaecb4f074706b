"""One row per call the plan keeps: identifiers, outcome, and what was said where."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ftm.core.schemas import PANEL_CALLS
from ftm.reduce.counts import CallCounts, share
from ftm.storage.parquet import fit
from ftm.storage.run_reader import RunRecords

CALL_COLUMNS = tuple(PANEL_CALLS.names[:13])
"""What every row of panel and panel_calls says of its call."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where themes come from.

    Args:
        run_id: of the topics.
        estimation: in_sample, or frozen: scored against themes of an earlier quarter.
        themes_from: quarter whose themes they are.
    """

    run_id: str
    estimation: str
    themes_from: str


def call_rows(calls: pa.Table, sizes: Mapping[str, int]) -> pa.Table:
    """The calls a plan keeps, sorted by firm_id, with the columns every panel begins with.

    Args:
        calls: schema CALLS.
        sizes: firm → its sentences, which decide between firms that share a PERMNO and a day.
    """
    kept = calls.filter(calls["kept"]).sort_by("firm_id")
    call_id = pc.binary_join_element_wise(kept["firm_id"], kept["transcript_id"], "_")
    found = {name: kept[name] for name in CALL_COLUMNS if name in kept.column_names}
    found |= {
        "call_id": call_id,
        "primary_firm": primary_firms(kept, sizes),
        "quarter": pa.nulls(kept.num_rows, pa.string()),
    }
    return pa.table({name: found[name] for name in CALL_COLUMNS})


def primary_firms(kept: pa.Table, sizes: Mapping[str, int]) -> pa.Array:
    """Of several firms with one PERMNO on one day, exactly one is primary.

    Of those with sentences it is the one whose link is P before C, then LC before LU, then whose
    call has more sentences, then the lowest firm_id.
    """
    best: dict[tuple[int, object], tuple[tuple[bool, bool, bool, int, str], int]] = {}
    for i, row in enumerate(
        kept.select(["permno", "call_date_et", "linkprim", "linktype", "firm_id"]).to_pylist()
    ):
        firm = row["firm_id"]
        n = sizes.get(firm, 0)
        rank = (n == 0, row["linkprim"] != "P", row["linktype"] != "LC", -n, firm)
        key = (row["permno"], row["call_date_et"])
        best[key] = min(best.get(key, (rank, i)), (rank, i))
    chosen = {i for _, i in best.values()}
    return pa.array([i in chosen for i in range(kept.num_rows)])


def calls_table(
    rows: pa.Table,
    counts: CallCounts,
    *,
    statuses: Mapping[str, str],
    n_topics: Mapping[str, int],
    origin: Origin,
    quarter: str,
) -> pa.Table:
    """One row per call (schema PANEL_CALLS); shares are null where it has no topic.

    Args:
        rows: of `call_rows`.
        counts: a row for each.
        statuses: firm → what became of it; one that is missing was not run.
        n_topics: firm → topics.
        origin: where themes come from.
        quarter: like 2023Q1.
    """
    firms = rows["firm_id"].to_pylist()
    topics = np.array([n_topics.get(firm, 0) for firm in firms], np.int64)
    has_topics = topics > 0
    found = {
        **{name: rows[name] for name in CALL_COLUMNS},
        "quarter": _constant(quarter, len(firms)),
        "status": pa.array([statuses.get(firm, "not_run") for firm in firms], pa.string()),
        "n_sentences": counts.n,
        "n_words": counts.n_words,
        **{f"n_{name}": n for name, n in counts.groups.items()},
        "n_topics": topics,
        "n_themes": (counts.themed > 0).sum(axis=1),
        "themed_share": share(counts.themed.sum(axis=1), counts.n, has_topics),
        "outlier_share": share(counts.outliers, counts.n, has_topics),
        "unthemed_share": share(counts.unthemed, counts.n, has_topics),
        "excluded_share": share(counts.excluded, counts.n, has_topics),
        **_origin(origin, len(firms)),
    }
    return fit(pa.table({name: found[name] for name in PANEL_CALLS.names}), PANEL_CALLS)


def _origin(origin: Origin, n: int) -> dict[str, pa.Array]:
    return {
        "estimation": _constant(origin.estimation, n),
        "themes_from": _constant(origin.themes_from, n),
        "run_id": _constant(origin.run_id, n),
    }


def _constant(text: str, n: int) -> pa.Array:
    return pa.repeat(pa.scalar(text, pa.string()), n)


def firm_statuses(
    run: RunRecords, skipped: Mapping[str, str], failed: Mapping[str, str]
) -> dict[str, str]:
    """Firm → done, skipped or failed, prefetch included."""
    return (
        dict.fromkeys(skipped, "skipped")
        | dict.fromkeys(failed, "failed")
        | dict.fromkeys(run.firms_done, "done")
        | dict.fromkeys(run.skipped, "skipped")
        | dict.fromkeys(run.failed, "failed")
    )
