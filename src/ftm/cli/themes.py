"""Commands on themes: `ftm themes`, `theme`, `label`, `link`, `series`, `assign`."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ftm.cli.options import json_option, quarter_option, store_option
from ftm.cli.tables import writes_utf8
from ftm.core.counted import counted
from ftm.core.errors import ConfigError
from ftm.core.plain import plain
from ftm.core.quarter import Quarter
from ftm.core.settings import Settings

if TYPE_CHECKING:
    from ftm.storage.object_store import ObjectStore


@click.command()
@quarter_option
@store_option
@click.option(
    "--labels",
    "labels_file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write a CSV to fill in for `ftm label` instead.",
)
@json_option
def themes(quarter: str, store: str | None, labels_file: Path | None, as_json: bool) -> None:
    """List the published themes of a quarter, largest first.

    \b
    ftm themes --quarter 2023Q1
    ftm themes --quarter 2023Q1 --labels theme_labels.csv
    """
    from ftm.analysis.theme_views import is_partial, list_themes
    from ftm.cli.theme_tables import print_themes
    from ftm.reduce.label_themes import labels_template

    opened, chosen = _open(store), Quarter.parse(quarter)
    if labels_file is not None:
        data, n_lost = labels_template(opened, chosen)
        _write_new(labels_file, data)
        click.echo(f"{labels_file}: fill in name, merge_into or exclude, then `ftm label`")
        if n_lost:
            lost = counted(n_lost, "edited line")
            click.echo(f"{lost} of the labels in use left out: for themes that are no more")
        return
    found = list_themes(opened, chosen)
    if as_json:
        _print_json([dataclasses.asdict(line) for line in found])
    else:
        print_themes(found, str(chosen))
        if is_partial(opened, chosen):
            click.echo(f"partial: batches that failed are left out; ftm status --quarter {chosen}")


@click.command()
@click.argument("theme", metavar="THEME")
@quarter_option
@store_option
@click.option(
    "--firms", type=click.IntRange(min=0), default=5, show_default=True, help="Firms listed."
)
@click.option(
    "--sentences",
    type=click.IntRange(min=0),
    default=5,
    show_default=True,
    help="Typical sentences, each of another firm.",
)
@json_option
def theme(
    theme: str, quarter: str, store: str | None, firms: int, sentences: int, as_json: bool
) -> None:
    """Show a theme: keywords, firms, typical sentences. THEME is an id, a number or a word.

    \b
    ftm theme 7 --quarter 2023Q1
    ftm theme "supply chain" --quarter 2023Q1 --sentences 10
    """
    from ftm.analysis.theme_views import show_theme
    from ftm.cli.theme_tables import print_theme

    view = show_theme(
        _open(store), Quarter.parse(quarter), theme, n_firms=firms, n_sentences=sentences
    )
    if as_json:
        _print_json(dataclasses.asdict(view))
    else:
        print_theme(view)


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False), required=False)
@quarter_option
@store_option
@click.option("--remove", is_flag=True, help="Go back to the themes as they were found.")
def label(file: Path | None, quarter: str, store: str | None, remove: bool) -> None:
    """Rename, merge and exclude themes by hand; FILE is that of `ftm themes --labels`, filled in.

    The tables as they were found stay beside the edited ones, and a rerun keeps the edits.

    \b
    ftm themes --quarter 2023Q1 --labels theme_labels.csv
    ftm label theme_labels.csv --quarter 2023Q1
    ftm label --remove --quarter 2023Q1
    """
    from ftm.reduce.label_themes import apply_labels

    if (file is None) is not remove:
        raise click.UsageError("give a FILE, or --remove")
    data = None if file is None else _read(file)
    labels, published = apply_labels(
        _open(store), Quarter.parse(quarter), data, name=str(file or ""), say=_say
    )
    what = (
        f"{len(labels.names)} renamed, {len(labels.merges)} merged into others, "
        f"{len(labels.excluded)} excluded"
    )
    click.echo(f"{quarter}, run {published.run_id}: {'labels removed' if remove else what}")


@click.command()
@click.option("--quarters", required=True, metavar="A..B", help="Successive published quarters.")
@store_option
@click.option(
    "--threshold",
    type=click.FloatRange(0, 1),
    metavar="COSINE",
    help="From which two themes are linked.  [default: 0.65]",
)
@click.option(
    "--series-threshold",
    type=click.FloatRange(0, 1),
    metavar="COSINE",
    help="From which a link may carry a series on.  [default: 0.75]",
)
@click.option(
    "--redo-from",
    metavar="2016Q3",
    help="Link this quarter and later ones anew; ids of earlier ones stay.",
)
@json_option
def link(
    quarters: str,
    store: str | None,
    threshold: float | None,
    series_threshold: float | None,
    redo_from: str | None,
    as_json: bool,
) -> None:
    """Link the themes of successive quarters into series.

    Themes that are akin are linked, so that splits and merges show; only what is about the same
    carries a series on. Adding a quarter changes no earlier series id. The panels get their
    series_id.

    \b
    ftm link --quarters 2016Q1..2016Q4
    ftm series
    """
    from ftm.cli.theme_tables import describe_link
    from ftm.reduce.link_quarters import SERIES_THRESHOLD, THRESHOLD, link_quarters

    found = link_quarters(
        _open(store),
        Quarter.parse_range(quarters),
        threshold=THRESHOLD if threshold is None else threshold,
        series_threshold=SERIES_THRESHOLD if series_threshold is None else series_threshold,
        redo_from=Quarter.parse(redo_from) if redo_from else None,
        say=_say,
    )
    if as_json:
        _print_json([dataclasses.asdict(line) for line in found])
    else:
        click.echo(plain("\n".join(describe_link(line) for line in found)))


@click.command()
@store_option
@click.option("--all", "show_all", is_flag=True, help="Those of a single quarter, too.")
@json_option
def series(store: str | None, show_all: bool, as_json: bool) -> None:
    """List the series of linked quarters: how much is said of each, quarter by quarter.

    \b
    ftm series --store file:///data/ftm
    """
    from ftm.analysis.theme_views import list_series
    from ftm.cli.theme_tables import print_series

    found = list_series(_open(store))
    if as_json:
        _print_json([dataclasses.asdict(line) for line in found])
    else:
        print_series(found, show_all=show_all)


@click.command()
@click.option("--themes", "themes_from", required=True, metavar="2016Q2", help="Whose themes.")
@quarter_option
@store_option
@json_option
def assign(themes_from: str, quarter: str, store: str | None, as_json: bool) -> None:
    """Score a quarter's topics against the themes of an earlier one, so that nothing looks ahead.

    \b
    ftm assign --themes 2016Q2 --quarter 2016Q3
    ftm export --quarter 2016Q3 --themes-from 2016Q2 --csv panel.csv
    """
    from ftm.cli.theme_tables import describe_assigned
    from ftm.reduce.assign_quarter import assign_quarter

    found = assign_quarter(_open(store), Quarter.parse(quarter), Quarter.parse(themes_from))
    if as_json:
        _print_json(dataclasses.asdict(found))
    else:
        click.echo(plain("\n".join(describe_assigned(found, store))))


def _say(line: str) -> None:
    click.echo(line, err=True)


def _open(store: str | None) -> ObjectStore:
    from ftm.wiring import get_store

    return get_store(Settings.load(store=store))


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}") from error


def _write_new(file: Path, data: bytes) -> None:
    try:
        with file.open("xb") as sink:
            sink.write(data)
    except FileExistsError as error:
        raise ConfigError(f"{file} is there already; name another file") from error
    except OSError as error:
        raise ConfigError(f"{file} cannot be written: {error.strerror}") from error


def _print_json(value: object) -> None:
    click.echo(json.dumps(value, indent=1, default=str, ensure_ascii=not writes_utf8()))
