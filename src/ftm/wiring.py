"""Settings to concrete objects: the only place that chooses implementations.

Every heavy library is imported inside the function that needs it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ftm.core.errors import ConfigError
from ftm.core.quarter import Quarter
from ftm.core.settings import Settings

if TYPE_CHECKING:
    from datetime import datetime

    from ftm.connectors.base import DataConnector
    from ftm.connectors.discovery import PrefetchSource
    from ftm.core.progress import Progress
    from ftm.jobs.base import JobBackend
    from ftm.mapping.firm_processor import FirmProcessor
    from ftm.mapping.stage_clock import StageClock
    from ftm.orchestrate.quarter_orchestrator import QuarterOrchestrator
    from ftm.orchestrate.run_watch import RunWatcher
    from ftm.prefetch.base import Preprocessor
    from ftm.prefetch.prefetcher import Ask, WRDSPrefetcher
    from ftm.storage.manifest import PrefetchManifest
    from ftm.storage.object_store import ObjectStore
    from ftm.topics.base import Embedder, TopicModel, TopicPool

DATA_SOURCES = ("wrds", "s3")


def get_store(settings: Settings, *, create: bool = False) -> ObjectStore:
    """The store the settings name.

    Args:
        settings: where it is.
        create: make the folder of a `file://` store if it is missing.
    """
    from ftm.storage.object_store import open_store

    return open_store(settings.store_url, endpoint_url=settings.aws_endpoint_url, create=create)


def get_store_to_plan_for(settings: Settings) -> ObjectStore:
    """The store the settings name; while its folder is still to be made, an empty stand-in."""
    from ftm.storage.backends import folder_of
    from ftm.storage.object_store import open_store

    scheme, _, rest = settings.store_url.partition("://")
    if scheme == "file" and not folder_of(rest, settings.store_url).exists():
        return open_store("memory://")
    return get_store(settings)


def get_prefetch_source(settings: Settings, *, progress: Progress) -> PrefetchSource:
    """WRDS, logged in to on the first question; a pending Duo push is told through `progress`."""
    from ftm.connectors.wrds_connector import WRDSConnector

    return WRDSConnector(settings=settings, notify=progress.message)


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
    pool = get_cluster_pool(settings, workers=get_cluster_workers(settings))
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


def get_cluster_workers(settings: Settings) -> int:
    """Clustering processes beside the one that embeds.

    On a CPU embedding takes most of the cores' time, so one process per four cores keeps up; a
    GPU embeds faster than one core clusters. The cores are those of one worker: several on a
    machine are told which share is theirs.
    """
    cores = settings.worker_cores
    if cores is None:
        here = hasattr(os, "sched_getaffinity")
        cores = len(os.sched_getaffinity(0)) if here else os.cpu_count()
    if settings.device.startswith("cuda"):
        return max(1, (cores or 1) - 1)
    return max(1, (cores or 1) // 4)


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


def resolve_device(settings: Settings) -> str:
    """`cpu` or `cuda`, never `auto`; resolved once per run."""
    from ftm.topics.device import resolve_device as resolve

    return resolve(settings.device)


def get_machine(settings: Settings) -> str:
    """Processor and GPU of this machine, as a run's spec records them."""
    from ftm.topics.device import machine_name

    return machine_name(settings.device)


def get_embedder(settings: Settings) -> Embedder:
    """The embedding model of the settings, loaded."""
    if settings.embedding_model == "noop":
        from ftm.topics.noop import NoOpEmbedder

        return NoOpEmbedder()
    from ftm.topics.embedder import SentenceEmbedder

    return SentenceEmbedder(
        settings.embedding_model, device=resolve_device(settings), dtype=settings.dtype
    )


def get_topic_model(settings: Settings) -> TopicModel:
    """The topic model of the settings."""
    if settings.clustering == "noop":
        from ftm.topics.noop import NoOpTopicModel

        return NoOpTopicModel()
    from ftm.topics.bertopic_model import BERTopicModel

    return BERTopicModel(settings.clustering, seed=settings.seed)


def get_cluster_pool(settings: Settings, workers: int) -> TopicPool:
    """Processes that cluster beside the caller; none for 0 workers or the no-op model."""
    from ftm.topics.base import InlinePool

    model = get_topic_model(settings)
    if workers < 1 or settings.clustering == "noop":
        return InlinePool(model)
    from ftm.topics.pool import ClusterPool

    return ClusterPool(model, workers=workers)


def get_model_fingerprint(settings: Settings) -> dict[str, str]:
    """What a run's topics depend on besides the sentences; loads no model."""
    from ftm.topics.fingerprint import model_fingerprint

    return model_fingerprint(
        embedding_model=settings.embedding_model,
        embed_text=settings.embed_text,
        clustering=settings.clustering,
        seed=settings.seed,
        keep_kinds=settings.keep_kinds,
        device="cpu" if settings.embedding_model == "noop" else resolve_device(settings),
        dtype=settings.dtype,
    )


def get_job_backend(name: str, *, store: ObjectStore, workers: int | None = None) -> JobBackend:
    """Where batches run.

    Args:
        name: `local`; `batch` is not there yet.
        store: local logs lie in its folder, or in a new private one if it is not a folder.
        workers: processes at once; None: one per four cores, or one on a GPU.

    Raises:
        ConfigError: another name, or a store that other processes cannot reach.
    """
    import os
    import tempfile
    from pathlib import Path

    from ftm.core.settings import environment
    from ftm.jobs.local import LocalBackend

    if name == "batch":
        raise ConfigError("--backend batch is not available yet; use --backend local")
    if name != "local":
        raise ConfigError(f"unknown backend {name!r}; it is local or batch")
    if store.scheme == "memory":
        raise ConfigError("workers cannot reach memory://; use file:///folder or s3://bucket")
    folder = store.folder or Path(tempfile.mkdtemp(prefix=f"ftm-{os.getuid()}-"))
    return LocalBackend(folder / "logs", max_workers=workers, environment=environment())


@contextmanager
def get_orchestrator(
    settings: Settings,
    *,
    backend: str = "local",
    workers: int | None = None,
    watcher: RunWatcher | None = None,
    progress: Progress | None = None,
) -> Iterator[QuarterOrchestrator]:
    """An orchestrator on the store of the settings.

    Leaving the block stops its local jobs, and ends the login if `run_prefetch` began one.

    Args:
        settings: store, models, seed, device.
        backend: where batches run.
        workers: processes at once; see get_job_backend.
        watcher: told how a run goes.
        progress: told how `run_prefetch` goes; None: messages, like that of a pending Duo push,
            go to stderr.
    """
    from contextlib import ExitStack, closing
    from functools import cache

    from ftm.core.progress import OnlyMessages
    from ftm.orchestrate.quarter_orchestrator import QuarterOrchestrator

    store = get_store(settings)
    with ExitStack() as opened:

        @cache  # one prefetcher, so one login, however many quarters
        def make_prefetcher() -> WRDSPrefetcher:
            each = get_prefetcher(settings, progress=progress or OnlyMessages(), store=store)
            return opened.enter_context(each)

        jobs = opened.enter_context(closing(get_job_backend(backend, store=store, workers=workers)))
        yield QuarterOrchestrator(
            store,
            jobs,
            settings=settings,
            resolve=resolve_run_settings,
            fingerprint=get_model_fingerprint,
            watcher=watcher,
            make_prefetcher=make_prefetcher,
        )


def resolve_run_settings(settings: Settings) -> Settings:
    """The settings a run records and its workers get: no `auto`, no relative path.

    Raises:
        ConfigError: a device that is not there, or unknown kinds of sentences.
    """
    from pathlib import Path

    get_keep_kinds(settings)
    model = settings.embedding_model
    folder = Path(model).expanduser()
    changes = {
        # A model without arithmetic needs no look at the hardware, which would import torch.
        "device": "cpu" if model == "noop" else resolve_device(settings),
        "embedding_model": str(folder.resolve()) if folder.is_dir() else model,
    }
    return settings.model_copy(update=changes)
