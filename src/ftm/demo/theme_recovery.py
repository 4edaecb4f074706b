"""How well planted topics come back as themes, and themes of successive quarters as series. Pure.

A theme stands for the planted topic that most of its sentences have, if those are at least
MIN_PURITY of them; a theme without such a topic stands for none, and every link to it is wrong.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from ftm.core.quarter import Quarter
from ftm.demo.firms import Scenario
from ftm.demo.recovery import adjusted_rand_index, planted_topics

MIN_PURITY = 0.5

PERSISTING = ("hiring", "capex", "currency", "acquisitions")
PARTS = ("carbon_emissions", "circular_packaging")
"""What is said in place of `sustainability`, once it has split."""
STORY_TOPICS = (*PERSISTING, "buybacks", "cyber_security", "sustainability")
"""Of `four_quarter_story`: `buybacks` end with the second quarter, `cyber_security` begins in the
third, in which `sustainability` splits."""


@dataclass(frozen=True, slots=True)
class ThemeRecovery:
    """Planted topics against the themes of a quarter.

    Args:
        n_sentences: sentences with a planted topic.
        n_themed: of these, in a theme.
        n_planted: planted topics among all of them.
        ari: adjusted Rand index over those in a theme.
        stands_for: theme → the planted topic it stands for, None for none.
    """

    n_sentences: int
    n_themed: int
    n_planted: int
    ari: float
    stands_for: Mapping[str, str | None]

    @property
    def themed_share(self) -> float:
        """Of the sentences with a planted topic; 0 for none."""
        return self.n_themed / self.n_sentences if self.n_sentences else 0.0


@dataclass(frozen=True, slots=True)
class ThemeLink:
    """A link that `ftm link` made, as THEME_LINKS has it."""

    theme_from: str
    theme_to: str
    is_match: bool


@dataclass(frozen=True, slots=True)
class Rates:
    """What was found against what is true.

    Args:
        n_true: there are.
        n_found: were found.
        n_right: of those found, true.
        n_recalled: of the true, found.
    """

    n_true: int
    n_found: int
    n_right: int
    n_recalled: int

    @property
    def precision(self) -> float:
        """1 where nothing was found."""
        return self.n_right / self.n_found if self.n_found else 1.0

    @property
    def recall(self) -> float:
        """1 where there is nothing to find."""
        return self.n_recalled / self.n_true if self.n_true else 1.0

    def __add__(self, other: Rates) -> Rates:
        return Rates(
            self.n_true + other.n_true,
            self.n_found + other.n_found,
            self.n_right + other.n_right,
            self.n_recalled + other.n_recalled,
        )


def measure_themes(truth: pa.Table, found: pa.Table) -> ThemeRecovery:
    """Planted topics against themes, sentence by sentence.

    Sentences are matched by firm and text, as `recovery.measure_recovery` does.

    Args:
        truth: schema demo.firm_rows.TRUTH, of one quarter.
        found: columns firm_id, raw_text, theme_id (null in none).
    """
    planted = planted_topics(truth)
    pairs: list[tuple[str, str | None]] = [
        (topic, row["theme_id"])
        for row in found.select(["firm_id", "raw_text", "theme_id"]).to_pylist()
        if (topic := planted.get((row["firm_id"], row["raw_text"]))) is not None
    ]
    themed = [(topic, theme) for topic, theme in pairs if theme is not None]
    counts: dict[str, Counter[str]] = {}
    for topic, theme in themed:
        counts.setdefault(theme, Counter())[topic] += 1
    return ThemeRecovery(
        n_sentences=len(pairs),
        n_themed=len(themed),
        n_planted=len({topic for topic, _ in pairs}),
        ari=adjusted_rand_index([t for t, _ in themed], [t for _, t in themed]),
        stands_for={theme: _majority(counts[theme]) for theme in sorted(counts)},
    )


def _majority(counts: Counter[str]) -> str | None:
    topic, n = min(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    return topic if n >= MIN_PURITY * counts.total() else None


def measure_matches(
    before: Mapping[str, str | None], after: Mapping[str, str | None], links: Iterable[ThemeLink]
) -> Rates:
    """The one-to-one matches of two successive quarters, by planted topic.

    True is what goes on: a planted topic with a theme in both quarters. It is recalled if a match
    joins two of its themes. A match is right if both ends stand for one topic.

    Args:
        before: theme of the earlier quarter → what it stands for.
        after: likewise of the later one.
        links: between them.
    """
    true = {t for t in before.values() if t is not None} & set(after.values())
    joined = [
        (before.get(link.theme_from), after.get(link.theme_to)) for link in links if link.is_match
    ]
    right = [one for one, other in joined if one is not None and one == other]
    return Rates(len(true), len(joined), len(right), len(true & set(right)))


def measure_edges(
    before: Mapping[str, str | None],
    after: Mapping[str, str | None],
    links: Iterable[ThemeLink],
    *,
    scenario: Scenario,
    quarter: Quarter,
) -> Rates:
    """All edges of two successive quarters, by pair of themes.

    True are pairs of one planted topic, and of a topic that splits in the later quarter with
    each of its parts.

    Args:
        before: theme of the earlier quarter → what it stands for.
        after: likewise of the later one.
        links: between them.
        scenario: what splits.
        quarter: the later one.
    """
    parts = split_parts(scenario, quarter)
    true = {
        (one, other)
        for one, topic in before.items()
        for other, later in after.items()
        if topic is not None and (topic == later or later in parts.get(topic, ()))
    }
    found = {(link.theme_from, link.theme_to) for link in links}
    return Rates(len(true), len(found), len(true & found), len(true & found))


def split_parts(scenario: Scenario, quarter: Quarter) -> dict[str, tuple[str, ...]]:
    """Topics that are said in parts from this quarter on, and their parts."""
    return {t: parts for t, (since, parts) in scenario.splits.items() if since == quarter}


def topics_in_one_series(
    stands_for: Sequence[Mapping[str, str | None]], series: Sequence[Mapping[str, str]]
) -> dict[str, bool]:
    """Of planted topics with a theme in every quarter: whether one series has one in each.

    Args:
        stands_for: theme → its planted topic, quarter by quarter.
        series: theme → its series, likewise.
    """
    found: dict[str, list[set[str]]] = {}
    for themes, ids in zip(stands_for, series, strict=True):
        here: dict[str, set[str]] = {}
        for theme, topic in themes.items():
            if topic is not None:
                here.setdefault(topic, set()).add(ids[theme])
        for topic, some in here.items():
            found.setdefault(topic, []).append(some)
    return {
        topic: bool(set.intersection(*each))
        for topic, each in sorted(found.items())
        if len(each) == len(stands_for)
    }


def four_quarter_story(quarters: Sequence[Quarter]) -> Scenario:
    """Some of STORY_TOPICS persist; in the third quarter others have ended, begin or split.

    Args:
        quarters: four, in time.
    """
    _, second, third, _ = quarters
    windows = {"buybacks": (None, second), "cyber_security": (third, None)}
    return Scenario(windows, {"sustainability": (third, PARTS)})
