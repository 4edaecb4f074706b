"""Where sentences start, by rules on the characters; knows abbreviations, initials, decimals."""

from __future__ import annotations

import re

_LINE = re.compile(r"[^\n]+")
_STOP = re.compile(
    # Possessive and anchored to the start of a run, so that a megabyte of dots stays linear.
    r"(?<![.!?…])([.!?…]++)([\"'”’»)\]}]*+)\s++(?=(\S{1,40}))"
    # A missing blank: "the quarter.We expect".
    r"|(?<=[a-z]{3})(\.)(?=(?:We|The|Our|And|But|So|This|That|These|They|You|It|In|If)\b)"
)
_OPENING = "\"'“‘«([{-–—"
_WORD_CHARS = 40

NEVER_LAST = frozenset(
    "mr mrs ms messrs dr prof st mt ft vs e.g i.e eg ie cf approx sen rep gen gov capt lt col sgt"
    " rev hon est incl excl resp viz ca dept fwd mgmt".split()
)
"""Abbreviations that never end a sentence."""

BEFORE_NUMBER = frozenset("no nos fig figs sec art vol pg pp ch ver ext".split())
"""Abbreviations when a number follows, ordinary words or ends of sentences otherwise."""

MAYBE_LAST = frozenset(
    "inc corp co cos ltd llc plc bros jr sr esq etc al ph.d jan feb mar apr jun jul aug sep sept"
    " oct nov dec mon tue tues wed thu thur thurs fri sat sun ave blvd rd assn natl intl univ"
    " tel avg max min rs yr yrs mo mos hr hrs sq lbs oz mm mn bn".split()
)
"""Abbreviations that end a sentence only if a typical first word follows."""

FIRST_WORDS = frozenset(
    "a an the this that these those there here it its it's we we're we've we'll our ours us i i'm"
    " i've i'll i'd my you you're you'll your he she his her they they're their and but or so yet"
    " nor for if when while as at in on by with from to of after before because since although"
    " though however moreover also then now next last first second third finally turning moving"
    " looking during over under through within without based given overall excluding including"
    " what where which who why how is are was were do does did can could would should will have"
    " has had let let's please thank thanks good great yes yeah no not okay ok well right sure hi"
    " hello one two both each all most many some any other another such only just still again"
    " additionally similarly specifically meanwhile likewise further furthermore consequently"
    " therefore total net gross revenue revenues sales operating adjusted today yesterday"
    " earlier later once until despite regarding that's there's what's he's she's".split()
)
"""Words that start sentences often enough to decide after an abbreviation that may end one."""

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
        return following[:1].isupper() and following[:2] not in ("I", "I'", "I’", "I,")
    if close:
        return not following[:1].islower()
    return _full_stop_ends(word, following, at_start=at_start)


def _full_stop_ends(word: str, following: str, *, at_start: bool) -> bool:
    key = word.lower()
    if key in NEVER_LAST:
        return False
    if word.isdigit():
        return not (at_start and len(word) <= 2) and not (
            len(word) <= 2 and following[:1].isdigit()
        )
    if key in BEFORE_NUMBER:
        return not following[:1].isdigit()
    if key in ("a.m", "p.m", "etc"):
        return following[:1].isupper() and not _is_zone(following)
    if key in MAYBE_LAST or _is_initials(word):
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
    return word.rstrip(",.;:!?…").replace("’", "'").lower() in FIRST_WORDS


def _is_zone(word: str) -> bool:
    return word.startswith(_ZONES) or word.rstrip(".,;)").isupper()
