"""Where sentences start, by rules on the characters; knows abbreviations, initials, decimals."""

from __future__ import annotations

import re

from ftm.text.lexicon import word_set

_LINE = re.compile(r"[^\n]+")
_STOP = re.compile(
    # Possessive and anchored to the start of a run, so that a megabyte of dots stays linear.
    r"(?<![.!?…])([.!?…]++)([\"'\u201d\u2019»)\]}]*+)\s++(?=(\S{1,40}))"
    # A missing blank: "the quarter.We expect".
    r"|(?<=[a-z]{3})(\.)(?=(?:We|The|Our|And|But|So|This|That|These|They|You|It|In|If)\b)"
)
_OPENING = "\"'\u201c\u2018«([{-\u2013\u2014"
_WORD_CHARS = 40

_NEVER_LAST = word_set("sentences", "never_last")
_BEFORE_NUMBER = word_set("sentences", "before_number")
_MAYBE_LAST = word_set("sentences", "maybe_last")
_FIRST_WORDS = word_set("sentences", "first_words")
_ZONES = ("Eastern", "Central", "Pacific", "Mountain", "Greenwich", "London")


def sentence_starts(text: str) -> list[int]:
    """Offsets of the first character of every sentence, increasing; [] for blank text.

    A newline always ends a sentence; so do runs with ! or ?, and a full stop unless it belongs to
    an abbreviation, an initial or a list number. An ellipsis ends one before a capital other
    than "I". Closing quotes and brackets stay with the sentence they close.
    """
    starts: list[int] = []
    for line in _LINE.finditer(text):
        start = _skip_blanks(text, line.start(), line.end())
        if start < line.end():
            starts.append(start)
            _add_starts(text, start, line.end(), starts)
    return starts


def _skip_blanks(text: str, start: int, end: int) -> int:
    while start < end and text[start].isspace():
        start += 1
    return start


def _add_starts(text: str, start: int, end: int, starts: list[int]) -> None:
    for match in _STOP.finditer(text, start, end):
        if match[4]:
            starts.append(match.end())
            continue
        word = _word_before(text, starts[-1], match.start())
        at_start = match.start() - len(word) <= starts[-1]
        if _ends_sentence(word, match[1], match[2], match[3], at_start=at_start):
            starts.append(match.end())


def _word_before(text: str, start: int, end: int) -> str:
    """The word that the stop follows, without opening punctuation; at most 40 characters of it."""
    before = text[max(start, end - _WORD_CHARS) : end]
    if not before or before[-1].isspace():
        return ""
    return before.split()[-1].lstrip(_OPENING)


def _ends_sentence(word: str, stop: str, close: str, following: str, *, at_start: bool) -> bool:
    following = following.lstrip(_OPENING)
    if "!" in stop or "?" in stop:
        return not (close and following[:1].islower())
    if len(stop) > 1 or stop == "…":
        return following[:1].isupper() and following[:2] not in ("I", "I'", "I\u2019", "I,")
    if close:
        return not following[:1].islower()
    return _full_stop_ends(word, following, at_start=at_start)


def _full_stop_ends(word: str, following: str, *, at_start: bool) -> bool:
    key = word.lower()
    if key in _NEVER_LAST:
        return False
    if word.isdigit():
        return not (at_start and len(word) <= 2) and not (
            len(word) <= 2 and following[:1].isdigit()
        )
    if key in _BEFORE_NUMBER:
        return not following[:1].isdigit()
    if key in ("a.m", "p.m", "etc"):
        return following[:1].isupper() and not _is_zone(following)
    if key in _MAYBE_LAST or _is_initials(word):
        return _is_first_word(following)
    return True


def _is_initials(word: str) -> bool:
    """One capital letter, or letters with dots between: J, U.S, i.p.o."""
    if len(word) == 1:
        return word.isupper() and word != "I"
    return "." in word and all(len(part) <= 2 and part.isalpha() for part in word.split("."))


def _is_first_word(word: str) -> bool:
    if not word[:1].isupper():
        return False
    return word.rstrip(",.;:!?…").replace("\u2019", "'").lower() in _FIRST_WORDS


def _is_zone(word: str) -> bool:
    return word.startswith(_ZONES) or word.rstrip(".,;)").isupper()
