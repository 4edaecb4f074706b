"""spaCy components made of ftm's rules: sentences, lemmas and entities for a pipeline without."""

from __future__ import annotations

from bisect import bisect_left
from typing import Any

import numpy as np
import numpy.typing as npt
from spacy.attrs import ENT_IOB, ENT_TYPE, IDX, LEMMA, ORTH, SENT_START
from spacy.language import Language
from spacy.tokens import Doc
from spacy.vocab import Vocab

from ftm.text.entities import find_entities, token_class
from ftm.text.lemmas import LemmaTable, lemma_table
from ftm.text.sentences import sentence_starts

_INSIDE, _OUTSIDE, _BEGIN = 1, 2, 3  # spaCy's codes for ENT_IOB
_NOT_START = np.uint64(2**64 - 1)  # -1, as from_array reads it


class TokenMemo(dict[int, Any]):
    """Remembers what was computed for a word, by its hash.

    Inside a `memory_zone` nothing new is remembered: the zone takes its strings away, and the
    words that occur for the first time then are rare ones, which would pile up.
    """

    def __init__(self, vocab: Vocab) -> None:
        super().__init__()
        self.vocab = vocab

    def __missing__(self, orth: int) -> Any:
        value = self.compute(self.vocab.strings[orth])
        if not self.vocab.in_memory_zone:
            self[orth] = value
        return value

    def compute(self, word: str) -> Any:
        """What to remember of a word."""
        raise NotImplementedError


class _LemmaHashes(TokenMemo):
    def __init__(self, vocab: Vocab, lemma: LemmaTable) -> None:
        super().__init__(vocab)
        self._lemma = lemma

    def compute(self, word: str) -> int:
        return int(self.vocab.strings.add(self._lemma(word)))


class _TokenClasses(TokenMemo):
    def compute(self, word: str) -> int:
        return token_class(word)


@Language.component("ftm_sentences")
def mark_sentences(doc: Doc) -> Doc:
    """Set the first token of every sentence (`ftm.text.sentences`)."""
    if len(doc):
        marks: npt.NDArray[np.uint64] = np.full(len(doc), _NOT_START)
        marks[0] = 1
        offsets = doc.to_array(IDX).tolist()
        for start in sentence_starts(doc.text):
            token = bisect_left(offsets, start)
            if token < len(marks):
                marks[token] = 1
        doc.from_array([SENT_START], marks)
    return doc


class TableLemmas:
    """Set every token's lemma from the table, whatever its part of speech."""

    def __init__(self, vocab: Vocab, lemma: LemmaTable) -> None:
        self._hashes = _LemmaHashes(vocab, lemma)

    def __call__(self, doc: Doc) -> Doc:
        """Write the lemmas into the Doc."""
        if len(doc):
            hashes = self._hashes
            lemmas = [hashes[orth] for orth in doc.to_array(ORTH).tolist()]
            doc.from_array([LEMMA], np.array(lemmas, dtype=np.uint64))
        return doc


class EntityRules:
    """Set PERSON, DATE, TIME, CARDINAL, ORDINAL, MONEY and PERCENT (`ftm.text.entities`)."""

    def __init__(self, vocab: Vocab) -> None:
        self._classes = _TokenClasses(vocab)
        self._strings = vocab.strings

    def __call__(self, doc: Doc) -> Doc:
        """Write the entities into the Doc, in place of any it has."""
        if not len(doc):
            return doc
        known = self._classes
        classes = bytes([known[orth] for orth in doc.to_array(ORTH).tolist()])
        marks: npt.NDArray[np.uint64] = np.zeros((len(doc), 2), dtype=np.uint64)
        marks[:, 0] = _OUTSIDE
        for label, start, end in find_entities(classes):
            marks[start:end, 0] = _INSIDE
            marks[start, 0] = _BEGIN
            marks[start:end, 1] = self._strings[label]
        doc.from_array([ENT_IOB, ENT_TYPE], marks)
        return doc


@Language.factory("ftm_lemmas")
def make_lemmas(nlp: Language, name: str) -> TableLemmas:
    """The factory spaCy calls; `name` is its name in the pipeline."""
    del name
    return TableLemmas(nlp.vocab, lemma_table())


@Language.factory("ftm_entities")
def make_entities(nlp: Language, name: str) -> EntityRules:
    """The factory spaCy calls; `name` is its name in the pipeline."""
    del name
    return EntityRules(nlp.vocab)
