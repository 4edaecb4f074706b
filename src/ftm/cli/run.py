"""`ftm run-quarter` and `ftm run`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from ftm.cli.run_options import run_options
from ftm.cli.run_progress import watch_run
from ftm.cli.run_texts import as_dict, describe, describe_estimate, estimate_as_dict
from ftm.core.errors import BatchFailedError, FtmError
from ftm.core.plain import plain
from ftm.core.quarter import Quarter
from ftm.core.settings import Settings

if TYPE_CHECKING:
    from ftm.orchestrate.quarter_orchestrator import QuarterOrchestrator
    from ftm.orchestrate.stages import StageSpan


@click.command("run-quarter")
@click.option("--quarter", required=True, metavar="2023Q1", help="A prefetched quarter.")
@run_options
def run_quarter(quarter: str, **given: Any) -> None:
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
    _run([quarter], given)


@click.command("run")
@click.option("--quarters", required=True, metavar="A..B", help="Prefetched quarters.")
@run_options
def run(quarters: str, **given: Any) -> None:
    """Carry several prefetched quarters from sentences to themes, one after the other.

    All must be prefetched before the first begins. A quarter that fails is told, and the others go
    on; the same command again does what is missing. `ftm link` then makes series of their themes.

    \b
    ftm run --quarters 2016Q1..2016Q4
    ftm run --quarters 2016Q1..2016Q4 --backend batch --price-per-hour 0.53
    """
    _run([str(quarter) for quarter in Quarter.parse_range(quarters)], given)


def _run(quarters: list[str], given: dict[str, Any]) -> None:
    """Run each quarter; of several, one that fails does not keep the others from it.

    Raises:
        FtmError: the only one failed, or some of several did.
    """
    from ftm.orchestrate.stages import StageSpan
    from ftm.wiring import get_orchestrator

    own = {name: given.pop(name) for name in _NO_SETTINGS}
    span = StageSpan(own["first"], own["last"], own["allow_failed_batches"])
    settings = Settings.load(**given)
    if own["no_wait"] and own["backend"] == "local":
        raise click.UsageError("--no-wait: local jobs end with this command; use --backend batch")
    failed: list[str] = []
    documents: list[str] = []
    with (
        watch_run() as watcher,
        get_orchestrator(
            settings, backend=own["backend"], workers=own["workers"], watcher=watcher
        ) as runner,
    ):
        for quarter in quarters if len(quarters) > 1 else []:
            runner.get_prefetch_summary(quarter)
        _warn_of_llm(settings, own, watcher.message)
        for quarter in quarters:
            try:
                text = _one(runner, quarter, own, span, store=given["store"])
            except FtmError as error:
                if len(quarters) == 1:
                    raise
                watcher.message(f"{quarter} failed: {error}")
                failed.append(quarter)
                continue
            documents.append(text)
            if len(quarters) == 1 or not own["as_json"]:
                click.echo(text)
    if len(quarters) > 1 and own["as_json"]:
        click.echo("[" + ",\n".join(documents) + "]")
    if failed:
        raise BatchFailedError(
            f"{len(failed)} of {len(quarters)} quarters failed: {', '.join(failed)}; mend the "
            "cause and run the same command again"
        )


def _warn_of_llm(settings: Settings, own: dict[str, Any], say: Callable[[str], None]) -> None:
    """Say before map what stage name would stop at, where it would run here."""
    from ftm.wiring import get_store, trouble_with_llm

    names_here = own["backend"] == "local" and own["first"] == "map" and own["last"] != "reduce"
    if own["dry_run"] or own["last"] == "map" or not names_here:
        return
    if trouble := trouble_with_llm(settings, get_store(settings)):
        say(f"warning: stage name, after map and reduce, would stop now: {trouble}")


_NO_SETTINGS = (
    *("backend", "batch_size", "workers", "allow_partial_prefetch", "no_publish", "no_wait"),
    *("dry_run", "first", "last", "allow_failed_batches", "as_json"),
)


def _one(
    runner: QuarterOrchestrator,
    quarter: str,
    own: dict[str, Any],
    span: StageSpan,
    *,
    store: str | None,
) -> str:
    """Run a quarter, or say what would be; what is to be printed of it."""
    how = {
        "batch_size": own["batch_size"],
        "allow_partial_prefetch": own["allow_partial_prefetch"],
    }
    if own["dry_run"]:
        plan = runner.estimate_quarter(quarter, **how)
        return estimate_as_dict(plan) if own["as_json"] else describe_estimate(plan)
    summary = runner.run_quarter(
        quarter, wait=not own["no_wait"], publish=not own["no_publish"], span=span, **how
    )
    return as_dict(summary) if own["as_json"] else plain("\n".join(describe(summary, store)))
