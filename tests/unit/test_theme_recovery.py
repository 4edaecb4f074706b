"""How themes and links are measured against what was planted."""

from __future__ import annotations

import pyarrow as pa
import pytest

from ftm.core.quarter import Quarter
from ftm.demo.firm_rows import TRUTH
from ftm.demo.firms import Scenario
from ftm.demo.theme_recovery import (
    Rates,
    ThemeLink,
    measure_edges,
    measure_matches,
    measure_themes,
    topics_in_one_series,
)

Q3 = Quarter(2022, 3)


def tables(*rows: tuple[str, str | None, str | None]) -> tuple[pa.Table, pa.Table]:
    """Truth and themes of sentences: (text, planted topic, theme found)."""
    head = {"quarter": "2022Q3", "transcript_id": "1", "component_order": 0, "kind": "content"}
    planted = [
        {**head, "firm_id": "A", "ordinal": i, "text": text, "topic": topic}
        for i, (text, topic, _) in enumerate(rows)
    ]
    found = [{"firm_id": "A", "raw_text": text, "theme_id": theme} for text, _, theme in rows]
    kinds = pa.schema([(name, pa.string()) for name in ("firm_id", "raw_text", "theme_id")])
    return pa.Table.from_pylist(planted, TRUTH), pa.Table.from_pylist(found, kinds)


def test_a_theme_stands_for_what_most_of_its_sentences_are_about() -> None:
    """Half of them are enough, less are not; sentences without a topic do not count."""
    made = measure_themes(
        *tables(
            ("a", "x", "t0"), ("b", "x", "t0"), ("c", "y", "t0"), ("d", None, "t0"),
            ("e", "y", "t1"), ("f", "z", "t1"),
            ("g", "x", "t2"), ("h", "y", "t2"), ("i", "z", "t2"),
            ("j", "z", None),
        )
    )  # fmt: skip
    assert made.stands_for == {"t0": "x", "t1": "y", "t2": None}
    assert (made.n_sentences, made.n_themed, made.n_planted) == (9, 8, 3)
    assert made.themed_share == pytest.approx(8 / 9)
    assert made.ari < 0.2


def test_themes_that_are_the_planted_topics_score_one() -> None:
    """And shifted by one sentence, less."""
    rows = [(f"s{i}", "xy"[i // 3], f"t{i // 3}") for i in range(6)]
    assert measure_themes(*tables(*rows)).ari == 1.0
    rows[0] = ("s0", "x", "t1")
    assert measure_themes(*tables(*rows)).ari < 0.5


def test_nothing_said_is_nothing_found() -> None:
    """Empty in, zeros out."""
    made = measure_themes(*tables())
    assert (made.n_sentences, made.themed_share, made.stands_for) == (0, 0.0, {})


BEFORE = {"a0": "x", "a1": "y", "a2": "y", "a3": None, "a4": "gone"}
AFTER = {"b0": "x", "b1": "y", "b2": "part1", "b3": "part2", "b4": None}


def test_a_match_is_right_where_both_ends_stand_for_one_topic() -> None:
    """Recall counts planted topics: of two themes of a topic one that goes on is enough."""
    links = [
        ThemeLink("a0", "b0", True), ThemeLink("a2", "b1", True), ThemeLink("a3", "b4", True),
        ThemeLink("a1", "b1", False),
    ]  # fmt: skip
    rates = measure_matches(BEFORE, AFTER, links)
    assert rates == Rates(n_true=2, n_found=3, n_right=2, n_recalled=2)
    assert (rates.precision, rates.recall) == (pytest.approx(2 / 3), 1.0)
    crossed = [ThemeLink("a0", "b1", True), ThemeLink("a1", "b0", True)]
    assert measure_matches(BEFORE, AFTER, crossed) == Rates(2, 2, 0, 0)


def test_edges_to_the_parts_of_a_split_are_true_in_its_quarter_only() -> None:
    """Every pair of themes of one topic is one edge, and of a parent with each part."""
    scenario = Scenario(splits={"y": (Q3, ("part1", "part2"))})
    links = [ThemeLink("a1", "b1", True), ThemeLink("a1", "b2", False), ThemeLink("a0", "b3", True)]
    rates = measure_edges(BEFORE, AFTER, links, scenario=scenario, quarter=Q3)
    assert rates == Rates(n_true=1 + 2 + 4, n_found=3, n_right=2, n_recalled=2)
    later = measure_edges(BEFORE, AFTER, links, scenario=scenario, quarter=Q3.next())
    assert later == Rates(n_true=3, n_found=3, n_right=1, n_recalled=1)


def test_rates_add_up() -> None:
    """Of several pairs of quarters; nothing to find is no miss."""
    total = Rates(2, 3, 2, 1) + Rates(2, 1, 1, 1)
    assert (total.precision, total.recall) == (0.75, 0.5)
    assert (Rates(0, 0, 0, 0).precision, Rates(0, 0, 0, 0).recall) == (1.0, 1.0)


def test_a_topic_lies_in_one_series_if_one_has_a_theme_of_it_in_every_quarter() -> None:
    """Topics that are missing in a quarter are not asked about."""
    stands_for = [{"a": "x", "b": "y"}, {"c": "x", "d": "x", "e": "y"}, {"f": "x", "g": "y"}]
    series = [{"a": "s0", "b": "s1"}, {"c": "s9", "d": "s0", "e": "s1"}, {"f": "s0", "g": "s7"}]
    assert topics_in_one_series(stands_for, series) == {"x": True, "y": False}
    stands_for[2] = {"f": "x", "g": None}
    assert topics_in_one_series(stands_for, series) == {"x": True}
