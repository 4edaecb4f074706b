"""Keywords: the formulas are BERTopic's, the order is deterministic."""

import json
import subprocess
import sys

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ftm.topics.keywords import class_tfidf, count_terms, diverse, topic_keywords, topic_name

# Its two modules without the packages around them, which import torch, plotly and UMAP for fifteen
# seconds; a process of its own keeps the empty packages out of this one.
BERTOPIC = """
import sys, json, types
from importlib.util import find_spec
import numpy as np, scipy.sparse as sp
(root,) = find_spec("bertopic").submodule_search_locations
for name in ("bertopic", "bertopic.vectorizers", "bertopic.representation"):
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__path__ = ["/".join([root, *name.split(".")[1:]])]
from bertopic.vectorizers._ctfidf import ClassTfidfTransformer
from bertopic.representation._mmr import mmr
given = json.load(sys.stdin)
counts = sp.csr_matrix(np.array(given["counts"], float))
scores = ClassTfidfTransformer(reduce_frequent_words=True).fit(counts).transform(counts.copy())
words = [str(i) for i in range(len(given["vectors"]))]
picked = mmr(np.array(given["topic"])[None], np.array(given["vectors"]), words, 0.3, 10)
print(json.dumps({"scores": scores.toarray().tolist(), "picked": [int(w) for w in picked]}))
"""


def test_formulas_equal_bertopics() -> None:
    """c-TF-IDF scores and MMR choices are those of BERTopic's own code."""
    rng = np.random.default_rng(0)
    counts = rng.poisson(1.5, (5, 40)) + (np.arange(40) == 0)
    vectors = rng.normal(size=(30, 16))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    topic = vectors.mean(axis=0) / np.linalg.norm(vectors.mean(axis=0))
    question = {"counts": counts.tolist(), "vectors": vectors.tolist(), "topic": topic.tolist()}
    done = subprocess.run(
        [sys.executable, "-c", BERTOPIC],
        input=json.dumps(question),
        capture_output=True,
        text=True,
        check=True,
    )
    theirs = json.loads(done.stdout.splitlines()[-1])
    np.testing.assert_allclose(class_tfidf(counts.astype(float)), theirs["scores"], rtol=1e-12)
    assert diverse(vectors @ topic, vectors @ vectors.T, 10) == theirs["picked"]


def test_vocabulary_is_what_two_sentences_share() -> None:
    """1- and 2-grams of two sentences count; twice in one sentence does not; one letter never."""
    counted = count_terms(["cloud growth x", "cloud growth", "tariff tariff", ""])
    assert counted.terms == ("cloud", "cloud growth", "growth")
    assert counted.counts.tolist() == [[1, 1, 1], [1, 1, 1], [0, 0, 0], [0, 0, 0]]


def test_no_sentences_have_no_vocabulary() -> None:
    """Nothing in, nothing out."""
    assert count_terms([]).terms == ()
    assert topic_keywords(count_terms([]), np.zeros(0, np.int32), np.zeros((0, 4))) == []


def test_ties_come_out_alphabetically() -> None:
    """Words of equal weight and direction are ordered by the alphabet, however they occur."""
    documents = ["zeta", "beta", "alpha"] * 2 + ["other"] * 3
    labels = np.array([0] * 6 + [1] * 3, np.int32)
    found = topic_keywords(count_terms(documents), labels, np.ones((9, 4), np.float32))
    assert found[0] == ("alpha", "beta", "zeta")
    assert found[1] == ("other",)


def test_a_phrase_stands_for_its_words() -> None:
    """Two words mostly said together are one keyword, in place of each of them."""
    documents = ["sun care grew", "sun care share", "sun care", "walmart opened", "walmart grew"]
    labels = np.array([0, 0, 0, 1, 1], np.int32)
    vectors = np.eye(4, dtype=np.float32)[labels]
    sun, shops = topic_keywords(count_terms(documents), labels, vectors)
    assert sun == ("sun care", "grew")
    assert shops == ("walmart", "grew")


def test_a_word_is_not_repeated_with_each_of_its_neighbours() -> None:
    """A word that goes with many is a keyword once, and its neighbours are others."""
    here = ["billie add", "billie add shelf", "billie high shelf", "billie high", "billie"]
    elsewhere = ["add cost", "add team", "add site", "high cost", "high team", "high site"]
    documents = here + elsewhere
    labels = np.array([0] * 5 + [1] * 6, np.int32)
    vectors = np.eye(4, dtype=np.float32)[labels]
    found = topic_keywords(count_terms(documents), labels, vectors)[0]
    assert set(found) == {"billie", "add", "high", "shelf"}


def test_a_topic_whose_words_are_its_own_gets_them_first() -> None:
    """A word of every topic stands behind the word of one topic alone."""
    documents = ["quarter", "cloud"] * 3 + ["quarter", "tariff"] * 3
    labels = np.repeat([0, 1], 6).astype(np.int32)
    vectors = np.eye(4, dtype=np.float32)[labels]
    first, second = topic_keywords(count_terms(documents), labels, vectors)
    assert first[0] == "cloud"
    assert second[0] == "tariff"
    assert "tariff" not in first


def test_keywords_are_chosen_for_the_topic_not_for_each_other() -> None:
    """Of more candidates than places, those off the topic's direction lose, however many."""
    on = [f"on{i}" for i in range(8)]
    off = [f"off{i}" for i in range(12)]
    documents = [*on, *on, *on, *off, *off, *off]
    labels = np.repeat([0, 0, 0, 0, 1, 1], [8, 8, 8, 12, 12, 12]).astype(np.int32)
    vectors = np.eye(3, dtype=np.float32)[np.repeat([0, 1], [24, 36])]
    found = topic_keywords(count_terms(documents), labels, vectors)
    assert set(on) <= set(found[0])


def test_names_repeat_no_word() -> None:
    """A name takes the first keywords that share no word with those before."""
    keywords = ("separation plan", "separation", "board", "plan", "idea", "audit", "tax")
    assert topic_name(keywords) == "separation plan, board, idea, audit"
    assert topic_name(()) == ""


@given(st.integers(1, 20), st.integers(1, 12), st.integers(0, 99))
def test_diverse_picks_each_candidate_once(n_candidates: int, n: int, seed: int) -> None:
    """As many as asked, or all; the most similar first."""
    vectors = np.random.default_rng(seed).normal(size=(n_candidates, 5)).astype(np.float32)
    picked = diverse(vectors @ vectors.mean(axis=0), vectors @ vectors.T, n)
    assert len(picked) == len(set(picked)) == min(n, n_candidates)
    assert picked[0] == int(np.argmax(vectors @ vectors.mean(axis=0)))
