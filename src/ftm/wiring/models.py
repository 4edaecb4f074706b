"""Models, and what a run's settings are where they compute."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ftm.core.errors import ConfigError
from ftm.core.settings import Settings

if TYPE_CHECKING:
    from datetime import datetime

    from ftm.mapping.firm_processor import FirmProcessor
    from ftm.mapping.stage_clock import StageClock
    from ftm.topics.base import Embedder, TopicModel, TopicPool


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


def get_image_fingerprint(settings: Settings, image: str) -> dict[str, str]:
    """What a run's topics depend on when containers compute them: settings, and the image.

    The image stands for the versions and weights in it, which only its containers know.
    """
    from ftm.topics.fingerprint import image_fingerprint

    return image_fingerprint(
        image,
        embedding_model=settings.embedding_model,
        embed_text=settings.embed_text,
        clustering=settings.clustering,
        seed=settings.seed,
        keep_kinds=settings.keep_kinds,
        device=settings.device,
        dtype=settings.dtype,
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


def resolve_for_containers(
    settings: Settings, *, has_gpu: bool, embedding_model: str | None = None
) -> Settings:
    """The settings a run records and its containers get; nothing is looked for on this machine.

    Args:
        settings: device `auto` becomes what the job definition has.
        has_gpu: whether the job definition asks for a GPU.
        embedding_model: that of the job definition, taken where the settings name none.

    Raises:
        ConfigError: `cuda` and no GPU asked for, or unknown kinds of sentences.
    """
    get_keep_kinds(settings)
    device = settings.device
    if device == "auto":
        device = "cuda" if has_gpu else "cpu"
    if device.startswith("cuda") and not has_gpu:
        raise ConfigError(
            f"FTM_DEVICE {settings.device!r}: the job definition asks for no GPU; use one that "
            "does (`ftm config from-terraform --compute gpu`), or FTM_DEVICE=cpu"
        )
    changes = {"device": device}
    if embedding_model and "embedding_model" not in settings.model_fields_set:
        changes["embedding_model"] = embedding_model
    return settings.model_copy(update=changes)
