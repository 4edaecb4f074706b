"""What workers are told, as variables of their environment. No secret is among them."""

from __future__ import annotations

from ftm.core.settings import Settings, variables
from ftm.orchestrate.run_plan import RunPlan
from ftm.storage.run_records import JobRecord

_NOT_FOR_WORKERS = (
    *("WRDS_", "FTM_WRDS_", "PGPASSFILE", "LLM_", "S3_BUCKET"),
    *("FTM_BATCH_", "FTM_JOB_", "FTM_PRICE_", "FTM_POLL_S"),
    # What says which worker it is; the submitter's own shell may have it from elsewhere.
    *("QUARTER", "MANIFEST_S3_KEY", "BATCH_ID", "AWS_BATCH_", "FTM_RUN_ID", "FTM_ATTEMPT"),
    "FTM_WORKER_CORES",
)

MODEL_SETTINGS = (
    *("embedding_model", "embed_text", "clustering", "seed", "keep_kinds", "device", "dtype"),
    "map_checkpoint",
)
"""Always sent, defaults too: an image or a job definition may have others in its environment."""


def worker_environment(
    store_url: str, plan: RunPlan, record: JobRecord, settings: Settings
) -> dict[str, str]:
    """The variables of an attempt's workers, besides which batch is theirs.

    Args:
        store_url: where the run is.
        plan: the run.
        record: the attempt.
        settings: with nothing left to choose, like device `auto`.
    """
    given = {
        name: value
        for name, value in variables(settings, always=MODEL_SETTINGS).items()
        if not name.startswith(_NOT_FOR_WORKERS)
    }
    return given | {
        "FTM_STORE": store_url,
        "DATA_SOURCE": "s3",
        "QUARTER": str(plan.quarter),
        "FTM_RUN_ID": plan.spec.run_id,
        "FTM_ATTEMPT": str(record.attempt),
        "MANIFEST_S3_KEY": plan.layout.batch_manifest(record.attempt),
    }
