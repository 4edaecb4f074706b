"""Where jobs run, and what carries a quarter through them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ftm.core.errors import ConfigError
from ftm.core.quarter import Quarter
from ftm.core.settings import Settings
from ftm.wiring.data import get_prefetcher, get_store
from ftm.wiring.models import (
    get_image_fingerprint,
    get_machine,
    get_model_fingerprint,
    resolve_for_containers,
    resolve_run_settings,
)
from ftm.wiring.stages import get_stage_tools, resolve_for_stage_jobs

if TYPE_CHECKING:
    from ftm.core.progress import Progress
    from ftm.jobs.aws_calls import AWSClient, Patience
    from ftm.jobs.base import JobBackend
    from ftm.jobs.batch_queue import BatchQueue
    from ftm.orchestrate.later_stages import StagePlace
    from ftm.orchestrate.quarter_orchestrator import QuarterOrchestrator
    from ftm.orchestrate.run_watch import RunWatcher
    from ftm.prefetch.prefetcher import WRDSPrefetcher
    from ftm.storage.object_store import ObjectStore

BACKENDS = ("local", "batch")


def get_local_backend(store: ObjectStore, *, workers: int | None = None) -> JobBackend:
    """Processes of this machine.

    Args:
        store: logs lie in its folder, if it is one; else in a temporary one.
        workers: processes at once; None: one per four cores, or one on a GPU.

    Raises:
        ConfigError: a store that other processes cannot reach.
    """
    from ftm.core.settings import environment
    from ftm.jobs.local import LocalBackend

    if store.scheme == "memory":
        raise ConfigError("workers cannot reach memory://; use file:///folder or s3://bucket")
    folder = store.folder / "logs" if store.folder else None
    return LocalBackend(folder, max_workers=workers, environment=environment())


def get_aws_client(
    settings: Settings, service: str, *, patience: Patience | None = None
) -> AWSClient:
    """A client of an AWS service, where the settings say; `patience` as in AWSClient."""
    from ftm.jobs.aws_calls import AWSClient

    return AWSClient(
        service,
        region=settings.aws_region,
        endpoint_url=settings.aws_endpoint_url,
        patience=patience,
    )


def get_batch_queue(settings: Settings) -> BatchQueue:
    """The queue and job definition of the settings.

    Raises:
        ConfigError: one of them is not set.
    """
    from ftm.jobs.batch_queue import BatchQueue

    for value, name in (
        (settings.batch_queue, "FTM_BATCH_QUEUE"),
        (settings.batch_job_definition, "FTM_BATCH_JOB_DEFINITION"),
    ):
        if not value:
            raise ConfigError(
                f"{name} is not set; `ftm config from-terraform` writes it into ftm.toml, "
                "see docs/deploy.md"
            )
    return BatchQueue(
        get_aws_client(settings, "batch"),
        queue=str(settings.batch_queue),
        job_definition=str(settings.batch_job_definition),
    )


def get_stage_queue(settings: Settings, *, patience: Patience | None = None) -> BatchQueue | None:
    """The queue and job definition of the stages after map; None where they run in the command."""
    from ftm.jobs.batch_queue import BatchQueue

    if not settings.batch_stage_job_definition:
        return None
    return BatchQueue(
        get_aws_client(settings, "batch", patience=patience),
        queue=settings.batch_stage_queue or settings.batch_queue or "",
        job_definition=settings.batch_stage_job_definition,
        setting="FTM_BATCH_STAGE_JOB_DEFINITION",
        queue_setting=(
            "FTM_BATCH_STAGE_QUEUE" if settings.batch_stage_queue else "FTM_BATCH_QUEUE"
        ),
    )


def get_batch_backend(settings: Settings, store: ObjectStore, queue: BatchQueue) -> JobBackend:
    """AWS Batch.

    Raises:
        ConfigError: containers could not reach the store.
    """
    from ftm.jobs.batch import BatchBackend, BatchLimits
    from ftm.jobs.cloudwatch import CloudWatchLogs

    if store.scheme != "s3":
        raise ConfigError(
            f"containers of AWS Batch cannot reach {store.url}; --backend batch needs an s3:// "
            "store (`ftm prefetch --store s3://bucket`)"
        )
    limits = BatchLimits(timeout_s=settings.job_timeout_s, attempts=settings.job_attempts)
    return BatchBackend(queue, CloudWatchLogs(get_aws_client(settings, "logs")), limits=limits)


def get_batch_log(
    settings: Settings,
    quarter: str | Quarter,
    run_id: str | None,
    which: int | str,
    tail: int | None = None,
) -> Iterator[str]:
    """Lines that the last job of a batch or stage logged; see `read_batch_log`."""
    from ftm.jobs.cloudwatch import CloudWatchLogs
    from ftm.orchestrate.batch_log import read_batch_log

    return read_batch_log(
        get_store(settings),
        Quarter.parse(quarter),
        run_id,
        which,
        tail=tail,
        queue=lambda: get_batch_queue(settings),
        logs=lambda: CloudWatchLogs(get_aws_client(settings, "logs")),
    )


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
        backend: where batches run: `local` or `batch`.
        workers: local processes at once; see get_local_backend.
        watcher: told how a run goes.
        progress: told how `run_prefetch` goes; None: messages, like that of a pending Duo push,
            go to stderr.

    Raises:
        ConfigError: another backend, or what it needs is not set.
    """
    from contextlib import ExitStack, closing
    from functools import cache

    from ftm.core.progress import OnlyMessages
    from ftm.orchestrate.quarter_orchestrator import QuarterOrchestrator

    if backend not in BACKENDS:
        raise ConfigError(f"unknown backend {backend!r}; it is {' or '.join(BACKENDS)}")
    # The shell may have one from elsewhere; only a job definition says which image is a job's.
    settings = settings.model_copy(update={"stage_image": None})
    store = get_store(settings)
    with ExitStack() as opened:

        @cache  # one prefetcher, so one login, however many quarters
        def make_prefetcher() -> WRDSPrefetcher:
            each = get_prefetcher(settings, progress=progress or OnlyMessages(), store=store)
            return opened.enter_context(each)

        where = _local(store, workers) if backend == "local" else _batch(settings, store)
        jobs = opened.enter_context(closing(where.backend))
        yield QuarterOrchestrator(
            store,
            jobs,
            settings=settings,
            resolve=where.resolve,
            fingerprint=where.fingerprint,
            machine=where.machine,
            backend_name=backend,
            poll_s=settings.poll_s or where.poll_s,
            price_per_hour=settings.price_per_hour,
            watcher=watcher,
            make_prefetcher=make_prefetcher,
            tools=lambda chosen, allow: get_stage_tools(chosen, store, allow_failed=allow),
            stage_place=where.stage_place,
        )


@dataclass(frozen=True)
class _Where:
    """Where jobs run, and what is known there of models and machines."""

    backend: JobBackend
    resolve: Callable[[Settings], Settings]
    fingerprint: Callable[[Settings], Mapping[str, str]]
    machine: Callable[[Settings], str]
    poll_s: float
    stage_place: StagePlace | None = None


def _local(store: ObjectStore, workers: int | None) -> _Where:
    return _Where(
        backend=get_local_backend(store, workers=workers),
        resolve=resolve_run_settings,
        fingerprint=get_model_fingerprint,
        machine=get_machine,
        poll_s=0.5,
    )


def _batch(settings: Settings, store: ObjectStore) -> _Where:
    queue = get_batch_queue(settings)
    return _Where(
        backend=get_batch_backend(settings, store, queue),
        resolve=lambda chosen: resolve_for_containers(
            chosen,
            has_gpu=queue.has_gpu,
            embedding_model=queue.environment.get("EMBEDDING_MODEL_NAME"),
        ),
        fingerprint=lambda chosen: get_image_fingerprint(chosen, queue.image),
        machine=lambda _: "",
        poll_s=10.0,
        stage_place=_stage_place(settings, store),
    )


def _stage_place(settings: Settings, store: ObjectStore) -> StagePlace | None:
    from ftm.orchestrate.later_stages import StagePlace

    queue = get_stage_queue(settings)
    if queue is None:
        return None
    return StagePlace(
        backend=get_batch_backend(settings, store, queue),
        resolve=lambda chosen: resolve_for_stage_jobs(
            chosen, image=queue.image, environment=queue.environment
        ),
    )
