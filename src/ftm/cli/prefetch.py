"""`ftm prefetch` and `ftm preprocess`."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from ftm.cli.many_quarters import for_each_quarter
from ftm.cli.prefetch_texts import Told, tell_given_up, tell_plan, tell_revision, tell_summary
from ftm.cli.progress import show_progress
from ftm.connectors.discovery import PlanOptions
from ftm.core.errors import ConfigError
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
@click.option("--check-revisions", is_flag=True, help="Only say what a refresh would change.")
@click.option(
    "--calls",
    type=click.Choice(["latest", "first"]),
    help="Which of a firm's calls in the quarter stands for it.  [default: latest]",
)
@click.option(
    "--as-of",
    type=click.DateTime(["%Y-%m-%d"]),
    help="Ignore transcript versions made after this day (UTC).",
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
    check_revisions: bool,
    calls: Any,
    as_of: datetime | None,
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
    --as-of, --linktypes) is settled once: without these options that stays as it was, also in a
    refresh.

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
        _refuse_beside("--give-up drops what is unfinished as a whole", *_OF_A_PLAN, *_OTHER_ENDS)
    if check_revisions:
        _refuse_beside("--check-revisions looks at the plan as stored", *_OF_A_PLAN, "dry_run")
    from ftm.wiring import get_prefetcher, get_store, get_store_to_plan_for

    wanted = _quarters(quarter, quarters)
    if give_up:
        _give_up(wanted, get_store(Settings.load(store=store)), as_json=as_json)
        return
    chosen = firm_ids(firms, firms_file)
    asked: dict[str, Any] = {
        "limit": limit,
        "refresh": refresh,
        "options": _plan_options(calls, as_of, linktypes),
    }
    settings = Settings.load(store=store, nlp=nlp)
    if dry_run:
        opened = get_store_to_plan_for(settings)
    else:
        opened = get_store(settings, create=not check_revisions)
    with (
        sigterm_as_interrupt(),
        show_progress() as progress,
        get_prefetcher(
            settings,
            progress=progress,
            store=opened,
            workers=workers,
            chunk_size=chunk_size,
            ask=ask_on_terminal(),
        ) as prefetcher,
    ):
        answer = _answer_of(prefetcher, asked, check_revisions=check_revisions, dry_run=dry_run)
        mostly_failed = _tell_each(prefetcher, wanted, chosen, answer, progress, as_json=as_json)
    if mostly_failed:
        click.get_current_context().exit(1)


Answer = Callable[[Quarter, Sequence[str] | None], tuple[Told, bool]]
"""What there is to tell of a quarter and of these firms in it, and whether most of them failed."""


def _answer_of(
    prefetcher: WRDSPrefetcher, asked: dict[str, Any], *, check_revisions: bool, dry_run: bool
) -> Answer:
    def answer(quarter: Quarter, ids: Sequence[str] | None) -> tuple[Told, bool]:
        if check_revisions:
            return tell_revision(quarter, prefetcher.check_revisions(quarter)), False
        if dry_run:
            return tell_plan(prefetcher.plan_quarter(quarter, ids, **asked)), False
        summary = prefetcher.prefetch_quarter(quarter, ids, **asked)
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
        click.echo(json.dumps(data, sort_keys=True) if as_json else text)

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
@click.option("--store", metavar="URL", help="s3://bucket[/prefix] or file:///folder.")
@click.option("--json", "as_json", is_flag=True, help="The result as JSON.")
def preprocess(
    quarter: str,
    nlp: str | None,
    workers: int | None,
    chunk_size: int | None,
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
        sigterm_as_interrupt(),
        show_progress() as progress,
        closing(get_preprocessor(settings, workers=workers)) as preprocessor,
    ):
        summary = preprocess_quarter(
            get_store(settings),
            chosen,
            preprocessor,
            chunk_size=chunk_size,
            checkpoint_interval=settings.prefetch_checkpoint,
            progress=progress,
        )
    text, data = tell_summary(summary)
    click.echo(json.dumps(data, sort_keys=True) if as_json else text)


def ask_on_terminal() -> Callable[[str], bool] | None:
    """How to ask a person, on stderr; None when nobody is there to answer."""
    streams = (sys.stdin, sys.stderr)  # None when closed: `ftm prefetch <&-`
    if not all(stream is not None and stream.isatty() for stream in streams):
        return None
    return partial(click.confirm, err=True)


@contextmanager
def sigterm_as_interrupt() -> Iterator[None]:
    """Let SIGTERM end a command as Ctrl-C does, so that leases and workers are given up."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _give_up(wanted: Iterable[Quarter], store: ObjectStore, *, as_json: bool) -> None:
    """Drop what is unfinished of some quarters; needs neither WRDS nor the text step."""
    from ftm.prefetch.giving_up import give_up_quarter

    with sigterm_as_interrupt(), show_progress() as progress:
        for each in wanted:
            text, data = tell_given_up(give_up_quarter(store, each, progress=progress))
            click.echo(json.dumps(data, sort_keys=True) if as_json else text)


_OF_A_PLAN = ("firms", "firms_file", "limit", "refresh", "calls", "as_of", "linktypes")
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


def firm_ids(listed: str | None, file: Path | None) -> list[str] | None:
    """Ids from the flag, from the file, from both; None when neither is given.

    Raises:
        ConfigError: an id is not a number, or there is none.
    """
    if listed is None and file is None:
        return None
    found = list(_checked(_words(listed or "")))
    if file is not None:
        found += _ids_in(file)
    if not found:
        where = f"{file} holds" if file is not None else "--firms has"
        raise ConfigError(f"{where} no firm id; Capital IQ company ids are numbers, like 24937")
    return found


def _ids_in(file: Path) -> Iterator[str]:
    """The ids of a file, as a person or Excel writes it: byte order mark, name of the column."""
    lines = file.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    for number, line in enumerate(lines, 1):
        words = _words(line)
        if number > 1 or any(word.isdecimal() for word in words):
            yield from _checked(words, f"{file}, line {number}: ")


def _checked(ids: Sequence[str], where: str = "") -> Sequence[str]:
    if wrong := [firm for firm in ids if not (firm.isascii() and firm.isdecimal())]:
        raise ConfigError(
            f"{where}not a firm id: {wrong[0]!r}; a Capital IQ company id is a number"
        )
    return ids


def _plan_options(calls: Any, as_of: datetime | None, linktypes: str | None) -> PlanOptions | None:
    """What was asked for, the rest being defaults; None when nothing was."""
    if calls is None and as_of is None and linktypes is None:
        return None
    default = PlanOptions()
    return PlanOptions(
        calls or default.calls,
        as_of.date() if as_of else None,
        default.linktypes if linktypes is None else _words(linktypes),
    )


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.replace(",", " ").split())
