"""What came out of a run: the firms table and the figures of the summary."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc

from ftm.core.errors import CorruptObjectError
from ftm.core.schemas import FIRMS
from ftm.storage.object_store import ObjectStore
from ftm.storage.parquet import from_rows, to_bytes
from ftm.storage.run_reader import (
    RunRecords,
    iter_parts,
    read_calls,
    read_run_manifest,
)

RunState = Literal["complete", "already complete", "submitted"]


@dataclass(frozen=True, slots=True)
class RunSummary:
    """A run in figures.

    Args:
        quarter: like 2023Q1.
        run_id: which run.
        state: complete, already complete (nothing was left to do) or submitted (not waited for).
        n_batches: of the run.
        n_firms: in its batches.
        n_done: firms with results, those with zero topics included.
        failed: firm → error.
        skipped: firm → reason.
        n_without_topics: of these, firms with zero topics, most of them too small to cluster.
        n_not_prefetched: firms the plan keeps that the prefetch of this run had not got to.
        n_topics: of all firms.
        n_sentences: of all firms done.
        n_clustered: sentences that went into clustering.
        n_outliers: of these, in no topic.
        seconds: this command took.
        job_hours: that jobs of AWS Batch ran, those of earlier attempts included; 0 for local ones.
        n_retried: batches whose job was started more than once.
        cost: job_hours times the price of an hour; None without a price.
        topics: URL of the folder of firm-topics parts; empty until there is something.
        published: loaders read this run unless they are told another.
        example_firm: a firm to look at, that with the most topics; empty until there is something.
    """

    quarter: str
    run_id: str
    state: RunState
    n_batches: int
    n_firms: int
    n_done: int = 0
    failed: Mapping[str, str] = field(default_factory=dict)
    skipped: Mapping[str, str] = field(default_factory=dict)
    n_without_topics: int = 0
    n_not_prefetched: int = 0
    n_topics: int = 0
    n_sentences: int = 0
    n_clustered: int = 0
    n_outliers: int = 0
    seconds: float = 0.0
    job_hours: float = 0.0
    n_retried: int = 0
    cost: float | None = None
    topics: str = ""
    published: bool = False
    example_firm: str = ""

    @property
    def outlier_share(self) -> float:
        """Share of clustered sentences in no topic; 0.0 when none was clustered."""
        return self.n_outliers / self.n_clustered if self.n_clustered else 0.0


def collect(
    store: ObjectStore, run: RunRecords, *, state: RunState, seconds: float
) -> tuple[RunSummary, bytes]:
    """Add up a complete run.

    Returns:
        The summary, and the firms table (schema FIRMS, one row per firm, sorted by id) as Parquet.

    Raises:
        CorruptObjectError: a part differs from what its batch recorded.
    """
    counts = count_firms(store, run)
    manifest = read_run_manifest(store, run.layout)
    calls = read_calls(store, manifest)
    kept = {row["firm_id"]: row for row in calls.filter(calls["kept"]).to_pylist()}
    firms = firms_table(run, kept, counts)
    known = {*manifest.firm_to_chunk, *manifest.skipped, *manifest.failed}
    folder = run.layout.firm_topics_part("", 0).rpartition("/")[0]
    total = sum(counts.values(), Counter[str]())
    summary = RunSummary(
        quarter=run.spec.quarter,
        run_id=run.spec.run_id,
        state=state,
        n_batches=len(run.batches),
        n_firms=run.n_firms,
        n_done=len(run.done),
        failed=run.failed,
        skipped=run.skipped,
        n_without_topics=sum(not counts[firm]["topics"] for firm in run.done),
        n_not_prefetched=len(kept.keys() - known),
        n_topics=total["topics"],
        n_sentences=total["sentences"],
        n_clustered=total["clustered"],
        n_outliers=total["outliers"],
        seconds=seconds,
        topics=store.name(folder),
        example_firm=max(sorted(counts), key=lambda firm: counts[firm]["topics"], default=""),
    )
    return summary, to_bytes(firms, FIRMS)


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
        run: complete.
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
    status = "failed" if firm in run.failed else "skipped" if firm in run.skipped else "done"
    return {
        **{name: call[name] for name in FIRMS.names[:5]},
        "n_sentences": counts["sentences"],
        "n_content": counts["content"],
        "n_topics": counts["topics"],
        "n_outliers": counts["outliers"],
        "status": status,
        "detail": run.failed.get(firm) or run.skipped.get(firm),
    }
