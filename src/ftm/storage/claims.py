"""Registers that are written once: whoever puts first is on record, the others read who was.

AWS Batch cannot be told to submit a job only once, so an orchestrator that was killed at the wrong
moment may leave two sets of jobs. Both find the same register, and one of them leaves.
"""

from __future__ import annotations

from datetime import UTC, datetime

from ftm.core.errors import ObjectExistsError
from ftm.core.layout import RunLayout
from ftm.storage.object_store import ObjectStore
from ftm.storage.run_records import JobClaim, ModelClaim, decode_job_claim, decode_model_claim


def claim_jobs(
    store: ObjectStore, layout: RunLayout, *, stage: str, attempt: int, job_id: str
) -> str:
    """Put a set of jobs on record as that of an attempt, if none is yet.

    Args:
        store: where the run is.
        layout: the run's keys.
        stage: like map.
        attempt: 1, 2, …
        job_id: of the job, or of the array parent.

    Returns:
        The job id on record: this one, or that of another set which came first.
    """
    key = layout.job_claim(stage, attempt)
    own = JobClaim(job_id=job_id, claimed_at=datetime.now(UTC).isoformat(timespec="seconds"))
    if _put_first(store, key, own.encode(key)):
        return job_id
    return decode_job_claim(store.get(key), key=store.name(key)).job_id


def claimed_jobs(
    store: ObjectStore, layout: RunLayout, *, stage: str, attempt: int
) -> JobClaim | None:
    """Which jobs are on record of an attempt; None while none are."""
    key = layout.job_claim(stage, attempt)
    if not store.exists(key):
        return None
    return decode_job_claim(store.get(key), key=store.name(key))


def claim_model(store: ObjectStore, layout: RunLayout, own: ModelClaim) -> ModelClaim:
    """Put the model of the first worker on record; returns what is on record."""
    key = layout.model_claim
    if _put_first(store, key, own.encode(key)):
        return own
    return decode_model_claim(store.get(key), key=store.name(key))


def _put_first(store: ObjectStore, key: str, data: bytes) -> bool:
    # Most claims are taken already: a look costs less than a put that is refused.
    if store.exists(key):
        return False
    try:
        store.put(key, data, if_absent=True)
    except ObjectExistsError:
        return False
    return True
