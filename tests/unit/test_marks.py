"""What is embedded of a sentence: its words, without the transcriber's marks."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftm.text.marks import texts_without_marks, without_marks

PIECES = st.sampled_from(
    ["[indiscernible]", "(laughter)", "[ph]", "<br>", "[53%]", "[", "]", "(", ")", "grew", "'s",
     ",", ".", " ", "-5", "Yes", "[[as]", "<", ">", "\n", "(sic)", "\u00e9"]
)  # fmt: skip
"""Hypothesis finds marks in brackets in marks only if it is given the parts."""


@pytest.mark.parametrize(
    ("text", "embedded"),
    [
        ("Yes, [indiscernible], again.", "Yes, again."),
        ("[indiscernible], we are growing.", "we are growing."),
        ("Sales grew in Ohio, [indiscernible].", "Sales grew in Ohio."),
        ("As [indiscernible] said, costs fell.", "As said, costs fell."),
        ("I agree with [indiscernible]'s comment.", "I agree with comment."),
        ("It rose (inaudible) in May.", "It rose in May."),
        ("It rose (multiple speakers) [technical difficulty] in May.", "It rose in May."),
        ("Good, (laughter) very good [ph].", "Good, very good."),
        ("[Operator Instructions] We start.", "We start."),
        ("Freight [foreign language] fell.", "Freight fell."),
        ("We grew [53%] [as we described].", "We grew 53% as we described."),
        ("[P]rices rose.", "Prices rose."),
        ("[as [we] said] it rose.", "as we said it rose."),
        ("It is ([ph]) cheap.", "It is cheap."),
        ("[[indiscernible] 5%] growth.", "5% growth."),
        ("[indiscernible] .5% growth.", ".5% growth."),
    ],
)  # fmt: skip
def test_marks_go_and_restored_words_stay(text: str, embedded: str) -> None:
    """No mark, and no comma, blank or possessive that stood around one."""
    assert without_marks(text) == embedded


@pytest.mark.parametrize("text", ["[indiscernible].", "(laughter)", "[ ]", ""])
def test_a_sentence_of_marks_only_stays(text: str) -> None:
    """An empty text has no direction; the mark itself is embedded."""
    assert without_marks(text) == text


@given(st.text() | st.lists(PIECES).map("".join))
def test_a_second_time_changes_nothing(text: str) -> None:
    """Whatever the text, it is tidied at once, into something to embed."""
    once = without_marks(text)
    assert without_marks(once) == once
    assert bool(once.strip()) == bool(text.strip())


@given(st.text().filter(lambda text: not re.search(r"[\[(<]", text)))
def test_text_without_brackets_is_untouched(text: str) -> None:
    """Odd blanks and commas of the speaker are not ours to mend."""
    assert without_marks(text) == text


def test_other_parentheses_stay() -> None:
    """(k) and (net) were said, and `<` may compare."""
    for text in ("Our 401(k) plan , (net) .", "It was < 5 and > 2."):
        assert without_marks(text) == text


def test_many_at_once() -> None:
    """As the map stage calls it: one text for each, in order."""
    assert texts_without_marks(["a [ph] b", "c"]) == ["a b", "c"]
    assert texts_without_marks([]) == []
