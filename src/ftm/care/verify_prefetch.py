"""A prefetched quarter against its manifest: files, sizes, hashes, schemas, firms, leftovers."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import suppress

import numpy as np
import pyarrow as pa

from ftm.care.faults import Fault, Grade, Inventory
from ftm.care.verify_session import (
    belongs_to,
    named_by_session,
    read_session,
    verify_session,
)
from ftm.core.counted import counted
from ftm.core.errors import (
    CorruptObjectError,
    FtmError,
    ManifestNotFoundError,
    ManifestVersionError,
    StoreError,
)
from ftm.core.layout import RUN_MANIFEST, PrefetchLayout, RunLayout, run_of_key, runs_root
from ftm.core.quarter import Quarter
from ftm.core.schemas import CHUNK, COMPONENTS
from ftm.storage.checked import MissingObjectError, checked
from ftm.storage.checkpoint import Session
from ftm.storage.manifest import FileEntry, PrefetchManifest, firms_of, load_manifest
from ftm.storage.parquet import from_bytes
from ftm.storage.parquet_layout import firm_runs, parse_footer
from ftm.storage.quarter_reader import Chunk, sections_of
from ftm.storage.run_reader import read_calls, read_manifest_copy, read_run_manifest


def verify_prefetch(inventory: Inventory, quarter: Quarter) -> Iterator[Fault]:
    """Everything that is wrong with a prefetched quarter.

    Args:
        inventory: of the store.
        quarter: which.

    Raises:
        ManifestNotFoundError: nothing of it is published, and no prefetch of it is unfinished.
        ManifestVersionError: a newer ftm writes it; not damage, and nothing to be replaced.
        StoreError: the store cannot be read.
    """
    store, layout = inventory.store, PrefetchLayout(quarter)
    inventory.list(layout.root)
    session, faults = read_session(store, layout)
    yield from faults
    try:
        manifest = load_manifest(store, quarter)
    except ManifestNotFoundError:
        if session is not None:
            yield from verify_session(inventory, layout, session)
        elif not faults:
            if not (files := _generations(inventory, layout)):
                raise
            what = f"it is gone, and {counted(len(files), 'file')} of its generations are there"
            other = f"`ftm prefetch --quarter {quarter}`, if none was ever complete"
            yield Fault(layout.manifest, what, _restore(inventory, layout, other))
        return
    except (StoreError, ManifestVersionError):
        raise
    except FtmError as error:
        other = f"`{_refresh(quarter)}`"
        yield Fault(layout.manifest, str(error), _restore(inventory, layout, other))
        return
    inventory.size(layout.manifest)
    yield from _Check(inventory, layout, manifest).run()
    if session is not None:
        yield from verify_session(inventory, layout, session)
    yield from _leftovers(inventory, layout, manifest, session)


def _generations(inventory: Inventory, layout: PrefetchLayout) -> list[str]:
    """Chunks, components and plans, of whatever generation."""
    keys = inventory.list(layout.root)
    return [k for k in keys if k.endswith(".parquet") and not k.startswith(f"{layout.parts}/")]


def _restore(inventory: Inventory, layout: PrefetchLayout, other: str) -> str:
    """What to do about a lost manifest: the runs hold copies of it, byte for byte."""
    copies = []
    for key in inventory.list(runs_root(layout.quarter)):
        if key.endswith(f"/{RUN_MANIFEST}"):
            with suppress(CorruptObjectError, ManifestVersionError):
                found = read_manifest_copy(inventory.store, run_of_key(key))
                copies.append((found.generation, found.n_firms, key))
    copy = f", or by a copy of {max(copies)[2]}" if copies else ""
    return f"restore it from a backup{copy}; else {other}"


def _refresh(quarter: Quarter) -> str:
    return f"ftm prefetch --quarter {quarter} --refresh"


class _Check:
    """What a manifest names, object by object."""

    def __init__(
        self, inventory: Inventory, layout: PrefetchLayout, manifest: PrefetchManifest
    ) -> None:
        self._inventory = inventory
        self._store = inventory.store
        self._layout = layout
        self._manifest = manifest
        how = "--deep --repair" if inventory.deep else "--repair"
        self._repair = f"`ftm verify --quarter {layout.quarter} {how}`"

    def run(self) -> Iterator[Fault]:
        """All faults, the plan's first."""
        plan = yield from self._plan()
        n_sentences, all_read = 0, True
        for file, entry in sorted(self._manifest.chunks.items()):
            chunk = yield from self._file(file, entry, CHUNK)
            twin = file.replace("chunk_", "components_")
            turns = yield from self._file(twin, self._manifest.components.get(twin), COMPONENTS)
            all_read &= chunk is not None
            if chunk is not None:
                n_sentences += chunk.num_rows
                yield from self._rows(file, chunk, turns, plan)
        for file in sorted(self._manifest.components.keys() - self._twins()):
            yield from self._file(file, self._manifest.components[file], COMPONENTS)
        if all_read and self._inventory.deep and n_sentences != self._manifest.n_sentences:
            recorded = self._manifest.n_sentences
            what = f"it counts {recorded:,} sentences, its chunks hold {n_sentences:,}"
            yield Fault(self._layout.manifest, what, f"`{_refresh(self._layout.quarter)}`")

    def _twins(self) -> set[str]:
        return {file.replace("chunk_", "components_") for file in self._manifest.chunks}

    def _plan(self) -> Generator[Fault, None, pa.Table | None]:
        """The plan is small, so it is always read."""
        key = self._layout.key(self._manifest.plan.file)
        self._inventory.size(key)
        try:
            plan = read_calls(self._store, self._manifest)
        except StoreError:
            raise
        except FtmError as error:
            yield Fault(key, str(error), f"`{_refresh(self._layout.quarter)}`")
            return None
        named = self._manifest
        accounted = {*named.firm_to_chunk, *named.skipped, *named.failed}
        kept = set(plan.filter(plan["kept"])["firm_id"].to_pylist())
        if named.complete and (lost := sorted(kept - accounted)):
            what = f"it says it is complete, and firm {lost[0]} of the plan is not in it"
            yield Fault(self._layout.manifest, what, f"`ftm prefetch --quarter {named.quarter}`")
        if strange := sorted(named.firm_to_chunk.keys() - kept):
            what = f"it holds firm {strange[0]}, which the plan does not keep"
            yield Fault(self._layout.manifest, what, f"`{_refresh(self._layout.quarter)}`")
        return plan

    def _file(
        self, file: str, entry: FileEntry | None, schema: pa.Schema
    ) -> Generator[Fault, None, pa.Table | None]:
        """A file of firms; its rows, if every byte of it was read and is as recorded."""
        if entry is None:
            return None
        key = self._layout.key(file)
        what, table = self._look(key, entry, schema)
        if what is not None:
            yield Fault(key, what, self._repair, file=file)
        return table

    def _look(
        self, key: str, entry: FileEntry, schema: pa.Schema
    ) -> tuple[str | None, pa.Table | None]:
        size = self._inventory.size(key)
        if size is None:
            return "it is gone", None
        if size != entry.bytes:
            return f"it has {size:,} bytes, the manifest records {entry.bytes:,}", None
        name, deep, footer = self._store.name(key), self._inventory.deep, entry.footer
        part = None if deep else (footer.offset, footer.bytes)
        try:
            data = checked(self._store, key, entry.sha256 if deep else footer.sha256, part=part)
        except MissingObjectError:
            return "it is gone", None
        except CorruptObjectError:
            what = "its bytes" if deep else "the bytes of its footer"
            return f"{what} are not those recorded", None
        try:
            if not deep:
                parse_footer(data, key=name)
                return None, None
            table = from_bytes(data, schema, key=name)
        except FtmError as error:
            return str(error), None
        found, _ = firm_runs(table)
        if found != firms_of(entry):
            return "it holds other firms than the manifest says", None
        return None, table

    def _rows(
        self, file: str, chunk: pa.Table, turns: pa.Table | None, plan: pa.Table | None
    ) -> Iterator[Fault]:
        """Sentences in order, of the calls the plan keeps, each in one of the speaker turns."""
        key, refresh = self._layout.key(file), f"`{_refresh(self._layout.quarter)}`"
        if (firm := _out_of_order(chunk)) is not None:
            yield Fault(key, f"the sentences of firm {firm} are not numbered from 0 on", refresh)
        if plan is not None and (firm := _of_another_call(chunk, plan)) is not None:
            yield Fault(key, f"firm {firm} is there with another call than the plan's", refresh)
        if turns is None:
            return
        try:
            spoken = turns.filter(turns["first_position"].is_valid())
            sections_of(Chunk(file, chunk), spoken)
        except FtmError as error:
            yield Fault(key, str(error), refresh)


def _out_of_order(chunk: pa.Table) -> str | None:
    """The first firm whose positions are not 0, 1, 2, … or whose sentence ids do not say so."""
    firms, lengths = firm_runs(chunk)
    ids = [chunk[name].to_pylist() for name in ("sentence_id", "firm_id", "transcript_id")]
    positions = chunk["position"].to_numpy()
    within = np.concatenate([np.arange(n) for n in lengths]) if lengths else np.zeros(0, int)
    for at, (sentence_id, firm_id, transcript_id) in enumerate(zip(*ids, strict=True)):
        expected = f"{firm_id}_{transcript_id}_{within[at]:04d}"
        if positions[at] != within[at] or sentence_id != expected:
            return str(firm_id)
    return None if sum(lengths) == chunk.num_rows else firms[-1]


def _of_another_call(chunk: pa.Table, plan: pa.Table) -> str | None:
    """The first firm whose call, link or date is not the one the plan keeps."""
    names = ["firm_id", "transcript_id", "permno", "gvkey", "earnings_call_date"]
    kept = plan.filter(plan["kept"]).select(names).to_pylist()
    planned = {row["firm_id"]: row for row in kept}
    _, lengths = firm_runs(chunk)
    starts = np.cumsum([0, *lengths])[:-1]
    for row in chunk.select(names).take(pa.array(starts, pa.int64())).to_pylist():
        if planned.get(row["firm_id"]) != row:
            return str(row["firm_id"])
    return None


def _leftovers(
    inventory: Inventory,
    layout: PrefetchLayout,
    manifest: PrefetchManifest,
    session: Session | None,
) -> Iterator[Fault]:
    """What lies in the quarter's folder and is named by nobody: manifest, session or run."""
    of_runs, unread = _named_by_runs(inventory, layout)
    named = {layout.manifest, layout.checkpoint, *_named(layout, manifest), *of_runs}
    if session is not None:
        named |= set(named_by_session(layout, session))
    for key in inventory.list(layout.root):
        if key in named:
            continue
        if session is not None and belongs_to(key, layout, session):
            continue
        fix = f"`ftm clean --quarter {layout.quarter}` removes it"
        if unread:
            fix = f"keep it as long as run {unread[0]} matters: what that run reads cannot be told"
        yield Fault(key, "no manifest, run or unfinished prefetch names it", fix, Grade.LEFT_OVER)


def _named_by_runs(inventory: Inventory, layout: PrefetchLayout) -> tuple[set[str], list[str]]:
    """Keys that runs read, and the runs of which that is not known; those are told of as runs."""
    named: set[str] = set()
    unread = []
    root = runs_root(layout.quarter)
    keys = [key.split("/") for key in inventory.list(root)]
    found = {parts[2] for parts in keys if len(parts) > 3}
    for run_id in sorted(found - inventory.ignored_runs):
        try:
            manifest = _manifest_of(inventory, RunLayout(layout.quarter, run_id))
        except StoreError:
            raise
        except FtmError:
            unread.append(run_id)
        else:
            named |= set(_named(layout, manifest))
    return named, unread


def _manifest_of(inventory: Inventory, layout: RunLayout) -> PrefetchManifest:
    has_spec = inventory.store.exists(layout.spec)
    read = read_run_manifest if has_spec else read_manifest_copy
    return read(inventory.store, layout)


def _named(layout: PrefetchLayout, manifest: PrefetchManifest) -> list[str]:
    files = [manifest.plan.file, *manifest.chunks, *manifest.components]
    return [layout.key(file) for file in files]
