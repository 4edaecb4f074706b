"""`ftm verify`."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

import click

from ftm.cli.named_store import runnable
from ftm.cli.options import json_option, quarter_option, store_option
from ftm.cli.progress import show_progress
from ftm.core.errors import CorruptObjectError
from ftm.core.plain import plain
from ftm.core.quarter import Quarter
from ftm.core.settings import Settings

if TYPE_CHECKING:
    from ftm.care.faults import Fault, Verification
    from ftm.prefetch.repair import RepairSummary
    from ftm.storage.object_store import ObjectStore


@click.command()
@quarter_option
@store_option
@click.option("--deep", is_flag=True, help="Read every byte, not only names, sizes and footers.")
@click.option(
    "--repair",
    is_flag=True,
    help="Make damaged chunks anew: from the stored speaker turns, else from WRDS.",
)
@click.option("--nlp", metavar="NAME", help="For --repair: `rules`, or an installed spaCy model.")
@json_option
def verify(
    quarter: str, store: str | None, deep: bool, repair: bool, nlp: str | None, as_json: bool
) -> None:
    """Check that a quarter is complete and undamaged, object by object.

    The prefetch against its manifest, runs against their records, and what is published, linked
    and assigned against its pointers. Reads only, unless --repair is given; what that cannot make
    byte for byte as it was stays as it is. Exit code 1 if something is damaged.

    \b
    ftm verify --quarter 2023Q1
    ftm verify --quarter 2023Q1 --deep
    ftm verify --quarter 2023Q1 --deep --repair
    """
    from ftm.care.verify import verify_quarter
    from ftm.wiring import get_store

    settings = Settings.load(store=store, nlp=nlp)
    opened, chosen = get_store(settings), Quarter.parse(quarter)
    tell = _ignore if as_json else _tell
    found = verify_quarter(opened, chosen, deep=deep, tell=tell)
    done: RepairSummary | None = None
    if repair and (found.repairable or _has_leftover(opened, chosen)):
        done = _repair(opened, chosen, found, settings)
        found = verify_quarter(opened, chosen, deep=deep)
    if as_json:
        click.echo(json.dumps(_as_data(found, done), indent=1))
    else:
        for line in _describe_repair(done) if done is not None else ():
            click.echo(plain(line))
        click.echo(_summary(found))
    if found.damaged:
        click.get_current_context().exit(1)


def _repair(
    store: ObjectStore, quarter: Quarter, found: Verification, settings: Settings
) -> RepairSummary:
    from ftm.prefetch.repair import repair_quarter
    from ftm.wiring import get_prefetch_source, get_preprocessor

    with show_progress() as progress:
        return repair_quarter(
            store,
            quarter,
            found.repairable,
            source=lambda: get_prefetch_source(settings, progress=progress),
            preprocessor=lambda: get_preprocessor(settings),
            progress=progress,
        )


def _has_leftover(store: ObjectStore, quarter: Quarter) -> bool:
    """Of a repair that was killed when it had done all but give up its lease."""
    from ftm.prefetch.repair import is_left_by_repair

    try:
        return is_left_by_repair(store, quarter)
    except CorruptObjectError:
        return False  # it is told as damaged


def _ignore(_fault: Fault) -> None:
    return


def _tell(fault: Fault) -> None:
    marks = {"damaged": "x", "left over": "-", "note": "!"}
    click.echo(plain(f"{marks[fault.grade]} {fault.key}: {fault.what}"))
    click.echo(f"    {plain(runnable(fault.fix))}")


def _summary(found: Verification) -> str:
    read = "every byte read" if found.deep else "names, sizes and footers; --deep reads every byte"
    counts = [
        (len(found.damaged), "damaged"),
        (sum(f.grade == "left over" for f in found.faults), "left over"),
    ]
    state = ", ".join(f"{n} {what}" for n, what in counts if n) or "in order"
    return (
        f"{found.quarter}: {state}; {found.n_objects:,} objects, {found.size_bytes / 1e6:,.1f} MB "
        f"({read})"
    )


def _describe_repair(done: RepairSummary) -> list[str]:
    where = "WRDS" if done.used_wrds else "the stored speaker turns"
    lines = [f"{file}: made anew from {where}, as it was" for file in done.repaired]
    refresh = runnable(f"ftm prefetch --quarter {done.quarter} --refresh")
    return lines + [f"{file}: {why}; {refresh}" for file, why in done.not_repaired.items()]


def _as_data(found: Verification, done: RepairSummary | None) -> dict[str, Any]:
    return {
        "quarter": found.quarter,
        "ok": not found.damaged,
        "deep": found.deep,
        "objects": found.n_objects,
        "bytes": found.size_bytes,
        "faults": [dataclasses.asdict(fault) for fault in found.faults],
        "repair": dataclasses.asdict(done) if done is not None else None,
    }
