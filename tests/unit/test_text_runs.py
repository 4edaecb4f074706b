"""Runs without end cost every step about what as much ordinary text does, and change nothing.

Sizes are such that a step takes a second or two for all of them together; one that goes through
the rest of the text at every character needs minutes, and a limit to the time of computing ends it.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
import spacy
from hypothesis import given, settings
from hypothesis import strategies as st

from ftm.naming.masking import Masker
from ftm.text import entities
from ftm.text.brackets import without_brackets
from ftm.text.characters import pieces, readable
from ftm.text.conversation import manages_conversation
from ftm.text.entities import find_entities, token_class
from ftm.text.kinds import classify_kinds
from ftm.text.lemmas import lemma_table
from ftm.text.long_words import bound_affixes
from ftm.text.marks import without_marks
from ftm.text.roster import make_roster
from ftm.text.sentences import sentence_starts
from ftm.text.words import TRANSCRIPTION_MARK, cleaned_word
from tests.support.endless import all_endless, cpu_seconds, endless

N = 10_000
LIMIT_S = 20
MASKER = Masker(["First Solar, Inc."], ["John Smith"])


def entities_of(text: str) -> None:
    """Entities over the classes of its words, marks apart, and over its letters as classes."""
    words = re.findall(r"\w+|[^\w\s]", text)
    list(find_entities(bytes(map(token_class, words))))
    list(find_entities(text.encode("latin-1", "replace")))


def roster_of(text: str) -> None:
    """As what is said, as the firm's name and as a speaker's."""
    make_roster(["John Smith"], lemma_table().__contains__, f"Thanks, {text}", firm_name=text)
    make_roster([text], lemma_table().__contains__, "Thanks, John.")


STEPS: dict[str, Callable[[str], object]] = {
    "readable": lambda text: list(pieces(readable(text))),
    "sentences": sentence_starts,
    "entities": entities_of,
    "words": lambda text: (lemma_table()(text), cleaned_word(text, "", frozenset())),
    "transcription marks": lambda text: TRANSCRIPTION_MARK.sub(" ", text),
    "marks": without_marks,
    "roster": roster_of,
    "masking": lambda text: MASKER.mask([f"We like {text} and x\u00ae"]),
}  # fmt: skip


@pytest.mark.parametrize("step", STEPS)
def test_a_step_is_linear_in_runs_of_anything(step: str) -> None:
    """Ten thousand characters of every kind, one text after the other."""
    with cpu_seconds(LIMIT_S):
        for text in all_endless(N).values():
            STEPS[step](text)


def test_kinds_are_linear_in_runs_of_anything() -> None:
    """Among words that make the rules look for a greeting and for what manages a conversation."""
    texts = list(all_endless(N // 2).values())
    texts += [f"Thanks, {text} questions." for text in texts]
    with cpu_seconds(LIMIT_S):
        classify_kinds(texts, ["Executives"] * len(texts))


@pytest.mark.parametrize("unit", ["7", "1,", "[("])
def test_digits_or_open_brackets_without_end_are_a_sentence_like_any_other(unit: str) -> None:
    """A figure needs a unit, so a number alone is nothing but content."""
    with cpu_seconds(LIMIT_S):
        assert classify_kinds([endless(unit, 2**17)], ["Executives"]) == ["content"]


def test_a_greeting_is_not_looked_for_from_every_article() -> None:
    """What is said of a good question begins at the first of a run of articles."""
    with cpu_seconds(LIMIT_S):
        assert classify_kinds(["Hello, " + endless("a ", 2**16)], ["Executives"]) == ["greeting"]


def test_a_word_of_colons_is_no_url_soon() -> None:
    """No password is looked for after each of them."""
    with cpu_seconds(LIMIT_S):
        assert BOUND.tokenizer.url_match(endless("a:", 2**17)) is None


def test_introducing_an_officer_over_and_over_is_linear() -> None:
    """One word of 250,000 characters counts as one of the 32 that a hand-over may have."""
    said = "We are joined by " + endless("officer/", 250_000)
    with cpu_seconds(LIMIT_S):
        assert manages_conversation(said, analyst=False)
        assert not manages_conversation(said + "; costs", analyst=False)


def test_a_thousand_johns_are_not_compared_with_each_other() -> None:
    """Each mention is looked up, however many names begin alike."""
    names = [
        f"John {a}{b}{c}x" for a in "ABCDEFGHIJKLMNO" for b in "abcdefghij" for c in "abcdefgh"
    ]
    names += [f"{name}{d}" for name in names for d in "efghi"]
    roster = make_roster(names, lambda _: False)
    tokens = " ".join(names).split()
    found = roster.mentions(
        lambda at: tokens[at] if at < len(tokens) else "", range(len(tokens)), lambda _: False
    )
    with cpu_seconds(LIMIT_S):
        assert sum(1 for _ in found) == len(names)


def test_brackets_nested_without_end_are_given_up() -> None:
    """Ten thousand deep: those farthest in go, and the sentence is one still."""
    assert without_marks("[" * 20 + "so" + "]" * 20) == "so"
    with cpu_seconds(LIMIT_S):
        deep = without_marks("[" * 10_000 + "so" + "]" * 10_000)
    assert deep.strip("[]") == "so"


def _spacy() -> spacy.language.Language:
    return spacy.blank("en")


PLAIN, BOUND = _spacy(), _spacy()
bound_affixes(BOUND)
_PARTS = (
    "$|(|)|'|[|]|..|.|...|'s|US$|C$|1|km\u00b2|m|%|-|+|:)|a|A|http://|www.|@|:|/|a.b|com|,|\u00b0C."
    "|_|\u2026|\u2019S|can't|\"|\u00e9|\u0627\u0643\u0648\u0627\u0628|^|i.e.|\u2122|!"
)
PARTS = st.sampled_from(_PARTS.split("|"))
RUNS = st.builds(lambda part, n: part * n, PARTS, st.integers(1, 50))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(PARTS, RUNS), min_size=1, max_size=6).map("".join))
def test_long_words_have_the_tokens_that_spacy_gives_them(word: str) -> None:
    """Looking only near the ends of a word finds what looking through all of it does."""
    said = f"Sales {word} grew."
    expected = [(t.text, t.idx, t.whitespace_) for t in PLAIN.make_doc(said)]
    assert [(t.text, t.idx, t.whitespace_) for t in BOUND.make_doc(said)] == expected


@settings(max_examples=100, deadline=None)
@given(st.lists(PARTS, min_size=2, max_size=12).map("".join))
def test_urls_are_those_of_spacy(word: str) -> None:
    """With and without a user and password."""
    for url in (word, f"http://{word}", f"http://{word}@a.com", f"a:{word}@a.com/"):
        assert bool(BOUND.tokenizer.url_match(url)) == bool(PLAIN.tokenizer.url_match(url))


def test_a_bound_tokenizer_is_saved_as_it_was() -> None:
    """The fingerprint hashes what the tokenizer saves, and tokens are the same."""
    assert BOUND.tokenizer.to_bytes(exclude=["vocab"]) == PLAIN.tokenizer.to_bytes(
        exclude=["vocab"]
    )


_SPARED = {b"(?<![ag])": b"", b"(?<!g)": b"", b"(?>": b"(?:", b"*+": b"*", b"++": b"+"}


def plain_entities(classes: bytes) -> list[tuple[str, int, int]]:
    """By the same expression without what spares it tries."""
    pattern = entities._ENTITY.pattern
    for sparing, plain in _SPARED.items():
        pattern = pattern.replace(sparing, plain)
    return [(str(m.lastgroup), *m.span()) for m in re.finditer(pattern, classes)]


_CLASSES = (
    "agfuyohzMmFvWeTd,O",
    "ws-&ahjdSnuUpPBqKCc",
    "wscKCpPBqdnSyYoOzMmWTDuhagfFtAZeUHNivj&kx-,",
)


@settings(max_examples=300)
@given(st.sampled_from(_CLASSES).flatmap(lambda letters: st.text(letters, max_size=12)))
def test_sparing_tries_changes_no_entity(classes: str) -> None:
    """Atomic groups and looks behind find the same entities."""
    assert list(find_entities(classes.encode())) == plain_entities(classes.encode())


@given(st.text("[]()ab \n"))
def test_brackets_are_those_of_the_plain_expression(text: str) -> None:
    """Of two kinds, and of one alone."""
    both = re.sub(r"\[[^\]]*\]|\([^)]*\)", " ", text)
    assert without_brackets(text, {"[": "]", "(": ")"}) == both
    assert without_brackets(text, {"(": ")"}) == re.sub(r"\([^)]*\)", " ", text)
