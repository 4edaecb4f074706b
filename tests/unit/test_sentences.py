"""Sentence boundaries, entities and cleaned words of the rules."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftm.text.characters import pieces, readable
from ftm.text.entities import find_entities, token_class
from ftm.text.lemmas import lemma_table
from ftm.text.sentences import sentence_starts


def split(text: str) -> list[str]:
    """The sentences of a text."""
    starts = [*sentence_starts(text), len(text)]
    return [text[a:b].strip() for a, b in pairwise(starts)]


@pytest.mark.parametrize(
    "sentences",
    [
        ["We grew.", "Margins rose."],
        ["Apple Inc. We sold it."],
        ["U.S. Steel Corp. Chief said so.", "We agree."],
        ["Mr. Smith met Dr. Jones.", "They spoke."],
        ["Growth, e.g. in Asia, was 3.5% vs. 2.1% last year.", "Good."],
        ["It is No. 5 in the market.", "We like it."],
        ["The answer is no.", "We will not."],
        ["approx. 50 stores opened.", "More will."],
        ["J. P. Morgan and J.P. Morgan Chase.", "Both banks."],
        ["That was in Q1.", "Then came Q2."],
        ["The call is at 9 a.m. Eastern Time.", "Join us."],
        ["We left at 5 p.m.", "Then we ate."],
        ["Really?!", "Yes!", "Fine..."],
        ["Well... and so we waited... I think."],
        ["It fell...", "Then it rose."],
        ['He said "we won."', "Then he left."],
        ["(It was flat.)", "Next year is better."],
        ["We have three.", "[indiscernible] is one."],
        ["We sell to L.P. Hartley."],
        ["It was 3.5.", "Then 4.5."],
        ["1. Revenue grew."],
        ["Revenue was in 2016.", "2017 will be better."],
        ["no punctuation at all here"],
        ["we grew.", "margins rose."],
        ["Costs fell.", "iPhone sales rose."],
        ["In the U.S.", "We grew."],
        ["for the quarter.", "We expect more."],
        ["Sales, marketing, etc. were flat."],
        ["We hired Smith Jr. to lead."],
    ],
)  # fmt: skip
def test_sentences_end_where_a_reader_ends_them(sentences: list[str]) -> None:
    """Abbreviations, initials, decimals and quotes do not cut; full stops do."""
    expected = sentences
    if sentences == ["Apple Inc. We sold it."]:
        expected = ["Apple Inc.", "We sold it."]
    assert split(" ".join(sentences)) == expected


def test_a_newline_always_ends_a_sentence() -> None:
    """Component text has newlines between paragraphs, with or without a full stop."""
    assert split("no stop here\nNext line. And more\n\n  last") == [
        "no stop here", "Next line.", "And more", "last",
    ]  # fmt: skip


def test_a_missing_blank_after_the_stop_is_bridged() -> None:
    """'the quarter.We expect' is two sentences; 'Booking.com' and 'e.Max' are not."""
    assert split("for the quarter.We expect Booking.com and e.Max to grow.") == [
        "for the quarter.", "We expect Booking.com and e.Max to grow.",
    ]  # fmt: skip


@pytest.mark.parametrize("text", ["", " ", "\n\n", " \n "])
def test_blank_text_has_no_sentence(text: str) -> None:
    """Empty in, empty out."""
    assert sentence_starts(text) == []


@pytest.mark.parametrize("junk", [". " * 200_000, "." * 400_000, ".)" * 200_000, "a" * 400_000])
def test_splitting_stays_linear_on_hostile_text(junk: str) -> None:
    """Runs of stops and endless words finish (a quadratic rule would run into the timeout)."""
    starts = sentence_starts(junk)
    assert starts[0] == 0
    assert starts == sorted(set(starts))


@given(st.text(st.characters(exclude_categories=())))
def test_readable_text_can_be_stored(text: str) -> None:
    """Anything encodes as UTF-8 afterwards, holds no NUL, and is its own readable form."""
    safe = readable(text)
    safe.encode("utf-8")
    assert "\0" not in safe
    assert readable(safe) == safe


@given(st.text(st.sampled_from("ab. \n")), st.integers(1, 20))
def test_pieces_lose_nothing_and_are_short(text: str, limit: int) -> None:
    """Joined they are the text; none is longer than the limit."""
    cut = list(pieces(text, limit))
    assert "".join(cut) == text
    assert all(0 < len(piece) <= limit for piece in cut)


def entities(text: str) -> list[tuple[str, str]]:
    """Entities of a text whose tokens are separated by blanks."""
    tokens = text.split()
    found = find_entities(bytes(map(token_class, tokens)))
    return [(" ".join(tokens[first:end]), label) for label, first, end in found]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("in the first quarter of 2023 we", [("the first quarter of 2023", "DATE")]),
        ("grew 5 % to $ 1.2 billion", [("5 %", "PERCENT"), ("$ 1.2 billion", "MONEY")]),
        ("at 9:30 a.m. ET today", [("9:30 a.m. ET", "TIME"), ("today", "DATE")]),
        ("Monday , March 5 , 2018", [("Monday , March 5 , 2018", "DATE")]),
        ("year - over - year growth", [("year - over - year", "DATE")]),
        ("50 basis points lower", [("50 basis points", "PERCENT")]),
        ("5 million euros , USD 50", [("5 million euros", "MONEY"), ("USD 50", "MONEY")]),
        ("Mr. Smith and Dr. J. P. Jones", [("Mr. Smith", "PERSON"), ("Dr. J. P. Jones", "PERSON")]),
        ("FY23 or Q1 2017 or 1H16", [("FY23", "DATE"), ("Q1 2017", "DATE"), ("1H16", "DATE")]),
        ("the last three years", [("the last three years", "DATE")]),
        ("We may see it in May", [("May", "DATE")]),
        ("May I ask", []),
        ("this March 31st", [("this March 31st", "DATE")]),
        ("twenty - five stores", [("twenty - five", "CARDINAL")]),
        ("two hundred and five stores", [("two hundred and five", "CARDINAL")]),
        ("the third party", [("third", "ORDINAL")]),
        ("5 to 6 percentage points", [("5 to 6 percentage points", "PERCENT")]),
        ("30 minutes and two hours", [("30 minutes", "TIME"), ("two hours", "TIME")]),
        ("Q and A", []),
        ("second - half margins", [("second - half", "DATE")]),
        ("executive summary of data", []),
        ("fiscal year 2016 , the 1990s", [("fiscal year 2016", "DATE"), ("the 1990s", "DATE")]),
        ("3.5x leverage , 12,000 trucks", [("3.5x", "CARDINAL"), ("12,000", "CARDINAL")]),
    ],
)  # fmt: skip
def test_entities_have_the_types_and_extents_of_ontonotes(
    text: str, expected: list[tuple[str, str]]
) -> None:
    """Times, dates, money, percentages, numbers and titled persons are found whole."""
    assert entities(text) == expected


@pytest.mark.parametrize(
    ("word", "lemma"),
    [
        ("Headwinds", "headwind"), ("buybacks", "buyback"), ("data", "data"), ("better", "good"),
        ("marketing", "marketing"), ("grew", "grow"), ("companies", "company"), ("taxes", "tax"),
        ("losses", "loss"), ("business", "business"), ("SKUs", "sku"), ("gas", "gas"),
        ("EBITDA", "ebitda"), ("news", "news"), ("children", "child"),
    ],
)  # fmt: skip
def test_lemmas_are_those_a_reader_expects(word: str, lemma: str) -> None:
    """SpaCy's table, with the field's own words kept and unknown plurals made singular."""
    assert lemma_table()(word) == lemma
