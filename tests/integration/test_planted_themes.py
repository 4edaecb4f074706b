"""Planted topics over four quarters, with real embeddings: themes and links come back.

Topics persist, begin, end and split (`four_quarter_story`). Few firms and short calls, for time:
at this size not every topic becomes a theme in every quarter. Measured: index 0.78 on average
(0.59 to 0.90), 0.44 of sentences in themes, 9 of 9 matches right, 9 of 11 edges found, all right.
"""

from __future__ import annotations

from itertools import pairwise

import pytest

from ftm.core.quarter import Quarter
from ftm.demo.theme_recovery import Rates, four_quarter_story, measure_edges, measure_matches
from ftm.reduce.link_quarters import link_quarters
from ftm.storage.object_store import open_store
from tests.support.planted_quarters import PlantedQuarters, publish_planted_quarters

pytestmark = pytest.mark.xdist_group("models")

QUARTERS = Quarter.parse_range("2022Q1..2022Q4")
STORY = four_quarter_story(QUARTERS)
NOTHING = Rates(0, 0, 0, 0)


@pytest.fixture(scope="module")
def planted() -> PlantedQuarters:
    """Four published quarters."""
    return publish_planted_quarters(
        open_store("memory://"), QUARTERS, scenario=STORY, n_firms=14, n_sentences=40
    )


def linked(planted: PlantedQuarters, **threshold: float) -> tuple[Rates, Rates]:
    """Link all quarters anew; matches and edges against what was planted."""
    link_quarters(planted.store, QUARTERS, redo_from=QUARTERS[0], **threshold)
    found = {quarter: planted.recovery(quarter).stands_for for quarter in QUARTERS}
    matches, edges = NOTHING, NOTHING
    for before, after in pairwise(QUARTERS):
        links = planted.links(after)
        matches += measure_matches(found[before], found[after], links)
        edges += measure_edges(found[before], found[after], links, scenario=STORY, quarter=after)
    return matches, edges


@pytest.mark.slow
def test_planted_topics_come_back_as_themes(planted: PlantedQuarters) -> None:
    """Adjusted Rand index of 0.65 on average, a third of the sentences in themes; what begins."""
    found = [planted.recovery(quarter) for quarter in QUARTERS]
    assert sum(each.ari for each in found) / len(found) >= 0.65
    assert sum(each.themed_share for each in found) / len(found) >= 1 / 3
    early, late = (
        {*found[0].stands_for.values(), *found[1].stands_for.values()},
        {*found[2].stands_for.values(), *found[3].stands_for.values()},
    )
    assert {"buybacks", "climate_goals"} <= early - late
    assert "cyber_security" in late - early
    # At this size only one part of the split may be a theme.
    assert {"wind_solar", "electric_vehicles"} & (late - early)


@pytest.mark.slow
def test_links_are_right_and_few_are_missed(planted: PlantedQuarters) -> None:
    """Precision 0.9, recall 0.8 of matches; 0.9, 0.7 of edges; a threshold of 0.99 has none."""
    matches, edges = linked(planted)
    assert matches.n_true >= 6
    assert (matches.precision >= 0.9, matches.recall >= 0.8) == (True, True), matches
    assert (edges.precision >= 0.9, edges.recall >= 0.7) == (True, True), edges
    assert linked(planted, threshold=0.99)[0].recall < 0.2
