"""A firm's turns as arrays of tokens: read off annotated Docs, or by the rules themselves.

`DocReader` runs a whole spaCy pipeline and reads its annotations. `RuleReader` asks spaCy for its
tokens only and applies the rules to those: what the components of `ftm.text.components` write into
a Doc, without the Doc. Both give the same for the same rules; a test holds them equal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Protocol

import numpy as np
import numpy.typing as npt
from spacy.attrs import ENT_TYPE, IDX, LEMMA, ORTH, SENT_START
from spacy.language import Language

from ftm.text.components import TokenClasses
from ftm.text.entities import find_entities
from ftm.text.lemmas import LemmaTable
from ftm.text.sentences import sentence_starts
from ftm.text.words import DROPPED_ENTITIES

Hashes = npt.NDArray[np.uint64]

_KEY_MIX = np.uint64(0x9E3779B97F4A7C15)  # odd, so that (orth, lemma) pairs mix without loss


@dataclass(frozen=True)
class Tokens:
    """The tokens of a firm's turns.

    Args:
        text: all turns, one after the other.
        orths: spaCy's hashes of the words as spoken, shape (n_tokens,).
        keys: equal for two tokens of the same word and lemma, shape (n_tokens,).
        lemma_at: the lemma of the token with this index, "" where the pipeline gives none.
        in_entity: indices of the tokens inside an entity that is dropped, increasing.
        offsets: where each token starts in `text`, and the length of the text as the last;
            shape (n_tokens + 1,).
        starts: indices of the first tokens of the sentences, and n_tokens as the last.
        ends: index of the token after the last of each turn, or piece of a turn.
    """

    text: str
    orths: Hashes
    keys: Hashes
    lemma_at: Callable[[int], str]
    in_entity: Sequence[int]
    offsets: npt.NDArray[np.int64]
    starts: list[int]
    ends: list[int]


class TokenReader(Protocol):
    """Reads texts once each."""

    def read(self, texts: Sequence[str]) -> Tokens:
        """The tokens of the texts; a text always starts a sentence."""


class DocReader:
    """Any spaCy pipeline that sets sentences, lemmas and entities."""

    def __init__(self, nlp: Language) -> None:
        self._nlp = nlp
        dropped = [nlp.vocab.strings.add(label) for label in DROPPED_ENTITIES]
        self._dropped = np.array(dropped, dtype=np.uint64)

    def read(self, texts: Sequence[str]) -> Tokens:
        """See TokenReader; only arrays outlive the Docs."""
        docs = self._nlp.pipe(texts)
        tables = [doc.to_array([ORTH, LEMMA, ENT_TYPE, SENT_START, IDX]) for doc in docs]
        orths, lemmas, entities, marks, local = _columns(tables, 5)
        strings = self._nlp.vocab.strings
        ends = list(accumulate(map(len, tables)))
        return Tokens(
            text="".join(texts),
            orths=orths,
            keys=orths ^ (lemmas * _KEY_MIX),
            lemma_at=lambda at: str(strings[int(lemmas[at])]) if lemmas[at] else "",
            in_entity=np.flatnonzero(np.isin(entities, self._dropped)).tolist(),
            offsets=_offsets(local, tables, texts),
            starts=_starts(np.flatnonzero(marks == 1), ends),
            ends=ends,
        )


class RuleReader:
    """spaCy's tokenizer, and ftm's own sentences, lemmas and entities."""

    def __init__(self, nlp: Language, lemma: LemmaTable) -> None:
        self._nlp = nlp
        self._lemma = lemma
        self._classes = TokenClasses(nlp.vocab)

    def read(self, texts: Sequence[str]) -> Tokens:
        """See TokenReader."""
        tokenize, strings = self._nlp.tokenizer, self._nlp.vocab.strings
        tables = [tokenize(text).to_array([ORTH, IDX]) for text in texts]
        orths, local = _columns(tables, 2)
        offsets = _offsets(local, tables, texts)
        ends = list(accumulate(map(len, tables)))
        known = self._classes
        classes = bytes([known[orth] for orth in orths.tolist()])
        return Tokens(
            text="".join(texts),
            orths=orths,
            keys=orths,
            lemma_at=lambda at: self._lemma(strings[int(orths[at])]),
            in_entity=_entity_tokens(classes, ends),
            offsets=offsets,
            starts=_starts(np.searchsorted(offsets[:-1], _sentence_offsets(texts)), ends),
            ends=ends,
        )


def _columns(tables: Sequence[Hashes], n: int) -> Hashes:
    """The tables one below the other, turned: shape (n, n_tokens)."""
    empty: Hashes = np.zeros((0, n), dtype=np.uint64)
    return np.ascontiguousarray(np.concatenate([empty, *tables]).T)


def _offsets(
    local: Hashes, tables: Sequence[Hashes], texts: Sequence[str]
) -> npt.NDArray[np.int64]:
    """Offsets in the texts put together, from those in each text."""
    bases = [0, *accumulate(map(len, texts))]
    moved = local.astype(np.int64)
    moved += np.repeat(np.array(bases[:-1], dtype=np.int64), list(map(len, tables)))
    return np.append(moved, bases[-1])


def _starts(found: npt.NDArray[np.intp], ends: Sequence[int]) -> list[int]:
    """First tokens of sentences: those found and the first of every text; the end as the last."""
    n = ends[-1] if ends else 0
    starts = {*found.tolist(), *ends, 0, n}
    return sorted(starts) if n else [0]


def _sentence_offsets(texts: Iterable[str]) -> list[int]:
    found: list[int] = []
    base = 0
    for text in texts:
        found += [base + start for start in sentence_starts(text)]
        base += len(text)
    return found


def _entity_tokens(classes: bytes, ends: Sequence[int]) -> list[int]:
    """Every rule's entity is one that is dropped; none reaches over the end of a text."""
    found: list[int] = []
    begin = 0
    for end in ends:
        for _, first, after in find_entities(classes[begin:end]):
            found += range(begin + first, begin + after)
        begin = end
    return found
