"""Exact cosine neighbours of a few hundred vectors by one matrix product, and their graph."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ftm.topics.base import FloatArray

DoubleArray = npt.NDArray[np.float64]

NO_DIRECTION = 1e-5
"""Shorter rows are taken for zero: centred copies of one sentence leave rounding errors."""


def unit_rows(vectors: FloatArray | DoubleArray) -> DoubleArray:
    """Rows scaled to length one, float64; rows of zeros stay zero."""
    wide = vectors.astype(np.float64)
    norms = np.linalg.norm(wide, axis=1, keepdims=True)
    return np.asarray(np.divide(wide, norms, out=np.zeros_like(wide), where=norms > NO_DIRECTION))


def cosine_similarities(units: DoubleArray) -> DoubleArray:
    """All pairs, shape (n, n), in [-1, 1]; symmetric to the last bit, as NumPy computes A·Aᵀ so."""
    product: DoubleArray = units @ units.T
    return np.clip(product, -1.0, 1.0, out=product)


def nearest_neighbours(
    similarities: DoubleArray, k: int
) -> tuple[npt.NDArray[np.int32], FloatArray]:
    """The k nearest of every row, itself first; equally near ones in order of index.

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
    nearest = np.sort(np.argpartition(distances, min(k, n - 1), axis=1)[:, :k], axis=1)
    order = np.argsort(np.take_along_axis(distances, nearest, axis=1), axis=1, kind="stable")
    indexes = np.take_along_axis(nearest, order, axis=1)
    np.fill_diagonal(distances, 0.0)
    chosen = np.take_along_axis(distances, indexes, axis=1)
    return indexes.astype(np.int32), np.maximum(chosen, 0.0).astype(np.float32)


def neighbour_graph(units: DoubleArray, k: int) -> DoubleArray:
    """Weights of the k-neighbour graph: cosines, nothing under zero, zero on the diagonal.

    Returns:
        Shape (n, n), not symmetric: row i holds the weights to the k nearest of i. Fewer than
        k other rows: to all of them.
    """
    n = len(units)
    similarities = cosine_similarities(units)
    indexes, _ = nearest_neighbours(similarities, min(k + 1, n))
    weights = np.zeros_like(similarities)
    others = indexes[:, 1:]
    kept = np.maximum(np.take_along_axis(similarities, others, axis=1), 0.0)
    np.put_along_axis(weights, others, kept, axis=1)
    return weights


def smoothed(units: DoubleArray, *, k: int, rounds: int) -> DoubleArray:
    """Directions relative to the mean, drawn towards those of their k nearest neighbours.

    What all rows share tells no cluster apart, so it goes first. Then in each round every row
    moves half-way to the weighted mean of its neighbours: a sentence that says little takes the
    direction of those it resembles.

    Returns:
        Unit rows; rows without direction are zero.
    """
    from scipy.sparse import csr_array

    rows = unit_rows(units - units.mean(axis=0))
    weights = neighbour_graph(rows, k)
    weights = np.maximum(weights, weights.T)
    means = csr_array(weights / np.maximum(weights.sum(axis=1, keepdims=True), 1e-9))
    for _ in range(rounds):
        rows = unit_rows(rows + means @ rows)
    return rows
