"""The options of `ftm run-quarter` and `ftm run`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from ftm.orchestrate.quarter_orchestrator import BATCH_SIZE
from ftm.storage.stage_records import STAGES

_F = TypeVar("_F", bound=Callable[..., Any])

_OPTIONS = (
    click.option("--store", metavar="URL", help="s3://bucket[/prefix] or file:///folder."),
    click.option(
        "--backend",
        type=click.Choice(["local", "batch"]),
        default="local",
        show_default=True,
        help="Where batches run: processes of this machine, or containers of AWS Batch.",
    ),
    click.option(
        "--batch-size",
        type=click.IntRange(min=1),
        default=BATCH_SIZE,
        show_default=True,
        help="Firms per batch: whole chunks, or parts of one where it holds more. Another size is "
        "another run.",
    ),
    click.option(
        "--workers",
        type=click.IntRange(min=1),
        help="Local processes at once, each with its own copy of the model.  [default: one per 4 "
        "cores, one on a GPU]",
    ),
    click.option("--clustering", metavar="METHOD", help="ward, leiden or umap-hdbscan."),
    click.option(
        "--embedding-model", metavar="NAME", help="A folder or a sentence-transformers name."
    ),
    click.option(
        "--embed-text",
        type=click.Choice(["raw", "cleaned"]),
        help="Sentences as spoken, or lemmas.",
    ),
    click.option("--seed", type=click.IntRange(min=0), metavar="N", help="Of every random choice."),
    click.option("--device", metavar="NAME", help="auto, cpu or cuda; one for the whole run."),
    click.option(
        "--dtype", metavar="TYPE", help="float32, or bfloat16 where the processor has it."
    ),
    click.option(
        "--keep-kinds",
        metavar="KINDS",
        help="Kinds of sentences to cluster, like content,greeting.",
    ),
    click.option(
        "--allow-partial-prefetch", is_flag=True, help="Run although the prefetch is not complete."
    ),
    click.option(
        "--no-publish",
        is_flag=True,
        help="Leave loaders with the run they read now, as for a run with another seed.",
    ),
    click.option(
        "--price-per-hour",
        type=click.FloatRange(min=0),
        metavar="PRICE",
        help="Of one job of AWS Batch: what is expected and what was used is told in money, too.",
    ),
    click.option(
        "--from",
        "first",
        type=click.Choice(STAGES),
        default=STAGES[0],
        show_default=True,
        help="Begin with this stage, and do it again even if it is done.",
    ),
    click.option(
        "--to",
        "last",
        type=click.Choice(STAGES),
        default=STAGES[-1],
        show_default=True,
        help="End after this stage; only package publishes.",
    ),
    click.option(
        "--allow-failed-batches",
        is_flag=True,
        help="Make themes of the batches that are complete; the output says that it is partial.",
    ),
    click.option(
        "--theme-clustering",
        metavar="METHOD",
        help="Of topics into themes: leiden or umap-hdbscan.",
    ),
    click.option(
        "--theme-resolution",
        type=click.FloatRange(min=0, min_open=True),
        metavar="R",
        help="Higher finds more and smaller themes.",
    ),
    click.option(
        "--naming", type=click.Choice(["keywords", "llm"]), help="How topics and themes get names."
    ),
    click.option(
        "--no-wait", is_flag=True, help="Return when the jobs are submitted (--backend batch)."
    ),
    click.option(
        "--dry-run", is_flag=True, help="Say what would be submitted, and submit nothing."
    ),
    click.option("--json", "as_json", is_flag=True, help="The summary as JSON."),
)


def run_options(command: _F) -> _F:
    """Everything but which quarters."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command
