"""What became of each firm of a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ftm.core.errors import CorruptObjectError
from ftm.core.schemas import FIRMS
from ftm.storage.object_store import ObjectStore
from ftm.storage.parquet import from_rows
from ftm.storage.run_reader import RunRecords, iter_parts


def count_firms(store: ObjectStore, run: RunRecords) -> dict[str, Counter[str]]:
    """Sentences, content, clustered, outliers and topics per firm, from the parts."""
    counts = {firm: Counter[str]() for batch in run.batches for firm in batch.firm_ids}
    for _, table in iter_parts(store, run, "firm-sentences"):
        topic = table["local_topic_id"]
        for name, mask in (
            ("sentences", None),
            ("content", pc.equal(table["kind"], "content")),
            ("clustered", pc.is_valid(topic)),
            ("outliers", pc.less(topic, 0)),
        ):
            _count(counts, table if mask is None else table.filter(mask), name)
    for _, table in iter_parts(store, run, "firm-topics"):
        _count(counts, table, "topics")
    return counts


def _count(counts: dict[str, Counter[str]], table: pa.Table, name: str) -> None:
    for pair in pc.value_counts(table["firm_id"].combine_chunks()).to_pylist():
        counts[pair["values"]][name] += pair["counts"]


def firms_table(
    run: RunRecords, kept: Mapping[str, Mapping[str, Any]], counts: Mapping[str, Counter[str]]
) -> pa.Table:
    """One row per firm of the run (schema FIRMS), sorted by firm_id.

    Args:
        run: whose batches; firms of one that is not complete have status not_run.
        kept: firm → its row of the plan.
        counts: of `count_firms`.
    """
    if unplanned := sorted(counts.keys() - kept.keys()):
        raise CorruptObjectError(
            f"run {run.spec.run_id} has firm {unplanned[0]}, which the plan of its prefetch "
            "does not keep"
        )
    rows = [_firm_row(run, kept[firm], counts[firm]) for firm in sorted(counts)]
    return from_rows(rows, FIRMS)


def _firm_row(run: RunRecords, call: Mapping[str, Any], counts: Counter[str]) -> dict[str, Any]:
    firm = call["firm_id"]
    return {
        **{name: call[name] for name in FIRMS.names[:5]},
        "n_sentences": counts["sentences"],
        "n_content": counts["content"],
        "n_topics": counts["topics"],
        "n_outliers": counts["outliers"],
        "status": _status(run, firm),
        "detail": run.failed.get(firm) or run.skipped.get(firm),
    }


def _status(run: RunRecords, firm: str) -> str:
    if firm in run.failed:
        return "failed"
    if firm in run.skipped:
        return "skipped"
    return "done" if firm in run.firms_done else "not_run"
