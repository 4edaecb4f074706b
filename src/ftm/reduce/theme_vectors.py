"""Published themes as vectors, and whether those of two quarters may be compared."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from ftm.core.errors import ConfigError
from ftm.core.quarter import Quarter
from ftm.reduce.matching import FloatArray, ThemeVectors, centre_of
from ftm.storage.object_store import ObjectStore
from ftm.storage.published import Published, read_published_table, require_published
from ftm.storage.run_reader import RunRecords, read_run

_MODEL = ("embedding_model", "weights", "embed_text")


@dataclass(frozen=True, slots=True)
class PublishedThemes:
    """The themes a quarter's readers get.

    Args:
        run: they come from.
        published: its tables.
        vectors: the themes.
        sha256: of ids and centroids; names do not count.
    """

    run: RunRecords
    published: Published
    vectors: ThemeVectors
    sha256: str

    @property
    def quarter(self) -> Quarter:
        """Which quarter."""
        return self.published.quarter


def read_themes(store: ObjectStore, quarter: Quarter) -> PublishedThemes:
    """The published themes of a quarter.

    Raises:
        OrchestratorError: the quarter is not published, or was without themes.
        CorruptObjectError: a file differs from what was published.
    """
    published = require_published(store, quarter)
    themes = read_published_table(store, published, "themes")
    topics = read_published_table(store, published, "topics")
    centroids = vectors_of(themes)
    vectors = ThemeVectors(
        tuple(themes["theme_id"].to_pylist()),
        centroids,
        centre_of(vectors_of(topics)),
        topics.num_rows,
    )
    digest = hashlib.sha256("\n".join(vectors.theme_ids).encode() + centroids.tobytes())
    run = read_run(store, quarter, published.run_id)
    return PublishedThemes(run, published, vectors, digest.hexdigest())


def vectors_of(table: pa.Table) -> FloatArray:
    """Column centroid as an array, shape (n_rows, n_dims)."""
    n = table.num_rows
    flat = table["centroid"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return np.asarray(flat, np.float32).reshape(n, -1) if n else np.zeros((0, 0), np.float32)


def check_comparable(first: PublishedThemes, second: PublishedThemes) -> None:
    """Refuse vectors of different embedding models: their cosines mean nothing.

    Raises:
        ConfigError: names both.
    """
    for name in _MODEL:
        one, other = first.run.spec.model.get(name), second.run.spec.model.get(name)
        # An image stands for its weights: they are not in the spec of a run of containers.
        if one is not None and other is not None and one != other:
            raise ConfigError(
                f"{first.quarter} and {second.quarter} cannot be compared: {name} is {one!r} in "
                f"run {first.run.spec.run_id} and {other!r} in run {second.run.spec.run_id}; run "
                "one of them again with the other's settings"
            )
