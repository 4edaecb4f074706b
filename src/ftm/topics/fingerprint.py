"""What determines a run's topics, without loading a model. Imports no torch."""

from __future__ import annotations

import hashlib
import json
import re
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType

from ftm.text import conversation, marks
from ftm.text import kinds as kind_rules
from ftm.topics import (
    clusterings,
    keywords,
    neighbours,
    theme_clusters,
    theme_keywords,
    ward_tree,
)
from ftm.topics.model_files import weights_fingerprint
from ftm.topics.noop import NOOP

BATCH_SIZE = 16
# Raised whenever the code in this package gives other topics for the same input; a test with a
# fixed input says when. Constants are hashed anyway; this is for the rest.
TOPICS_VERSION = "3"

EMBEDDING_PACKAGES = ("sentence-transformers", "tokenizers", "torch", "transformers")
THEME_PACKAGES = {
    "leiden": ("numpy", "graspologic-native"),
    "umap-hdbscan": ("numpy", "scikit-learn", "umap-learn", "hdbscan", "numba"),
}
CLUSTERING_PACKAGES = {
    "ward": ("numpy", "scipy"),
    "leiden": ("numpy", "scipy", "graspologic-native"),
    "umap-hdbscan": ("numpy", "scipy", "scikit-learn", "umap-learn", "hdbscan", "numba"),
}


def model_fingerprint(
    *,
    embedding_model: str,
    embed_text: str,
    clustering: str,
    seed: int,
    keep_kinds: str,
    device: str,
    dtype: str,
    batch_size: int = BATCH_SIZE,
) -> dict[str, str]:
    """Everything a run's topics depend on besides the sentences; equal means equal topics.

    Args:
        embedding_model: as in the settings.
        embed_text: `raw` or `cleaned`.
        clustering: as in the settings.
        seed: of every random choice.
        keep_kinds: kinds of sentences that are clustered, with commas.
        device: resolved, `cpu` or `cuda`, never `auto`.
        dtype: of the embedding model's arithmetic.
        batch_size: sentences per embedding batch.

    Raises:
        ModelNotFoundError: no such embedding model.
    """
    return {
        "topics_version": TOPICS_VERSION,
        "embed_text": embed_text,
        "keep_kinds": _sorted_kinds(keep_kinds),
        "kind_rules": constants_sha256(kind_rules, conversation),
        "mark_rules": constants_sha256(marks),
        **embedding_fingerprint(embedding_model, device=device, dtype=dtype, batch_size=batch_size),
        **clustering_fingerprint(clustering, seed=seed),
    }


def image_fingerprint(
    image: str,
    *,
    embedding_model: str,
    embed_text: str,
    clustering: str,
    seed: int,
    keep_kinds: str,
    device: str,
    dtype: str,
) -> dict[str, str]:
    """What a run's topics depend on when containers of an image compute them.

    Every key but `image` has the value that `model_fingerprint` gives it in the container; the
    image, best by digest, stands for the versions and weights that only the container knows.

    Args:
        image: of the job definition.
        embedding_model: this and the rest as for `model_fingerprint`.
        embed_text: `raw` or `cleaned`.
        clustering: as in the settings.
        seed: of every random choice.
        keep_kinds: kinds of sentences that are clustered, with commas.
        device: resolved, never `auto`.
        dtype: of the embedding model's arithmetic.
    """
    found = {"image": image, "embed_text": embed_text, "keep_kinds": _sorted_kinds(keep_kinds)}
    found["embedding_model"] = embedding_model
    if embedding_model != NOOP:
        found |= {"device": device, "dtype": dtype}
    found["clustering"] = clustering
    if clustering != NOOP:
        found["seed"] = str(seed)
    return found


def embedding_fingerprint(
    model: str, *, device: str, dtype: str, batch_size: int
) -> dict[str, str]:
    """The embedding half of `model_fingerprint`."""
    if model == NOOP:
        return {"embedding_model": NOOP, "weights": NOOP}
    return {
        "embedding_model": model,
        "weights": weights_fingerprint(model),
        "device": device,
        "dtype": dtype,
        "batch_size": str(batch_size),
        **_versions(EMBEDDING_PACKAGES),
    }


def clustering_fingerprint(clustering: str, *, seed: int) -> dict[str, str]:
    """The clustering half of `model_fingerprint`."""
    if clustering == NOOP:
        return {"clustering": NOOP}
    return {
        "clustering": clustering,
        "seed": str(seed),
        "constants": constants_sha256(clusterings, neighbours, ward_tree, keywords),
        **_versions(CLUSTERING_PACKAGES[clustering]),
    }


def themes_fingerprint(method: str, *, resolution: float, seed: int) -> dict[str, str]:
    """What themes depend on besides the topics and the rules for them; loads no model."""
    return {
        "clustering": method,
        "seed": str(seed),
        **({"resolution": str(resolution)} if method == "leiden" else {}),
        "constants": constants_sha256(theme_clusters, theme_keywords, keywords),
        **_versions(THEME_PACKAGES[method]),
    }


def themes_image_fingerprint(
    image: str, method: str, *, resolution: float, seed: int
) -> dict[str, str]:
    """What themes depend on when a container makes them; the image stands for its versions."""
    return {
        "image": image,
        "clustering": method,
        "seed": str(seed),
        **({"resolution": str(resolution)} if method == "leiden" else {}),
    }


def constants_sha256(*modules: ModuleType) -> str:
    """sha256 of every constant of some modules: numbers, texts, patterns and sets of words."""
    found = {
        f"{module.__name__}.{name}": plain
        for module in modules
        for name, value in vars(module).items()
        if name.isupper() and (plain := _plain(value)) is not None
    }
    return hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()


def _sorted_kinds(kinds: str) -> str:
    return ",".join(sorted({kind.strip() for kind in kinds.split(",") if kind.strip()}))


def _plain(value: object) -> str | None:
    if isinstance(value, re.Pattern):
        return repr((value.pattern, value.flags))
    if isinstance(value, frozenset):
        return repr(sorted(value))
    return repr(value) if isinstance(value, (int, float, str)) else None


def _versions(packages: tuple[str, ...]) -> dict[str, str]:
    return {f"version:{package}": _version(package) for package in packages}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
