"""Ways to cluster the unit vectors of one firm's sentences."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ftm.topics.base import FloatArray
from ftm.topics.neighbours import (
    DoubleArray,
    cosine_similarities,
    nearest_neighbours,
    neighbour_graph,
    smoothed,
    unit_rows,
)
from ftm.topics.ward_tree import Labels, best_cut, ward_merges

MIN_CLUSTER_SIZE = 6
# Below this many sentences a firm has no topics: two clusters would not fit.
MIN_DOCUMENTS = 2 * MIN_CLUSTER_SIZE
# Of the graph whose modularity is compared, as UMAP's default.
GRAPH_NEIGHBOURS = 15
# 1 is modularity as published and finds the coarsest topics; see docs/adr/006.
RESOLUTION = 1.5
SMOOTHING_NEIGHBOURS = 8
SMOOTHING_ROUNDS = 3
# Cosines of random directions deviate from 0 by 1 / sqrt(dimensions). A clustering picks those that
# happen to agree: with the mean of their cluster they reach two such deviations, one in twenty 3.5,
# so that six of one cluster are hardly ever over it and random vectors have no topic.
CHANCE_DEVIATIONS = 3.5

UMAP_NEIGHBOURS = 15
UMAP_COMPONENTS = 10
UMAP_EPOCHS = 200
HDBSCAN_MIN_SAMPLES = 2

LEIDEN_ITERATIONS = 10
LEIDEN_RANDOMNESS = 0.001


@dataclass(frozen=True, slots=True)
class Clustering:
    """Labels (-1 = outlier) and membership strengths in [0, 1], each of shape (n,)."""

    labels: Labels
    strengths: FloatArray


def cluster(method: str, embeddings: FloatArray, seed: int) -> Clustering:
    """Cluster with a method of CLUSTERINGS; embeddings that are all equal are one cluster."""
    if np.ptp(embeddings, axis=0).max() < 1e-6:
        n = len(embeddings)
        return Clustering(np.zeros(n, np.intp), np.ones(n, np.float32))
    return CLUSTERINGS[method](embeddings, seed)


def cluster_ward(embeddings: FloatArray, seed: int) -> Clustering:
    """Ward's tree of smoothed vectors, cut for modularity; no randomness, the seed is not used."""
    del seed
    units = unit_rows(embeddings)
    rows = smoothed(units, k=SMOOTHING_NEIGHBOURS, rounds=SMOOTHING_ROUNDS)
    labels = best_cut(
        ward_merges(rows), _graph(units), resolution=RESOLUTION, min_size=MIN_CLUSTER_SIZE
    )
    return with_outliers(labels, units)


def cluster_leiden(embeddings: FloatArray, seed: int) -> Clustering:
    """Leiden communities of the neighbour graph."""
    from graspologic_native import leiden

    units = unit_rows(embeddings)
    graph = _graph(units)
    # The library sorts by name, so names are numbers of one width.
    edges = [
        (f"{a:06d}", f"{b:06d}", float(graph[a, b]))
        for a, b in zip(*np.nonzero(np.triu(graph, 1)), strict=True)
    ]
    labels = np.full(len(units), -1, np.intp)
    if edges:
        _, parts = leiden(
            edges,
            None,
            resolution=RESOLUTION,
            randomness=LEIDEN_RANDOMNESS,
            iterations=LEIDEN_ITERATIONS,
            use_modularity=True,
            seed=seed,
            trials=1,
        )
        for name, part in parts.items():
            labels[int(name)] = part
    return with_outliers(labels, units)


def cluster_umap_hdbscan(embeddings: FloatArray, seed: int) -> Clustering:
    """The classic: UMAP to ten dimensions, then HDBSCAN's leaves."""
    import warnings

    from hdbscan import HDBSCAN

    units = unit_rows(embeddings)
    with warnings.catch_warnings():
        # UMAP warns that a seed means one thread and that given neighbours are not searched;
        # scikit-learn about renamed arguments. All three are meant so.
        warnings.simplefilter("ignore")
        reduced = _umap(units, seed)
        found = HDBSCAN(
            min_cluster_size=MIN_CLUSTER_SIZE,
            min_samples=HDBSCAN_MIN_SAMPLES,
            cluster_selection_method="leaf",
            core_dist_n_jobs=1,
        ).fit(reduced)
    return Clustering(found.labels_.astype(np.intp), found.probabilities_.astype(np.float32))


def _umap(units: DoubleArray, seed: int) -> FloatArray:
    from umap import UMAP

    n = len(units)
    k = min(UMAP_NEIGHBOURS, n - 1)  # UMAP fails where it is the number of points
    indexes, distances = nearest_neighbours(cosine_similarities(units), k)
    reducer = UMAP(
        n_neighbors=k,
        n_components=min(UMAP_COMPONENTS, n - 2),  # its spectral start needs two more points
        min_dist=0.0,
        metric="cosine",
        n_epochs=UMAP_EPOCHS,
        random_state=seed,
        n_jobs=1,
        precomputed_knn=(indexes, distances, None),
    )
    return np.asarray(reducer.fit_transform(units.astype(np.float32)), np.float32)


def with_outliers(labels: Labels, units: DoubleArray) -> Clustering:
    """Mark what belongs to no cluster; strength is the cosine to the mean of its cluster's others.

    No sentence vouches for itself: it counts in no mean it is compared with. An outlier is a
    sentence that is nearer to the mean of the call than to its cluster's, or that is no nearer to
    its cluster, the call's mean taken away, than sentences without any topic would be. A cluster
    left with fewer than six sentences is dissolved.
    """
    kept = labels.copy()
    strengths = np.zeros(len(labels), np.float32)
    to_call = _cosines_to_others(units)
    relative = unit_rows(units - units.mean(axis=0))
    bar = CHANCE_DEVIATIONS / np.sqrt(units.shape[1])
    for label in np.unique(labels[labels >= 0]):
        members = np.flatnonzero(labels == label)
        to_cluster = _cosines_to_others(units[members])
        far = to_cluster < to_call[members] - 1e-9
        far |= _cosines_to_others(relative[members]) < bar
        if len(members) - int(far.sum()) < MIN_CLUSTER_SIZE:
            far[:] = True
        kept[members[far]] = -1
        strengths[members[~far]] = np.clip(to_cluster[~far], 0.0, 1.0)
    return Clustering(kept, strengths)


def _cosines_to_others(rows: DoubleArray) -> DoubleArray:
    """Of each row to the mean of all other rows; 0 for a row alone."""
    others = unit_rows(rows.sum(axis=0) - rows)
    return np.asarray(np.einsum("ij,ij->i", rows, others))


def _graph(units: DoubleArray) -> DoubleArray:
    graph = neighbour_graph(units, GRAPH_NEIGHBOURS)
    return np.asarray((graph + graph.T) / 2)


CLUSTERINGS: dict[str, Callable[[FloatArray, int], Clustering]] = {
    "ward": cluster_ward,
    "leiden": cluster_leiden,
    "umap-hdbscan": cluster_umap_hdbscan,
}
