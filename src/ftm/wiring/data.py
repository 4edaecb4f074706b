"""Where transcripts come from and go to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ftm.core.errors import ConfigError
from ftm.core.quarter import Quarter
from ftm.core.settings import Settings

if TYPE_CHECKING:
    from ftm.connectors.base import DataConnector
    from ftm.connectors.discovery import PrefetchSource
    from ftm.core.progress import Progress
    from ftm.prefetch.base import Preprocessor
    from ftm.prefetch.prefetcher import Ask, WRDSPrefetcher
    from ftm.storage.manifest import PrefetchManifest
    from ftm.storage.object_store import ObjectStore

DATA_SOURCES = ("wrds", "s3")


def get_store(settings: Settings, *, create: bool = False) -> ObjectStore:
    """The store the settings name.

    Args:
        settings: where it is.
        create: make the folder of a `file://` store if it is missing.
    """
    from ftm.storage.object_store import open_store

    return open_store(
        settings.store_url,
        endpoint_url=settings.aws_endpoint_url,
        region=settings.aws_region,
        create=create,
    )


def get_store_to_plan_for(settings: Settings) -> ObjectStore:
    """The store the settings name; while its folder is still to be made, an empty stand-in."""
    from ftm.storage.backends import folder_of
    from ftm.storage.object_store import open_store

    scheme, _, rest = settings.store_url.partition("://")
    if scheme == "file" and not folder_of(rest, settings.store_url).exists():
        return open_store("memory://")
    return get_store(settings)


def get_prefetch_source(settings: Settings, *, progress: Progress) -> PrefetchSource:
    """WRDS, logged in to already; a pending Duo push is told through `progress`.

    Raises:
        WRDSConnectionError: no login.
    """
    from ftm.connectors.wrds_connector import WRDSConnector

    source = WRDSConnector(settings=settings, notify=progress.message)
    source.log_in()
    return source


def get_preprocessor(settings: Settings, *, workers: int | None = None) -> Preprocessor:
    """The text step the settings name.

    Args:
        settings: `nlp` names the pipeline.
        workers: processes; None: one per core.

    Raises:
        ModelNotFoundError: the pipeline is not installed.
    """
    from ftm.text.parallel import ParallelPreprocessor

    return ParallelPreprocessor(settings.nlp, workers)


def get_prefetcher(
    settings: Settings,
    *,
    progress: Progress,
    store: ObjectStore | None = None,
    workers: int | None = None,
    chunk_size: int | None = None,
    ask: Ask | None = None,
) -> WRDSPrefetcher:
    """What reads quarters from WRDS into the store; logs in only when something is pending.

    Args:
        settings: where from, where to, which text pipeline, how often to checkpoint.
        progress: told of every firm, and of a pending Duo push.
        store: None: the one the settings name, made if missing.
        workers: text processes; None: one per core.
        chunk_size: firms per chunk; None: the default.
        ask: asked before a second login, when the connection was cut; None: no second login.
    """
    from ftm.prefetch.prefetcher import WRDSPrefetcher

    return WRDSPrefetcher(
        lambda: get_prefetch_source(settings, progress=progress),
        get_store(settings, create=True) if store is None else store,
        lambda: get_preprocessor(settings, workers=workers),
        chunk_size=chunk_size,
        checkpoint_interval=settings.prefetch_checkpoint,
        progress=progress,
        ask=ask,
    )


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
        quarter: which; `s3` needs it, `wrds` without one takes that of the settings.
        bucket: bucket name, or None for the store of the settings.
        settings: None: read from the environment.
        manifest: read the quarter through this manifest, a run's own copy, for `s3`.

    Raises:
        ConfigError: (a ValueError) another data source, or no quarter for `s3`.
    """
    chosen = settings or Settings.load()
    if data_source == "wrds":
        from ftm.connectors.wrds_connector import WRDSConnector

        return WRDSConnector(settings=chosen, quarter=quarter)
    if data_source == "s3":
        from ftm.connectors.s3_connector import S3TranscriptConnector

        if quarter is None:
            raise ConfigError("DATA_SOURCE=s3 needs a quarter, like 2023Q1 (QUARTER)")
        store = None if bucket else get_store(chosen)
        return S3TranscriptConnector(bucket=bucket, quarter=quarter, store=store, manifest=manifest)
    raise ConfigError(
        f"unknown DATA_SOURCE {data_source!r}; it is one of {', '.join(DATA_SOURCES)}"
    )
