"""`ftm run-quarter`."""

from __future__ import annotations

import dataclasses
import json
import shlex
from typing import TYPE_CHECKING, Any

import click

from ftm.cli.progress import format_duration
from ftm.cli.run_progress import watch_run
from ftm.core.settings import Settings
from ftm.orchestrate.quarter_orchestrator import BATCH_SIZE

if TYPE_CHECKING:
    from ftm.orchestrate.summary import RunSummary

FAILURES_SHOWN = 5


@click.command("run-quarter")
@click.option("--quarter", required=True, metavar="2023Q1", help="A prefetched quarter.")
@click.option("--store", metavar="URL", help="s3://bucket[/prefix] or file:///folder.")
@click.option(
    "--backend",
    type=click.Choice(["local"]),
    default="local",
    show_default=True,
    help="Where batches run: processes of this machine.",
)
@click.option(
    "--batch-size",
    type=click.IntRange(min=1),
    default=BATCH_SIZE,
    show_default=True,
    help="Firms per batch: whole chunks, or parts of one where it holds more. Another size is "
    "another run.",
)
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    help="Processes at once, each with its own copy of the model.  [default: one per 4 cores, "
    "one on a GPU]",
)
@click.option("--clustering", metavar="METHOD", help="ward, leiden or umap-hdbscan.")
@click.option("--embedding-model", metavar="NAME", help="A folder or a sentence-transformers name.")
@click.option(
    "--embed-text", type=click.Choice(["raw", "cleaned"]), help="Sentences as spoken, or lemmas."
)
@click.option("--seed", type=click.IntRange(min=0), metavar="N", help="Of every random choice.")
@click.option("--device", metavar="NAME", help="auto, cpu or cuda; one for the whole run.")
@click.option("--dtype", metavar="TYPE", help="float32, or bfloat16 where the processor has it.")
@click.option(
    "--keep-kinds", metavar="KINDS", help="Kinds of sentences to cluster, like content,greeting."
)
@click.option(
    "--allow-partial-prefetch", is_flag=True, help="Run although the prefetch is not complete."
)
@click.option(
    "--no-publish",
    is_flag=True,
    help="Leave loaders with the run they read now, as for a run with another seed.",
)
@click.option("--json", "as_json", is_flag=True, help="The summary as JSON.")
def run_quarter(
    quarter: str,
    backend: str,
    batch_size: int,
    workers: int | None,
    allow_partial_prefetch: bool,
    no_publish: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """Cluster the sentences of every firm of a prefetched quarter into topics.

    Reads the store and never WRDS. Killed or failed, run the same command again: it resumes.
    Another setting is another run beside it; one run is carried by one command at a time. What
    reads topics reads the run last completed here, unless --no-publish or told another.

    \b
    ftm run-quarter --quarter 2023Q1
    ftm run-quarter --quarter 2023Q1 --clustering leiden --workers 2
    ftm run-quarter --quarter 2023Q1 --batch-size 50 --device cuda --dtype bfloat16
    ftm run-quarter --quarter 2023Q1 --seed 7 --no-publish
    ftm run-quarter --quarter 2023Q1 --store file:///data/ftm --json > summary.json
    """
    from ftm.wiring import get_orchestrator

    settings = Settings.load(**given)
    with (
        watch_run() as watcher,
        get_orchestrator(settings, backend=backend, workers=workers, watcher=watcher) as runner,
    ):
        summary = runner.run_quarter(
            quarter,
            batch_size=batch_size,
            allow_partial_prefetch=allow_partial_prefetch,
            publish=not no_publish,
        )
    lines = describe(summary, given["store"])
    click.echo(as_dict(summary) if as_json else "\n".join(lines))


def as_dict(summary: RunSummary) -> str:
    """The summary as JSON, one key a line."""
    found = dataclasses.asdict(summary) | {"outlier_share": round(summary.outlier_share, 4)}
    return json.dumps(found | {"seconds": round(summary.seconds, 1)}, indent=1)


def describe(summary: RunSummary, store: str | None = None) -> list[str]:
    """The summary in a few lines; `store` is what the command was given, if it was."""
    what = f"{summary.quarter}, run {summary.run_id}"
    if summary.state == "submitted":
        return [f"{what}: {summary.n_batches} batches with {summary.n_firms} firms submitted"]
    head = {
        "complete": f"{what}: complete in {format_duration(summary.seconds)}",
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
        f"  where     {summary.topics}",
        f"  next      {_next_command(summary, store)}",
    ]


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
