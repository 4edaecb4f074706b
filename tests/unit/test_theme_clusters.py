"""Centroids to clusters: exact neighbours, a consensus, strays taken out, nothing by chance."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score

from ftm.topics import theme_clusters
from ftm.topics.base import FloatArray
from ftm.topics.theme_clusters import (
    cluster_themes,
    consensus_leiden,
    nearest,
    neighbour_edges,
    without_strays,
)
from tests.support.topic_vectors import planted_vectors, unit


def brute_edges(units: FloatArray, k: int) -> dict[tuple[int, int], float]:
    """The same graph, one pair after the other."""
    rows = units - units.mean(axis=0)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    rows = np.divide(rows, norms, out=np.zeros_like(rows), where=norms > 0)
    cosines = rows @ rows.T
    weights: dict[tuple[int, int], float] = {}
    for i in range(len(rows)):
        # Itself has a place among its k + 1 nearest; where it is not there, the last one goes.
        near = sorted(range(len(rows)), key=lambda j, i=i: (-cosines[i, j], j))[: k + 1]
        near = [j for j in near if j != i][: min(k, len(rows) - 1)]
        for j in near:
            pair = (min(i, j), max(i, j))
            weights[pair] = weights.get(pair, 0.0) + max(float(cosines[i, j]), 0.0) / 2
    return {pair: weight for pair, weight in weights.items() if weight > 0}


def found_edges(units: FloatArray, k: int) -> dict[tuple[int, int], float]:
    """Edges by their ends."""
    edges = neighbour_edges(units, k)
    pairs = zip(edges.first.tolist(), edges.second.tolist(), strict=True)
    return dict(zip(pairs, edges.weights.tolist(), strict=True))


@pytest.mark.parametrize("n", [3, 4, 15, 16, 17, 120])
def test_the_graph_is_that_of_all_pairs(n: int) -> None:
    """With fewer rows than neighbours asked for, too: then all are joined that look alike."""
    units = planted_vectors(3, -(-n // 3), noise=1.0, seed=n)[0][:n]
    found, expected = found_edges(units, 15), brute_edges(units, 15)
    assert found.keys() == expected.keys()
    assert list(found.values()) == pytest.approx([expected[pair] for pair in found], abs=1e-6)


@settings(max_examples=40)
@given(st.lists(st.integers(0, 5), min_size=3, max_size=60), st.integers(1, 6))
def test_equal_vectors_are_neighbours_in_order_of_index(which: list[int], k: int) -> None:
    """Copies of a few vectors: whichever copies are taken, the rule and not the library says."""
    # Halves and quarters: cosines of them are exact, so ties are ties.
    corners = np.array([[i >> b & 1 for b in range(3)] for i in range(1, 7)], np.float32)
    rows = unit(corners)[which]
    cosines = rows @ rows.T
    k = min(k, len(rows))
    near, values = nearest(rows, rows, k)
    for i, row in enumerate(cosines):
        expected = sorted(range(len(rows)), key=lambda j, row=row: (-row[j], j))[:k]
        assert near[i].tolist() == expected
        assert values[i].tolist() == row[expected].tolist()


def test_a_row_with_many_copies_is_no_neighbour_of_itself() -> None:
    """More copies than neighbours asked for: no loop, no row with a neighbour too few."""
    units = np.repeat(planted_vectors(4, 1, noise=0.3)[0], 12, axis=0)
    edges = neighbour_edges(units, 5)
    assert found_edges(units, 5).keys() == brute_edges(units, 5).keys()
    assert np.all(edges.first < edges.second)
    assert np.all(edges.weights > 0)
    joined = set(edges.first.tolist()) | set(edges.second.tolist())
    assert joined == set(range(48))
    assert np.all(edges.first // 12 == edges.second // 12)


def test_neighbours_do_not_depend_on_the_size_of_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks only bound memory."""
    units = planted_vectors(6, 50, noise=0.8)[0]
    expected, _ = nearest(units, units, 16)
    for rows in (1, 7, 299, 300, 5000):
        monkeypatch.setattr(theme_clusters, "BLOCK_ROWS", rows)
        near, cosines = nearest(units, units, 16)
        assert np.array_equal(near, expected)
        assert np.all(np.diff(cosines, axis=1) <= 0)


def test_planted_themes_are_recovered_with_noise() -> None:
    """Adjusted Rand index over 0.7 where a topic's noise is as long as what it says, and 1 without.

    Topics that are taken out count as a group of their own.
    """
    for noise, floor in ((0.3, 1.0), (1.15, 0.7)):
        units, themes = planted_vectors(6, 15, noise=noise, seed=1)
        labels = cluster_themes("leiden", units, n_firms=40, resolution=1.0, seed=42)
        assert adjusted_rand_score(themes, labels) >= floor


def test_a_consensus_is_more_stable_than_one_run() -> None:
    """Over seeds of the same noisy topics, which one run of Leiden divides now so, now so."""
    units, _ = planted_vectors(6, 15, noise=2.2, seed=2)
    edges = neighbour_edges(units, 15)
    # The last run of a consensus has these seeds, too.
    seeds = [s * theme_clusters.LEIDEN_SEEDS for s in range(5)]
    once = [theme_clusters._leiden(edges, 90, resolution=1.0, seed=s) for s in seeds]
    often = [consensus_leiden(edges, 90, resolution=1.0, seed=s) for s in range(5)]
    assert _agreement(often) > _agreement(once) + 0.1


def _agreement(labels: list[np.ndarray]) -> float:
    return float(np.mean([adjusted_rand_score(a, b) for a, b in combinations(labels, 2)]))


def test_a_seed_decides_everything() -> None:
    """Twice the same, bit for bit."""
    units, _ = planted_vectors(6, 10, noise=1.8)
    first, again = (
        cluster_themes("leiden", units, n_firms=30, resolution=2.0, seed=7) for _ in range(2)
    )
    assert first.tobytes() == again.tobytes()


def test_the_length_of_centroids_does_not_matter() -> None:
    """Directions are clustered: means of long and short topics alike."""
    units, _ = planted_vectors(5, 20, noise=0.5)
    lengths = np.random.default_rng(0).uniform(0.2, 5, (100, 1)).astype(np.float32)
    one, other = (
        cluster_themes("leiden", rows, n_firms=50, resolution=1.0, seed=42)
        for rows in (units, units * lengths)
    )
    assert adjusted_rand_score(one, other) == 1.0


def test_a_stray_is_taken_out_and_members_stay() -> None:
    """A topic at right angles to the rest of its cluster, and nobody else."""
    units, themes = planted_vectors(5, 10, noise=0.4)
    stray = unit(np.eye(32)[[20]] + 0.05)
    rows = np.concatenate([units, stray])
    labels = np.append(themes, 3)
    found = without_strays(labels, rows)
    assert found[-1] == -1
    assert np.array_equal(found[:-1], themes)
    assert labels[-1] == 3, "what is given is left alone"


def test_a_topic_alone_in_its_cluster_is_a_stray() -> None:
    """It resembles no other topic of a cluster it has for itself; -1 stays -1."""
    units, themes = planted_vectors(3, 10, noise=0.2)
    labels = themes.copy()
    labels[0], labels[1] = 9, -1
    assert without_strays(labels, units)[:2].tolist() == [-1, -1]


@pytest.mark.parametrize("method", ["leiden", "umap-hdbscan"])
@pytest.mark.parametrize("n", [0, 1, 2])
def test_fewer_than_three_centroids_are_no_cluster(method: str, n: int) -> None:
    """No library is asked about them."""
    rows = np.eye(4, dtype=np.float32)[:n]
    assert cluster_themes(method, rows, n_firms=n, resolution=1.0, seed=42).tolist() == [-1] * n


@pytest.mark.parametrize("n", [3, 4, 20])
def test_centroids_that_are_all_the_same_raise_nothing(n: int) -> None:
    """Nothing tells them apart from the mean of all; zeros neither."""
    for row in (np.full(8, 0.3, np.float32), np.zeros(8, np.float32)):
        labels = cluster_themes("leiden", np.tile(row, (n, 1)), n_firms=3, resolution=1.0, seed=42)
        assert labels.tolist() == [-1] * n


@pytest.mark.slow
@pytest.mark.xdist_group("models")
def test_the_classic_method_is_deterministic_and_recovers_plants() -> None:
    """UMAP and HDBSCAN with a seed; three centroids are enough to raise nothing."""
    units, themes = planted_vectors(4, 15, noise=0.3)
    first, again = (
        cluster_themes("umap-hdbscan", units, n_firms=15, resolution=1.0, seed=42) for _ in range(2)
    )
    assert first.tobytes() == again.tobytes()
    assert adjusted_rand_score(themes, first) > 0.9
    few = cluster_themes("umap-hdbscan", units[:3], n_firms=3, resolution=1.0, seed=42)
    assert few.tolist() == [-1] * 3


def test_few_topics_are_clustered_at_the_default_resolution() -> None:
    """A small run has themes, too: the resolution falls with the number of topics."""
    rng = np.random.default_rng(0)
    planted = np.repeat(np.arange(3), 5)
    centroids = np.eye(16)[planted] + 0.05 * rng.standard_normal((15, 16))
    found = cluster_themes(
        "leiden", centroids.astype(np.float32), n_firms=5, resolution=5.0, seed=1
    )
    assert [len(set(found[planted == theme])) for theme in range(3)] == [1, 1, 1]
    assert len(set(found)) == 3
