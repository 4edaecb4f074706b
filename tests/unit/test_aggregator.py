"""Which groups of topics are themes, in what order, and what their tables say."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftm.core.schemas import FIRM_TOPICS, THEME_CONTRIBUTIONS, THEMES
from ftm.reduce.aggregator import (
    FirmTopics,
    ThemeAggregator,
    ThemeRules,
    contributions_table,
    cosines_to,
    firm_topics,
    is_theme,
    theme_id,
    themes_table,
)
from ftm.storage.parquet import from_rows
from tests.support.planted_run import topic_row


def made_topics(
    firms: Sequence[int], *, sizes: Sequence[int] | None = None, seed: int = 0
) -> FirmTopics:
    """One topic per entry: its firm, and how many sentences it has; rows in no order."""
    local: dict[int, int] = {}
    rows = []
    for i, firm in enumerate(firms):
        local[firm] = local.get(firm, -1) + 1
        size = sizes[i] if sizes else 6
        rows.append(topic_row(firm, local[firm], n_sentences=size))
    np.random.default_rng(seed).shuffle(rows)
    return firm_topics(from_rows(rows, FIRM_TOPICS))


def assign(topics: FirmTopics, labels: Sequence[int], rules: ThemeRules | None = None) -> list[int]:
    """Themes of topics that are clustered so."""
    aggregator = ThemeAggregator(lambda _rows, _n: np.array(labels, np.intp), rules)
    return aggregator.assign(topics).tolist()


@pytest.mark.parametrize(
    ("firms", "expected"),
    [
        ((1, 1, 1), False),
        ((1, 2), False),
        ((1, 2, 3), True),
        ((1, 1, 2, 2, 3), True),
        ((1, 1, 1, 2, 3), False),
        ((1, 1, 1, 2, 2, 3, 3), False),
        ((1, 1, 1, 1, 2, 2, 2, 3, 3, 3), True),
        ((1,) * 2000 + (2,) * 2000 + (3,) * 1000, True),
        ((1,) * 2001 + (2,) * 1999 + (3,) * 1000, False),
    ],
    ids=lambda value: None if isinstance(value, bool) else f"{len(value)}-topics",
)
def test_two_firms_and_none_over_forty_per_cent(firms: tuple[int, ...], expected: bool) -> None:
    """Exactly 40 % stays (2 of 5, 4 of 10, 2,000 of 5,000); 3 of 7 or one topic more goes."""
    assert is_theme(np.array(firms), ThemeRules()) is expected


@given(
    st.lists(st.integers(0, 5), min_size=1, max_size=60),
    st.integers(1, 4),
    st.integers(1, 100),
)
def test_the_rules_are_those_of_whole_numbers(firms: list[int], least: int, per_cent: int) -> None:
    """Whatever a share is as a floating-point number: count * 100 <= percent * topics."""
    counts = [firms.count(firm) for firm in set(firms)]
    expected = len(counts) >= least and max(counts) * 100 <= per_cent * len(firms)
    assert is_theme(np.array(firms), ThemeRules(least, per_cent / 100)) is expected


def test_themes_are_numbered_by_topics_then_sentences_then_first_topic() -> None:
    """Whatever labels the clustering gave them; a group that is no theme takes no number."""
    firms = [0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3]
    #        A  B  C  D  X  A  B  C  D  A  B  C  D  C  X  X
    labels = [7, 5, 2, 9, 0, 7, 5, 2, 9, 7, 5, 2, 9, 2, 0, -1]
    sizes = [6] * 16
    sizes[10] = 7  # B has a sentence more than A and D
    topics = made_topics(firms, sizes=sizes)
    # C: four topics; B: more sentences than A and D; A: comes before D.
    numbers = {2: 0, 5: 1, 7: 2, 9: 3, 0: -1, -1: -1}
    assert assign(topics, labels) == [numbers[label] for label in labels]


def test_topics_of_groups_that_are_no_themes_are_in_none() -> None:
    """One firm's group and what the clustering left out alike: -1, and a null theme_id."""
    topics = made_topics([0, 0, 0, 1, 2])
    found = assign(topics, [1, 0, 0, 1, 1])
    assert found == [0, -1, -1, 0, 0]
    table = contributions_table(topics, np.array(found), quarter="2023Q1")
    assert table.schema == THEME_CONTRIBUTIONS
    one = theme_id("2023Q1", 0)
    assert table["theme_id"].to_pylist() == [one, None, None, one, one]
    assert table["topic_id"].to_pylist() == topics.table["topic_id"].to_pylist()


def test_rules_come_from_the_settings() -> None:
    """A single firm's theme can be asked for; the clustering is told how many firms there are."""
    seen = []

    def cluster(_rows: np.ndarray, n_firms: int) -> np.ndarray:
        seen.append(n_firms)
        return np.zeros(3, np.intp)

    topics = made_topics([4, 4, 9])
    assert ThemeAggregator(cluster, ThemeRules(1, 1.0)).assign(topics).tolist() == [0, 0, 0]
    assert seen == [2]


def test_without_topics_there_are_typed_empty_tables() -> None:
    """Nothing is clustered, and readers find columns of the right types."""
    topics = firm_topics(FIRM_TOPICS.empty_table())

    def never(_rows: np.ndarray, _n: int) -> np.ndarray:
        raise AssertionError("nothing to cluster")

    themes = ThemeAggregator(never).assign(topics)
    assert (themes.shape, topics.n_firms) == ((0,), 0)
    assert themes_table(topics, themes, [], quarter="2023Q1").equals(THEMES.empty_table())
    table = contributions_table(topics, themes, quarter="2023Q1")
    assert table.equals(THEME_CONTRIBUTIONS.empty_table())


def test_a_theme_sums_up_its_topics() -> None:
    """Counts, mean centroid and the mean cosine to it; keywords as given."""
    topics = made_topics([0, 0, 1, 2], sizes=[6, 9, 4, 5])
    themes = np.array([0, -1, 0, 0])
    (row,) = themes_table(topics, themes, [("price", "cost")], quarter="2023Q1").to_pylist()
    inside = topics.centroids[themes == 0]
    assert {k: row[k] for k in ("theme_id", "n_topics", "n_firms", "n_sentences", "keywords")} == {
        "theme_id": "theme_2023Q1_000",
        "n_topics": 3,
        "n_firms": 3,
        "n_sentences": 15,
        "keywords": ["price", "cost"],
    }
    centre = inside.mean(axis=0)
    np.testing.assert_allclose(row["centroid"], centre, rtol=1e-6)
    cosines = inside @ centre / np.linalg.norm(inside, axis=1) / np.linalg.norm(centre)
    assert row["cohesion"] == pytest.approx(cosines.mean(), rel=1e-6)


def test_topics_are_sorted_whatever_order_their_parts_have() -> None:
    """By firm, then number: topic 10 after topic 9."""
    topics = made_topics([3] * 12 + [1, 1], seed=4)
    assert topics.table["topic_id"].to_pylist() == [
        "100001_0",
        "100001_1",
        *(f"100003_{i}" for i in range(12)),
    ]
    assert topics.firms.tolist() == [0, 0] + [1] * 12
    again = made_topics([3] * 12 + [1, 1], seed=5)
    assert again.centroids.tobytes() == topics.centroids.tobytes()


def test_a_vector_of_zeros_has_cosine_zero() -> None:
    """To anything, and anything to it: no warning and no NaN."""
    rows = np.array([[0, 0], [3, 4]], np.float32)
    assert cosines_to(rows, np.array([3, 4], np.float32)).tolist() == [0, 1]
    assert cosines_to(rows, np.zeros(2, np.float32)).tolist() == [0, 0]
