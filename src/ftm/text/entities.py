"""Entities by rules: each token gets a one-byte class, and regular expressions run over those.

A word decides its class alone, so classes are looked up, not computed; a match on the bytes is at
once a span of tokens. Types and extents follow OntoNotes, which spaCy's models are trained on.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_CLASSES = {
    "w": "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen"
    " sixteen seventeen eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety"
    " zero couple dozen half-dozen",
    "s": "hundred thousand million billion trillion hundreds thousands millions billions trillions"
    " mn bn mln mm crore crores lakh lakhs dozens",
    "c": "$ € £ ¥ ₹ ₽ ₵ ¢ us$ c$ a$ r$ nt$ hk$ s$ nz$ rs rs.",
    "K": "usd eur gbp jpy inr rmb cny cad aud chf brl mxn zar rub",
    "C": "dollar dollars euro euros cent cents penny pennies yen rupee rupees pound pounds rand"
    " rands franc francs peso pesos rouble roubles ruble rubles yuan renminbi reais sterling",
    "p": "% percent percents pct pct.",
    "P": "percentage",
    "B": "basis",
    "q": "point points",
    "o": "first third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth"
    " fifteenth twentieth",
    "z": "second",
    "W": "monday tuesday wednesday thursday friday saturday sunday mondays fridays",
    "T": "today yesterday tomorrow",
    "u": "day days week weeks weekend weekends month months quarter quarters year years decade"
    " decades fortnight halves semester trimester yr yrs",
    "h": "half",
    "U": "hour hours minute minutes seconds",
    "g": "this last next prior previous past current same coming following each every full recent"
    " recent preceding entire whole final early late earlier later mid calendar"
    " sequential consecutive trailing upcoming",
    "f": "fiscal fy cy",
    "a": "the a an",
    "A": "a.m. p.m. a.m p.m am pm o'clock o’clock",
    "e": "morning afternoon evening night tonight noon midnight",
    "v": "of",
    "j": "to through",
    "&": "and",
    "k": "over on",
    "D": "date",
    "I": "in since until till by during from before after",
    "-": "- – —",
    ",": ",",
}  # fmt: skip
_BY_WORD = {word: ord(letter) for letter, words in _CLASSES.items() for word in words.split()}

_CAPITALISED = {
    **dict.fromkeys(
        "January February March April June July August September October November December"
        " Jan Feb Mar Apr Jun Jul Aug Sep Sept Oct Nov Dec"
        " Jan. Feb. Mar. Apr. Jun. Jul. Aug. Sep. Sept. Oct. Nov. Dec.".split(),
        ord("M"),
    ),
    "May": ord("m"),
    **dict.fromkeys(
        "Mr Mr. Mrs Mrs. Ms Ms. Dr Dr. Prof Prof. Professor Messrs Messrs.".split(), ord("H")
    ),
    **dict.fromkeys(
        "Eastern Central Pacific Mountain Greenwich Standard Daylight Time ET EST EDT CT CST CDT PT"
        " PST PDT GMT UTC CET CEST BST".split(),
        ord("Z"),
    ),
}

_SHAPES: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("y", re.compile(r"(?:19[5-9]|20[0-6])\d")),
    ("d", re.compile(r"0?[1-9]|[12]\d|3[01]")),
    ("t", re.compile(r"[012]?\d:[0-5]\d")),
    ("D", re.compile(r"\d{1,2}/\d{1,2}(?:/\d{2,4})?|\d{4}-\d\d-\d\d")),
    ("O", re.compile(r"\d*(?:1st|2nd|3rd|\dth)", re.IGNORECASE)),
    ("F", re.compile(r"(?:[QH][1-4]|[1-4][QH]|FY|CY|[1-4]?Q[1-4]?)(?:['’]?(?:20)?\d\d)?")),
    ("Y", re.compile(r"(?:19|20)\d0s|['’]\d\d(?:s)?")),
    ("S", re.compile(r"[+-]?[.,]?\d[\d.,]*(?:k|m|mm|b|bn|mn)", re.IGNORECASE)),
    ("n", re.compile(r"[+-]?[.,]?\d[\d.,/]*(?:x|s)?", re.IGNORECASE)),
    ("N", re.compile(r"[A-ZÀ-ÖØ-Þ][\w'’]+")),
    ("i", re.compile(r"[A-Z]\.?")),
)
_OTHER = ord("x")


def token_class(word: str) -> int:
    """The class of one token, a letter as its byte; `x` for words no pattern mentions."""
    found = _CAPITALISED.get(word) or _BY_WORD.get(word.lower())
    if found:
        return found
    for letter, shape in _SHAPES:
        if shape.fullmatch(word):
            return ord(letter)
    return _OTHER


_NUM = r"(?:[dyn]s*|S|w(?:-?w)*(?:s(?:&?w(?:-?w)*)?)*|s+)"
_RANGE = rf"{_NUM}(?:[-j]{_NUM})?"
_YEAR = r"(?:,?v?[ag]*f?u?(?:y|Y|F))"
_MONEY = (
    rf"[cK]{_NUM}(?:[-j][cK]?{_NUM})?(?:K|C)?",
    rf"{_RANGE}-?(?:K?C+|K|c(?!{_NUM}))",
    rf"a(?:s)K?C",
)
_PERCENT = (rf"{_NUM}-?p?[-j]{_NUM}-?(?:p|Pq?|Bq)", rf"{_NUM}-?(?:p|Pq?|Bq)")
_TIME = (
    r"(?:I)?(?:t|[dn])A(?:Z)*(?<!I)",
    r"tA?Z*",
    rf"{_NUM}-?U",
    r"(?:[ag])*e",
)
_DATE = (
    rf"W?,?[Mm](?:[dO])(?![ps])(?:[-j][dO](?!p))?{_YEAR}?",
    rf"a?[doO]v?(?:M|m){_YEAR}?",
    rf"[ag]*M{_YEAR}?|[ag]*m{_YEAR}|(?<=[vI])m|g+m",
    rf"[ag]*(?:[oOz]|h)?-?F(?:{_YEAR})?",
    rf"[ag]*[oOzw]?-?(?:[oOz]-?f?u|[oOz]?-?(?:g)*h(?=v[ag]*f?[uyYF]|{_YEAR}))"
    rf"(?:v[ag]*f?u|{_YEAR}|v[ag]*[oOz]-?f?[uh]{_YEAR}?)*",
    rf"[ag]*[oOz]-?h{_YEAR}?",
    rf"u-?k-?u|u-?j-?D",
    rf"[ag]*{_NUM}(?:[-j]{_NUM})?-?(?:g)*f?u",
    rf"[ag]+f?u{_YEAR}?|[ag]*fu?(?:y|Y)?",
    rf"[ag]*(?:y|Y)(?:[-j]y)?|D",
    rf"[ag]*(?:W|T)",
)
_ORDINAL = (r"[oO]|z",)
_CARDINAL = (_RANGE,)
_PERSON = (r"H+(?:[Nimiz]|Z)(?:-?[Ni]){0,2}",)


def _group(label: str, patterns: tuple[str, ...]) -> str:
    return f"(?P<{label}>" + "|".join(f"(?:{p})" for p in patterns) + ")"


_ENTITY = re.compile(
    (
        "(?=[wscKdynSoOzWTuhUgfaAetMmHFYDI])(?:"
        + "|".join(
            _group(*pair)
            for pair in (
                ("PERSON", _PERSON),
                ("MONEY", _MONEY),
                ("PERCENT", _PERCENT),
                ("TIME", _TIME),
                ("DATE", _DATE),
                ("ORDINAL", _ORDINAL),
                ("CARDINAL", _CARDINAL),
            )
        )
        + ")"
    ).encode()
)


def find_entities(classes: bytes) -> Iterator[tuple[str, int, int]]:
    """Yield (type, first token, token after the last) of the entities in a text, left to right.

    Args:
        classes: one byte a token, as `token_class` gives them.
    """
    for match in _ENTITY.finditer(classes):
        yield str(match.lastgroup), match.start(), match.end()
