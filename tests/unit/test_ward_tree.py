"""Ward's tree and its cut of greatest modularity."""

from itertools import chain

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ftm.topics.neighbours import (
    cosine_similarities,
    nearest_neighbours,
    neighbour_graph,
    smoothed,
    unit_rows,
)
from ftm.topics.ward_tree import Merge, best_cut, ward_merges


def modularity(graph: np.ndarray, labels: np.ndarray, resolution: float) -> float:
    """By its definition, over all pairs."""
    total, degrees = graph.sum(), graph.sum(axis=1)
    together = labels[:, None] == labels[None, :]
    expected = resolution * np.outer(degrees, degrees) / total
    return float(((graph - expected) * together).sum() / total)


def all_cuts(merges: list[Merge], n: int, node: int) -> list[list[list[int]]]:
    """Every way to cut the branch under a node into whole branches."""
    if node < n:
        return [[[node]]]
    merge = merges[node - n]
    left, right = all_cuts(merges, n, merge.left), all_cuts(merges, n, merge.right)
    whole = [sorted(chain(*left[-1], *right[-1]))]
    return [a + b for a in left for b in right] + [whole]


def rows_of(seed: int, n: int) -> np.ndarray:
    """Random unit rows."""
    return unit_rows(np.random.default_rng(seed).normal(size=(n, 6)))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(3, 9), st.floats(0.5, 2.0))
def test_the_cut_has_the_greatest_modularity_of_all_cuts(
    seed: int, n: int, resolution: float
) -> None:
    """The bottom-up choice equals trying every cut of the tree."""
    rows = rows_of(seed, n)
    graph = neighbour_graph(rows, 4)
    graph = (graph + graph.T) / 2
    assume(graph.sum() > 0)
    merges = ward_merges(rows)
    best = -np.inf
    for cut in all_cuts(merges, n, 2 * n - 2):
        labels = np.empty(n, int)
        for i, members in enumerate(cut):
            labels[members] = i
        best = max(best, modularity(graph, labels, resolution))
    found = best_cut(merges, graph, resolution=resolution, min_size=1)
    assert modularity(graph, found, resolution) == pytest.approx(best, abs=1e-12)


def gain(graph: np.ndarray, labels: np.ndarray, resolution: float, min_size: int) -> float:
    """Modularity of the clusters that are large enough; the others gain nothing."""
    total, degrees = graph.sum(), graph.sum(axis=1)
    own = 0.0
    for label in np.unique(labels):
        members = labels == label
        if members.sum() >= min_size:
            expected = resolution * degrees[members].sum() ** 2 / total
            own += graph[np.ix_(members, members)].sum() - expected
    return float(own / total)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(6, 16), st.integers(2, 6), st.floats(0.5, 2.0))
def test_clusters_too_small_to_stay_gain_nothing(
    seed: int, n: int, min_size: int, resolution: float
) -> None:
    """With a least size no cut of the tree gains more, where small clusters count nothing."""
    rows = rows_of(seed, n)
    graph = neighbour_graph(rows, 4)
    graph = (graph + graph.T) / 2
    assume(graph.sum() > 0)
    merges = ward_merges(rows)
    cuts = all_cuts(merges, n, 2 * n - 2)
    assume(len(cuts) < 3000)
    best = -np.inf
    for cut in cuts:
        labels = np.empty(n, int)
        for i, members in enumerate(cut):
            labels[members] = i
        best = max(best, gain(graph, labels, resolution, min_size))
    found = best_cut(merges, graph, resolution=resolution, min_size=min_size)
    assert gain(graph, found, resolution, min_size) == pytest.approx(best, abs=1e-12)


def test_a_graph_without_weight_has_no_clusters() -> None:
    """Nothing resembles anything: all labels are -1."""
    merges, graph = ward_merges(rows_of(0, 5)), np.zeros((5, 5))
    assert best_cut(merges, graph, resolution=1.5, min_size=2).tolist() == [-1] * 5


def test_equal_sentences_stay_together() -> None:
    """Ten copies of one sentence are never split, whatever the graph says."""
    rows = unit_rows(np.concatenate([np.ones((20, 6)), rows_of(1, 20)]))
    graph = np.eye(40)[::-1] + 0.01
    labels = best_cut(ward_merges(rows), (graph + graph.T) / 2, resolution=3.0, min_size=2)
    assert len(set(labels[:20].tolist())) == 1


@given(st.integers(0, 10_000), st.integers(1, 30), st.integers(1, 12))
def test_neighbours_are_exact(seed: int, n: int, k: int) -> None:
    """Distances equal those of a full sort; each row comes first in its own list."""
    rows = rows_of(seed, n)
    k = min(k, n)
    similarities = cosine_similarities(rows)
    indexes, distances = nearest_neighbours(similarities, k)
    assert (indexes[:, 0] == np.arange(n)).all()
    off = 1 - similarities
    np.fill_diagonal(off, 0)
    np.testing.assert_allclose(distances, np.sort(np.maximum(off, 0), axis=1)[:, :k], atol=1e-7)
    assert (similarities == similarities.T).all()


def test_smoothing_leaves_unit_rows_or_none() -> None:
    """Rows come out at length one; equal rows, which have no direction left, as zeros."""
    lengths = np.linalg.norm(smoothed(rows_of(3, 40), k=8, rounds=3), axis=1)
    np.testing.assert_allclose(lengths, 1.0)
    assert not smoothed(np.ones((7, 4)) / 2, k=8, rounds=3).any()
