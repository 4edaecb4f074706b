"""Keywords of topics: c-TF-IDF candidates, made diverse by maximal marginal relevance.

The formulas are BERTopic's (`ClassTfidfTransformer`, `representation.mmr`), which importing would
load torch in every clustering worker; a test holds them equal.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from ftm.topics.base import FloatArray

# scikit-learn's default: words of two or more letters.
TOKEN = re.compile(r"(?u)\b\w\w+\b")
MIN_SENTENCES = 2
N_CANDIDATES = 30
N_KEYWORDS = 10
DIVERSITY = 0.3
N_NAME_TERMS = 4
# Two words are a phrase if they are said together at least so often, and so often of the times
# the rarer one is said.
PHRASE_USES = 3
PHRASE_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class TermCounts:
    """How often each term occurs in each sentence.

    Args:
        terms: 1- and 2-grams found in at least two sentences, sorted.
        counts: float32, shape (n_documents, n_terms).
    """

    terms: tuple[str, ...]
    counts: FloatArray


def count_terms(documents: Sequence[str]) -> TermCounts:
    """Count a firm's vocabulary; empty without a term in two sentences."""
    per_document = [Counter(_terms(document)) for document in documents]
    found_in = Counter(term for counts in per_document for term in counts)
    terms = tuple(sorted(term for term, n in found_in.items() if n >= MIN_SENTENCES))
    column = {term: i for i, term in enumerate(terms)}
    counts = np.zeros((len(documents), len(terms)), np.float32)
    for row, found in enumerate(per_document):
        for term, n in found.items():
            if term in column:
                counts[row, column[term]] = n
    return TermCounts(terms, counts)


def topic_keywords(
    vocabulary: TermCounts, labels: npt.NDArray[np.int32], embeddings: FloatArray
) -> list[tuple[str, ...]]:
    """Keywords of each topic 0, 1, …, best first; () for a topic without a term.

    Args:
        vocabulary: of the firm.
        labels: topic of each document, -1 = outlier; outliers count as one more class.
        embeddings: shape (n_documents, n_dims).
    """
    n_topics = int(labels.max(initial=-1)) + 1
    if not vocabulary.terms:
        return [()] * n_topics
    classes = np.unique(labels)
    totals = np.stack([vocabulary.counts[labels == c].sum(axis=0) for c in classes])
    scores = class_tfidf(totals.astype(np.float64))[classes >= 0]
    scores *= eligible_terms(vocabulary, totals)[classes >= 0]
    present = (vocabulary.counts > 0).astype(np.float32)
    word_vectors = unit(present.T @ embeddings)
    return [
        _keywords_of(
            vocabulary.terms, scores[topic], word_vectors, _direction(embeddings[labels == topic])
        )
        for topic in range(n_topics)
    ]


def eligible_terms(vocabulary: TermCounts, totals: FloatArray) -> npt.NDArray[np.bool_]:
    """Which terms may be keywords of each class: phrases, and the words not said in one.

    A 2-gram is a phrase if the call has it three times or more, and at least half the uses of its
    rarer word are in it: "gross margin", but not "margin see". A word most of whose uses in a
    class are in phrases ("gross") stands aside for them. Otherwise a topic's keywords are one word
    with its neighbours.

    Args:
        vocabulary: of the firm.
        totals: counts of each term in each class, shape (n_classes, n_terms).

    Returns:
        Shape (n_classes, n_terms).
    """
    column = {term: i for i, term in enumerate(vocabulary.terms)}
    pairs = {i: term.split(" ") for term, i in column.items() if " " in term}
    n_uses = vocabulary.counts.sum(axis=0)
    eligible = np.ones(totals.shape, np.bool_)
    in_phrases = np.zeros_like(totals)
    for i, words in pairs.items():
        parts = [column[word] for word in words]
        if n_uses[i] >= max(PHRASE_USES, PHRASE_SHARE * n_uses[parts].min()):
            in_phrases[:, parts] += totals[:, [i]]
        else:
            eligible[:, i] = False
    single = [i for i in column.values() if i not in pairs]
    eligible[:, single] = in_phrases[:, single] < PHRASE_SHARE * totals[:, single]
    return eligible


def class_tfidf(totals: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """c-TF-IDF of term totals per class, shape (n_classes, n_terms); every term occurs.

    Frequencies go in as square roots (BERTopic's `reduce_frequent_words`): with a dozen topics a
    firm, the inverse document frequency alone leaves "quarter" and "year" in front everywhere.
    """
    sums = totals.sum(axis=1, keepdims=True)
    frequencies = np.divide(totals, sums, out=np.zeros_like(totals), where=sums > 0)
    average = int(totals.sum(axis=1).mean())
    return np.asarray(np.sqrt(frequencies) * np.log(average / totals.sum(axis=0) + 1.0))


def topic_name(keywords: Sequence[str], n: int = N_NAME_TERMS) -> str:
    """The first keywords that share no word, with commas; empty without a keyword."""
    chosen: list[str] = []
    used: set[str] = set()
    for keyword in keywords:
        words = set(keyword.split())
        if len(chosen) < n and not words & used:
            chosen.append(keyword)
            used |= words
    return ", ".join(chosen)


def diverse(similarity_to_topic: FloatArray, similarities: FloatArray, n: int) -> list[int]:
    """Indexes chosen by maximal marginal relevance; ties go to the first.

    Args:
        similarity_to_topic: of each candidate, shape (n_candidates,).
        similarities: between candidates, shape (n_candidates, n_candidates).
        n: how many at most.
    """
    chosen = [int(np.argmax(similarity_to_topic))]
    while len(chosen) < min(n, len(similarity_to_topic)):
        to_chosen = similarities[:, chosen].max(axis=1)
        relevance = (1 - DIVERSITY) * similarity_to_topic - DIVERSITY * to_chosen
        relevance[chosen] = -np.inf
        chosen.append(int(np.argmax(relevance)))
    return chosen


def _keywords_of(
    terms: tuple[str, ...],
    scores: npt.NDArray[np.float64],
    word_vectors: FloatArray,
    centroid: FloatArray,
) -> tuple[str, ...]:
    # Stable: terms are sorted, so ties come out alphabetically.
    best = np.argsort(-scores, kind="stable")[:N_CANDIDATES]
    best = best[scores[best] > 0]
    if not best.size:
        return ()
    vectors = word_vectors[best]
    kept = diverse(vectors @ centroid, vectors @ vectors.T, N_KEYWORDS)
    return tuple(terms[best[i]] for i in sorted(kept))


def _direction(rows: FloatArray) -> FloatArray:
    """Of the mean of a topic's sentences."""
    direction: FloatArray = unit(rows.mean(axis=0, keepdims=True))[0]
    return direction


def _terms(document: str) -> list[str]:
    words = TOKEN.findall(document.lower())
    return words + [f"{a} {b}" for a, b in pairwise(words)]


def unit(rows: FloatArray) -> FloatArray:
    """Rows of length one; rows of zeros stay."""
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(np.divide(rows, norms, out=np.zeros_like(rows), where=norms > 0))
