"""Sentences as they are embedded: without what the transcriber wrote and nobody said.

Where a vendor replaces people's names by `[indiscernible]`, the mark would pull sentences together
that have nothing else in common. Imports no spaCy: containers run this.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from ftm.text.words import TRANSCRIPTION_MARK

_EDITORIAL = re.compile(r"\[([^\[\]]*)\]")
_NOTHING_LEFT = re.compile(r"\(\s*\)|(?<!\w)['\u2019]s(?!\w)")
"""Empty parentheses, and the possessive of a name that is gone."""
_MAX_NESTED = 50
"""Brackets within brackets are taken off from the innermost on; those farther out stay."""
_BLANKS = re.compile(r"\s+")
_BLANK_BEFORE_POINT = re.compile(r"\s+(?=[,.;:?!](?!\w))")
_COMMAS = re.compile(r",(?:\s?,)+")
_COMMA_BEFORE_POINT = re.compile(r",\s?(?=[.?!;:])")
_POINTS_FIRST = re.compile(r"^(?:[,;:.?!](?!\d)|\s)+")


def without_marks(text: str) -> str:
    """A sentence without transcriber's marks; words that an editor restored lose their brackets.

    Args:
        text: as spoken: "Yes, [indiscernible], we grew [53%] (laughter)."

    Returns:
        "Yes, we grew 53%."; a text without marks and brackets unchanged, and so is one of which
        no letter or digit would be left.
    """
    found = text
    for _ in range(_MAX_NESTED):
        bare = _EDITORIAL.sub(r"\1", TRANSCRIPTION_MARK.sub(" ", found))
        if bare == found:
            break
        found = _tidied(bare)
    return found if any(char.isalnum() for char in found) else text


def texts_without_marks(texts: Sequence[str]) -> list[str]:
    """`without_marks` of every text, in the same order."""
    return [without_marks(text) for text in texts]


def _tidied(text: str) -> str:
    text = _BLANKS.sub(" ", _NOTHING_LEFT.sub(" ", text))
    text = _COMMAS.sub(",", _BLANK_BEFORE_POINT.sub("", text))
    return _POINTS_FIRST.sub("", _COMMA_BEFORE_POINT.sub("", text)).strip()
