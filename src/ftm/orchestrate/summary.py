"""What came out of a run: the firms table and the figures of the summary."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ftm.reduce.firms import count_firms
from ftm.storage.object_store import ObjectStore
from ftm.storage.run_reader import RunRecords, read_calls, read_run_manifest
from ftm.storage.run_records import RunSpec

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
        last_stage: that the command was to do.
        tables: URL of the folder of the run's tables; empty until they are made.
        submitted_stage: whose jobs were submitted, if they were not waited for.
        diagnosis: `ftm.reduce.diagnosis.Diagnosis`, once the tables are made.
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
    last_stage: str = "map"
    tables: str = ""
    submitted_stage: str = "map"
    diagnosis: Mapping[str, Any] | None = None

    @property
    def outlier_share(self) -> float:
        """Share of clustered sentences in no topic; 0.0 when none was clustered."""
        return self.n_outliers / self.n_clustered if self.n_clustered else 0.0


def collect(store: ObjectStore, run: RunRecords, *, state: RunState) -> RunSummary:
    """Add up a run.

    Raises:
        CorruptObjectError: a part differs from what its batch recorded.
    """
    counts = count_firms(store, run)
    manifest = read_run_manifest(store, run.layout, run.spec)
    calls = read_calls(store, manifest)
    kept = set(calls.filter(calls["kept"])["firm_id"].to_pylist())
    known = {*manifest.firm_to_chunk, *manifest.skipped, *manifest.failed}
    folder = run.layout.firm_topics_part("", 0).rpartition("/")[0]
    total = sum(counts.values(), Counter[str]())
    return RunSummary(
        quarter=run.spec.quarter,
        run_id=run.spec.run_id,
        state=state,
        n_batches=len(run.batches),
        n_firms=run.n_firms,
        n_done=len(run.done),
        failed=run.failed,
        skipped=run.skipped,
        n_without_topics=sum(not counts[firm]["topics"] for firm in run.done),
        n_not_prefetched=len(kept - known),
        n_topics=total["topics"],
        n_sentences=total["sentences"],
        n_clustered=total["clustered"],
        n_outliers=total["outliers"],
        topics=store.name(folder),
        example_firm=max(sorted(counts), key=lambda firm: counts[firm]["topics"], default=""),
    )


def submitted_stage(spec: RunSpec, stage: str) -> RunSummary:
    """Of a run whose stage after map was submitted, and not waited for."""
    return RunSummary(
        quarter=spec.quarter,
        run_id=spec.run_id,
        state="submitted",
        n_batches=0,
        n_firms=0,
        submitted_stage=stage,
    )
