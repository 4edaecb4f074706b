"""The runs of a quarter, and what is published, linked and assigned, against their records."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from ftm.care.faults import Fault, Grade, Inventory
from ftm.core.errors import FtmError, StoreError
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
from ftm.storage.linked import LINK_FILES, link_record, linked_file
from ftm.storage.object_store import ObjectStore
from ftm.storage.published import SENTIMENT, read_published
from ftm.storage.run_reader import RunRecords, read_run, read_run_manifest, run_ids
from ftm.storage.stage_records import STAGES, read_stage

_PARTS = ("firm-topics", "firm-sentences")


def verify_runs(inventory: Inventory, quarter: Quarter) -> Iterator[Fault]:
    """Everything that is wrong with what was made of a prefetched quarter.

    Raises:
        StoreError: the store cannot be read.
    """
    known = inventory.runs(quarter)
    for run_id in known:
        yield from _run(inventory, RunLayout(quarter, run_id))
    for folder in inventory.store.list_folders(f"progress/{quarter}"):
        run_id = folder.removeprefix("run=")
        if run_id not in {*known, *inventory.ignored_runs}:
            fix = f"the `ftm run-quarter --quarter {quarter}` command that began it writes it again"
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
        themes_from = Quarter.parse(folder.removeprefix("themes="))
        root = assigned_root(quarter, themes_from)
        yield from _guarded(inventory, root, partial(_assigned, inventory, quarter, themes_from))


def runs_without_spec(store: ObjectStore, quarter: Quarter) -> list[str]:
    """Runs of which little more is there than that they were about to begin, or were removed."""
    begun = {each.removeprefix("run=") for each in store.list_folders(f"progress/{quarter}")}
    known = {*run_ids(store, quarter), *begun}
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
    for stage in STAGES[1:]:
        yield from _guarded(
            inventory, layout.stage_record(stage), partial(_stage, inventory, layout, stage)
        )


def _records(inventory: Inventory, layout: RunLayout) -> Iterator[Fault]:
    """A run's own records, the chunks it reads, and the parts its batches list."""
    store = inventory.store
    run = read_run(store, layout.quarter, layout.run_id)
    inventory.size(layout.spec)
    yield from _guarded(inventory, layout.manifest, lambda: _chunks_of(inventory, layout))
    again = (
        f"the `ftm run-quarter --quarter {layout.quarter}` command that began the run computes it "
        "again"
    )
    yield from inventory.compare(_listed(inventory, run), fix=again)
    yield from _unlisted(inventory, layout, run)


def _chunks_of(inventory: Inventory, layout: RunLayout) -> Iterator[Fault]:
    """Files of the prefetch generation a run reads; those of the current one are verified there."""
    manifest = read_run_manifest(inventory.store, layout)
    inventory.size(layout.manifest)
    prefetch = PrefetchLayout(layout.quarter)
    inventory.list(prefetch.root)
    for file in (*manifest.chunks, *manifest.components):
        key = prefetch.key(file)
        if inventory.size(key) is None:
            what = f"it is gone, and run {layout.run_id} reads it"
            yield Fault(key, what, f"`ftm run-quarter --quarter {layout.quarter}` begins a new run")


def _listed(inventory: Inventory, run: RunRecords) -> dict[str, str]:
    found: dict[str, str] = {}
    for batch_id, progress in run.progress.items():
        inventory.size(run.layout.progress(batch_id))
        found |= progress.parts | progress.partial
    return dict(sorted(found.items()))


def _unlisted(inventory: Inventory, layout: RunLayout, run: RunRecords) -> Iterator[Fault]:
    """Parts that no batch lists: a worker died between a part and its record, or still works."""
    listed = _listed(inventory, run)
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
    yield from inventory.compare(
        dict(found), fix=f"`ftm link --redo-from {quarter}` writes it again"
    )


def _assigned(inventory: Inventory, quarter: Quarter, themes_from: Quarter) -> Iterator[Fault]:
    assigned = read_assigned(inventory.store, quarter, themes_from)
    if assigned is None:
        return
    root = assigned_root(quarter, themes_from)
    files = {f"{root}/{file}": digest for file, digest in assigned.files.items()}
    yield from inventory.compare(files, fix=f"{assigned.mend} writes it again")
