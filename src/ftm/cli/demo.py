"""`ftm demo`."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

import click

from ftm.core.quarter import Quarter

if TYPE_CHECKING:
    from ftm.demo.embedded_postgres import EmbeddedPostgres
    from ftm.demo.folder import DemoFolder
    from ftm.demo.recovery import FirmRecovery
    from ftm.demo.synthetic import SyntheticWRDS
    from ftm.demo.theme_recovery import ThemeRecovery


@click.command("demo")
@click.option(
    "--firms", type=click.IntRange(min=1), default=30, show_default=True, help="Ordinary firms."
)
@click.option(
    "--quarters", default="2023Q1", show_default=True, metavar="A..B", help="One, or a range."
)
@click.option(
    "--sentences",
    type=click.IntRange(min=20),
    default=400,
    show_default=True,
    help="Of an average call.",
)
@click.option("--seed", type=int, default=1, show_default=True, help="Of the synthetic calls.")
@click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("ftm-demo"),
    show_default=True,
    help="Where everything goes.",
)
@click.option("--workers", type=click.IntRange(min=1), help="Processes, for each step.")
@click.option("--data-only", is_flag=True, help="Only write the synthetic tables as Parquet.")
@click.option("--serve", is_flag=True, help="Only keep the PostgreSQL running, until Ctrl-C.")
def demo(
    firms: int,
    quarters: str,
    sentences: int,
    seed: int,
    folder: Path,
    workers: int | None,
    data_only: bool,
    serve: bool,
) -> None:
    """Run the main job on a synthetic WRDS quarter; no account and no network needed.

    Makes calls of invented firms, loads them into an embedded PostgreSQL laid out like WRDS, and
    runs the commands you would run, to themes, showing each. Several quarters are linked to
    series. A few minutes for 30 firms on 2 cores.

    \b
    ftm demo
    ftm demo --firms 100 --quarters 2022Q1..2022Q4 --folder big-demo
    ftm demo --serve         a PostgreSQL to try ftm on by hand
    """
    from ftm.demo.folder import open_folder
    from ftm.demo.synthetic import Recipe, make_recipe
    from ftm.demo.traps import TRAPS

    signal.signal(signal.SIGTERM, _exit_on_signal)
    spans = Quarter.parse_range(quarters)
    recipe = Recipe(firms, tuple(spans), seed, tuple(TRAPS), sentences)
    place = open_folder(folder, recipe)
    made = make_recipe(recipe)
    place.write(made)
    click.echo(_describe_data(made, place))
    if data_only:
        return
    with _loaded(made) as server:
        environment = {**server.environment(), **place.environment()}
        if serve:
            _serve(environment, quarters)
            return
        _run_job(spans, quarters, environment, workers)
    _report(spans, place)


def _exit_on_signal(number: int, _: object) -> None:
    """Unwind, so that the running command and the server end as well."""
    raise SystemExit(128 + number)


def _describe_data(made: SyntheticWRDS, place: DemoFolder) -> str:
    n_kept = sum(made.expected["kept"].to_pylist())
    return (
        f"synthetic WRDS in {place.wrds}: {made.expected.num_rows:,} calls, of which a plan keeps"
        f" {n_kept:,}; {made.truth.num_rows:,} sentences, their planted topics in"
        f" {place.path / 'truth.parquet'}"
    )


@contextmanager
def _loaded(made: SyntheticWRDS) -> Iterator[EmbeddedPostgres]:
    """A running PostgreSQL that holds the tables."""
    from ftm.demo.embedded_postgres import embedded_postgres
    from ftm.demo.wrds_tables import load_tables

    with embedded_postgres() as server:
        with closing(server.connect()) as connection:
            load_tables(connection, made.tables, layout=made.layout)
        yield server


def _serve(environment: Mapping[str, str], quarters: str) -> None:
    """Say how to reach the server, and wait."""
    click.echo("PostgreSQL is running; in another terminal:\n")
    click.echo(_exports(environment))
    click.echo(f"ftm prefetch {' '.join(_which(quarters))}\n\nCtrl-C stops it")
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        click.echo("stopped")


def _exports(environment: Mapping[str, str]) -> str:
    return "\n".join(f"export {name}={shlex.quote(text)}" for name, text in environment.items())


def _which(quarters: str) -> list[str]:
    return ["--quarters" if ".." in quarters else "--quarter", quarters]


def _run_job(
    spans: Sequence[Quarter], quarters: str, environment: Mapping[str, str], workers: int | None
) -> None:
    """The commands of a user, one after the other."""
    processes = [] if workers is None else ["--workers", str(workers)]
    click.echo(f"\n{_exports(environment)}")
    _run(["prefetch", *_which(quarters), *processes], environment)
    for quarter in spans:
        _run(["attrition", "--quarter", str(quarter)], environment)
        _run(["run-quarter", "--quarter", str(quarter), *processes], environment)
    if len(spans) > 1:
        _run(["link", "--quarters", quarters], environment)
        _run(["series"], environment)


def _run(arguments: Sequence[str], environment: Mapping[str, str]) -> None:
    """Show an ftm command and run it; its failure, told by itself, is ours.

    Whatever ends us ends the command too, in the way that lets it leave a state that resumes.
    """
    click.secho(f"\n$ ftm {shlex.join(arguments)}", bold=True)
    command = [sys.executable, "-m", "ftm.cli.main", *arguments]
    own = {name: text for name, text in os.environ.items() if name != "WRDS_PASSWORD"}
    with subprocess.Popen(command, env={**own, **environment}) as process:  # noqa: S603
        try:
            code = process.wait()
        except BaseException:
            process.terminate()
            raise
    if code != 0:
        raise SystemExit(code if code > 0 else 1)


def _report(spans: Sequence[Quarter], place: DemoFolder) -> None:
    """One firm's topics, the themes, how well what was planted came back, and where to look."""
    found = {quarter: _recover(quarter, place) for quarter in spans}
    last = spans[-1]
    environment = place.environment()
    if found[last]:
        _run(["show", "--quarter", str(last), "--firm", found[last][0].firm_id], environment)
    themes = {quarter: _recover_themes(quarter, place) for quarter in spans}
    _run(["themes", "--quarter", str(last)], environment)
    if themes[last].stands_for:
        _run(["theme", "0", "--quarter", str(last)], environment)
    for quarter, firms in found.items():
        click.echo(f"\n{quarter}: {_describe_recovery(firms)}")
        click.echo(f"{quarter}: {_describe_themes(themes[quarter])}")
    click.echo(
        f"\nwhere to look: {place.path}\n"
        "  wrds/             the five tables as WRDS would deliver them\n"
        "  truth.parquet     what was planted in which sentence\n"
        "  expected.parquet  what a plan should make of each call, and why\n"
        "  store/            what ftm made of it\n"
        f"\nto go on:\n{_activation()}{_exports(environment)}\n"
        f"ftm status --quarter {last}\n"
        f"""python -c "import ftm; print(ftm.load_topics('{last}'))\""""
    )


def _activation() -> str:
    """The line that puts this environment's `ftm` on the path, where it is not yet."""
    here = Path(sys.prefix) / "bin"
    found = shutil.which("ftm")
    if sys.prefix == sys.base_prefix or (found and Path(found).parent == here):
        return ""
    return f"source {shlex.quote(str(here / 'activate'))}\n"


def _recover(quarter: Quarter, place: DemoFolder) -> list[FirmRecovery]:
    import pyarrow as pa

    from ftm.analysis.loaders import load_sentences
    from ftm.demo.recovery import measure_recovery

    sentences = load_sentences(quarter, store=place.store_url)
    columns = sentences[["firm_id", "raw_text", "local_topic_id"]]
    found = pa.Table.from_pandas(columns, preserve_index=False)
    return measure_recovery(place.read_truth(quarter), found)


def _recover_themes(quarter: Quarter, place: DemoFolder) -> ThemeRecovery:
    import pyarrow as pa

    from ftm.analysis.loaders import load_sentences
    from ftm.analysis.results import read_result
    from ftm.demo.theme_recovery import measure_themes
    from ftm.storage.object_store import open_store

    texts = load_sentences(quarter, store=place.store_url)[["sentence_id", "firm_id", "raw_text"]]
    themes = read_result(open_store(place.store_url), quarter, "sentences")
    said = pa.Table.from_pandas(texts, preserve_index=False)
    found = said.join(themes.select(["sentence_id", "theme_id"]), "sentence_id")
    return measure_themes(place.read_truth(quarter), found)


def _describe_themes(found: ThemeRecovery) -> str:
    if not found.stands_for:
        return "no themes"
    return (
        f"planted topics found again as themes with an adjusted Rand index of {found.ari:.2f};"
        f" {found.n_planted} planted, {len(found.stands_for)} themes, {found.themed_share:.0%} of"
        " the sentences with a planted topic in one"
    )


def _describe_recovery(firms: Sequence[FirmRecovery]) -> str:
    if not firms:
        return "no firm has topics"
    indices = [firm.ari for firm in firms]
    outliers = fmean(firm.outlier_share for firm in firms)
    return (
        f"planted topics found again with an adjusted Rand index of {fmean(indices):.2f} on average"
        f" over {len(firms)} firms ({min(indices):.2f} to {max(indices):.2f}; 1 is the planted"
        f" partition, 0 is chance); {fmean(firm.n_planted for firm in firms):.1f} topics planted"
        f" and {fmean(firm.n_found for firm in firms):.1f} found per firm, {outliers:.1%} of"
        " sentences in none"
    )
