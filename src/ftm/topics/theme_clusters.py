"""Ways to cluster the centroids of all firms' topics into themes.

A run has hundreds to tens of thousands of centroids, so nothing here is as large as their number
squared: neighbours are exact, found block by block, and the graph is a list of edges.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ftm.topics.base import FloatArray
from ftm.topics.neighbours import NO_DIRECTION

IntArray = npt.NDArray[np.intp]

GRAPH_NEIGHBOURS = 15
BLOCK_ROWS = 2048
# Leiden is run so often, each time with other choices by chance. Two centroids stay neighbours by
# the share of runs that put them together, and that graph is what the themes are read from.
CONSENSUS_RUNS = 20
CONSENSUS_ROUNDS = 2
# At a resolution too high for its size a graph falls apart into pairs.
TOPICS_PER_RESOLUTION = 50
LEIDEN_ITERATIONS = 10
LEIDEN_RANDOMNESS = 0.001
LEIDEN_SEEDS = 1000

MIN_COSINE = 0.25

UMAP_NEIGHBOURS = 30
UMAP_COMPONENTS = 15
UMAP_MIN_DIST = 0.025
HDBSCAN_MIN_CLUSTER_SIZE = 20
HDBSCAN_MIN_SAMPLES = 6
# For so many firms the two numbers above are meant; they fall with the square root of fewer.
HDBSCAN_FIRMS = 1000
SMALLEST_CLUSTER = 5
SMALLEST_SAMPLES = 2


@dataclass(frozen=True, slots=True)
class Edges:
    """An undirected graph: edge i joins `first[i]` < `second[i]` with `weights[i]` > 0."""

    first: IntArray
    second: IntArray
    weights: npt.NDArray[np.float64]


def cluster_themes(
    method: str, centroids: FloatArray, *, n_firms: int, resolution: float, seed: int
) -> IntArray:
    """Label each centroid.

    Args:
        method: `leiden` or `umap-hdbscan`.
        centroids: float32, shape (n_topics, n_dims); need not be of length one.
        n_firms: that they come from.
        resolution: of `leiden`; higher finds more and smaller clusters. Of few centroids it is
            lower, so that clusters have members: one for 50 of them, at least 1.
        seed: of every random choice.

    Returns:
        Shape (n_topics,): 0, 1, … or -1 for none. Fewer than three centroids are no cluster.
    """
    if len(centroids) < 3:
        return np.full(len(centroids), -1, np.intp)
    units = _unit(centroids)
    if method == "umap-hdbscan":
        labels = _umap_hdbscan(units, n_firms=n_firms, seed=seed)
    else:
        edges = neighbour_edges(units, GRAPH_NEIGHBOURS)
        fitting = min(resolution, max(1.0, len(units) / TOPICS_PER_RESOLUTION))
        labels = consensus_leiden(edges, len(units), resolution=fitting, seed=seed)
    return without_strays(labels, units)


def without_strays(labels: IntArray, units: FloatArray) -> IntArray:
    """Take out what is hardly nearer to its cluster than to anything.

    Communities take in every node, so what one firm alone talks about ends up somewhere. Such a
    topic's cosine to the mean of its cluster's other topics, all relative to the mean of all
    topics, is under MIN_COSINE: one in twenty on real calls.

    Args:
        labels: -1 for none.
        units: float32 rows of length one.
    """
    rows = _unit(units - units.mean(axis=0))
    kept = labels.copy()
    for label in np.unique(labels[labels >= 0]):
        members = np.flatnonzero(labels == label)
        others = _unit(rows[members].sum(axis=0) - rows[members])
        cosines = np.einsum("ij,ij->i", rows[members], others)
        kept[members[cosines < MIN_COSINE]] = -1
    return kept


def neighbour_edges(units: FloatArray, k: int) -> Edges:
    """The k-neighbour graph by cosine, relative to the mean of all.

    An edge weighs half its cosine for each of its ends that has the other among its neighbours;
    equally near ones come in order of index.

    Args:
        units: float32 rows of length one, shape (n, n_dims).
        k: neighbours of each; fewer rows: all others.
    """
    n = len(units)
    rows = _unit(units - units.mean(axis=0))
    k = min(k, n - 1)
    near, cosines = nearest(rows, rows, k + 1)
    own = near == np.arange(n)[:, None]
    # Itself is among its nearest, unless others are the same vector: then the last one goes.
    own[~own.any(axis=1), -1] = True
    first = np.repeat(np.arange(n), k)
    second, weight = near[~own], cosines[~own].astype(np.float64)
    return _merged(first, second, np.maximum(weight, 0.0) / 2, n)


def nearest(rows: FloatArray, others: FloatArray, k: int) -> tuple[IntArray, FloatArray]:
    """The k of `others` with the greatest cosine to each row, greatest first; ties in order.

    Args:
        rows: float32 unit rows, shape (n, n_dims).
        others: float32 unit rows, shape (m, n_dims), m >= k.
        k: how many.

    Returns:
        Indexes and cosines, each of shape (n, k).
    """
    found = np.empty((len(rows), k), np.intp)
    cosines = np.empty((len(rows), k), np.float32)
    for start in range(0, len(rows), BLOCK_ROWS):
        block = slice(start, start + BLOCK_ROWS)
        similar = rows[block] @ others.T
        best = np.sort(_best(similar, k), axis=1)
        values = np.take_along_axis(similar, best, axis=1)
        order = np.argsort(-values, axis=1, kind="stable")
        found[block] = np.take_along_axis(best, order, axis=1)
        cosines[block] = np.take_along_axis(values, order, axis=1)
    return found, cosines


def _best(similar: FloatArray, k: int) -> IntArray:
    """Columns of the k greatest of each row, in no order; of equal ones the first."""
    best = np.argpartition(-similar, k - 1, axis=1)[:, :k]
    cut = np.take_along_axis(similar, best, axis=1).min(axis=1, keepdims=True)
    # Which of several equal ones a partition takes is up to NumPy and the processor.
    for row in np.flatnonzero((similar >= cut).sum(axis=1) > k):
        found = np.flatnonzero(similar[row] >= cut[row])
        best[row] = found[np.argsort(-similar[row, found], kind="stable")[:k]]
    return best


def consensus_leiden(edges: Edges, n: int, *, resolution: float, seed: int) -> IntArray:
    """Communities that Leiden finds again and again (Lancichinetti and Fortunato 2012).

    One run of Leiden depends on chance: another seed moves a fifth of the topics. So the graph's
    weights are multiplied by how many of twenty runs put the two ends together, twice over, and
    the themes are those of that graph.
    """
    for number in range(CONSENSUS_ROUNDS):
        seeds = range(number * CONSENSUS_RUNS, (number + 1) * CONSENSUS_RUNS)
        found = [
            _leiden(edges, n, resolution=resolution, seed=seed * LEIDEN_SEEDS + s) for s in seeds
        ]
        together = np.mean(
            [labels[edges.first] == labels[edges.second] for labels in found], axis=0
        )
        kept = together > 0
        edges = Edges(edges.first[kept], edges.second[kept], (edges.weights * together)[kept])
        if np.all(together[kept] == 1.0):
            break
    return _leiden(edges, n, resolution=resolution, seed=seed * LEIDEN_SEEDS)


def _leiden(edges: Edges, n: int, *, resolution: float, seed: int) -> IntArray:
    from graspologic_native import leiden

    labels = np.full(n, -1, np.intp)
    # The library sorts by name, so names are numbers of one width.
    named = [
        (f"{a:07d}", f"{b:07d}", float(weight))
        for a, b, weight in zip(edges.first, edges.second, edges.weights, strict=True)
    ]
    if named:
        _, parts = leiden(
            named,
            None,
            resolution=resolution,
            randomness=LEIDEN_RANDOMNESS,
            iterations=LEIDEN_ITERATIONS,
            use_modularity=True,
            seed=seed,
            trials=1,
        )
        for name, part in parts.items():
            labels[int(name)] = part
    return labels


def _umap_hdbscan(units: FloatArray, *, n_firms: int, seed: int) -> IntArray:
    n = len(units)
    scale = min(1.0, (n_firms / HDBSCAN_FIRMS) ** 0.5)
    with warnings.catch_warnings():
        # As for sentences: no TensorFlow, a seed means one thread, scikit-learn renamed something.
        warnings.simplefilter("ignore")
        from hdbscan import HDBSCAN
        from umap import UMAP

        reduced = UMAP(
            n_neighbors=min(UMAP_NEIGHBOURS, n - 1),
            n_components=min(UMAP_COMPONENTS, n - 2),
            min_dist=UMAP_MIN_DIST,
            metric="cosine",
            random_state=seed,
            n_jobs=1,
        ).fit_transform(units)
        found = HDBSCAN(
            min_cluster_size=max(SMALLEST_CLUSTER, round(HDBSCAN_MIN_CLUSTER_SIZE * scale)),
            min_samples=max(SMALLEST_SAMPLES, round(HDBSCAN_MIN_SAMPLES * scale)),
            cluster_selection_method="eom",
            core_dist_n_jobs=1,
        ).fit(reduced)
    return np.asarray(found.labels_, np.intp)


def _merged(first: IntArray, second: IntArray, weights: npt.NDArray[np.float64], n: int) -> Edges:
    """One edge per pair, the weights of both directions added."""
    low, high = np.minimum(first, second), np.maximum(first, second)
    pairs, place = np.unique(low * n + high, return_inverse=True)
    total = np.bincount(place, weights, minlength=len(pairs)).astype(np.float64)
    kept = total > 0
    return Edges(pairs[kept] // n, pairs[kept] % n, total[kept])


def _unit(rows: FloatArray) -> FloatArray:
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    kept = norms > NO_DIRECTION
    return np.asarray(np.divide(rows, norms, out=np.zeros_like(rows), where=kept))


METHODS: tuple[str, ...] = ("leiden", "umap-hdbscan")
ThemeClusterer = Callable[[FloatArray, int], IntArray]
"""(centroids, n_firms) → labels."""
