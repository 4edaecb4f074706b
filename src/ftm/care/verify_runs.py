"""The runs of a quarter, and what is published, linked and assigned, against their records."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import Protocol

from ftm.care.faults import Fault, Grade, Inventory
from ftm.core.errors import (
    ConfigError,
    CorruptObjectError,
    FtmError,
    ObjectNotFoundError,
    StoreError,
)
from ftm.core.layout import (
    PrefetchLayout,
    RunLayout,
    assigned_root,
    current_pointer,
    runs_root,
    sentiment_ready,
)
from ftm.core.quarter import Quarter
from ftm.storage.assigned import read_assigned
from ftm.storage.lease import decode_document
from ftm.storage.linked import LINK_FILES, link_record, linked_file, mend_link
from ftm.storage.object_store import ObjectStore
from ftm.storage.published import SENTIMENT, read_published
from ftm.storage.run_reader import (
    RunRecords,
    published_run,
    read_run,
    read_run_manifest,
    run_ids,
)
from ftm.storage.run_records import (
    decode_job,
    decode_job_claim,
    decode_model_claim,
    decode_outcome,
)
from ftm.storage.stage_records import STAGES, read_stage

_PARTS = ("firm-topics", "firm-sentences")


class _Decoder(Protocol):
    def __call__(self, data: bytes, *, key: str) -> object: ...


def verify_runs(inventory: Inventory, quarter: Quarter) -> Iterator[Fault]:
    """Everything that is wrong with what was made of a prefetched quarter.

    Raises:
        StoreError: the store cannot be read.
    """
    known = inventory.runs(quarter)
    for run_id in known:
        yield from _run(inventory, RunLayout(quarter, run_id))
    for run_id in runs_begun(inventory.store, quarter):
        if run_id not in {*known, *inventory.ignored_runs}:
            fix = (
                f"the `ftm run-quarter --quarter {quarter}` command that began it writes it again; "
                f"or, if it is not published, `ftm clean --quarter {quarter} --run {run_id}` "
                "removes what is left"
            )
            yield Fault(RunLayout(quarter, run_id).spec, "it is gone, and its run has begun", fix)
    for run_id in runs_without_spec(inventory.store, quarter):
        layout = RunLayout(quarter, run_id)
        for key in inventory.list(layout.root) if run_id not in inventory.ignored_runs else ():
            fix = f"`ftm clean --quarter {quarter}` removes it"
            yield Fault(key, "its run has no spec, so nothing reads it", fix, Grade.LEFT_OVER)
    yield from _guarded(inventory, current_pointer(quarter), lambda: _published(inventory, quarter))
    yield from _superseded(inventory, quarter)
    yield from _guarded(inventory, link_record(quarter), lambda: _linked(inventory, quarter))
    for folder in inventory.store.list_folders(f"assigned/quarter={quarter}"):
        try:
            themes_from = Quarter.parse(folder.removeprefix("themes="))
        except ConfigError:
            continue  # not a folder of ours
        root = assigned_root(quarter, themes_from)
        yield from _guarded(inventory, root, partial(_assigned, inventory, quarter, themes_from))


def runs_begun(store: ObjectStore, quarter: Quarter) -> list[str]:
    """Runs of which results are there, whether they have a spec or not."""
    begun = {each.removeprefix("run=") for each in store.list_folders(f"progress/{quarter}")}
    with suppress(CorruptObjectError):  # told as damaged elsewhere
        begun |= {published_run(store, quarter) or ""} - {""}
    return sorted(begun)


def runs_without_spec(store: ObjectStore, quarter: Quarter) -> list[str]:
    """Runs of which little more is there than that they were about to begin, or were removed."""
    known = {*run_ids(store, quarter), *runs_begun(store, quarter)}
    return [each for each in store.list_folders(runs_root(quarter)) if each not in known]


def _guarded(
    inventory: Inventory, key: str, look: Callable[[], Iterator[Fault]]
) -> Iterator[Fault]:
    """What a look finds; a record that cannot be read is a fault, too, and says its own fix."""
    try:
        yield from look()
    except StoreError:
        raise
    except FtmError as error:
        what, _, fix = str(error).partition("; ")
        named = str(getattr(error, "key", "") or key)
        yield Fault(named.removeprefix(inventory.store.name("")), what, fix)


def _run(inventory: Inventory, layout: RunLayout) -> Iterator[Fault]:
    inventory.list(layout.root)
    inventory.list(layout.progress_root)
    yield from _guarded(inventory, layout.spec, lambda: _records(inventory, layout))
    for key in inventory.list(layout.root) + inventory.list(layout.progress_root):
        yield from _guarded(inventory, key, partial(_small_record, inventory, layout, key))
    for stage in STAGES[1:]:
        yield from _guarded(
            inventory, layout.stage_record(stage), partial(_stage, inventory, layout, stage)
        )


def _records(inventory: Inventory, layout: RunLayout) -> Iterator[Fault]:
    """A run's own records, the files it reads, and the parts its batches list."""
    store = inventory.store
    run = read_run(store, layout.quarter, layout.run_id)
    inventory.size(layout.spec)
    yield from _guarded(inventory, layout.manifest, lambda: _read_by(inventory, layout))
    again = (
        f"the `ftm run-quarter --quarter {layout.quarter}` command that began the run computes it "
        "again"
    )
    yield from _progress(inventory, layout, run, again)
    parts, partial_parts = _parts(run)
    yield from inventory.compare(parts, fix=again)
    # A worker that is killed while it completes one leaves it other than its record says.
    anew = f"nobody reads it before it is complete; {again}"
    yield from inventory.compare(partial_parts, fix=anew, grade=Grade.NOTE)
    yield from _unlisted(inventory, layout, {*parts, *partial_parts})


def _progress(
    inventory: Inventory, layout: RunLayout, run: RunRecords, again: str
) -> Iterator[Fault]:
    """The batches' records: before stage reduce one may not have begun, afterwards each has."""
    for batch_id in run.progress:
        inventory.size(layout.progress(batch_id))
    try:
        reduced = read_stage(inventory.store, layout, STAGES[1])
    except CorruptObjectError:
        return  # it is told as damaged
    if reduced is None or reduced.is_partial:
        return
    for batch in run.batches:
        if batch.batch_id not in run.progress:
            key = layout.progress(batch.batch_id)
            yield Fault(key, "it is gone, and stage reduce has read its batch", again)


def _small_record(inventory: Inventory, layout: RunLayout, key: str) -> Iterator[Fault]:
    """A record of jobs, a claim, or the lease: commands stop at one that cannot be read."""
    decode = _decoder(layout, key)
    if decode is None:
        return
    # One that has gone since it was listed is of a command that ended meanwhile.
    with suppress(ObjectNotFoundError):
        decode(inventory.store.get(key), key=inventory.store.name(key))
        inventory.size(key)
    yield from ()


def _decoder(layout: RunLayout, key: str) -> _Decoder | None:
    """What reads a small record, by its key; None for all that is looked at elsewhere."""
    if key == layout.lease:
        return decode_document
    if key == layout.model_claim:
        return decode_model_claim
    if key.startswith(f"{layout.progress_root}/claims/"):
        return decode_job_claim
    if not key.startswith(f"{layout.root}/jobs/"):
        return None
    return decode_outcome if key.endswith(".outcome.json") else decode_job


def _read_by(inventory: Inventory, layout: RunLayout) -> Iterator[Fault]:
    """Files of the prefetch generation a run reads; those of the current one are verified there."""
    manifest = read_run_manifest(inventory.store, layout)
    inventory.size(layout.manifest)
    prefetch = PrefetchLayout(layout.quarter)
    inventory.list(prefetch.root)
    entries = {**manifest.chunks, **manifest.components}
    hashes = {file: entry.sha256 for file, entry in entries.items()}
    hashes[manifest.plan.file] = manifest.plan.sha256
    files = {prefetch.key(file): digest for file, digest in hashes.items()}
    yield from inventory.compare(
        {key: digest for key, digest in files.items() if key not in inventory.judged},
        fix=f"`ftm run-quarter --quarter {layout.quarter}` begins a new run",
        sizes={prefetch.key(file): entry.bytes for file, entry in entries.items()},
        user=f"run {layout.run_id} reads it",
    )


def _parts(run: RunRecords) -> tuple[dict[str, str], dict[str, str]]:
    """{key: sha256} of the parts that are listed, and of those that are to be completed."""
    listed: dict[str, str] = {}
    partial_parts: dict[str, str] = {}
    for _, progress in sorted(run.progress.items()):
        listed |= progress.parts
        partial_parts |= progress.partial
    return dict(sorted(listed.items())), dict(sorted(partial_parts.items()))


def _unlisted(inventory: Inventory, layout: RunLayout, listed: set[str]) -> Iterator[Fault]:
    """Parts that no batch lists: a worker died between a part and its record, or still works."""
    for dataset in _PARTS:
        folder = f"intermediate/{dataset}/quarter={layout.quarter}/run={layout.run_id}"
        for key in inventory.list(folder):
            if key not in listed:
                fix = f"`ftm clean --quarter {layout.quarter}` removes it once the run is complete"
                yield Fault(key, "no batch of its run lists it", fix, Grade.LEFT_OVER)


def _stage(inventory: Inventory, layout: RunLayout, stage: str) -> Iterator[Fault]:
    """What a stage after map says it wrote."""
    record = read_stage(inventory.store, layout, stage)
    if record is None:
        return
    inventory.size(layout.stage_record(stage))
    fix = f"`ftm run-quarter --quarter {layout.quarter} --from {stage}`"
    yield from inventory.compare(record.files, fix=fix)


def _published(inventory: Inventory, quarter: Quarter) -> Iterator[Fault]:
    """The tables that readers are pointed at, and the copy for programs that follow no pointer."""
    published = read_published(inventory.store, quarter)
    if published is None:
        return
    inventory.size(current_pointer(quarter))
    fix = f"`ftm run-quarter --quarter {quarter} --from package`"
    files = dict(published.place_of(table) for table in published.tables)
    if SENTIMENT in published.tables:
        files[sentiment_ready(quarter)] = published.place_of(SENTIMENT)[1]
    # What stage package recorded was compared already, so that is told once.
    yield from inventory.compare(
        {k: v for k, v in files.items() if k not in inventory.seen}, fix=fix
    )


def _superseded(inventory: Inventory, quarter: Quarter) -> Iterator[Fault]:
    """Tables that stage package wrote and later wrote differently, as `ftm link` has it do."""
    for key in inventory.list(f"processed/quarter={quarter}"):
        if key not in inventory.seen and key.endswith(".parquet"):
            what = "an earlier version of the table, nothing points to it"
            fix = f"`ftm clean --quarter {quarter}` removes it"
            yield Fault(key, what, fix, Grade.LEFT_OVER)


def _linked(inventory: Inventory, quarter: Quarter) -> Iterator[Fault]:
    store = inventory.store
    if inventory.size(link_record(quarter)) is None:
        return
    found = [linked_file(store, quarter, dataset) for dataset in LINK_FILES]
    yield from inventory.compare(dict(found), fix=mend_link(quarter))


def _assigned(inventory: Inventory, quarter: Quarter, themes_from: Quarter) -> Iterator[Fault]:
    assigned = read_assigned(inventory.store, quarter, themes_from)
    if assigned is None:
        return
    root = assigned_root(quarter, themes_from)
    files = {f"{root}/{file}": digest for file, digest in assigned.files.items()}
    yield from inventory.compare(files, fix=assigned.mend)
