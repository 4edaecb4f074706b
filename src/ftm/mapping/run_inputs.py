"""What a map worker is given: the run's spec, its batch, the run's copy of the manifest."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from datetime import UTC, datetime

from ftm.core.errors import ConfigError, CorruptObjectError, ObjectNotFoundError
from ftm.core.layout import RunLayout
from ftm.core.version import VERSION
from ftm.storage.claims import claim_jobs, claim_model
from ftm.storage.manifest import PrefetchManifest
from ftm.storage.object_store import ObjectStore
from ftm.storage.run_reader import STAGE, read_batches, read_spec
from ftm.storage.run_records import BatchLine, ModelClaim, RunSpec, decode_batches

log = logging.getLogger(__name__)


def read_run_spec(store: ObjectStore, layout: RunLayout) -> RunSpec:
    """The spec of the run a worker belongs to.

    Raises:
        ConfigError: there is no such run.
        CorruptObjectError: the spec is damaged, or of another run.
    """
    try:
        return read_spec(store, layout)
    except ObjectNotFoundError as error:
        raise ConfigError(
            f"there is no {store.name(layout.spec)}; check FTM_RUN_ID and QUARTER"
        ) from error


def run_start(spec: RunSpec) -> datetime:
    """The run's start, the processing_timestamp of everything it writes.

    Raises:
        CorruptObjectError: it is no ISO 8601 time.
    """
    try:
        start = datetime.fromisoformat(spec.created_at)
    except ValueError as error:
        raise CorruptObjectError(
            f"run {spec.run_id}: created_at {spec.created_at!r} is not an ISO 8601 time"
        ) from error
    return start.replace(tzinfo=UTC) if start.tzinfo is None else start.astimezone(UTC)


def read_batch(
    store: ObjectStore, key: str, *, batch_id: str | None, index: int | None
) -> BatchLine:
    """The line of the batch manifest this worker is to do.

    Args:
        store: holds the batch manifest.
        key: its key.
        batch_id: the line with this id; wins over `index`.
        index: the i-th line, 0-based (AWS_BATCH_JOB_ARRAY_INDEX).

    Raises:
        ConfigError: no such object or line, or neither id nor index.
        CorruptObjectError: the object is no batch manifest, or the line names a firm twice.
    """
    lines = decode_batches(_get(store, key, "MANIFEST_S3_KEY"), key=store.name(key))
    line = _pick(lines, key=store.name(key), batch_id=batch_id, index=index)
    if len(set(line.firm_ids)) != len(line.firm_ids):
        raise CorruptObjectError(f"{store.name(key)}: {line.batch_id} names a firm twice", key=key)
    return line


def check_batch(store: ObjectStore, layout: RunLayout, spec: RunSpec, line: BatchLine) -> None:
    """Refuse a batch that is not one of the run: no hash covers later attempts' batch manifests.

    Raises:
        CorruptObjectError: the run has no such batch, or with other firms.
    """
    if line not in read_batches(store, layout, spec):
        raise CorruptObjectError(
            f"{line.batch_id}, as this worker's batch manifest has it, is no batch of run "
            f"{layout.run_id}, see {store.name(layout.batch_manifest(1))}; {line.mend}",
            key=layout.batch_manifest(1),
        )


def _pick(
    lines: list[BatchLine], *, key: str, batch_id: str | None, index: int | None
) -> BatchLine:
    if batch_id is not None:
        found = [line for line in lines if line.batch_id == batch_id]
        if found:
            return found[0]
        known = ", ".join(line.batch_id for line in lines[:3])
        raise ConfigError(f"BATCH_ID {batch_id!r} is not among the {len(lines)} of {key}: {known}…")
    if index is None:
        raise ConfigError("which batch? set BATCH_ID or AWS_BATCH_JOB_ARRAY_INDEX")
    if not 0 <= index < len(lines):
        raise ConfigError(f"AWS_BATCH_JOB_ARRAY_INDEX {index}: {key} has {len(lines)} batches")
    return lines[index]


def without_sentences(manifest: PrefetchManifest) -> dict[str, str]:
    """Firms the prefetch holds no sentences of, with the reason."""
    return {**manifest.skipped, **{f: f"prefetch failed: {e}" for f, e in manifest.failed.items()}}


def reason_to_leave(
    store: ObjectStore,
    layout: RunLayout,
    *,
    job_id: str | None,
    attempt: int | None,
    stage: str = STAGE,
) -> str:
    """Why a job of AWS Batch must not work: another set of jobs has its work; empty if it may.

    The first set of an attempt that looks is put on record here, if the orchestrator did not live
    to do so: AWS Batch may have been asked twice, and at most one set ever works.

    Args:
        store: where the run is.
        layout: the run's keys.
        job_id: of this job, `{parent}:{index}` for a child; None outside AWS Batch.
        attempt: it belongs to; None outside a run of the orchestrator.
        stage: it is to do.
    """
    if not job_id or attempt is None:
        return ""
    own = job_id.partition(":")[0]
    first = claim_jobs(store, layout, stage=stage, attempt=attempt, job_id=own)
    if first != own:
        return f"job {first} is on record for attempt {attempt}, this is {own}"
    later = [n for n in _attempts(store, layout, stage) if n > attempt]
    if later:
        return f"attempt {max(later)} has begun, this job is of attempt {attempt}"
    return ""


def _attempts(store: ObjectStore, layout: RunLayout, stage: str) -> list[int]:
    """Numbers of the stage's attempts on record; a number may have been left out."""
    record = re.compile(rf"{stage}_(\d+)\.json")
    names = (info.key.rpartition("/")[2] for info in store.list(f"{layout.root}/jobs"))
    return [int(found[1]) for name in names if (found := record.fullmatch(name))]


def check_model(
    store: ObjectStore, layout: RunLayout, spec: RunSpec, own: Mapping[str, str]
) -> None:
    """Refuse to mix two models in one run.

    A spec made on this kind of machine has the whole fingerprint. One made for an image has what
    was asked for, and the image's name; versions and weights are those of the run's first worker.

    Raises:
        ConfigError: names what differs.
    """
    if "image" not in spec.model:
        check_fingerprint(own, spec)
        return
    asked = {name: value for name, value in spec.model.items() if name != "image"}
    check_fingerprint({n: own.get(n, "") for n in asked}, spec.model_copy(update={"model": asked}))
    first = claim_model(store, layout, ModelClaim(model=dict(own), ftm_version=VERSION))
    check_fingerprint(own, spec.model_copy(update={"model": first.model}))


def check_fingerprint(own: Mapping[str, str], spec: RunSpec) -> None:
    """Refuse to mix two models in one run.

    Raises:
        ConfigError: names what differs.
    """
    differing = [
        f"{name} is {own.get(name)!r} here and {spec.model.get(name)!r} in the run"
        for name in sorted({*own, *spec.model})
        if own.get(name) != spec.model.get(name)
    ]
    if differing:
        raise ConfigError(
            f"this worker's model is not that of run {spec.run_id}: {'; '.join(differing)}. "
            "Use the run's image and settings, or start a new run with `ftm run-quarter`"
        )


def check_machine(own: str, spec: RunSpec) -> None:
    """Warn where a run goes on on another machine; topics there may differ in a few sentences."""
    if spec.machine and own != spec.machine:
        log.warning(
            "this machine (%s) is not the one run %s was planned on (%s): "
            "sentence vectors may differ in their last bits",
            *(own, spec.run_id, spec.machine),
        )


def _get(store: ObjectStore, key: str, setting: str) -> bytes:
    try:
        return store.get(key)
    except ObjectNotFoundError as error:
        raise ConfigError(f"there is no {store.name(key)}; check {setting}") from error
