"""The templates of synthetic sentences."""

from __future__ import annotations

import re
from itertools import product
from random import Random

import pytest

from ftm.demo.phrasebook import SECTORS, Speaker, load_phrasebook

BOOK = load_phrasebook()
FILLING = {
    "company": "Alder Stores Inc",
    "fiscal": "Q4 2022",
    "year": "2023",
    "this_year": "2023",
    "date": "March 1",
    "daytime": "morning",
    "name": ("Ines Novak",),
    "surname": ("Novak",),
}


def test_there_are_many_topics_and_every_sector_has_its_own() -> None:
    """At least 25, and two or more for each sector besides the shared ones."""
    assert len(BOOK.topics) >= 25
    for sector in SECTORS:
        own, shared = BOOK.suiting(sector)
        assert len(own) >= 2
        assert len(own) + len(shared) >= 10


@pytest.mark.parametrize("topic", sorted(BOOK.topics))
def test_a_topic_has_hundreds_of_skeletons(topic: str) -> None:
    """Cores with a cause, a result, or both: 384 at least, before frames, fillers and numbers."""
    phrases = BOOK.topics[topic].phrases
    cores, causes, results = (set(phrases[part]) for part in ("cores", "causes", "results"))
    skeletons = set(product(cores, causes | {""}, results | {""})) - set(product(cores, [""], [""]))
    assert len(skeletons) >= 384
    assert BOOK.topics[topic].suits("health") == (
        bool({"any", "health"} & set(BOOK.topics[topic].sectors))
    )


@pytest.mark.parametrize("topic", sorted(BOOK.topics))
def test_every_template_can_be_filled(topic: str) -> None:
    """No slot is left open, whatever is drawn; sentences are capitalised and end."""
    speaker = Speaker(Random(1), FILLING, BOOK)
    for _ in range(300):
        text = speaker.statement(topic)
        assert not re.search(r"[{}]|  |,,|\.\.", text), text
        assert text[0].upper() == text[0]
        assert text.endswith(".")
    assert all(speaker.question(topic).endswith("?") for _ in range(20))
    assert all(speaker.reply(topic).endswith(".") for _ in range(20))


def test_sentences_hold_what_preprocessing_has_rules_for() -> None:
    """Money, percents, numbers, dates, names and abbreviations all occur."""
    speaker = Speaker(Random(2), FILLING, BOOK)
    text = " ".join(speaker.statement(topic) for topic in BOOK.topics for _ in range(40))
    for pattern in (
        r"\$\d",
        r"\d%",
        r"\d percent",
        r"March 1\b",
        r"Ines Novak",
        r"Mr\. ",
        r"U\.S\.",
    ):
        assert re.search(pattern, text), pattern
