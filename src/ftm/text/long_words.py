"""Keeps spaCy's tokenizer fast on words without end; every token stays as it is.

spaCy takes marks off a word one by one and looks through all the rest for the next: eight thousand
dollar signs without a blank took half a minute, and a piece of text holds a hundred thousand.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from spacy.language import Language
from spacy.tokenizer import Tokenizer

_WINDOW_CHARS = 32
_MARGIN_CHARS = 8
"""What the rules look for at an end of a word is short (longest are units, "اكواب"), but for runs
of dots: a match that comes so near to the window's edge is looked for in a larger one."""

_USER = r"(?:\S+(?::\S*)?@)?"
_SAME_USER = r"(?:\S+@)?"
"""In spaCy's expression for URLs: a name and password before the host. Both match the same, but
the first goes from every colon to the end."""

_Search = Callable[[str], "re.Match[str] | None"]


class _Wrapped:
    """A search in place of the tokenizer's own.

    Args:
        search: the tokenizer's, a method of its expression.

    Attributes:
        pattern: what spaCy saves of a tokenizer, and so what the fingerprint hashes.
    """

    def __init__(self, search: _Search) -> None:
        self._search = search
        self.pattern = _pattern(search)


class _Prefix(_Wrapped):
    def search(self, word: str) -> re.Match[str] | None:
        """The match at the start of a word; its length counts, not where it lies."""
        size = _WINDOW_CHARS
        while size < len(word):
            found = self._search(word[:size])
            if found is None or found.end() <= size - _MARGIN_CHARS:
                return found
            size *= 2
        return self._search(word)


class _Suffix(_Wrapped):
    def search(self, word: str) -> re.Match[str] | None:
        """The match at the end of a word; its length counts, not where it lies."""
        size = _WINDOW_CHARS
        while size < len(word):
            found = self._search(word[-size:])
            if found is None or found.start() >= _MARGIN_CHARS:
                return found
            size *= 2
        return self._search(word)


class _URL(_Wrapped):
    def __init__(self, search: _Search) -> None:
        super().__init__(search)
        self._match = re.compile(self.pattern.replace(_USER, _SAME_USER), _flags(search)).match

    def match(self, word: str) -> re.Match[str] | None:
        """The match, if the word is a URL."""
        return self._match(word)


def bound_affixes(nlp: Language) -> None:
    """Make the tokenizer of a pipeline look for marks only near the ends of a word.

    Tokenizers that are not made of expressions stay as they are. What the tokenizer saves, and
    the fingerprint with it, does not change.
    """
    tokenizer: Any = nlp.tokenizer
    if not isinstance(tokenizer, Tokenizer):
        return
    if _pattern(tokenizer.prefix_search):
        tokenizer.prefix_search = _Prefix(tokenizer.prefix_search).search
    if _pattern(tokenizer.suffix_search):
        tokenizer.suffix_search = _Suffix(tokenizer.suffix_search).search
    if _pattern(tokenizer.url_match):
        tokenizer.url_match = _URL(tokenizer.url_match).match


def _pattern(search: Any) -> str:
    """The expression that a search belongs to, "" if to none."""
    return str(getattr(getattr(search, "__self__", None), "pattern", ""))


def _flags(search: Any) -> int:
    return int(search.__self__.flags)
