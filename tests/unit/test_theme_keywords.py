"""Keywords of themes: BERTopic's formula, words that two firms say, phrases before their words."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise, permutations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ftm.topics import theme_keywords
from ftm.topics.keywords import class_tfidf
from ftm.topics.theme_keywords import ThemeText

Spoken = list[tuple[int, str]]
"""(row of the topic, cleaned sentence)."""


def collect(spoken: Spoken, *, block: int = 100) -> ThemeText:
    """Sentences added so many at a time."""
    text = ThemeText()
    for start in range(0, max(len(spoken), 1), block):
        some = spoken[start : start + block]
        rows = np.array([topic for topic, _ in some], np.int64)
        text.add(pa.chunked_array([[said for _, said in some]], pa.string()), rows)
    return text


def keywords(
    spoken: Spoken, themes: list[int], firms: list[int] | None = None, *, block: int = 100
) -> list[tuple[str, ...]]:
    """Keywords of themes; every topic is of another firm unless said, centroids by theme."""
    own = np.array(firms if firms is not None else range(len(themes)), np.int64)
    centroids = np.eye(8, dtype=np.float32)[[theme % 8 for theme in themes]]
    text = collect(spoken, block=block)
    return text.keywords(np.array(themes, np.int64), own, centroids)


EXAMPLE: Spoken = [
    (0, "freight cost port"),
    (0, "freight port port"),
    (1, "port delay freight"),
    (1, "cost delay"),
    (2, "hiring wage cost"),
    (3, "wage hiring wage"),
    (3, "bonus wage"),
    (4, "bonus cost freight"),
    (4, "wage"),
]
EXAMPLE_THEMES = [0, 0, 1, 1, -1]


def test_scores_are_those_of_class_tfidf() -> None:
    """Over terms of two topics; what only one firm of a theme says counts, but scores 0."""
    themes = np.array(EXAMPLE_THEMES)
    counts = theme_keywords._count_terms(
        theme_keywords._concat((text := collect(EXAMPLE))._blocks),
        n_words=len(text._vocabulary),
        n_topics=5,
    )
    names = list(text._vocabulary)
    scored = theme_keywords._score(counts, themes, np.arange(5))
    found = {
        (theme_keywords._spell(int(key // 3), counts, names), int(key % 3)): float(score)
        for key, score in zip(scored.keys, scored.scores, strict=True)
    }

    per_topic: list[Counter[str]] = [Counter() for _ in themes]
    for topic, said in EXAMPLE:
        words = said.split()
        per_topic[topic].update(words + [f"{a} {b}" for a, b in pairwise(words)])
    n_topics = Counter(term for counter in per_topic for term in counter)
    terms = sorted(term for term, n in n_topics.items() if n >= 2)
    totals = np.array(
        [
            [sum(per_topic[t][term] for t in np.flatnonzero(themes == c)) for term in terms]
            for c in (0, 1, -1)
        ],
        float,
    )
    expected = class_tfidf(totals)
    assert {term for term, _ in found} == set(terms)
    for (term, theme), score in found.items():
        topics = np.flatnonzero(themes == (theme if theme < 2 else -1))
        said_by = sum(per_topic[t][term] > 0 for t in topics)
        wanted = expected[theme, terms.index(term)] if said_by >= 2 else 0.0
        assert score == pytest.approx(wanted, rel=1e-12), (term, theme)


def test_what_one_firm_alone_says_is_no_keyword() -> None:
    """In two of its topics or a hundred times; said by another firm of the theme, it is one."""
    spoken = [(0, "price widgetron")] * 20 + [(1, "price widgetron")] * 20 + [(2, "price")]
    assert keywords(spoken, [0, 0, 0], firms=[0, 0, 1]) == [("price",)]
    assert "widgetron" in " ".join(keywords(spoken, [0, 0, 0], firms=[0, 1, 2])[0])


def test_firms_of_other_themes_do_not_make_a_keyword() -> None:
    """Two firms say it, but only one of them in this theme."""
    spoken = [(0, "price gadget"), (1, "price"), (2, "wage gadget"), (3, "wage")]
    assert keywords(spoken, [0, 0, 1, 1]) == [("price",), ("wage",)]


def test_a_term_of_one_topic_is_not_in_the_vocabulary() -> None:
    """It takes nothing from the scores of others either."""
    plain = [(0, "price"), (1, "price"), (2, "wage"), (3, "wage")]
    more = [*plain, *((0, f"only{i}here") for i in range(50))]
    assert keywords(more, [0, 0, 1, 1]) == keywords(plain, [0, 0, 1, 1])


def test_phrases_beat_their_words() -> None:
    """`supply chain` is a keyword; `supply` and `chain`, always said in it, stand aside."""
    spoken = [(t, "supply chain delay") for t in (0, 1, 2)] + [(3, "wage"), (4, "wage")]
    (first, _) = keywords(spoken, [0, 0, 0, 1, 1])
    assert "supply chain" in first
    assert not {"supply", "chain"} & set(first)


def test_a_word_that_is_mostly_said_alone_stays() -> None:
    """And two words that meet by chance are no phrase."""
    spoken = [(t, said) for t in (0, 1) for said in ["port"] * 9 + ["port freight"] + ["freight"]]
    (first,) = keywords(spoken, [0, 0])
    assert set(first) == {"port", "freight"}


def test_words_do_not_join_across_sentences() -> None:
    """The end of one sentence and the beginning of the next are no pair."""
    spoken = [(t, said) for t in (0, 1) for said in ("see supply", "chain see") * 3]
    assert "supply chain" not in keywords(spoken, [0, 0])[0]


def test_equal_scores_come_in_alphabetical_order() -> None:
    """Whatever was read first."""
    words = ["pear", "fig", "quince", "apple", "medlar", "olive"]
    spoken = [(t, word) for word in words for t in (0, 1)]
    assert keywords(spoken, [0, 0]) == [tuple(sorted(words))]
    assert keywords(spoken[::-1], [0, 0]) == [tuple(sorted(words))]


def test_of_equal_scores_the_shortlist_takes_the_first_by_spelling() -> None:
    """More terms than are looked at, all alike: the same ones whatever was read first."""
    words = [f"word{i:03d}" for i in range(theme_keywords.SHORTLIST + 30)]
    spoken = [(t, word) for word in words for t in (0, 1)]
    expected = [tuple(words[:10])]
    assert keywords(spoken, [0, 0]) == expected
    assert keywords(spoken[::-1], [0, 0]) == expected


@settings(max_examples=25)
@given(st.randoms(use_true_random=False), st.integers(1, 9))
def test_neither_order_nor_blocks_change_keywords(rng: object, block: int) -> None:
    """Chunks may come in any order and any size."""
    spoken = list(EXAMPLE)
    rng.shuffle(spoken)  # type: ignore[attr-defined]
    expected = keywords(EXAMPLE, EXAMPLE_THEMES)
    assert keywords(spoken, EXAMPLE_THEMES, block=block) == expected


def test_the_number_of_a_theme_does_not_change_its_keywords() -> None:
    """Only its place in the list."""
    spoken = [*EXAMPLE, (4, "tariff"), (5, "tariff bonus")]
    expected = keywords(spoken, [0, 0, 1, 1, 2, 2])
    for order in permutations(range(3)):
        themes = [order[theme] for theme in (0, 0, 1, 1, 2, 2)]
        found = keywords(spoken, themes)
        assert [found[place] for place in order] == expected


@pytest.mark.parametrize(
    ("spoken", "themes", "expected"),
    [
        ([], [0, 0], [()]),
        ([(0, ""), (1, "a b ! 7")], [0, 0], [()]),
        ([(0, "price"), (1, "wage")], [0, 0], [()]),
        ([(0, "price"), (1, "price")], [0, 0, 1, 1], [("price",), ()]),
        ([(0, "price"), (1, "price")], [-1, -1], []),
    ],
    ids=["no-sentence", "no-word", "no-term", "one-theme-without", "no-theme"],
)
def test_a_theme_without_a_term_has_no_keyword(
    spoken: Spoken, themes: list[int], expected: list[tuple[str, ...]]
) -> None:
    """An empty one, not an error, and no other theme loses by it."""
    assert keywords(spoken, themes) == expected


def test_case_and_punctuation_are_not_told_apart() -> None:
    """Words are runs of two letters or digits, of any alphabet, in lower case."""
    spoken = [(0, "Café—Tariff's x"), (1, "café tariff's"), (0, "O2 naïve"), (1, "o2 NAÏVE")]
    assert set(" ".join(keywords(spoken, [0, 0])[0]).split()) == {"café", "tariff", "naïve", "o2"}
