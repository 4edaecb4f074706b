"""Ward's tree, cut where the neighbour graph says that sentences belong together.

The cut is not one height. Modularity is a sum over clusters, so of all ways to cut the tree the
best one is found bottom-up: a branch stays whole if its own modularity is at least that of its two
halves, cut as well as can be. The number of clusters follows from the data, nothing is drawn by
chance, and a small change of the vectors changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ftm.topics.neighbours import DoubleArray

Labels = npt.NDArray[np.intp]
# Distance between unit vectors under which two sentences say the same.
SAME = 1e-3


@dataclass(frozen=True, slots=True)
class Merge:
    """A node of the tree above its leaves: the numbers of its two children, its height."""

    left: int
    right: int
    height: float


def ward_merges(rows: DoubleArray) -> list[Merge]:
    """Ward's tree of unit rows; leaf i is row i, node n + t is merge t.

    Returns:
        n - 1 merges, lowest first; children come before their parent.
    """
    from scipy.cluster.hierarchy import linkage
    from scipy.spatial.distance import squareform

    products = rows @ rows.T
    squares = np.diag(products)
    squared = squares[:, None] + squares[None, :] - products - products.T
    distances = np.sqrt(np.maximum(squared, 0.0))
    np.fill_diagonal(distances, 0.0)
    tree = linkage(squareform(distances, checks=False), "ward")
    return [Merge(int(a), int(b), float(height)) for a, b, height, _ in tree]


def best_cut(
    merges: list[Merge], graph: DoubleArray, *, resolution: float, min_size: int
) -> Labels:
    """The cut of a tree that has the greatest modularity.

    Args:
        merges: of n leaves.
        graph: symmetric weights, shape (n, n).
        resolution: above 1 prefers smaller clusters.
        min_size: branches below it are never cut; they may end up as clusters of their own.

    Returns:
        Labels 0, 1, … of shape (n,); all -1 for a graph without weight.
    """
    n = len(graph)
    total = float(graph.sum())
    if total <= 0.0:
        return np.full(n, -1, np.intp)
    cut = _TreeCut(graph, total, resolution, min_size)
    for merge in merges:
        cut.add(merge)
    return cut.labels(merges)


class _TreeCut:
    """Running sums while the tree is walked bottom-up; one entry per node."""

    def __init__(self, graph: DoubleArray, total: float, resolution: float, min_size: int) -> None:
        n = len(graph)
        degrees = graph.sum(axis=1) / total
        self._n = n
        self._resolution = resolution
        self._min_size = min_size
        self._members: list[Labels] = [np.array([i]) for i in range(n)]
        self._weights: list[DoubleArray] = list(graph / total)
        self._degrees: list[float] = [float(degree) for degree in degrees]
        self._inside: list[float] = [float(graph[i, i] / total) for i in range(n)]
        alone = [self._own(i) for i in range(n)]
        self._best: list[float] = alone if min_size <= 1 else [0.0] * n
        self._whole: list[bool] = [True] * n

    def add(self, merge: Merge) -> None:
        """Decide whether this node stays whole; its children are decided."""
        left, right = merge.left, merge.right
        between = float(self._weights[left][self._members[right]].sum())
        self._members.append(np.concatenate([self._members[left], self._members[right]]))
        self._weights.append(self._weights[left] + self._weights[right])
        self._inside.append(self._inside[left] + self._inside[right] + 2 * between)
        self._degrees.append(self._degrees[left] + self._degrees[right])
        own = self._own(-1)
        halves = self._best[left] + self._best[right]
        if len(self._members[-1]) < self._min_size:
            # No cluster yet, so nothing gained.
            self._decide(0.0, whole=True)
        elif merge.height < SAME or own >= halves:
            self._decide(own, whole=True)
        else:
            self._decide(halves, whole=False)

    def _own(self, node: int) -> float:
        return self._inside[node] - self._resolution * self._degrees[node] ** 2

    def _decide(self, modularity: float, *, whole: bool) -> None:
        self._best.append(modularity)
        self._whole.append(whole)

    def labels(self, merges: list[Merge]) -> Labels:
        """Number the branches that stay whole, from the root down."""
        labels = np.full(self._n, -1, np.intp)
        nodes, label = [len(self._members) - 1], 0
        while nodes:
            node = nodes.pop()
            if self._whole[node]:
                labels[self._members[node]] = label
                label += 1
            else:
                merge = merges[node - self._n]
                nodes += [merge.left, merge.right]
        return labels
