"""Names of keywords: plain, deterministic, honest about what they are."""

import dataclasses

from ftm.naming.base import Name
from ftm.naming.keywords import KeywordNamer
from tests.support.naming import theme, topic


def test_themes_are_named_by_their_first_keywords() -> None:
    """Four in the name, up to ten in the description."""
    with KeywordNamer() as namer:
        names = namer.name_all([theme(7)], done=lambda _: None)
    assert names == [
        Name(
            "theme",
            "theme_2023Q1_007",
            "backlog, order, demand, book",
            "Topics about backlog, order, demand, book, bill",
            "keywords",
        )
    ]


def test_keywords_that_repeat_a_word_are_not_in_the_name() -> None:
    """As in the topics' own representation."""
    item = dataclasses.replace(theme(), keywords=("tax", "tax rate", "rate"))
    name = KeywordNamer().name_all([item], done=lambda _: None)[0]
    assert name.name == "tax, rate"
    assert name.description == "Topics about tax, tax rate, rate"


def test_a_topics_summary_is_its_representation() -> None:
    """As the map stage wrote it; without one, the keywords."""
    items = [topic(parts=("demand, backlog",)), topic()]
    names = KeywordNamer().name_all(items, done=lambda _: None)
    assert [name.description for name in names] == ["demand, backlog", "backlog, demand"]


def test_without_keywords_there_is_still_a_name() -> None:
    """Names are never empty."""
    items = [dataclasses.replace(item, keywords=("", " ")) for item in (theme(), topic())]
    told: list[int] = []
    names = KeywordNamer().name_all(items, done=told.append)
    assert {name.name for name in names} == {"(no keywords)"}
    assert all(name.description for name in names)
    assert told == [1, 1]
