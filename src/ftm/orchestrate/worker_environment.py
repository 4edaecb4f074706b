"""What workers are told, as variables of their environment. No secret is among them."""

from __future__ import annotations

from ftm.core.settings import Settings, variables, variables_of
from ftm.orchestrate.run_plan import RunPlan
from ftm.storage.run_records import JobRecord
from ftm.storage.stage_records import STAGES

MAP, REDUCE, NAME, _ = STAGES

_NOT_FOR_WORKERS = (
    *("WRDS_", "FTM_WRDS_", "PGPASSFILE", "LLM_", "S3_BUCKET"),
    *("FTM_BATCH_", "FTM_JOB_", "FTM_PRICE_", "FTM_POLL_S"),
    # What says which worker it is; the submitter's own shell may have it from elsewhere.
    *("QUARTER", "MANIFEST_S3_KEY", "BATCH_ID", "AWS_BATCH_", "FTM_RUN_ID", "FTM_ATTEMPT"),
    *("FTM_WORKER_CORES", "FTM_STAGE_"),
)

MODEL_SETTINGS = (
    *("embedding_model", "embed_text", "clustering", "seed", "keep_kinds", "device", "dtype"),
    "map_checkpoint",
)
"""Always sent, defaults too: an image or a job definition may have others in its environment."""

THEME_SETTINGS = (
    *("theme_clustering", "theme_resolution", "theme_min_firms", "theme_max_firm_share"),
    "seed",
)
NAMING_SETTINGS = (
    *("naming", "allow_external_llm", "llm_base_url", "llm_model_name", "llm_max_concurrent"),
    *("llm_timeout_s", "llm_max_tokens", "llm_prompt_tokens", "llm_patience_s", "llm_price_in"),
    *("llm_price_out", "seed"),
)
LATER_SETTINGS = tuple(dict.fromkeys((*THEME_SETTINGS, *NAMING_SETTINGS)))
"""All that the output of the stages after map depends on besides map's."""

_OF_STAGE = {
    REDUCE: (*THEME_SETTINGS, "stage_image"),
    NAME: NAMING_SETTINGS,
}
_WHERE = ("aws_endpoint_url", "aws_region")


def worker_environment(
    store_url: str, plan: RunPlan, record: JobRecord, settings: Settings
) -> dict[str, str]:
    """The variables of an attempt's map workers, besides which batch is theirs.

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
        **_which(store_url, plan, record),
        "MANIFEST_S3_KEY": plan.layout.batch_manifest(record.attempt),
    }


def stage_environment(
    store_url: str, plan: RunPlan, record: JobRecord, settings: Settings, *, allow_failed: bool
) -> dict[str, str]:
    """The variables of the job of a stage after map: those of its own settings, no others.

    Args:
        store_url: where the run is.
        plan: the run.
        record: the attempt.
        settings: with nothing left to choose.
        allow_failed: go on without the batches that failed.
    """
    return {
        **variables_of(settings, (*_WHERE, *_OF_STAGE.get(record.stage, ()))),
        **_which(store_url, plan, record),
        "FTM_STAGE_ALLOW_FAILED": str(allow_failed).lower(),
    }


def _which(store_url: str, plan: RunPlan, record: JobRecord) -> dict[str, str]:
    return {
        "FTM_STORE": store_url,
        "DATA_SOURCE": "s3",
        "QUARTER": str(plan.quarter),
        "FTM_RUN_ID": plan.spec.run_id,
        "FTM_ATTEMPT": str(record.attempt),
    }
