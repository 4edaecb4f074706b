"""spaCy components made of ftm's rules: sentences, lemmas and entities for a pipeline without."""

from __future__ import annotations

from bisect import bisect_left
from typing import Any

import numpy as np
import numpy.typing as npt
from spacy.attrs import ENT_IOB, ENT_TYPE, IDX, LEMMA, ORTH, SENT_START, SPACY
from spacy.language import Language
from spacy.tokens import Doc
from spacy.vocab import Vocab

from ftm.text.entities import find_entities, token_class
from ftm.text.lemmas import LemmaTable, lemma_table
from ftm.text.sentences import sentence_starts

_INSIDE, _OUTSIDE, _BEGIN = 1, 2, 3  # spaCy's codes for ENT_IOB
_NOT_START = np.uint64(2**64 - 1)  # -1, as from_array reads it


def in_zone(vocab: Vocab) -> bool:
    """Whether a `memory_zone` is open, so that strings added now will go again."""
    return bool(vocab.in_memory_zone)  # type: ignore[attr-defined]  # missing in spaCy's stub


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
        if not in_zone(self.vocab):
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


class TokenClasses(TokenMemo):
    """Word → the class that `ftm.text.entities` gives it."""

    def compute(self, word: str) -> int:
        """See TokenMemo."""
        return token_class(word)


class _SpokenWords(TokenMemo):
    def compute(self, word: str) -> str:
        return word


class SentenceRules:
    """Set the first token of every sentence (`ftm.text.sentences`)."""

    def __init__(self, vocab: Vocab) -> None:
        self._words = _SpokenWords(vocab)

    def __call__(self, doc: Doc) -> Doc:
        """Write the sentence starts into the Doc, in place of any it has."""
        if not len(doc):
            return doc
        marks: npt.NDArray[np.uint64] = np.full(len(doc), _NOT_START)
        marks[0] = 1
        orths, blanks, offsets = doc.to_array([ORTH, SPACY, IDX]).T.tolist()
        for start in sentence_starts(self._text(orths, blanks)):
            token = bisect_left(offsets, start)
            if token < len(marks):
                marks[token] = 1
        doc.from_array([SENT_START], marks)
        return doc

    def _text(self, orths: list[int], blanks: list[int]) -> str:
        """doc.text, four times faster: spaCy makes a Token of each word first."""
        words = self._words
        spaced = zip(orths, blanks, strict=True)
        return "".join([words[orth] + " " if blank else words[orth] for orth, blank in spaced])


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
        self._classes = TokenClasses(vocab)
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


@Language.factory("ftm_sentences")  # type: ignore[untyped-decorator]
def make_sentences(nlp: Language, name: str) -> SentenceRules:
    """The factory spaCy calls; `name` is its name in the pipeline."""
    del name
    return SentenceRules(nlp.vocab)


@Language.factory("ftm_lemmas")  # type: ignore[untyped-decorator]
def make_lemmas(nlp: Language, name: str) -> TableLemmas:
    """The factory spaCy calls; `name` is its name in the pipeline."""
    del name
    return TableLemmas(nlp.vocab, lemma_table())


@Language.factory("ftm_entities")  # type: ignore[untyped-decorator]
def make_entities(nlp: Language, name: str) -> EntityRules:
    """The factory spaCy calls; `name` is its name in the pipeline."""
    del name
    return EntityRules(nlp.vocab)
