"""`ftm prefetch` and `ftm preprocess`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from ftm.cli.many_quarters import for_each_quarter
from ftm.cli.prefetch_arguments import AsOf, GivenOptions, firm_ids, words
from ftm.cli.prefetch_texts import Told, tell_given_up, tell_plan, tell_revision, tell_summary
from ftm.cli.progress import show_progress
from ftm.core.errors import FtmError
from ftm.core.interrupts import Stopped
from ftm.core.plain import plain
from ftm.core.quarter import Quarter
from ftm.core.settings import Settings

if TYPE_CHECKING:
    from ftm.core.progress import Progress
    from ftm.prefetch.prefetcher import WRDSPrefetcher
    from ftm.storage.object_store import ObjectStore


@click.command("prefetch")
@click.option("--quarter", metavar="2023Q1", help="One quarter.")
@click.option("--quarters", metavar="A..B", help="A range of quarters, with one login.")
@click.option("--firms", metavar="IDS", help="Only these Capital IQ company ids, with commas.")
@click.option(
    "--firms-file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Only the ids in this file, one a line.",
)
@click.option("--limit", type=click.IntRange(min=1), help="Try at most so many firms now.")
@click.option("--refresh", is_flag=True, help="Read everything anew, beside what is there.")
@click.option(
    "--give-up",
    is_flag=True,
    help="Drop an unfinished refresh or preprocess; what is published stays.",
)
@click.option(
    "--accept-losses",
    is_flag=True,
    help="Publish a refresh though most of the firms stored are not in it.",
)
@click.option("--check-revisions", is_flag=True, help="Only say what a refresh would change.")
@click.option(
    "--calls",
    type=click.Choice(["latest", "first"]),
    help="Which of a firm's calls in the quarter stands for it.  [default: latest]",
)
@click.option(
    "--as-of",
    type=AsOf(),
    help="Ignore transcript versions made after this day (UTC); `none` ends that.",
)
@click.option("--linktypes", help="CCM link types that count.  [default: LU,LC]")
@click.option("--workers", type=click.IntRange(min=1), help="Text processes.  [default: all cores]")
@click.option(
    "--chunk-size", type=click.IntRange(min=1), help="Firms per chunk file.  [default: 200]"
)
@click.option("--store", metavar="URL", help="s3://bucket[/prefix] or file:///folder.")
@click.option("--nlp", metavar="NAME", help="`rules`, or an installed spaCy model.")
@click.option("--dry-run", is_flag=True, help="Only say what the plan keeps and what is pending.")
@click.option("--json", "as_json", is_flag=True, help="The result as JSON, one object a quarter.")
def prefetch(
    quarter: str | None,
    quarters: str | None,
    firms: str | None,
    firms_file: Path | None,
    limit: int | None,
    refresh: bool,
    give_up: bool,
    accept_losses: bool,
    check_revisions: bool,
    calls: Any,
    as_of: Any,
    linktypes: str | None,
    workers: int | None,
    chunk_size: int | None,
    store: str | None,
    nlp: str | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Read a quarter of earnings calls from WRDS into the store, once.

    Needs a WRDS login (one Duo push, however many quarters). Only firms that are not stored yet
    are read: a killed prefetch, a subset and a later full run are all continued by the same
    command, and without anything pending nobody logs in. Which call stands for a firm (--calls,
    --as-of, --linktypes) is settled once: each of these that is not given stays as it was, also in
    a refresh.

    \b
    ftm prefetch --quarter 2023Q1 --dry-run
    ftm prefetch --quarter 2023Q1
    ftm prefetch --quarters 2016Q1..2016Q4 --store s3://my-bucket
    ftm prefetch --quarter 2023Q1 --firms 24937,29096 --json
    ftm prefetch --quarter 2023Q1 --refresh
    ftm prefetch --quarter 2023Q1 --give-up     if you do not want to finish the refresh

    Exits 1 when most of the firms failed, though the others are stored.
    """
    if give_up:
        others = (*_OF_A_PLAN, *_OF_THE_TEXT, *_OTHER_ENDS)
        _refuse_beside("--give-up drops what is unfinished as a whole", *others)
    if check_revisions:
        _refuse_beside("--check-revisions looks at the plan as stored", *_OF_A_PLAN, "dry_run")
    from ftm.wiring import get_prefetcher, get_store, get_store_to_plan_for

    wanted = _quarters(quarter, quarters)
    if give_up:
        _give_up(wanted, get_store(Settings.load(store=store)), as_json=as_json)
        return
    chosen = firm_ids(firms, firms_file)
    asked: dict[str, Any] = {"limit": limit, "refresh": refresh}
    given = GivenOptions(calls, as_of, None if linktypes is None else words(linktypes))
    settings = Settings.load(store=store, nlp=nlp)
    plans = get_store_to_plan_for(settings) if dry_run else None
    with (
        show_progress() as progress,
        get_prefetcher(
            settings,
            progress=progress,
            store=plans or get_store(settings, create=not check_revisions),
            workers=workers,
            chunk_size=chunk_size,
            ask=ask_on_terminal(),
        ) as prefetcher,
    ):
        if check_revisions:
            answer = _revision_of(prefetcher)
        elif dry_run:
            answer = _plan_of(prefetcher, asked, given)
        else:
            answer = _prefetch_of(prefetcher, {**asked, "accept_losses": accept_losses}, given)
        with _refreshing(prefetcher, wanted if refresh else (), progress):
            mostly_failed = _tell_each(
                prefetcher, wanted, chosen, answer, progress, as_json=as_json
            )
    if mostly_failed:
        click.get_current_context().exit(1)


@contextmanager
def _refreshing(
    prefetcher: WRDSPrefetcher, wanted: Sequence[Quarter], progress: Progress
) -> Iterator[None]:
    """Say how to go on where the same command again would read what is refreshed once more.

    Args:
        prefetcher: does it.
        wanted: quarters to be refreshed; none: nothing is said.
        progress: told.

    Raises:
        Stopped: it was told to stop.
    """
    try:
        yield
    except (FtmError, KeyboardInterrupt) as stop:
        if wanted and prefetcher.finished:
            _tell_refreshed(prefetcher.finished, wanted, stop, progress)
        raise


def _tell_refreshed(
    finished: Sequence[Quarter], wanted: Sequence[Quarter], stop: BaseException, progress: Progress
) -> None:
    left = [quarter for quarter in wanted if quarter not in finished]
    how = f"go on with `--quarters {left[0]}..{left[-1]} --refresh`" if left else "all is done"
    text = f"{', '.join(map(str, finished))} refreshed already: {how}"
    if isinstance(stop, KeyboardInterrupt):
        raise Stopped(f"stopped; {text}") from stop
    progress.message(text)


Answer = Callable[[Quarter, Sequence[str] | None], tuple[Told, bool]]
"""What there is to tell of a quarter and of these firms in it, and whether most of them failed."""


def _revision_of(prefetcher: WRDSPrefetcher) -> Answer:
    return lambda quarter, _: (tell_revision(quarter, prefetcher.check_revisions(quarter)), False)


def _plan_of(prefetcher: WRDSPrefetcher, asked: dict[str, Any], given: GivenOptions) -> Answer:
    def answer(quarter: Quarter, ids: Sequence[str] | None) -> tuple[Told, bool]:
        options = given.over(lambda: prefetcher.options_so_far(quarter))
        return tell_plan(prefetcher.plan_quarter(quarter, ids, **asked, options=options)), False

    return answer


def _prefetch_of(prefetcher: WRDSPrefetcher, asked: dict[str, Any], given: GivenOptions) -> Answer:
    def answer(quarter: Quarter, ids: Sequence[str] | None) -> tuple[Told, bool]:
        options = given.over(lambda: prefetcher.options_so_far(quarter))
        summary = prefetcher.prefetch_quarter(quarter, ids, **asked, options=options)
        return tell_summary(summary), summary.mostly_failed

    return answer


def _tell_each(
    prefetcher: WRDSPrefetcher,
    quarters: Sequence[Quarter],
    ids: Sequence[str] | None,
    answer: Answer,
    progress: Progress,
    *,
    as_json: bool,
) -> bool:
    """Print the answer of each quarter; returns whether most firms failed in one of them."""
    failures = []

    def work(quarter: Quarter, known: Sequence[str] | None) -> None:
        (text, data), mostly_failed = answer(quarter, known)
        failures.append(mostly_failed)
        progress.finish()
        click.echo(json.dumps(data, sort_keys=True) if as_json else plain(text))

    for quarter in quarters:
        prefetcher.check_begun(quarter)
    for_each_quarter(quarters, ids, work, say=progress.message)
    return any(failures)


@click.command("preprocess")
@click.option("--quarter", required=True, metavar="2023Q1", help="A prefetched quarter.")
@click.option("--nlp", metavar="NAME", help="`rules`, or an installed spaCy model.")
@click.option("--workers", type=click.IntRange(min=1), help="Text processes.  [default: all cores]")
@click.option(
    "--chunk-size",
    type=click.IntRange(min=1),
    help="Firms per chunk file.  [default: that of the prefetch]",
)
@click.option(
    "--accept-losses",
    is_flag=True,
    help="Publish though firms that are stored failed or are left without a sentence.",
)
@click.option("--store", metavar="URL", help="s3://bucket[/prefix] or file:///folder.")
@click.option("--json", "as_json", is_flag=True, help="The result as JSON.")
def preprocess(
    quarter: str,
    nlp: str | None,
    workers: int | None,
    chunk_size: int | None,
    accept_losses: bool,
    store: str | None,
    as_json: bool,
) -> None:
    """Redo the text step of a quarter from what is stored; needs no WRDS login.

    Makes a new generation beside the old one and points the manifest to it; runs that read the
    old one go on undisturbed. Unfinished, it is continued by the same command or given up by
    `ftm prefetch --quarter 2023Q1 --give-up`.

    \b
    ftm preprocess --quarter 2023Q1 --nlp en_core_web_sm
    """
    from ftm.prefetch.preprocess import preprocess_quarter
    from ftm.wiring import get_preprocessor, get_store

    chosen = Quarter.parse(quarter)
    settings = Settings.load(store=store, nlp=nlp)
    with (
        show_progress() as progress,
        closing(get_preprocessor(settings, workers=workers)) as preprocessor,
    ):
        summary = preprocess_quarter(
            get_store(settings),
            chosen,
            preprocessor,
            chunk_size=chunk_size,
            checkpoint_interval=settings.prefetch_checkpoint,
            accept_losses=accept_losses,
            progress=progress,
        )
    text, data = tell_summary(summary)
    click.echo(json.dumps(data, sort_keys=True) if as_json else plain(text))


def ask_on_terminal() -> Callable[[str], bool] | None:
    """How to ask a person, on stderr; None when nobody is there to answer."""
    streams = (sys.stdin, sys.stderr)  # None when closed: `ftm prefetch <&-`
    if not all(stream is not None and stream.isatty() for stream in streams):
        return None
    return partial(click.confirm, err=True)


def _give_up(wanted: Iterable[Quarter], store: ObjectStore, *, as_json: bool) -> None:
    """Drop what is unfinished of some quarters; needs neither WRDS nor the text step."""
    from ftm.prefetch.giving_up import give_up_quarter

    with show_progress() as progress:
        for each in wanted:
            text, data = tell_given_up(give_up_quarter(store, each, progress=progress))
            click.echo(json.dumps(data, sort_keys=True) if as_json else plain(text))


_OF_A_SELECTION = ("firms", "firms_file", "limit", "refresh", "accept_losses")
_OF_A_PLAN = (*_OF_A_SELECTION, "calls", "as_of", "linktypes")
_OF_THE_TEXT = ("workers", "chunk_size", "nlp")
_OTHER_ENDS = ("check_revisions", "dry_run")


def _refuse_beside(reason: str, *names: str) -> None:
    """Refuse options that would be ignored without a word."""
    context = click.get_current_context()
    for name in names:
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise click.UsageError(f"{reason}, without --{name.replace('_', '-')}")


def _quarters(one: str | None, several: str | None) -> list[Quarter]:
    if (one is None) == (several is None):
        raise click.UsageError("give either --quarter 2023Q1 or --quarters 2016Q1..2016Q4")
    return [Quarter.parse(one)] if one is not None else Quarter.parse_range(several or "")
