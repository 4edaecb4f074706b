"""Ways to cluster the unit vectors of one firm's sentences."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ftm.topics.base import FloatArray
from ftm.topics.neighbours import cosine_similarities, nearest_neighbours, unit_rows

Labels = npt.NDArray[np.intp]

MIN_CLUSTER_SIZE = 6
# Below this many sentences a firm has no topics.
MIN_DOCUMENTS = 2 * MIN_CLUSTER_SIZE


@dataclass(frozen=True, slots=True)
class Clustering:
    """Labels (-1 = outlier) and membership strengths in [0, 1], each of shape (n,)."""

    labels: Labels
    strengths: FloatArray


def cluster_ward(embeddings: FloatArray, seed: int) -> Clustering:
    """Ward's tree on the unit vectors; no randomness, so the seed is not used."""
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import squareform

    del seed
    units = unit_rows(embeddings)
    similarities = cosine_similarities(units)
    squared = np.maximum(2.0 - 2.0 * similarities, 0.0)
    np.fill_diagonal(squared, 0.0)
    tree = linkage(squareform(np.sqrt(squared), checks=False), "ward")
    n_clusters = max(1, round(len(units) / 16))
    labels = fcluster(tree, n_clusters, "maxclust") - 1
    return without_small(labels.astype(np.intp), units)


def without_small(labels: Labels, units: npt.NDArray[np.float64]) -> Clustering:
    """Clusters under the minimum size become outliers; strength is the cosine to the centroid."""
    labels = labels.copy()
    ids, sizes = np.unique(labels[labels >= 0], return_counts=True)
    labels[np.isin(labels, ids[sizes < MIN_CLUSTER_SIZE])] = -1
    strengths = np.zeros(len(labels), np.float32)
    for label in np.unique(labels[labels >= 0]):
        members = labels == label
        strengths[members] = centroid_cosines(units[members])
    return Clustering(labels, strengths)


def centroid_cosines(units: npt.NDArray[np.float64]) -> FloatArray:
    """Cosine of each row to the mean of all, cut to [0, 1]."""
    centroid = units.mean(axis=0)
    norm = float(np.linalg.norm(centroid))
    if norm == 0.0:
        return np.zeros(len(units), np.float32)
    return np.asarray(np.clip(units @ (centroid / norm), 0.0, 1.0), np.float32)


def cluster_leiden(embeddings: FloatArray, seed: int) -> Clustering:
    """Leiden communities of the 15-neighbour graph, weighted by cosine."""
    from graspologic_native import leiden

    units = unit_rows(embeddings)
    k = min(16, len(units))
    indexes, distances = nearest_neighbours(cosine_similarities(units), k)
    weights: dict[tuple[int, int], float] = {}
    for row in range(len(units)):
        for other, distance in zip(indexes[row, 1:], distances[row, 1:], strict=True):
            pair = (min(row, int(other)), max(row, int(other)))
            weights[pair] = max(1.0 - float(distance), 1e-6)
    edges = [(f"{a:06d}", f"{b:06d}", weight) for (a, b), weight in sorted(weights.items())]
    _, parts = leiden(
        edges, None, resolution=1.0, randomness=0.001, iterations=10,
        use_modularity=True, seed=seed, trials=1,
    )  # fmt: skip
    labels = np.array([parts.get(f"{i:06d}", -1) for i in range(len(units))], np.intp)
    return without_small(labels, units)


def cluster_umap_hdbscan(embeddings: FloatArray, seed: int) -> Clustering:
    """The classic: UMAP to ten dimensions, then HDBSCAN's leaves."""
    import warnings

    from hdbscan import HDBSCAN
    from umap import UMAP

    units = unit_rows(embeddings)
    k = min(15, len(units))
    indexes, distances = nearest_neighbours(cosine_similarities(units), k)
    reducer = UMAP(
        n_neighbors=k, n_components=min(10, len(units) - 2), min_dist=0.0, metric="cosine",
        n_epochs=200, random_state=seed, n_jobs=1,
        precomputed_knn=(indexes, distances, None),
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reduced = reducer.fit_transform(units.astype(np.float32))
        found = HDBSCAN(
            min_cluster_size=MIN_CLUSTER_SIZE, min_samples=2, cluster_selection_method="leaf",
            core_dist_n_jobs=1,
        ).fit(reduced)  # fmt: skip
    return Clustering(found.labels_.astype(np.intp), found.probabilities_.astype(np.float32))


CLUSTERINGS: dict[str, Callable[[FloatArray, int], Clustering]] = {
    "ward": cluster_ward,
    "leiden": cluster_leiden,
    "umap-hdbscan": cluster_umap_hdbscan,
}
