"""Settings to concrete objects: the only place that chooses implementations.

Every heavy library is imported inside the function that needs it.
"""

from ftm.wiring.care import get_checks
from ftm.wiring.data import (
    get_data_connector,
    get_prefetch_source,
    get_prefetcher,
    get_preprocessor,
    get_store,
    get_store_to_plan_for,
)
from ftm.wiring.jobs import (
    get_aws_client,
    get_batch_backend,
    get_batch_log,
    get_batch_queue,
    get_local_backend,
    get_orchestrator,
)
from ftm.wiring.models import (
    get_cluster_pool,
    get_cluster_workers,
    get_embedder,
    get_firm_processor,
    get_image_fingerprint,
    get_keep_kinds,
    get_machine,
    get_model_fingerprint,
    get_topic_model,
    resolve_device,
    resolve_for_containers,
    resolve_run_settings,
)
from ftm.wiring.naming import get_namer, trouble_with_llm
from ftm.wiring.stages import get_stage_tools

__all__ = [
    "get_aws_client",
    "get_batch_backend",
    "get_batch_log",
    "get_batch_queue",
    "get_checks",
    "get_cluster_pool",
    "get_cluster_workers",
    "get_data_connector",
    "get_embedder",
    "get_firm_processor",
    "get_image_fingerprint",
    "get_keep_kinds",
    "get_local_backend",
    "get_machine",
    "get_model_fingerprint",
    "get_namer",
    "get_orchestrator",
    "get_prefetch_source",
    "get_prefetcher",
    "get_preprocessor",
    "get_stage_tools",
    "get_store",
    "get_store_to_plan_for",
    "get_topic_model",
    "resolve_device",
    "resolve_for_containers",
    "resolve_run_settings",
    "trouble_with_llm",
]
