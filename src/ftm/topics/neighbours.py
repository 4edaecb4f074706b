"""Exact cosine neighbours of a few hundred vectors by one matrix product."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ftm.topics.base import FloatArray

DoubleArray = npt.NDArray[np.float64]


def unit_rows(vectors: FloatArray) -> DoubleArray:
    """Rows scaled to length one, float64; rows of zeros stay zero."""
    wide = vectors.astype(np.float64)
    norms = np.linalg.norm(wide, axis=1, keepdims=True)
    return np.asarray(np.divide(wide, norms, out=np.zeros_like(wide), where=norms > 0))


def cosine_similarities(units: DoubleArray) -> DoubleArray:
    """All pairs, shape (n, n), symmetric to the last bit, in [-1, 1]."""
    product = units @ units.T
    return np.clip((product + product.T) / 2, -1.0, 1.0)


def nearest_neighbours(
    similarities: DoubleArray, k: int
) -> tuple[npt.NDArray[np.int32], FloatArray]:
    """The k nearest of every row, itself first, ties by index.

    Returns:
        Indexes and cosine distances, each of shape (n, k).

    Raises:
        ValueError: k is over the number of rows.
    """
    n = len(similarities)
    if k > n:
        raise ValueError(f"{k} neighbours asked of {n} points")
    distances = 1.0 - similarities
    np.fill_diagonal(distances, -1.0)
    indexes = np.argsort(distances, axis=1, kind="stable")[:, :k]
    np.fill_diagonal(distances, 0.0)
    chosen = np.take_along_axis(distances, indexes, axis=1)
    return indexes.astype(np.int32), np.maximum(chosen, 0.0).astype(np.float32)
