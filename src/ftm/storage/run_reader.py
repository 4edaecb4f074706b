"""The records and the parts of runs, as they lie in the store."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, TypeVar

import pyarrow as pa

from ftm.core.errors import CorruptObjectError, ObjectNotFoundError, OrchestratorError
from ftm.core.layout import PrefetchLayout, RunLayout, runs_root
from ftm.core.quarter import Quarter
from ftm.core.schemas import CALLS, DATASETS
from ftm.storage.checked import checked, checked_table, is_intact
from ftm.storage.checkpoint import PlanChoice
from ftm.storage.manifest import PrefetchManifest, decode_manifest, plain_manifest
from ftm.storage.object_store import ObjectStore
from ftm.storage.parquet import from_bytes
from ftm.storage.parquet_layout import parse_footer
from ftm.storage.progress_checks import check_firms, read_one_progress
from ftm.storage.published import read_published
from ftm.storage.run_records import (
    BatchLine,
    BatchOutcome,
    BatchProgress,
    RunSpec,
    decode_batches,
    decode_outcome,
    decode_spec,
)

STAGE = "map"
PLAN_OPTIONS_KEY = b"ftm.plan_options"
"""In the key-value metadata of calls.parquet: the plan's choices as JSON."""

_CONNECTIONS = 16
_ATTEMPT = re.compile(r"_(\d{1,9})\.outcome\.json$", re.ASCII)
_MEND = "the `ftm run-quarter` command that began the run writes it again"

MapDataset = Literal["firm-topics", "firm-sentences"]
_S = TypeVar("_S")
_T = TypeVar("_T")


@dataclass(frozen=True)
class RunRecords:
    """A run as its small records tell it.

    Args:
        spec: what determines its output.
        batches: of the first attempt, so all of them; empty if it was never submitted.
        progress: batch_id → what is durable; a batch that has not begun is missing.
        outcomes: batch_id → how its last job ended; only what has ended.
    """

    spec: RunSpec
    batches: tuple[BatchLine, ...]
    progress: dict[str, BatchProgress]
    outcomes: dict[str, BatchOutcome]

    @property
    def layout(self) -> RunLayout:
        """Keys of the run."""
        return RunLayout(Quarter.parse(self.spec.quarter), self.spec.run_id)

    @cached_property
    def n_complete(self) -> int:
        """Batches whose every firm is done, failed or skipped."""
        return sum(self.progress_of(batch.batch_id).complete for batch in self.batches)

    @property
    def is_complete(self) -> bool:
        """Every batch is complete, and there is at least one."""
        return bool(self.batches) and self.n_complete == len(self.batches)

    @property
    def n_firms(self) -> int:
        """Firms of all batches."""
        return sum(len(batch.firm_ids) for batch in self.batches)

    @cached_property
    def done(self) -> tuple[str, ...]:
        """Firms with results, in batch order."""
        return tuple(f for b in self.batches for f in self.progress_of(b.batch_id).done)

    @cached_property
    def firms_done(self) -> frozenset[str]:
        """Firms with results in complete batches."""
        complete = [self.progress_of(batch.batch_id) for batch in self.batches]
        return frozenset(f for record in complete if record.complete for f in record.done)

    @cached_property
    def failed(self) -> dict[str, str]:
        """Firm → error."""
        return {
            f: why for b in self.batches for f, why in self.progress_of(b.batch_id).failed.items()
        }

    @cached_property
    def skipped(self) -> dict[str, str]:
        """Firm → reason."""
        return {
            f: why for b in self.batches for f, why in self.progress_of(b.batch_id).skipped.items()
        }

    def progress_of(self, batch_id: str) -> BatchProgress:
        """What is durable of a batch; an empty record if nothing is."""
        return self.progress.get(batch_id) or BatchProgress(batch_id=batch_id)


def read_run(store: ObjectStore, quarter: Quarter, run_id: str) -> RunRecords:
    """A run by id.

    Raises:
        OrchestratorError: no such run; names those there are.
        CorruptObjectError: its batch manifest is gone, or is not the one of its spec.
    """
    layout = RunLayout(quarter, run_id)
    try:
        spec = read_spec(store, layout)
    except ObjectNotFoundError as error:
        known = ", ".join(run_ids(store, quarter)) or "none"
        raise OrchestratorError(
            f"{quarter} has no run {run_id!r} in {store.url}; its runs: {known}"
        ) from error
    progress = read_progress(store, layout)
    # A run that was never submitted has no batch manifest yet.
    begun = bool(progress) or store.exists(layout.batch_manifest(1))
    batches = read_batches(store, layout, spec) if begun else []
    for batch in batches:
        check_firms(store, layout, batch, progress.get(batch.batch_id))
    return RunRecords(
        spec=spec,
        batches=tuple(batches),
        progress=progress,
        outcomes=_read_outcomes(store, layout),
    )


def read_spec(store: ObjectStore, layout: RunLayout) -> RunSpec:
    """The spec of a run.

    Raises:
        ObjectNotFoundError: there is none.
        CorruptObjectError: it is damaged, or of another run.
    """
    return decode_spec(store.get(layout.spec), key=store.name(layout.spec))


def run_ids(store: ObjectStore, quarter: Quarter) -> list[str]:
    """Ids of the quarter's runs that have a spec, sorted."""
    root = runs_root(quarter) + "/"
    names = (info.key.removeprefix(root) for info in store.list(runs_root(quarter)))
    return sorted(name.removesuffix("/spec.json") for name in names if _is_spec(name))


def list_runs(
    store: ObjectStore, quarter: Quarter, *, without: Collection[str] = ()
) -> list[RunRecords]:
    """Every run of a quarter but some, oldest first."""
    wanted = [run_id for run_id in run_ids(store, quarter) if run_id not in without]
    runs = [read_run(store, quarter, run_id) for run_id in wanted]
    return sorted(runs, key=lambda run: (run.spec.created_at, run.spec.run_id))


def find_run(
    store: ObjectStore,
    quarter: Quarter,
    run_id: str | None = None,
    *,
    allow_incomplete: bool = False,
) -> RunRecords:
    """The run to read: the one asked for, else the published one, else the newest complete one.

    Of the complete ones, those begun with --no-publish are taken only where there is no other, and
    those of the noop models only where there are no more but these.

    Args:
        store: where the quarter is.
        quarter: which.
        run_id: which run; None: as said.
        allow_incomplete: of a run asked for by id, or published, what is done will do.

    Raises:
        OrchestratorError: there is none, or it is not complete; says what to run.
    """
    if run_id is None:
        run_id = published_run(store, quarter)
    if run_id is not None:
        run = read_run(store, quarter, run_id)
        if not (run.is_complete or allow_incomplete):
            raise OrchestratorError(
                f"run {run_id} of {quarter} is not complete ({run.n_complete} of "
                f"{len(run.batches)} batches): resume it with the `ftm run-quarter` command that "
                "began it, or pass allow_incomplete=True for what is done"
            )
        return run
    runs = list_runs(store, quarter)
    complete = [run for run in reversed(runs) if run.is_complete]
    if complete:
        return max(complete, key=lambda run: (not run.spec.is_trial, run.spec.publish))
    if runs:
        last = runs[-1]
        raise OrchestratorError(
            f"no run of {quarter} is complete: {last.spec.run_id} has {last.n_complete} of "
            f"{len(last.batches)} batches; run `ftm run-quarter --quarter {quarter}` again to "
            "resume it"
        )
    raise OrchestratorError(
        f"{quarter} has no run in {store.url}; run `ftm run-quarter --quarter {quarter}`"
    )


def read_progress(store: ObjectStore, layout: RunLayout) -> dict[str, BatchProgress]:
    """batch_id → what is durable of it, for every batch that has begun."""
    keys = [info.key for info in store.list(layout.progress_root) if info.key.endswith(".json")]
    records = each(lambda key: read_one_progress(store, layout, key), keys)
    return {record.batch_id: record for record in records}


def read_run_manifest(
    store: ObjectStore, layout: RunLayout, spec: RunSpec | None = None
) -> PrefetchManifest:
    """The run's own copy of the prefetch manifest.

    Args:
        store: where the run is.
        layout: its keys.
        spec: its spec; None: read it.

    Raises:
        CorruptObjectError: it is gone or damaged, or not the one the run was planned from; or its
            spec is.
    """
    try:
        chosen = spec or read_spec(store, layout)
    except ObjectNotFoundError as error:
        raise CorruptObjectError(
            f"{store.name(layout.spec)} is gone; {RunSpec.mend}", key=layout.spec
        ) from error
    data, manifest = _manifest_copy(store, layout)
    if hashlib.sha256(plain_manifest(data)).hexdigest() != chosen.manifest_sha256:
        raise CorruptObjectError(
            f"{store.name(layout.manifest)} is not the manifest that run {layout.run_id} was "
            f"planned from; {_MEND}",
            key=layout.manifest,
        )
    return manifest


def read_manifest_copy(store: ObjectStore, layout: RunLayout) -> PrefetchManifest:
    """The manifest a run holds, for who mends with it: nobody says that it is the run's own.

    Raises:
        CorruptObjectError: it is gone or damaged.
    """
    return _manifest_copy(store, layout)[1]


def _manifest_copy(store: ObjectStore, layout: RunLayout) -> tuple[bytes, PrefetchManifest]:
    name = store.name(layout.manifest)
    try:
        data = store.get(layout.manifest)
    except ObjectNotFoundError as error:
        raise CorruptObjectError(f"{name} is gone; {_MEND}", key=layout.manifest) from error
    return data, decode_manifest(data, key=name)


def read_calls(store: ObjectStore, manifest: PrefetchManifest) -> pa.Table:
    """The plan of a manifest: schema CALLS, one row per call considered.

    Raises:
        CorruptObjectError: the file is not the one the manifest recorded.
    """
    key, data = _plan_bytes(store, manifest)
    return from_bytes(data, CALLS, key=store.name(key))


def read_plan_choice(store: ObjectStore, manifest: PrefetchManifest) -> PlanChoice | None:
    """How the plan chose calls, as calls.parquet says in its metadata; None if it does not."""
    key, data = _plan_bytes(store, manifest)
    metadata = parse_footer(data, key=store.name(key)).metadata or {}
    try:
        return PlanChoice.model_validate_json(metadata[PLAN_OPTIONS_KEY])
    except (KeyError, ValueError):
        return None


def _plan_bytes(store: ObjectStore, manifest: PrefetchManifest) -> tuple[str, bytes]:
    key = PrefetchLayout(Quarter.parse(manifest.quarter)).key(manifest.plan.file)
    try:
        return key, checked(store, key, manifest.plan.sha256)
    except CorruptObjectError as error:
        raise CorruptObjectError(
            f"{error}; make the quarter anew: `ftm prefetch --quarter {manifest.quarter} "
            "--refresh`",
            key=key,
        ) from error


def iter_parts(
    store: ObjectStore, run: RunRecords, dataset: MapDataset, *, allow_incomplete: bool = False
) -> Iterator[tuple[str, pa.Table]]:
    """(batch_id, table) of every part that a run's complete batches list, in order.

    Args:
        store: where the run is.
        run: which.
        dataset: which of the two.
        allow_incomplete: what batches that are not complete list is read as well.

    Raises:
        CorruptObjectError: a part is missing or differs from what its batch recorded.
    """
    listed = [
        (batch.batch_id, key, sha256)
        for batch in run.batches
        if allow_incomplete or run.progress_of(batch.batch_id).complete
        for key, sha256 in sorted(run.progress_of(batch.batch_id).parts.items())
        if key.startswith(f"intermediate/{dataset}/")
    ]
    tables = each(lambda part: _read_part(store, dataset, part[1], part[2]), listed)
    for (batch_id, _, _), table in zip(listed, tables, strict=True):
        yield batch_id, table


def _read_part(store: ObjectStore, dataset: MapDataset, key: str, sha256: str) -> pa.Table:
    mend = "the `ftm run-quarter` command that began the run computes it again"
    return checked_table(store, key, sha256, dataset=dataset, mend=mend)


def damaged_batches(store: ObjectStore, run: RunRecords) -> list[BatchLine]:
    """Batches that list a part which is gone or has other bytes; reads every part."""

    def is_damaged(batch: BatchLine) -> bool:
        parts = run.progress_of(batch.batch_id).parts
        return not all(is_intact(store, key, sha256) for key, sha256 in parts.items())

    flags = each(is_damaged, run.batches)
    return [batch for batch, damaged in zip(run.batches, flags, strict=True) if damaged]


def read_table(
    store: ObjectStore, run: RunRecords, dataset: MapDataset, *, allow_incomplete: bool = False
) -> pa.Table:
    """All parts of a dataset as one table; a typed empty one for none; see iter_parts."""
    parts = iter_parts(store, run, dataset, allow_incomplete=allow_incomplete)
    tables = [table for _, table in parts]
    return pa.concat_tables(tables) if tables else DATASETS[dataset].empty_table()


def _is_spec(name: str) -> bool:
    return name.endswith("/spec.json") and name.count("/") == 1


def published_run(store: ObjectStore, quarter: Quarter) -> str | None:
    """The run id the quarter's pointer names; None while nothing is published.

    Raises:
        CorruptObjectError: the pointer names no run.
    """
    found = read_published(store, quarter)
    return None if found is None else found.run_id


def read_batches(store: ObjectStore, layout: RunLayout, spec: RunSpec) -> list[BatchLine]:
    """Every batch of a run.

    Raises:
        CorruptObjectError: the first attempt's batch manifest is gone, or not that of the spec.
    """
    key = layout.batch_manifest(1)
    try:
        data = store.get(key)
    except ObjectNotFoundError as error:
        raise CorruptObjectError(f"{store.name(key)} is gone; {_MEND}", key=key) from error
    if hashlib.sha256(data).hexdigest() != spec.batches_sha256:
        raise CorruptObjectError(
            f"{store.name(key)} is not the batch manifest of its run; {_MEND}", key=key
        )
    return decode_batches(data, key=store.name(key))


def _read_outcomes(store: ObjectStore, layout: RunLayout) -> dict[str, BatchOutcome]:
    """The last outcome of every batch; later attempts win. A damaged one only says nothing."""
    folder = f"{layout.root}/jobs"
    keys = [info.key for info in store.list(folder) if info.key.endswith(".outcome.json")]
    found: dict[str, BatchOutcome] = {}
    for key in _by_attempt(keys):
        with suppress(CorruptObjectError):
            outcome = decode_outcome(store.get(key), key=store.name(key))
            found |= {batch.batch_id: batch for batch in outcome.batches}
    return found


def _by_attempt(keys: Iterable[str]) -> list[str]:
    found = ((_ATTEMPT.search(key), key) for key in keys)
    return [key for _, key in sorted((int(match[1]), key) for match, key in found if match)]


def each(function: Callable[[_S], _T], items: Sequence[_S]) -> Iterator[_T]:
    """`function` of every item, in order, a few at a time: reading is waiting."""
    with ThreadPoolExecutor(_CONNECTIONS) as pool:
        yield from pool.map(function, items)
