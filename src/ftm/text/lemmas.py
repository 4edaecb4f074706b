"""Lemmas from spaCy's tables, without a tagger: one word, one lemma."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Iterable, Mapping
from functools import cache
from importlib import resources
from typing import Any

from ftm.core.errors import ModelNotFoundError
from ftm.text.lexicon import mapping, word_set

_SINGULAR_ENDINGS = ("ss", "us", "is", "ous", "ws")
"""Endings in -s of words that are no plurals."""


@cache
def lemma_table() -> LemmaTable:
    """The table made of spaCy's look-ups for English, loaded once a process.

    Raises:
        ModelNotFoundError: spacy-lookups-data is not installed.
    """
    lookup, digest = _load("en_lemma_lookup.json.gz")
    index, index_digest = _load("en_lemma_index.json.gz")
    return LemmaTable(lookup, index["noun"], version=digest + index_digest)


def _load(name: str) -> tuple[Any, str]:
    try:
        packed = (resources.files("spacy_lookups_data") / "data" / name).read_bytes()
    except ModuleNotFoundError as error:
        raise ModelNotFoundError(
            "The lemma tables (package spacy-lookups-data) are not installed here; "
            "install them with: pip install 'ftm[prefetch]'"
        ) from error
    plain = gzip.decompress(packed)
    return json.loads(plain), hashlib.sha256(plain).hexdigest()


class LemmaTable:
    """Look-up lemmas with ftm's choices on top; pure, so a word's lemma never depends on context.

    Args:
        lookup: form → lemma, lower case.
        nouns: singular nouns, lower case; what else ends in -s may be a plural.
        version: what identifies the two, for the fingerprint.
    """

    def __init__(self, lookup: Mapping[str, str], nouns: Iterable[str], version: str = "") -> None:
        self._lookup = lookup
        self._nouns = frozenset(nouns)
        self._chosen = {word: word for word in word_set("lemmas", "kept")}
        self._chosen |= mapping("lemmas", "chosen")
        self.version = version

    def __call__(self, word: str) -> str:
        """The lower-case lemma of one word; the word itself in lower case when unknown."""
        if word[-1:] == "s" and word[-2:-1].isupper():  # "SKUs", "CEOs"
            return word[:-1].lower()
        word = word.lower().replace("\u2019", "'")
        return self._chosen.get(word) or self._lookup.get(word) or self._singular(word)

    def __contains__(self, word: str) -> bool:
        """Whether the word, in lower case, is an ordinary English word the tables know."""
        return word in self._lookup or word in self._nouns

    def _singular(self, word: str) -> str:
        if len(word) < 4 or not word.endswith("s") or word.endswith(_SINGULAR_ENDINGS):
            return word
        if not word.isalpha() or word in self._nouns:
            return word
        if word.endswith("ies"):
            return word[:-3] + "y"
        return word[:-2] if word.endswith(("ses", "xes", "ches", "shes")) else word[:-1]
