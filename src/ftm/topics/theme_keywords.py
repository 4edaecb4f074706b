"""Keywords of themes: c-TF-IDF over the cleaned text of their topics.

The vocabulary is that of a quarter, millions of words, so words are numbers and counts are sums
over sorted arrays; a Python object per word would take minutes and gigabytes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ftm.topics.base import FloatArray
from ftm.topics.keywords import (
    N_CANDIDATES,
    N_KEYWORDS,
    PHRASE_SHARE,
    PHRASE_USES,
    TOKEN,
    diverse,
    unit,
)

MIN_TOPICS = 2
"""A term of the vocabulary is found in so many topics."""
MIN_FIRMS = 2
"""A keyword of a theme is said by so many of its firms: one firm's product names no theme."""
SHORTLIST = 4 * N_CANDIDATES
"""Terms per theme that are looked at more closely."""

_IntArray = npt.NDArray[np.int64]
_Ints = npt.NDArray[np.int32] | npt.NDArray[np.int64]
_NO_WORD = r"[^\p{L}\p{N}_]+"


@dataclass(frozen=True, slots=True)
class Words:
    """Sentences as runs of words.

    Args:
        ids: of each word in the vocabulary, shape (n_words,).
        topics: row of the topic each word is said in, shape (n_words,).
        sentences: a number per sentence, shape (n_words,); words of one sentence are neighbours.
    """

    ids: _Ints
    topics: _Ints
    sentences: _Ints


class ThemeText:
    """Collects the cleaned sentences of topics, block by block."""

    def __init__(self) -> None:
        self._vocabulary: dict[str, int] = {}
        self._blocks: list[Words] = []
        self._n_sentences = 0

    def add(self, cleaned: pa.ChunkedArray | pa.Array, topics: _IntArray) -> None:
        """Sentences with the row of the topic each belongs to."""
        plain = pc.replace_substring_regex(pc.utf8_lower(cleaned), _NO_WORD, " ")
        split = pc.utf8_split_whitespace(plain)
        if isinstance(split, pa.ChunkedArray):
            split = split.combine_chunks()
        lengths = pc.list_value_length(split).to_numpy(zero_copy_only=False).astype(np.int64)
        encoded = pc.dictionary_encode(split.flatten())
        own = np.array([self._id(word) for word in encoded.dictionary.to_pylist()], np.int64)
        indices = encoded.indices.to_numpy(zero_copy_only=False)
        ids = own[indices] if len(own) else np.zeros(0, np.int64)
        place = np.repeat(np.arange(len(lengths)), lengths)
        kept = ids >= 0
        # 32 bits each: a large quarter has fifteen million words.
        block = Words(
            ids[kept].astype(np.int32),
            topics[place[kept]].astype(np.int32),
            (place[kept] + self._n_sentences).astype(np.int32),
        )
        self._blocks.append(block)
        self._n_sentences += len(lengths)

    def _id(self, word: str) -> int:
        """Its number; -1 for what is no word, like a single letter."""
        found = self._vocabulary.get(word)
        if found is not None:
            return found
        if not TOKEN.fullmatch(word):
            return -1
        return self._vocabulary.setdefault(word, len(self._vocabulary))

    def keywords(
        self, themes: _IntArray, firms: _IntArray, centroids: FloatArray
    ) -> list[tuple[str, ...]]:
        """Keywords of each theme 0, 1, …, best first; () for one without a term.

        Terms are 1- and 2-grams that at least two firms of the theme say. Topics outside every
        theme count as one more class.

        Args:
            themes: of each topic, -1 for none, shape (n_topics,).
            firms: a number per firm, of each topic, shape (n_topics,).
            centroids: of the topics, shape (n_topics, n_dims).
        """
        words = _concat(self._blocks)
        counts = _count_terms(words, n_words=len(self._vocabulary), n_topics=len(themes))
        names = list(self._vocabulary)
        scored = _score(counts, themes, firms)
        return [
            _keywords_of(theme, scored, counts, names, themes=themes, centroids=centroids)
            for theme in range(int(themes.max(initial=-1)) + 1)
        ]


@dataclass(frozen=True, slots=True)
class _Counts:
    """Uses of terms by topic, sorted by term, then topic.

    Args:
        terms: code of the term of each entry: of word i it is i, of the pair i, j it is
            n_words + i * n_words + j.
        topics: row of the topic of each entry.
        n: uses.
        n_words: size of the vocabulary of words.
    """

    terms: _IntArray
    topics: _Ints
    n: _IntArray
    n_words: int

    def words_of(self, term: int) -> tuple[int, ...]:
        """One word, or the two of a pair."""
        if term < self.n_words:
            return (term,)
        return divmod(term - self.n_words, self.n_words)


@dataclass(frozen=True)
class _Scored:
    """Terms by theme, sorted by term, then theme; theme -1 comes as the last class.

    Args:
        keys: term * n_classes + class, sorted.
        n: uses of the term in the class.
        scores: c-TF-IDF; 0 for what cannot be a keyword.
        n_classes: themes and one more.
    """

    keys: _IntArray
    n: _IntArray
    scores: npt.NDArray[np.float64]
    n_classes: int

    @cached_property
    def _by_class(self) -> tuple[_IntArray, _IntArray]:
        classes = self.keys % self.n_classes
        order = np.argsort(classes, kind="stable")
        return order, np.searchsorted(classes[order], np.arange(self.n_classes + 1))

    def of_class(self, theme: int) -> _IntArray:
        """Places of a theme's terms."""
        order, starts = self._by_class
        return order[starts[theme] : starts[theme + 1]]

    def uses(self, term: int, theme: int) -> int:
        """Of a term in a theme."""
        key = term * self.n_classes + theme
        place = int(np.searchsorted(self.keys, key))
        found = place < len(self.keys) and self.keys[place] == key
        return int(self.n[place]) if found else 0


def _concat(blocks: Sequence[Words]) -> Words:
    if not blocks:
        empty = np.zeros(0, np.int64)
        return Words(empty, empty, empty)
    return Words(
        np.concatenate([block.ids for block in blocks]),
        np.concatenate([block.topics for block in blocks]),
        np.concatenate([block.sentences for block in blocks]),
    )


def _count_terms(words: Words, *, n_words: int, n_topics: int) -> _Counts:
    """1- and 2-grams by topic; those of one topic only are left out."""
    same = words.sentences[1:] == words.sentences[:-1]
    size = len(words.ids)
    # One array, sorted where it lies: of a large quarter it is half a gigabyte.
    keys = np.empty(size + int(same.sum()), np.int64)
    keys[:size], keys[size:] = words.ids, words.ids[:-1][same]
    keys[size:] *= n_words
    keys[size:] += words.ids[1:][same]
    keys[size:] += n_words
    keys *= n_topics
    keys[:size] += words.topics
    keys[size:] += words.topics[1:][same]
    keys.sort()
    found, n = _runs(keys)
    del keys
    terms, topics = np.divmod(found, max(n_topics, 1))
    _, n_in = _runs(terms)
    kept = np.repeat(n_in >= MIN_TOPICS, n_in)
    return _Counts(terms[kept], topics[kept].astype(np.int32), n[kept], n_words)


def _score(counts: _Counts, themes: _IntArray, firms: _IntArray) -> _Scored:
    """c-TF-IDF of every term in every theme, as `keywords.class_tfidf` has it."""
    n_classes = int(themes.max(initial=-1)) + 2
    classes = np.where(themes < 0, n_classes - 1, themes)
    keys = counts.terms * n_classes + classes[counts.topics]
    order = np.argsort(keys)
    keys, lengths = _runs(keys[order])
    if not keys.size:
        return _Scored(keys, keys, np.zeros(0), n_classes)
    starts = np.cumsum(lengths) - lengths
    n = np.add.reduceat(counts.n[order], starts)
    term, which = np.divmod(keys, n_classes)
    sums = np.bincount(which, n, minlength=n_classes)
    _, n_classes_in = _runs(term)
    first = np.cumsum(n_classes_in) - n_classes_in
    in_all = np.repeat(np.add.reduceat(n, first), n_classes_in)
    average = int(sums[sums > 0].mean())
    scores = np.sqrt(n / sums[which]) * np.log(average / in_all + 1.0)
    scores[_n_firms(lengths, firms[counts.topics[order]]) < MIN_FIRMS] = 0.0
    return _Scored(keys, n, scores, n_classes)


def _n_firms(lengths: _IntArray, firms: _IntArray) -> _IntArray:
    """Different firms in each run of so many."""
    width = int(firms.max(initial=0)) + 1
    pairs = np.repeat(np.arange(len(lengths)) * width, lengths)
    pairs += firms
    pairs.sort()
    return np.bincount(_runs(pairs)[0] // width, minlength=len(lengths))


def _runs(ordered: _IntArray) -> tuple[_IntArray, _IntArray]:
    """The values of a sorted array, each once, and how often each comes.

    `np.unique` does the same, but hashes, which takes a minute for twenty million values.
    """
    if not ordered.size:
        return ordered, ordered
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    return ordered[starts], np.diff(starts, append=len(ordered))


def _keywords_of(
    theme: int,
    scored: _Scored,
    counts: _Counts,
    names: Sequence[str],
    *,
    themes: _IntArray,
    centroids: FloatArray,
) -> tuple[str, ...]:
    terms = _best(theme, scored, lambda term: _spell(term, counts, names))
    chosen = _phrases_first(terms, theme, scored, counts)[:N_CANDIDATES]
    if not chosen:
        return ()
    vectors = unit(np.stack([_vector(term, theme, counts, themes, centroids) for term in chosen]))
    centre = unit(centroids[themes == theme].mean(axis=0, keepdims=True))[0]
    kept = diverse(vectors @ centre, vectors @ vectors.T, N_KEYWORDS)
    return tuple(_spell(chosen[i], counts, names) for i in sorted(kept))


def _best(theme: int, scored: _Scored, spell: Callable[[int], str]) -> list[int]:
    """The terms of a theme with the best scores; equal ones in alphabetical order."""
    here = scored.of_class(theme)
    scores = scored.scores[here]
    last = np.sort(scores)[-min(SHORTLIST, len(scores)) :][:1]
    here = here[(scores > 0) & (scores >= (last[0] if last.size else 0.0))]
    # By spelling, not by number: numbers depend on what was read first.
    terms = [
        (-float(scored.scores[i]), spell(int(scored.keys[i] // scored.n_classes)), i) for i in here
    ]
    return [int(scored.keys[i] // scored.n_classes) for _, _, i in sorted(terms)[:SHORTLIST]]


def _phrases_first(terms: Sequence[int], theme: int, scored: _Scored, counts: _Counts) -> list[int]:
    """Phrases, and the words not said in one: the rule of `keywords.eligible_terms`."""
    in_phrases: dict[int, int] = {}
    pairs = set()
    for term in terms:
        words = counts.words_of(term)
        if len(words) == 1:
            continue
        n = scored.uses(term, theme)
        rarer = min(scored.uses(word, theme) for word in words)
        if n >= max(PHRASE_USES, PHRASE_SHARE * rarer):
            pairs.add(term)
            for word in words:
                in_phrases[word] = in_phrases.get(word, 0) + n
    return [
        term
        for term in terms
        if term in pairs
        or (
            term < counts.n_words
            and in_phrases.get(term, 0) < PHRASE_SHARE * scored.uses(term, theme)
        )
    ]


def _vector(
    term: int, theme: int, counts: _Counts, themes: _IntArray, centroids: FloatArray
) -> FloatArray:
    """Mean centroid of the theme's topics that say the term, by uses."""
    first, last = np.searchsorted(counts.terms, [term, term + 1])
    topics, n = counts.topics[first:last], counts.n[first:last]
    inside = themes[topics] == theme
    return np.asarray(n[inside].astype(np.float32) @ centroids[topics[inside]], np.float32)


def _spell(term: int, counts: _Counts, names: Sequence[str]) -> str:
    return " ".join(names[word] for word in counts.words_of(term))
