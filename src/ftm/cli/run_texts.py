"""What a run's commands print when it has ended, or has been submitted."""

from __future__ import annotations

import dataclasses
import json
import shlex
from typing import TYPE_CHECKING

from ftm.cli.progress import format_duration
from ftm.core.counted import counted

if TYPE_CHECKING:
    from ftm.orchestrate.summary import RunSummary
    from ftm.orchestrate.usage import Estimate

FAILURES_SHOWN = 5


def as_dict(summary: RunSummary) -> str:
    """The summary as JSON, one key a line."""
    found = dataclasses.asdict(summary) | {"outlier_share": round(summary.outlier_share, 4)}
    return json.dumps(found | {"seconds": round(summary.seconds, 1)}, indent=1)


def describe(summary: RunSummary, store: str | None = None) -> list[str]:
    """The summary in a few lines; `store` is what the command was given, if it was."""
    what = f"{summary.quarter}, run {summary.run_id}"
    if summary.state == "submitted":
        return _submitted(summary, store)
    head = {
        "complete": f"{what}: {_done(summary)} in {format_duration(summary.seconds)}",
        "already complete": f"{what}: already complete, nothing to do",
    }[summary.state]
    return [
        head,
        *_partial(summary),
        f"  firms     {summary.n_done:>9,}{_and_not_done(summary)}",
        f"  topics    {summary.n_topics:>9,}",
        f"  sentences {summary.n_sentences:>9,}, of which {summary.n_clustered:,} clustered",
        f"  outliers  {summary.outlier_share:>9.1%} of the clustered sentences are in no topic",
        *_failures(summary),
        *_themes(summary),
        *_usage(summary),
        f"  where     {summary.tables or summary.topics}",
        f"  next      {_next_command(summary, store)}",
    ]


def _done(summary: RunSummary) -> str:
    return "complete" if summary.last_stage == "package" else f"{summary.last_stage} done"


def _themes(summary: RunSummary) -> list[str]:
    """The diagnosis: what a referee asks first."""
    found = summary.diagnosis
    if found is None:
        return []
    r = found["topics_length_correlation"]
    related = "" if r is None else f", correlated {r:.2f} with its length"
    many = f"half of them of {found['firms_per_theme']:,.0f} firms or more"
    topics = f"{found['topics_themed_share']:.1%} of the topics"
    lines = [
        f"  themes    {found['n_themes']:>9,}, {many}",
        f"  in themes {found['themed_share']:>9.1%} of all sentences, {topics}",
        f"  largest   {found['largest_theme_share']:>9.1%} of the sentences in themes",
        f"  a call    {found['topics_per_call']:>9.1f} topics{related}",
        f"  excluded  {found['excluded_share']:>9.1%} of all sentences, like greetings",
    ]
    if found["is_partial"]:
        lines.append("  partial   batches that failed are left out of all this")
    return lines


def describe_estimate(plan: Estimate) -> str:
    """What a run would submit, in a line."""
    if not plan.n_batches:
        return f"{plan.quarter}, run {plan.run_id}: already complete, nothing to do"
    return f"{plan.quarter}, run {plan.run_id}: would submit {plan.describe()}"


def estimate_as_dict(plan: Estimate) -> str:
    """The estimate as JSON, one key a line."""
    return json.dumps(dataclasses.asdict(plan) | {"job_hours": plan.job_hours}, indent=1)


def _submitted(summary: RunSummary, store: str | None) -> list[str]:
    flags = ["--quarter", summary.quarter, "--run", summary.run_id]
    flags += ["--store", store] if store else []
    batches = counted(summary.n_batches, "batch", "batches")
    what = f"{batches} with {counted(summary.n_firms, 'firm')}"
    if summary.submitted_stage != "map":
        what = f"stage {summary.submitted_stage}"
    return [
        f"{summary.quarter}, run {summary.run_id}: submitted {what}",
        f"  watch     {shlex.join(['ftm', 'watch', *flags])}",
        f"  cancel    {shlex.join(['ftm', 'cancel', *flags])}",
    ]


def _usage(summary: RunSummary) -> list[str]:
    """What AWS Batch took; nothing for a run of local processes."""
    if not summary.job_hours:
        return []
    cost = "" if summary.cost is None else f", {summary.cost:,.2f} in all at the price given"
    hours = f"  job hours {summary.job_hours:>9.2f}{cost}"
    if not summary.n_retried:
        return [hours]
    return [hours, f"  retried   {summary.n_retried:>9,} batches were started more than once"]


def _partial(summary: RunSummary) -> list[str]:
    """What a reader of the topics must know: firms that are in the sample, and not in the run."""
    if not summary.n_not_prefetched:
        return []
    n = f"{summary.n_not_prefetched:>9,}"
    return [f"  partial   {n} firms more are in the plan; they were not prefetched by then"]


def _next_command(summary: RunSummary, store: str | None) -> str:
    """Shows a firm of the run; names the run and the store where `ftm show` would take others."""
    words = ["ftm", "show", "--quarter", summary.quarter, "--firm", summary.example_firm]
    words += [] if summary.published else ["--run", summary.run_id]
    words += ["--store", store] if store else []
    return shlex.join(words)


def _and_not_done(summary: RunSummary) -> str:
    parts = [
        (summary.n_without_topics, "of them without a topic"),
        (len(summary.failed), "failed"),
        (len(summary.skipped), "skipped"),
    ]
    return "".join(f", {n} {what}" for n, what in parts if n)


def _failures(summary: RunSummary) -> list[str]:
    shown = list(summary.failed.items())[:FAILURES_SHOWN]
    lines = [f"  failed    {firm}: {why}" for firm, why in shown]
    rest = len(summary.failed) - len(shown)
    return lines + ([f"  failed    and {rest} more; see ftm status"] if rest else [])
