"""`ftm clean`."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from ftm.cli.options import json_option, quarter_option, store_option
from ftm.cli.progress import show_progress
from ftm.core.counted import counted
from ftm.core.quarter import Quarter
from ftm.core.settings import Settings

if TYPE_CHECKING:
    from ftm.care.clean import OldRuns, Removal
    from ftm.storage.object_store import ObjectStore


@click.command()
@quarter_option
@store_option
@click.option("--old-runs", is_flag=True, help="Also runs begun before the published one.")
@click.option("--run", "run_ids", metavar="ID", multiple=True, help="Also this run; repeatable.")
@click.option("--yes", is_flag=True, help="Remove without asking.")
@json_option
def clean(
    quarter: str,
    store: str | None,
    old_runs: bool,
    run_ids: tuple[str, ...],
    yes: bool,
    as_json: bool,
) -> None:
    """Remove what nothing reads any more.

    Earlier generations that no run reads, earlier versions of tables, parts that no batch lists,
    drafts of killed commands; runs only if asked for. What is published, labels by hand and
    answers of language models stay. Shows what would go, and asks.

    \b
    ftm clean --quarter 2023Q1
    ftm clean --quarter 2023Q1 --old-runs --yes
    ftm clean --quarter 2023Q1 --run 3f2a91c07be4
    """
    from ftm.care.clean import OldRuns, find_removable
    from ftm.wiring import get_store

    opened, chosen = get_store(Settings.load(store=store)), Quarter.parse(quarter)
    runs = OldRuns(replaced=old_runs, named=run_ids)
    found = find_removable(opened, chosen, runs, say=_say)
    if not as_json:
        for line in _describe(found):
            click.echo(line)
    removed = []
    if found and _may(yes, as_json=as_json):
        removed = _remove(opened, chosen, runs, shown=None if yes else [r.key for r in found])
    if as_json:
        rows = [{"key": r.key, "bytes": r.size_bytes, "why": r.why} for r in found]
        click.echo(json.dumps({"found": rows, "n_removed": len(removed)}, indent=1))
    elif removed:
        click.echo(f"{chosen}: {_amount(removed)} removed")


def _say(line: str) -> None:
    click.echo(line, err=True)


def _may(yes: bool, *, as_json: bool) -> bool:
    if yes or as_json:
        return yes
    if not sys.stdin.isatty():
        click.echo("nothing is removed yet: --yes removes it")
        return False
    return click.confirm("Remove it?")


def _remove(
    store: ObjectStore, quarter: Quarter, runs: OldRuns, *, shown: list[str] | None
) -> list[Removal]:
    from ftm.care.clean import clean_quarter

    with show_progress() as progress:
        return clean_quarter(store, quarter, runs, shown=shown, say=progress.message)


def _describe(found: Sequence[Removal]) -> list[str]:
    if not found:
        return ["there is nothing to remove"]
    reasons = list(dict.fromkeys(removal.why for removal in found))
    by_reason = {why: [removal for removal in found if removal.why == why] for why in reasons}
    lines = [f"{_amount(some)}: {why}" for why, some in by_reason.items()]
    return lines if len(lines) == 1 else [*lines, f"{_amount(found)} in all"]


def _amount(removals: Sequence[Removal]) -> str:
    size_mb = sum(removal.size_bytes for removal in removals) / 1e6
    return f"{counted(len(removals), 'object')}, {size_mb:,.1f} MB"
