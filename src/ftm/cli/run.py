"""`ftm run-quarter`."""

from __future__ import annotations

from typing import Any

import click

from ftm.cli.run_progress import watch_run
from ftm.cli.run_texts import as_dict, describe, describe_estimate, estimate_as_dict
from ftm.core.settings import Settings
from ftm.orchestrate.quarter_orchestrator import BATCH_SIZE
from ftm.storage.stage_records import STAGES


@click.command("run-quarter")
@click.option("--quarter", required=True, metavar="2023Q1", help="A prefetched quarter.")
@click.option("--store", metavar="URL", help="s3://bucket[/prefix] or file:///folder.")
@click.option(
    "--backend",
    type=click.Choice(["local", "batch"]),
    default="local",
    show_default=True,
    help="Where batches run: processes of this machine, or containers of AWS Batch.",
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
    help="Local processes at once, each with its own copy of the model.  [default: one per 4 "
    "cores, one on a GPU]",
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
@click.option(
    "--price-per-hour",
    type=click.FloatRange(min=0),
    metavar="PRICE",
    help="Of one job of AWS Batch: what is expected and what was used is told in money, too.",
)
@click.option(
    "--from",
    "first",
    type=click.Choice(STAGES),
    default=STAGES[0],
    show_default=True,
    help="Begin with this stage, and do it again even if it is done.",
)
@click.option(
    "--to",
    "last",
    type=click.Choice(STAGES),
    default=STAGES[-1],
    show_default=True,
    help="End after this stage; only package publishes.",
)
@click.option(
    "--allow-failed-batches",
    is_flag=True,
    help="Make themes of the batches that are complete; the output says that it is partial.",
)
@click.option(
    "--theme-clustering", metavar="METHOD", help="Of topics into themes: leiden or umap-hdbscan."
)
@click.option(
    "--theme-resolution",
    type=click.FloatRange(min=0, min_open=True),
    metavar="R",
    help="Higher finds more and smaller themes.",
)
@click.option(
    "--naming", type=click.Choice(["keywords", "llm"]), help="How topics and themes get names."
)
@click.option(
    "--no-wait", is_flag=True, help="Return when the jobs are submitted (--backend batch)."
)
@click.option("--dry-run", is_flag=True, help="Say what would be submitted, and submit nothing.")
@click.option("--json", "as_json", is_flag=True, help="The summary as JSON.")
def run_quarter(
    quarter: str,
    backend: str,
    batch_size: int,
    workers: int | None,
    allow_partial_prefetch: bool,
    no_publish: bool,
    no_wait: bool,
    dry_run: bool,
    first: str,
    last: str,
    allow_failed_batches: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """Carry a prefetched quarter from sentences to topics, themes and panels.

    Four stages: map clusters every firm's sentences into topics, reduce makes themes of all firms'
    topics, name names them, package writes the tables and publishes them. Reads the store and
    never WRDS. Killed or failed, run the same command again: it resumes. Another setting of map is
    another run beside it; one run is carried by one command at a time. What reads results reads
    the run last completed here, unless --no-publish or told another.

    \b
    ftm run-quarter --quarter 2023Q1
    ftm run-quarter --quarter 2023Q1 --clustering leiden --workers 2
    ftm run-quarter --quarter 2023Q1 --batch-size 50 --device cuda --dtype bfloat16
    ftm run-quarter --quarter 2023Q1 --seed 7 --no-publish
    ftm run-quarter --quarter 2023Q1 --from reduce --theme-resolution 8
    ftm run-quarter --quarter 2023Q1 --from name --naming llm
    ftm run-quarter --quarter 2023Q1 --store file:///data/ftm --json > summary.json
    ftm run-quarter --quarter 2023Q1 --backend batch --price-per-hour 0.53
    ftm run-quarter --quarter 2023Q1 --backend batch --no-wait
    """
    from ftm.orchestrate.stages import StageSpan
    from ftm.wiring import get_orchestrator

    span = StageSpan(first, last, allow_failed_batches)
    settings = Settings.load(**given)
    if no_wait and backend == "local":
        raise click.UsageError("--no-wait: local jobs end with this command; use --backend batch")
    with (
        watch_run() as watcher,
        get_orchestrator(settings, backend=backend, workers=workers, watcher=watcher) as runner,
    ):
        if dry_run:
            plan = runner.estimate_quarter(
                quarter, batch_size=batch_size, allow_partial_prefetch=allow_partial_prefetch
            )
            click.echo(estimate_as_dict(plan) if as_json else describe_estimate(plan))
            return
        summary = runner.run_quarter(
            quarter,
            batch_size=batch_size,
            wait=not no_wait,
            allow_partial_prefetch=allow_partial_prefetch,
            publish=not no_publish,
            span=span,
        )
    lines = describe(summary, given["store"])
    click.echo(as_dict(summary) if as_json else "\n".join(lines))
