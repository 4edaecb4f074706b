"""Which tokens become words of the cleaned text."""

from __future__ import annotations

import re

DROPPED_ENTITIES = ("PERSON", "DATE", "TIME", "CARDINAL", "ORDINAL", "MONEY", "PERCENT")

_NUMBER = re.compile(r"[+-]?[.,]?\d[\d.,/:]*(?:st|nd|rd|th|x|k|m|mm|b|bn|s|%)?", re.IGNORECASE)


def cleaned_word(word: str, lemma: str, stopwords: frozenset[str]) -> str:
    """What a token contributes to the cleaned text: its lower-case lemma, or "" for nothing.

    Nothing comes of stopwords (the word as spoken or its lemma), punctuation, numbers, blanks.
    """
    word = word.lower().replace("\u2019", "'").strip("-.")
    lemma = (lemma or word).lower().replace("\u2019", "'").partition("<")[0]
    lemma = lemma.strip("-") if len(lemma.strip("-.")) > 1 else ""
    if word in stopwords or lemma in stopwords or _NUMBER.fullmatch(word):
        return ""
    if not any(char.isalpha() for char in lemma):
        return ""
    return "" if len(lemma) == 1 and lemma.isascii() else "".join(lemma.split())


TRANSCRIPTION_MARK = re.compile(
    # A set of characters comes first, so that re skips to the next bracket.
    r"[\[(<](?:(?<![<])\s*(?:indiscernible|inaudible|foreign language|unintelligible|crosstalk"
    r"|laugh|ph\b|sic\b|technical difficult|multiple[ -]speaker|audio d|no audio|music"
    r"|interruption|expletive|operator instructions|corrected by|applause|silence|background|break"
    r"|audio gap|video|phonetic|off[ -]mic|pause|overlapping|non-english)[^\])\n]{0,80}[\])]\w*"
    r"|(?<=<)/?[a-z][^<>\n]{0,200}>)",
    re.IGNORECASE,
)
"""What the transcriber wrote and nobody said: [indiscernible], (multiple speakers), HTML tags.

Other brackets hold words restored by an editor ("[$16 million]") and stay."""
