"""Commands that only read: `ftm attrition`, `status`, `show`, `quarters`."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING

import click

from ftm.cli.options import json_option, quarter_option, run_option, store_option
from ftm.core.errors import CorruptObjectError
from ftm.core.quarter import Quarter
from ftm.core.settings import Settings

if TYPE_CHECKING:
    from ftm.storage.object_store import ObjectStore


@click.command()
@quarter_option
@store_option
@run_option
@click.option(
    "--format",
    "style",
    type=click.Choice(["table", "csv", "latex", "json"]),
    default="table",
    show_default=True,
)
def attrition(quarter: str, store: str | None, run_id: str | None, style: str) -> None:
    """Count from earnings calls to kept firms, with a reason for every drop.

    \b
    ftm attrition --quarter 2023Q1
    ftm attrition --quarter 2023Q1 --format latex > attrition.tex
    ftm attrition --quarter 2023Q1 --run 3f2a91c07be4     down to the firms of a run
    """
    from ftm.analysis import attrition as counting
    from ftm.cli import look_tables
    from ftm.storage.run_reader import read_run

    opened, chosen = _open(store), Quarter.parse(quarter)
    run = read_run(opened, chosen, run_id) if run_id else None
    found = counting.read_attrition(opened, chosen, run)
    if style == "table":
        look_tables.print_attrition(found)
    elif style == "json":
        _print_json(dataclasses.asdict(found))
    else:
        click.echo(counting.to_csv(found) if style == "csv" else counting.to_latex(found), nl=False)


@click.command()
@quarter_option
@store_option
@json_option
def status(quarter: str, store: str | None, as_json: bool) -> None:
    """Say what exists of a quarter, what is not finished, what failed and why.

    Names the command that resumes a run. What cannot be read is said, and the exit code is then 1.

    \b
    ftm status --quarter 2023Q1
    ftm status --quarter 2023Q1 --json
    """
    from ftm.analysis.status import read_status
    from ftm.cli import status_table
    from ftm.wiring import get_model_fingerprint

    found = read_status(
        _open(store),
        Quarter.parse(quarter),
        settings=Settings.load(),
        store_flag=store,
        fingerprint=get_model_fingerprint,
    )
    if as_json:
        _print_json(dataclasses.asdict(found))
    else:
        status_table.print_status(found)
    if found.unreadable:
        what, why = next(iter(found.unreadable.items()))
        more = len(found.unreadable) - 1
        raise CorruptObjectError(
            f"{what} of {quarter} cannot be read"
            + (f" (and {more} more)" if more else "")
            + f": {why}"
        )


@click.command()
@quarter_option
@store_option
@run_option
@click.option("--firm", metavar="ID", help="Capital IQ company id, or part of the firm's name.")
@click.option("--gvkey", help="Compustat gvkey.")
@click.option("--permno", type=int, help="CRSP PERMNO.")
@click.option(
    "--sentences",
    type=click.IntRange(min=0),
    default=3,
    show_default=True,
    help="Typical sentences per topic.",
)
@json_option
def show(
    quarter: str,
    store: str | None,
    run_id: str | None,
    firm: str | None,
    gvkey: str | None,
    permno: int | None,
    sentences: int,
    as_json: bool,
) -> None:
    """Show a firm: the call that represents it and why, and its topics.

    \b
    ftm show --quarter 2023Q1 --firm 347568663
    ftm show --quarter 2023Q1 --firm "acme corp"
    ftm show --quarter 2023Q1 --permno 87055 --sentences 1
    """
    from ftm.analysis.show import FirmKey, show_firm
    from ftm.cli import look_tables

    if sum(given is not None for given in (firm, gvkey, permno)) != 1:
        raise click.UsageError("give one of --firm, --gvkey and --permno")
    found = show_firm(
        _open(store),
        Quarter.parse(quarter),
        FirmKey(firm, gvkey, permno),
        run_id=run_id,
        n_typical=sentences,
    )
    if as_json:
        _print_json([dataclasses.asdict(view) for view in found])
    else:
        for view in found:
            look_tables.print_firm(view)


@click.command()
@store_option
@json_option
def quarters(store: str | None, as_json: bool) -> None:
    """List the quarters of a store.

    \b
    ftm quarters --store file:///data/ftm
    """
    from ftm.analysis.quarter_list import list_quarters
    from ftm.cli import look_tables

    opened = _open(store)
    found = list_quarters(opened)
    if as_json:
        _print_json([dataclasses.asdict(line) for line in found])
    else:
        look_tables.print_quarters(found, opened.url)


def _open(store: str | None) -> ObjectStore:
    from ftm.wiring import get_store

    return get_store(Settings.load(store=store))


def _print_json(value: object) -> None:
    click.echo(json.dumps(value, indent=1, default=str, ensure_ascii=False))
