"""Ways to cluster the centroids of all firms' topics into themes.

A run has hundreds to tens of thousands of centroids, so nothing here is as large as their number
squared: neighbours are exact, found block by block, and the graph is a list of edges.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from ftm.topics.base import FloatArray
from ftm.topics.neighbours import NO_DIRECTION

IntArray = npt.NDArray[np.intp]

GRAPH_NEIGHBOURS = 15
# Of cosines at a time.
BLOCK_ROWS = 2048
BLOCK_VALUES = 2**24
GROUP_SIZE = 32
# Leiden is run so often, each time with other choices by chance. Two centroids stay neighbours by
# the share of runs that put them together, and that graph is what the themes are read from.
CONSENSUS_RUNS = 20
CONSENSUS_ROUNDS = 2
# At a resolution too high for its size a graph falls apart into pairs.
TOPICS_PER_RESOLUTION = 50
LEIDEN_ITERATIONS = 10
LEIDEN_RANDOMNESS = 0.001
LEIDEN_SEEDS = 1000
# Of a graph with more edges, about 18,000 topics, and so more than a thousand firms.
LARGE_EDGES = 200_000
LARGE_CONSENSUS_RUNS = 8
LARGE_LEIDEN_ITERATIONS = 2
MAX_THREADS = 4

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
    step = max(1, min(BLOCK_ROWS, BLOCK_VALUES // max(len(others), 1)))
    for start in range(0, len(rows), step):
        block = slice(start, start + step)
        found[block], cosines[block] = _greatest(rows[block] @ others.T, k)
    return found, cosines


def _greatest(values: FloatArray, k: int) -> tuple[IntArray, FloatArray]:
    """Columns and values of each row's k greatest, greatest first; of equal ones the first."""
    # Of the flat array: np.nonzero of two dimensions takes ten times as long.
    row, column = np.divmod(np.flatnonzero(values >= _bound(values, k)[:, None]), values.shape[1])
    kept = values[row, column]
    # Which of several equal ones a partition takes is up to NumPy and the processor, so all that
    # may be among the k are sorted; this sort is stable.
    order = np.lexsort((-kept, row))
    starts = np.searchsorted(row, np.arange(len(values)))
    best = order[starts[:, None] + np.arange(k)]
    return column[best], kept[best]


def _bound(values: FloatArray, k: int) -> FloatArray:
    """What each row's k greatest are not below, not much less than the least of them.

    The k greatest of maxima of groups are k values of the row.
    """
    n_groups = max(1, min(GROUP_SIZE, values.shape[1] // (GROUP_SIZE * k)))
    width = values.shape[1] // n_groups
    maxima = values[:, : n_groups * width].reshape(len(values), n_groups, width).max(axis=1)
    place = width - k
    return np.asarray(np.partition(maxima, place, axis=1)[:, place])


def consensus_leiden(edges: Edges, n: int, *, resolution: float, seed: int) -> IntArray:
    """Communities that Leiden finds again and again (Lancichinetti and Fortunato 2012).

    One run of Leiden depends on chance: another seed moves a fifth of the topics. So the graph's
    weights are multiplied by how many of twenty runs put the two ends together, twice over, and
    the themes are those of that graph. Graphs of more than LARGE_EDGES edges have fewer and
    shorter runs, which take a sixth of the time (docs/benchmarks.md says how well they agree).
    """
    is_large = len(edges.first) > LARGE_EDGES
    runs = LARGE_CONSENSUS_RUNS if is_large else CONSENSUS_RUNS
    iterations = LARGE_LEIDEN_ITERATIONS if is_large else LEIDEN_ITERATIONS
    with ThreadPoolExecutor(_n_threads()) as pool:
        for number in range(CONSENSUS_ROUNDS):
            graph = _Graph(edges, n, resolution)
            seeds = [seed * LEIDEN_SEEDS + number * runs + run for run in range(runs)]
            found = pool.map(partial(graph.leiden, iterations=iterations), seeds)
            together = np.mean(
                [labels[edges.first] == labels[edges.second] for labels in found], axis=0
            )
            kept = together > 0
            edges = Edges(edges.first[kept], edges.second[kept], (edges.weights * together)[kept])
            if np.all(together[kept] == 1.0):
                break
    return _leiden(edges, n, resolution=resolution, seed=seed * LEIDEN_SEEDS)


def _n_threads() -> int:
    """Leiden runs outside of Python's lock; each run has the graph for itself in memory."""
    here = hasattr(os, "sched_getaffinity")
    cores = len(os.sched_getaffinity(0)) if here else os.cpu_count()
    return min(cores or 1, MAX_THREADS)


def _leiden(edges: Edges, n: int, *, resolution: float, seed: int) -> IntArray:
    return _Graph(edges, n, resolution).leiden(seed)


class _Graph:
    """Edges as the library takes them, made once for many runs.

    Args:
        edges: of the graph.
        n: nodes; one without an edge is in no community.
        resolution: of Leiden.
    """

    def __init__(self, edges: Edges, n: int, resolution: float) -> None:
        # The library sorts by name, so names are numbers of one width.
        names = [f"{node:07d}" for node in range(n)]
        self._named = [
            (names[a], names[b], weight)
            for a, b, weight in zip(
                edges.first.tolist(), edges.second.tolist(), edges.weights.tolist(), strict=True
            )
        ]
        self._n, self._resolution = n, resolution

    def leiden(self, seed: int, *, iterations: int = LEIDEN_ITERATIONS) -> IntArray:
        """The community of each node; -1 for none."""
        from graspologic_native import leiden

        labels = np.full(self._n, -1, np.intp)
        if self._named:
            _, parts = leiden(
                self._named,
                None,
                resolution=self._resolution,
                randomness=LEIDEN_RANDOMNESS,
                iterations=iterations,
                use_modularity=True,
                seed=seed,
                trials=1,
            )
            labels[[int(name) for name in parts]] = list(parts.values())
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
