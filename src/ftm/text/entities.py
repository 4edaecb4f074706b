"""Entities by rules: each token gets a one-letter class, and regular expressions run over those.

A word alone decides its class, so classes are looked up, not computed, and a match on the letters
is at once a span of tokens. Types and extents follow OntoNotes, which spaCy's models learn from.
The classes of words are in lexicon.toml:

    w s   number words, scales (million)       c K C   $, USD, dollars       p P B q   % percentage
    d n S y Y   1-31, other digits, 5bn, 2016, 1990s   o O z   first, 1st, second    points, basis
    M m W T D   month, May, weekday, today, 3/31/16    u h     year or quarter, half
    a g f F     the, last, fiscal, Q1 or FY16  t A Z e U   9:30, p.m., Eastern, morning, hours
    H N i       Mr., Capitalised, J.           v j & k     of, to, and, over     x  anything else
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from ftm.text.lexicon import mapping


def _by_word(name: str) -> dict[str, int]:
    lists = mapping("entities", name).items()
    return {word: ord(letter) for letter, words in lists for word in words.split()}


_ANY_CASE = _by_word("any_case")
_EXACT = _by_word("exact")
_SHAPES: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("y", re.compile(r"(?:19[5-9]|20[0-6])\d")),
    ("d", re.compile(r"0?[1-9]|[12]\d|3[01]")),
    ("t", re.compile(r"[012]?\d:[0-5]\d")),
    ("D", re.compile(r"\d{1,2}/\d{1,2}/(?:\d\d){1,2}|\d{4}-\d\d-\d\d")),
    ("O", re.compile(r"\d*(?:1st|2nd|3rd|\dth)", re.IGNORECASE)),
    ("F", re.compile(r"(?:[QH][1-4]|[1-4][QH])(?:['\u2019]?(?:20)?\d\d)?|[FC]Y['\u2019]?\d+")),
    ("Y", re.compile(r"(?:19|20)\d0s|['\u2019]\d\ds?")),
    ("S", re.compile(r"[+-]?[.,]?\d[\d.,]*(?:k|m|mm|b|bn|mn)", re.IGNORECASE)),
    ("n", re.compile(r"[+-]?[.,]?\d[\d.,/]*[xs]?", re.IGNORECASE)),
    ("N", re.compile(r"[A-ZÀ-ÖØ-Þ][\w'\u2019]+")),
    ("i", re.compile(r"[A-Z]\.?")),
)
_OTHER = ord("x")


def token_class(word: str) -> int:
    """The class of one token, its letter as a byte; `x` for words that no pattern mentions."""
    lower = word.lower().replace("\u2019", "'")
    found = _EXACT.get(word) or _ANY_CASE.get(lower)
    if found:
        return found
    for letter, shape in _SHAPES:
        if shape.fullmatch(word):
            return ord(letter)
    return _OTHER


# Atomic groups, possessive quantifiers and a look behind change no match: nothing that may follow
# can begin inside a number, and where a run of [ag] starts an entity, its first token does. They
# spare the tries that would take hours on "the the the" or "five-five-five" without end.
_NUMBER = r"(?>(?:[dyn]s*|S|w(?:-?w)*(?:s(?:&?w(?:-?w)*)?)*|s+)(?:&ahs*)?)"
_RANGE = rf"{_NUMBER}(?:[-j]{_NUMBER})?"
_THE = r"(?<![ag])[ag]"
_PERIOD = r"(?:,?v?[ag]*+f?u?[yYF]|v[ag]*+f?u)"  # "of fiscal 2016", ", 2016", "of the year"

_PATTERNS = {
    "PERSON": (r"H{1,2}[Nimz](?:-?[Ni]){0,4}",),
    "MONEY": (
        rf"[cK]{_NUMBER}(?:[-j][cK]?{_NUMBER})?[KC]*",
        rf"{_RANGE}-?(?:K?C+|K|c(?!{_NUMBER}))",
    ),
    "PERCENT": (
        rf"{_NUMBER}-?p[-j]{_NUMBER}-?p",
        rf"{_RANGE}-?(?:p|Pq?|Bq)",
    ),
    "TIME": (
        r"tA?Z*",
        r"[dn]AZ*",
        rf"{_RANGE}-?U",
        rf"{_THE}*+e",
    ),
    "DATE": (
        rf"{_THE}*+(?:W,?)?[Mm][dO](?![psKC])(?:[-j][dO](?!p))?{_PERIOD}?",
        rf"a?[doO]v?[Mm]{_PERIOD}?",
        rf"{_THE}*+M(?:[-j]M)?{_PERIOD}?|{_THE}*+m{_PERIOD}|(?<!g)g++m|(?<=[vI])m",
        rf"{_THE}*+(?:[oOzh]-?)?F{_PERIOD}?",
        rf"{_THE}*+[oOz]-?g*+f?[uh](?:{_PERIOD}|v[ag]*+[oOz]-?f?[uh])*",
        rf"{_THE}*+h(?:-?f?u|{_PERIOD})",
        r"u-?k-?u|u-?j-?D",
        rf"{_THE}*+{_RANGE}-?g*+f?u(?!-?k-?u)",
        rf"{_THE}*+u[dw]{_PERIOD}?",
        rf"{_THE}++f?u(?!-?k-?u){_PERIOD}?",
        rf"{_THE}*+f[uh]?[yYF]?",
        rf"{_THE}*+[yY](?:[-j][yY])?|D",
        rf"{_THE}*+[WT]",
    ),
    "ORDINAL": (r"[oOz]",),
    "CARDINAL": (_RANGE,),
}


def _compile() -> re.Pattern[bytes]:
    groups = "|".join(f"(?P<{label}>{'|'.join(p)})" for label, p in _PATTERNS.items())
    return re.compile(f"(?=[wscKdynSyYoOzMmWTDuhagfFtAeH])(?:{groups})".encode())


_ENTITY = _compile()


def find_entities(classes: bytes) -> Iterator[tuple[str, int, int]]:
    """Yield (type, first token, token after the last) of the entities in a text, left to right.

    Args:
        classes: one byte a token, as `token_class` gives them.
    """
    for match in _ENTITY.finditer(classes):
        yield str(match.lastgroup), match.start(), match.end()
