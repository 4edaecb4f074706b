"""Settings to concrete objects: the only place that chooses implementations.

Every heavy library is imported inside the function that needs it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ftm.core.errors import ConfigError
from ftm.core.quarter import Quarter
from ftm.core.settings import Settings

if TYPE_CHECKING:
    from datetime import datetime

    from ftm.connectors.base import DataConnector
    from ftm.mapping.firm_processor import FirmProcessor
    from ftm.mapping.stage_clock import StageClock
    from ftm.storage.manifest import PrefetchManifest
    from ftm.storage.object_store import ObjectStore
    from ftm.topics.base import Embedder, TopicPool

DATA_SOURCES = ("wrds", "s3")


def get_store(settings: Settings) -> ObjectStore:
    """The store the settings name."""
    from ftm.storage.object_store import open_store

    return open_store(settings.store_url, endpoint_url=settings.aws_endpoint_url)


def get_data_connector(
    data_source: str,
    quarter: str | Quarter | None = None,
    bucket: str | None = None,
    *,
    settings: Settings | None = None,
    manifest: PrefetchManifest | None = None,
) -> DataConnector:
    """The connector a worker or a notebook reads transcripts with.

    Args:
        data_source: `wrds` or `s3` (any store, a local folder included).
        quarter: needed by `s3`.
        bucket: bucket name, or None for the store of the settings.
        settings: None: read from the environment.
        manifest: read the quarter through this manifest, a run's own copy, for `s3`.

    Raises:
        ConfigError: (a ValueError) another data source, or no quarter for `s3`.
    """
    chosen = settings or Settings.load()
    if data_source == "wrds":
        from ftm.connectors.wrds_connector import WRDSConnector

        return WRDSConnector(settings=chosen)
    if data_source == "s3":
        from ftm.connectors.s3_connector import S3TranscriptConnector

        if quarter is None:
            raise ConfigError("DATA_SOURCE=s3 needs a quarter, like 2023Q1 (QUARTER)")
        store = None if bucket else get_store(chosen)
        return S3TranscriptConnector(bucket=bucket, quarter=quarter, store=store, manifest=manifest)
    raise ConfigError(
        f"unknown DATA_SOURCE {data_source!r}; it is one of {', '.join(DATA_SOURCES)}"
    )


def get_model_fingerprint(settings: Settings) -> dict[str, str]:
    """What determines a run's topics besides its sentences; no model is loaded."""
    from ftm.topics.fingerprint import model_fingerprint

    return model_fingerprint(
        embedding_model=settings.embedding_model,
        embed_text=settings.embed_text,
        clustering=settings.clustering,
        seed=settings.seed,
        keep_kinds=settings.keep_kinds,
        device=settings.device,
        dtype=settings.dtype,
    )


def get_embedder(settings: Settings) -> Embedder:
    """The embedding model, loaded."""
    from ftm.topics.noop import NOOP, NoOpEmbedder

    if settings.embedding_model == NOOP:
        return NoOpEmbedder()
    raise NotImplementedError


def get_topic_pool(settings: Settings) -> TopicPool:
    """Where firms are clustered."""
    from ftm.topics.base import InlinePool
    from ftm.topics.noop import NOOP, NoOpTopicModel

    if settings.clustering == NOOP:
        return InlinePool(NoOpTopicModel())
    raise NotImplementedError


def get_firm_processor(
    settings: Settings, *, timestamp: datetime, clock: StageClock | None = None
) -> FirmProcessor:
    """The map stage's work on one firm, models loaded.

    Args:
        settings: their device is resolved, never `auto`.
        timestamp: the run's start.
        clock: told where the time goes.
    """
    from ftm.mapping.firm_processor import FirmProcessor

    kinds = get_keep_kinds(settings)
    # The pool first: its processes compile while this one loads the embedding model.
    pool = get_topic_pool(settings)
    try:
        embedder = get_embedder(settings)
    except BaseException:
        pool.close()
        raise
    return FirmProcessor(
        embedder,
        pool,
        timestamp=timestamp,
        embed_text=settings.embed_text,
        keep_kinds=kinds,
        clock=clock,
    )


def get_keep_kinds(settings: Settings) -> frozenset[str]:
    """The kinds of sentences to cluster.

    Raises:
        ConfigError: an unknown kind, or none at all.
    """
    from ftm.core.schemas import KINDS

    kinds = frozenset(kind.strip() for kind in settings.keep_kinds.split(",") if kind.strip())
    if not kinds or (unknown := sorted(kinds - set(KINDS))):
        wrong = settings.keep_kinds if not kinds else unknown[0]
        raise ConfigError(f"FTM_KEEP_KINDS {wrong!r}: use one or more of {', '.join(KINDS)}")
    return kinds
