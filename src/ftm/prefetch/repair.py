"""Making damaged files of a prefetched quarter anew: the very bytes that its manifest records.

A run hashes the manifest it reads, so a repair may change neither: a file comes back byte for byte,
or it stays as it is and the quarter needs a refresh.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256

import pyarrow as pa

from ftm.connectors.discovery import PrefetchSource
from ftm.core.errors import (
    CorruptObjectError,
    FingerprintMismatchError,
    ObjectNotFoundError,
)
from ftm.core.layout import PrefetchLayout
from ftm.core.progress import NoProgress, Progress
from ftm.core.quarter import Quarter
from ftm.core.records import FirmCall
from ftm.core.schemas import CHUNK, COMPONENTS
from ftm.core.version import VERSION
from ftm.prefetch.base import Preprocessor
from ftm.prefetch.firm_files import serialise
from ftm.prefetch.on_demand import OnDemand
from ftm.prefetch.plan import kept_calls
from ftm.prefetch.plan_keeping import find_plan
from ftm.prefetch.prefetcher import utc_now
from ftm.prefetch.reading import ReadAhead, iter_outcomes
from ftm.prefetch.stored_turns import StoredTurns
from ftm.storage.lease import Clock, LeasedObject, Writer
from ftm.storage.manifest import FileEntry, PrefetchManifest, firms_of, load_manifest
from ftm.storage.object_store import ObjectStore
from ftm.storage.open_lease import find_holder, open_leased, peek_leased


@dataclass(frozen=True, slots=True)
class RepairSummary:
    """What became of damaged files.

    Args:
        quarter: like 2023Q1.
        repaired: files that hold again what the manifest records.
        not_repaired: file → why it could not be made as it was.
        n_firms: read for it.
        used_wrds: whether some speaker turns had to come from WRDS.
    """

    quarter: str
    repaired: Sequence[str] = ()
    not_repaired: dict[str, str] = field(default_factory=dict)
    n_firms: int = 0
    used_wrds: bool = False


def repair_quarter(
    store: ObjectStore,
    quarter: str | Quarter,
    files: Sequence[str],
    *,
    source: PrefetchSource | Callable[[], PrefetchSource],
    preprocessor: Preprocessor | Callable[[], Preprocessor],
    clock: Clock = utc_now,
    progress: Progress | None = None,
    new_identity: Callable[[], Writer] = Writer.current,
) -> RepairSummary:
    """Make files that are damaged or gone anew, and nothing else.

    Sentences are made from the stored speaker turns of the same firms, without a login, unless
    these are damaged themselves: then the firms of the file are read from WRDS again.

    Args:
        store: where.
        quarter: prefetched.
        files: chunks and components, as the manifest names them.
        source: WRDS, or a function that opens it, called only if turns are damaged.
        preprocessor: the text step that made the quarter, or a function that makes it.
        clock: the time, aware, UTC.
        progress: told of every firm.
        new_identity: who holds the lease.

    Raises:
        ManifestNotFoundError: the quarter is not prefetched.
        CorruptObjectError: its manifest or plan is damaged, without which nothing can be repaired.
        FingerprintMismatchError: this text pipeline is not the one that made the quarter.
        LeaseHeldError: the quarter is being written.
        WRDSError, StoreError: stopped; files repaired so far stay repaired.
    """
    layout, told = PrefetchLayout(Quarter.parse(quarter)), progress or NoProgress()
    lease = open_leased(
        store,
        layout.checkpoint,
        lock_name=layout.lock_name,
        writer=new_identity(),
        clock=clock,
        say=told.message,
    )
    sources = OnDemand[PrefetchSource](source, having="discover")
    pipelines = OnDemand[Preprocessor](preprocessor, having="map")
    is_empty = not lease.acquire()
    try:
        manifest = load_manifest(store, layout.quarter)
        work = _Repair(store, layout, manifest, lease, sources, pipelines, told)
        return work.run(files)
    finally:
        sources.close()
        pipelines.close()
        if is_empty:
            lease.delete()
        lease.release()


def is_left_by_repair(
    store: ObjectStore,
    quarter: Quarter,
    *,
    clock: Clock = utc_now,
    new_identity: Callable[[], Writer] = Writer.current,
) -> bool:
    """Whether a lease without content and without a living holder is in the way.

    A repair that was killed after its last put leaves one on S3, and the next would find nothing
    damaged; `repair_quarter` of no file at all takes it away.

    Raises:
        CorruptObjectError: the checkpoint cannot be read.
    """
    layout = PrefetchLayout(quarter)
    if not store.exists(layout.checkpoint) or peek_leased(store, layout.checkpoint):
        return False
    return not find_holder(
        store,
        layout.checkpoint,
        lock_name=layout.lock_name,
        writer=new_identity(),
        clock=clock,
    )


class _Repair:
    """One repair, under the quarter's lease."""

    def __init__(
        self,
        store: ObjectStore,
        layout: PrefetchLayout,
        manifest: PrefetchManifest,
        lease: LeasedObject,
        sources: OnDemand[PrefetchSource],
        pipelines: OnDemand[Preprocessor],
        progress: Progress,
    ) -> None:
        self._store = store
        self._layout = layout
        self._manifest = manifest
        self._lease = lease
        self._sources = sources
        self._pipelines = pipelines
        self._progress = progress

    def run(self, files: Sequence[str]) -> RepairSummary:
        """Pair by pair: a chunk and its speaker turns are made of the same firms."""
        damaged = set(files) & {*self._manifest.chunks, *self._manifest.components}
        pairs = sorted({_pair(file) for file in damaged})
        if not pairs:
            return RepairSummary(str(self._layout.quarter))
        calls = self._kept_calls()
        preprocessor = self._preprocessor()
        wanted = {pair: self._calls_of(pair, calls) for pair in pairs}
        n_firms = sum(map(len, wanted.values()))
        self._progress.start(f"repair of {self._layout.quarter}", total=n_firms)
        repaired: list[str] = []
        not_repaired: dict[str, str] = {}
        used_wrds = False
        for pair, own in wanted.items():
            from_wrds = pair[1] in damaged
            used_wrds |= from_wrds
            source = self._sources.get() if from_wrds else StoredTurns(self._store, self._manifest)
            *made, failed = self._make(own, source, preprocessor)
            for file, data in zip(pair, made, strict=True):
                if file not in damaged:
                    continue
                if self._put(file, data):
                    repaired.append(file)
                else:
                    not_repaired[file] = self._why_other(failed, from_wrds=from_wrds)
        self._progress.finish()
        return RepairSummary(str(self._layout.quarter), repaired, not_repaired, n_firms, used_wrds)

    def _kept_calls(self) -> list[FirmCall]:
        plan = find_plan(self._store, self._layout, self._manifest.generation)
        if plan is None or plan.sha256 != self._manifest.plan.sha256:
            key = self._layout.key(self._manifest.plan.file)
            raise CorruptObjectError(
                f"the plan of {self._layout.quarter}, {key}, is gone or damaged, and without it "
                "nothing can be made as it was; restore it from a backup, or make the quarter "
                f"anew with `ftm prefetch --quarter {self._layout.quarter} --refresh`",
                key=key,
            )
        return kept_calls(plan.calls)

    def _preprocessor(self) -> Preprocessor:
        found = self._pipelines.get()
        mine, theirs = dict(found.fingerprint), dict(self._manifest.preprocessing)
        if mine != theirs:
            name = next(k for k in sorted({*mine, *theirs}) if mine.get(k) != theirs.get(k))
            raise FingerprintMismatchError(
                f"{self._layout.quarter} was preprocessed with {name} {theirs.get(name)!r}, this "
                f"is {mine.get(name)!r}: its files cannot be made as they were; repair with that "
                f"pipeline (--nlp), or with the ftm that wrote it ({self._manifest.ftm_version}), "
                "restore them from a backup, or "
                f"`ftm prefetch --quarter {self._layout.quarter} --refresh`"
            )
        return found

    def _calls_of(self, pair: tuple[str, str], calls: Sequence[FirmCall]) -> list[FirmCall]:
        entries = (self._manifest.chunks.get(pair[0]), self._manifest.components.get(pair[1]))
        firms = {firm for entry in entries if entry is not None for firm in firms_of(entry)}
        return [call for call in calls if call.firm_id in firms]

    def _make(
        self, calls: Sequence[FirmCall], source: PrefetchSource, preprocessor: Preprocessor
    ) -> tuple[bytes, bytes, str]:
        """Sentences and speaker turns of these firms, as a prefetch writes them; a firm's error."""
        with ReadAhead(source, [calls]) as reader:
            outcomes = []
            for outcome in iter_outcomes(reader, preprocessor, self._layout.quarter):
                outcomes.append(outcome)
                self._progress.advance(firms=1, sentences=outcome.sentences.num_rows)
        stored = [o for o in outcomes if o.is_stored]
        rows = pa.concat_tables([CHUNK.empty_table(), *(o.sentences for o in stored)])
        turns = pa.concat_tables([COMPONENTS.empty_table(), *(o.components for o in outcomes)])
        chunk = serialise(rows, CHUNK, {o.firm_id: o.facts for o in stored})
        components = serialise(turns, COMPONENTS)
        failed = next((f"firm {o.firm_id} failed: {o.error}" for o in outcomes if o.error), "")
        return (chunk.data if chunk else b"", components.data if components else b"", failed)

    def _put(self, file: str, data: bytes) -> bool:
        """Put a file if it is the one the manifest records; whether it is."""
        if sha256(data).hexdigest() != self._entry(file).sha256:
            return False
        key = self._layout.key(file)
        if not self._holds(key, data):
            self._lease.ensure_held()
            self._store.put(key, data)
        return True

    def _why_other(self, failed: str, *, from_wrds: bool) -> str:
        """What made a file come out differently, as far as that can be told."""
        manifest = self._manifest
        elsewhere = (
            f"ftm {manifest.ftm_version} or the pyarrow it wrote with is another than here: repair "
            "it there, or restore it from a backup"
        )
        why = failed or elsewhere
        if from_wrds and not failed:
            is_ours = manifest.ftm_version == VERSION
            why = "WRDS has moved on since" + ("" if is_ours else f", or {elsewhere}")
        return f"made anew it has other bytes than those recorded on {manifest.created_at}: {why}"

    def _entry(self, file: str) -> FileEntry:
        found = self._manifest.chunks.get(file) or self._manifest.components.get(file)
        if found is None:
            raise ValueError(f"{file} is not in the manifest")
        return found

    def _holds(self, key: str, data: bytes) -> bool:
        try:
            return self._store.get(key) == data
        except ObjectNotFoundError:
            return False


def _pair(file: str) -> tuple[str, str]:
    """The chunk and the components that share a number."""
    folder, slash, name = file.rpartition("/")
    number = name.rpartition("_")[2]
    return f"{folder}{slash}chunk_{number}", f"{folder}{slash}components_{number}"
