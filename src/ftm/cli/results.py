"""Commands on published results: `ftm sql`, `export`, `codebook`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ftm.cli.options import store_option
from ftm.core.counted import counted
from ftm.core.quarter import Quarter
from ftm.core.settings import Settings

if TYPE_CHECKING:
    from ftm.analysis.export import Style
    from ftm.storage.object_store import ObjectStore

_force_option = click.option("--force", is_flag=True, help="Replace a file that is there.")


@click.command()
@click.option("--table", "tables", multiple=True, metavar="NAME", help="Only this one; repeatable.")
def codebook(tables: tuple[str, ...]) -> None:
    """Print what every column means: type, unit, definition, when it is missing.

    \b
    ftm codebook --table panel
    ftm codebook > codebook.md
    """
    from ftm.analysis.codebook import codebook_markdown

    click.echo(codebook_markdown(tables), nl=False)


@click.command()
@click.option("--quarter", metavar="2016Q2", help="Which quarter.")
@click.option("--quarters", metavar="A..B", help="Or a range of them, one below the other.")
@click.option(
    "--table",
    default="panel",
    show_default=True,
    metavar="NAME",
    help="panel, panel_calls, themes, series, …: `ftm codebook` lists all.",
)
@click.option("--themes-from", metavar="2016Q1", help="The panel with the themes of this quarter.")
@click.option("--csv", "csv_file", type=click.Path(path_type=Path), help="Write CSV.")
@click.option("--dta", "dta_file", type=click.Path(path_type=Path), help="Write Stata, labelled.")
@_force_option
@store_option
def export(
    quarter: str | None,
    quarters: str | None,
    table: str,
    themes_from: str | None,
    csv_file: Path | None,
    dta_file: Path | None,
    force: bool,
    store: str | None,
) -> None:
    """Write a published table to a CSV or Stata file.

    The file appears when it is whole. Lists are joined by "; ". series and theme_links are one
    table of all linked quarters, and take no quarter.

    \b
    ftm export --quarter 2016Q2 --dta panel.dta
    ftm export --quarters 2016Q1..2016Q4 --table panel_calls --csv calls.csv
    ftm export --quarter 2016Q3 --themes-from 2016Q2 --dta frozen.dta
    """
    from ftm.analysis.export import Selection, export_table

    if quarter and quarters:
        raise click.UsageError("give either --quarter 2016Q2 or --quarters 2016Q1..2016Q4")
    if (csv_file is None) == (dta_file is None):
        raise click.UsageError("give one of --csv FILE and --dta FILE")
    asked = quarters or quarter
    chosen = Selection(
        table,
        Quarter.parse_range(asked) if asked else (),
        Quarter.parse(themes_from) if themes_from else None,
    )
    path, style = _file_and_style(csv_file, dta_file)
    n_rows = export_table(_open(store), chosen, path, style=style, force=force)
    click.echo(f"{path}: {counted(n_rows, 'row')} of {chosen.title.removeprefix('ftm ')}")


def _file_and_style(csv_file: Path | None, dta_file: Path | None) -> tuple[Path, Style]:
    if csv_file is not None:
        return csv_file, "csv"
    assert dta_file is not None  # noqa: S101  one of the two is given
    return dta_file, "dta"


@click.command()
@click.argument("query", required=False)
@click.option("--tables", is_flag=True, help="List the tables with their columns and rows.")
@click.option("--quarters", metavar="A..B", help="Read these quarters only.  [default: all]")
@click.option("--csv", "as_csv", is_flag=True, help="As CSV.")
@click.option("--json", "as_json", is_flag=True, help="As JSON, for programs.")
@click.option(
    "--output", type=click.Path(path_type=Path), metavar="FILE", help="Write FILE.parquet or .csv."
)
@_force_option
@store_option
def sql(
    query: str | None,
    tables: bool,
    quarters: str | None,
    as_csv: bool,
    as_json: bool,
    output: Path | None,
    force: bool,
    store: str | None,
) -> None:
    """Ask the published results in DuckDB's SQL; `-` reads the query from stdin.

    Every table spans all published quarters. Only tables that the query names are read, and
    nothing outside the store can be.

    \b
    ftm sql "select quarter, count(*) from panel group by quarter"
    ftm sql "from themes select name, n_firms order by n_firms desc" --quarters 2016Q2
    ftm sql "select * from panel_calls" --output calls.parquet
    ftm sql --tables
    """
    from ftm.analysis.sql import ask
    from ftm.analysis.sql_views import StoreViews
    from ftm.cli import sql_output

    if (query is None) == (not tables):
        raise click.UsageError("give a query, or --tables")
    if sum((as_csv, as_json, output is not None)) > 1:
        raise click.UsageError("give at most one of --csv, --json and --output")
    views = StoreViews(_open(store), Quarter.parse_range(quarters) if quarters else None)
    if query is None:
        sql_output.print_views(views, as_json=as_json)
        return
    if output is not None:
        sql_output.check_output(output, force=force)
    with ask(views, _read_query() if query == "-" else query) as answer:
        if output is not None:
            n_rows = sql_output.write_file(answer, output)
            click.echo(f"{output}: {counted(n_rows, 'row')}")
        elif as_csv:
            sql_output.write_csv(answer, sys.stdout.buffer)
        elif as_json:
            sql_output.print_json(answer)
        else:
            sql_output.print_rows(answer)


def _read_query() -> str:
    # Bytes that are no UTF-8 stay what they are in a str; ask says so.
    return sys.stdin.buffer.read().decode("utf-8", "surrogateescape")


def _open(store: str | None) -> ObjectStore:
    from ftm.wiring import get_store

    return get_store(Settings.load(store=store))
