"""Themes of two quarters compared: what is linked, and what of it carries a series on."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftm.reduce.matching import Link, ThemeVectors, carry_on, find_links, theme_cosines

N_DIMS = 4


def themes(name: str, rows: list[list[float]]) -> ThemeVectors:
    """Themes with these centroids, of a quarter whose topics have no common direction."""
    ids = tuple(f"theme_{name}_{i:03d}" for i in range(len(rows)))
    vectors = np.array(rows, np.float32).reshape(-1, N_DIMS)
    return ThemeVectors(ids, vectors, np.zeros(N_DIMS, np.float32), len(rows))


def at_angles(name: str, *degrees: float) -> ThemeVectors:
    """Themes in one plane: the cosine of two is that of the angle between them."""
    turns = np.radians(degrees)
    return themes(name, [[float(np.cos(t)), float(np.sin(t)), 0.0, 0.0] for t in turns])


QUARTERS = st.lists(
    st.lists(st.floats(-1, 1, width=32), min_size=N_DIMS, max_size=N_DIMS), max_size=4
)
THRESHOLDS = st.tuples(st.floats(0, 1), st.floats(0, 1)).map(sorted)


@given(QUARTERS, QUARTERS, THRESHOLDS)
def test_links_are_all_pairs_from_the_threshold_nearest_first(
    before: list[list[float]], after: list[list[float]], thresholds: list[float]
) -> None:
    """Whatever carries a series on: every pair that is alike enough, once, with its cosine."""
    one, other = themes("2022Q1", before), themes("2022Q2", after)
    links = find_links(one, other, threshold=thresholds[0], series_threshold=thresholds[1])
    cosines = theme_cosines(one, other)
    expected = {
        (one.theme_ids[i], other.theme_ids[j]): pytest.approx(cosines[i, j])
        for i in range(len(before))
        for j in range(len(after))
        if cosines[i, j] >= thresholds[0]
    }
    assert {(link.before, link.after): link.cosine for link in links} == expected
    assert [link.cosine for link in links] == sorted((k.cosine for k in links), reverse=True)


@given(QUARTERS, QUARTERS, THRESHOLDS)
def test_matches_are_one_to_one_from_the_series_threshold_and_of_all_ways_the_best(
    before: list[list[float]], after: list[list[float]], thresholds: list[float]
) -> None:
    """No other way to match has cosines that exceed the series threshold by more in all."""
    low, high = thresholds
    one, other = themes("2022Q1", before), themes("2022Q2", after)
    links = find_links(one, other, threshold=low, series_threshold=high)
    matches = [link for link in links if link.is_match]
    assert len({m.before for m in matches}) == len({m.after for m in matches}) == len(matches)
    assert all(match.cosine >= np.float32(high) for match in matches)
    gained = sum(match.cosine - high for match in matches)
    assert gained == pytest.approx(best_gain(theme_cosines(one, other), high), abs=1e-5)


def best_gain(cosines: np.ndarray, threshold: float) -> float:
    """Of all ways to match rows with columns, tried one after the other."""
    gains = np.maximum(cosines - threshold, 0.0)
    if gains.shape[0] > gains.shape[1]:
        gains = gains.T
    n, m = gains.shape
    return max(float(gains[range(n), list(way)].sum()) for way in permutations(range(m), n))


@given(QUARTERS, QUARTERS, THRESHOLDS)
def test_a_lower_threshold_shows_more_and_matches_the_same(
    before: list[list[float]], after: list[list[float]], thresholds: list[float]
) -> None:
    """Which edges are shown changes no series."""
    one, other = themes("2022Q1", before), themes("2022Q2", after)
    low, high = thresholds
    many = find_links(one, other, threshold=low, series_threshold=high)
    few = find_links(one, other, threshold=high, series_threshold=high)
    assert [k for k in many if k.is_match] == [k for k in few if k.is_match]
    assert set(few) <= set(many)


def test_what_is_akin_is_linked_and_only_what_is_the_same_goes_on() -> None:
    """Between the thresholds there is an edge, and the theme begins a series of its own."""
    before, after = at_angles("2022Q1", 0, 90), at_angles("2022Q2", 30, 135)
    links = find_links(before, after, threshold=0.7, series_threshold=0.8)
    assert [(k.before[-3:], k.after[-3:], k.is_match) for k in links] == [
        ("000", "000", True),
        ("001", "001", False),
    ]
    series = carry_on(links, after.theme_ids, {"theme_2022Q1_000": "series_2022Q1_000"})
    assert series == {
        "theme_2022Q2_000": "series_2022Q1_000",
        "theme_2022Q2_001": "series_2022Q2_001",
    }


def test_both_parts_of_a_split_are_linked_and_the_nearer_one_goes_on() -> None:
    """Although both are near enough to go on."""
    before, after = at_angles("2022Q1", 0), at_angles("2022Q2", 20, -10)
    links = find_links(before, after, threshold=0.65, series_threshold=0.75)
    assert [(k.after[-3:], k.is_match) for k in links] == [("001", True), ("000", False)]


def test_the_nearest_pair_gives_way_where_two_others_gain_more() -> None:
    """Matching greedily would end a series that can go on."""
    before, after = at_angles("2022Q1", 0, -20), at_angles("2022Q2", -3, 30)
    links = find_links(before, after, threshold=0.5, series_threshold=0.8)
    matched = {(k.before[-3:], k.after[-3:]) for k in links if k.is_match}
    assert links[0] == Link("theme_2022Q1_000", "theme_2022Q2_000", links[0].cosine, False)
    assert matched == {("000", "001"), ("001", "000")}
