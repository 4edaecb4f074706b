"""What a run is going to do: its identity, its batches, and the records that say so."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from ftm.core.errors import ObjectExistsError, ObjectNotFoundError
from ftm.core.layout import RunLayout
from ftm.core.quarter import Quarter
from ftm.core.version import VERSION
from ftm.orchestrate.batches import plan_batches
from ftm.storage.manifest import PrefetchManifest, encode_manifest, firms_of
from ftm.storage.object_store import ObjectStore
from ftm.storage.run_records import BatchLine, RunSpec, encode_batches

_RUN_ID_CHARACTERS = 12


@dataclass(frozen=True, slots=True)
class RunPlan:
    """A run before it is recorded.

    Args:
        spec: what determines the run's output; created_at is what a new run would get.
        batches: all of them, in order.
        manifest: the bytes of the run's copy of the prefetch manifest.
    """

    spec: RunSpec
    batches: tuple[BatchLine, ...]
    manifest: bytes

    @property
    def quarter(self) -> Quarter:
        """Which quarter."""
        return Quarter.parse(self.spec.quarter)

    @property
    def layout(self) -> RunLayout:
        """Keys of the run."""
        return RunLayout(self.quarter, self.spec.run_id)


def plan_run(
    manifest: PrefetchManifest,
    *,
    batch_size: int,
    model: Mapping[str, str],
    checkpoint_firms: int,
    now: datetime,
    publish: bool = True,
    backend: str = "local",
) -> RunPlan:
    """Work out a run; pure.

    The run id hashes the manifest's content, the batches, the model's fingerprint and
    `checkpoint_firms`: whoever asks for the same run again gets the same id, and so resumes it.

    Args:
        manifest: of the prefetched quarter.
        batch_size: firms a batch should hold.
        model: fingerprint of everything that determines topics, the device included.
        checkpoint_firms: firms per map part.
        now: UTC; the run's start, if it is new.
        publish: whether readers are to be pointed at it; for the record, if it is new.
        backend: where its jobs are to run; for the record, if it is new.

    Raises:
        ConfigError: the batch size cannot be used.
    """
    chunks = {file: firms_of(entry) for file, entry in manifest.chunks.items()}
    batches = plan_batches(Quarter.parse(manifest.quarter), chunks, batch_size=batch_size)
    data = encode_manifest(manifest)
    identity = {
        "quarter": manifest.quarter,
        "manifest_sha256": hashlib.sha256(gzip.decompress(data)).hexdigest(),
        "batches_sha256": hashlib.sha256(encode_batches(batches)).hexdigest(),
        "model": dict(sorted(model.items())),
        "checkpoint_firms": checkpoint_firms,
    }
    run_id = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    spec = RunSpec.model_validate(
        identity
        | {
            "run_id": run_id[:_RUN_ID_CHARACTERS],
            "created_at": now.isoformat(timespec="seconds"),
            "ftm_version": VERSION,
            "batch_size": batch_size,
            "publish": publish,
            "backend": backend,
        }
    )
    return RunPlan(spec=spec, batches=tuple(batches), manifest=data)


def record_plan(store: ObjectStore, plan: RunPlan, *, machine: str) -> None:
    """Write what is not yet there, or damaged, of a run: its manifest first, then its spec.

    The run id stands for the content; a spec that exists keeps its `created_at`, which is in every
    row the run writes.

    Args:
        store: where to.
        plan: the run.
        machine: for the record of a new run; empty where its jobs run elsewhere.
    """
    _put_as_planned(store, plan.layout.manifest, plan.manifest)
    if not store.exists(plan.layout.spec):
        spec = plan.spec.model_copy(update={"machine": machine})
        put_once(store, plan.layout.spec, spec.encode(plan.layout.spec))


def mend_batches(store: ObjectStore, plan: RunPlan) -> None:
    """Put the first batch manifest again where it is gone or damaged.

    It defines the run and follows from the plan: without it a complete run would have no batch.
    """
    _put_as_planned(store, plan.layout.batch_manifest(1), encode_batches(list(plan.batches)))


def _put_as_planned(store: ObjectStore, key: str, data: bytes) -> None:
    try:
        found = store.get(key)
    except ObjectNotFoundError:
        found = b""
    if found != data:
        store.put(key, data)


def put_once(store: ObjectStore, key: str, data: bytes) -> bool:
    """Put if absent; False when another object was there, which then stays."""
    try:
        store.put(key, data, if_absent=True)
    except ObjectExistsError:
        return False
    return True
