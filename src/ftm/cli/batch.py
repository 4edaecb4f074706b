"""`ftm watch`, `ftm cancel` and `ftm logs`: jobs that were submitted before."""

from __future__ import annotations

from typing import Any

import click

from ftm.cli.run_progress import watch_run
from ftm.cli.run_texts import as_dict, describe
from ftm.core.plain import plain
from ftm.core.settings import Settings
from ftm.storage.stage_records import STAGES

_QUARTER = click.option("--quarter", required=True, metavar="2023Q1", help="Which quarter.")
_STORE = click.option("--store", metavar="URL", help="s3://bucket[/prefix] or file:///folder.")
_RUN = click.option(
    "--run",
    "run_id",
    metavar="ID",
    help="Which run.  [default: the newest whose jobs have not been seen to end]",
)


@click.command()
@_QUARTER
@_STORE
@_RUN
@click.option(
    "--price-per-hour",
    type=click.FloatRange(min=0),
    metavar="PRICE",
    help="Of one job of AWS Batch: what was used is told in money, too.",
)
@click.option("--json", "as_json", is_flag=True, help="The summary as JSON.")
def watch(quarter: str, run_id: str | None, as_json: bool, **given: Any) -> None:
    """Come back to the AWS Batch jobs of a run, from any machine, and wait for them.

    Ctrl-C stops watching only; the jobs go on.

    \b
    ftm watch --quarter 2023Q1
    ftm watch --quarter 2023Q1 --run 4be1c2d3e4f5 --json > summary.json
    """
    from ftm.wiring import get_orchestrator

    settings = Settings.load(**given)
    with (
        watch_run() as watcher,
        get_orchestrator(settings, backend="batch", watcher=watcher) as runner,
    ):
        summary = runner.watch_quarter(quarter, run_id)
    lines = describe(summary, given["store"])
    click.echo(as_dict(summary) if as_json else "\n".join(lines))


@click.command()
@_QUARTER
@_STORE
@_RUN
def cancel(quarter: str, run_id: str | None, **given: Any) -> None:
    """End the AWS Batch jobs of a run; what is done is kept.

    The command that began the run resumes it.

    \b
    ftm cancel --quarter 2023Q1
    ftm cancel --quarter 2023Q1 --run 4be1c2d3e4f5
    """
    from collections import Counter

    from ftm.wiring import get_orchestrator

    with (
        watch_run() as watcher,
        get_orchestrator(Settings.load(**given), backend="batch", watcher=watcher) as runner,
    ):
        run, statuses = runner.cancel_quarter(quarter, run_id)
    states = Counter(status.state.value for status in statuses)
    told = ", ".join(f"{n} {state}" for state, n in sorted(states.items()))
    click.echo(f"{quarter}, run {run}: its jobs have ended ({told}); what is done is kept")


@click.command()
@_QUARTER
@_STORE
@_RUN
@click.option(
    "--batch",
    "number",
    type=click.IntRange(min=0),
    metavar="N",
    help="Which batch: 3 for 2023Q1_batch_0003.",
)
@click.option(
    "--stage", type=click.Choice(STAGES[1:]), help="Instead of a batch: a stage after map."
)
@click.option(
    "--tail",
    type=click.IntRange(min=1, max=10_000),
    metavar="LINES",
    help="Only the last lines of the log.",
)
def logs(
    quarter: str,
    run_id: str | None,
    number: int | None,
    stage: str | None,
    tail: int | None,
    **given: Any,
) -> None:
    """Print what the last job of a batch or stage logged: from CloudWatch, or a local file.

    \b
    ftm logs --quarter 2023Q1 --batch 3
    ftm logs --quarter 2023Q1 --batch 3 --tail 20
    ftm logs --quarter 2023Q1 --stage reduce
    """
    from ftm.wiring import get_batch_log

    which = stage if number is None else number
    if which is None or (stage and number is not None):
        raise click.UsageError("name one log: --batch N or --stage reduce, name or package")
    for line in get_batch_log(Settings.load(**given), quarter, run_id, which, tail):
        click.echo(plain(line))
