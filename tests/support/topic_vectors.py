"""Vectors with planted topics, and a model that obeys; imports little, as pool workers load it."""

from __future__ import annotations

import os
import pickle
import signal
import time
from collections.abc import Mapping, Sequence

import numpy as np

from ftm.core.errors import TopicModelError
from ftm.topics.base import FloatArray, TopicModel, TopicModelResult
from ftm.topics.noop import NoOpTopicModel


def planted_vectors(
    n_topics: int, size: int, *, noise: float = 0.3, seed: int = 0, n_dims: int = 32
) -> tuple[FloatArray, np.ndarray]:
    """Unit vectors around orthogonal directions, shuffled, with their labels."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(n_topics), size))
    rows = np.eye(n_dims)[labels] + noise * rng.normal(size=(len(labels), n_dims)) / n_dims**0.5
    return unit(rows), labels


def unit(rows: np.ndarray) -> FloatArray:
    """Rows of length one, float32."""
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


def texts_of(labels: Sequence[int]) -> list[str]:
    """Texts whose words tell their label."""
    words = ("cloud", "dividend", "tariff", "hiring", "pipeline", "weather", "patent", "freight")
    return [f"{words[k % 8]} report {words[k % 8]} quarter {i % 3}" for i, k in enumerate(labels)]


def same(a: TopicModelResult, b: TopicModelResult) -> bool:
    """Equal bit for bit."""
    return pickle.dumps(a) == pickle.dumps(b) or (
        a.assignments.tobytes() == b.assignments.tobytes()
        and a.probabilities.tobytes() == b.probabilities.tobytes()
        and [(t.keywords, t.representation, t.sentences, t.centroid.tobytes()) for t in a.topics]
        == [(t.keywords, t.representation, t.sentences, t.centroid.tobytes()) for t in b.topics]
    )


def uneven_firms(n: int) -> list[tuple[list[str], FloatArray]]:
    """Texts and vectors of firms of different size and difficulty."""
    planted = [planted_vectors(3 + i, 12 + i, noise=0.9, seed=i) for i in range(n)]
    return [(texts_of(labels), vectors) for vectors, labels in planted]


class ScriptedModel(TopicModel):
    """The no-op model; a document that is an order is obeyed by the worker."""

    @property
    def fingerprint(self) -> Mapping[str, str]:
        return {}

    def fit_transform(
        self, documents: Sequence[str], embeddings: FloatArray | None = None
    ) -> TopicModelResult:
        order = documents[0] if documents else ""
        if order == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if order == "fail":
            raise TopicModelError("told to fail")
        if order == "sleep":
            time.sleep(60)
        if order == "pid":
            return TopicModelResult(np.array([os.getpid()], np.int32), np.zeros(1, np.float32), ())
        return NoOpTopicModel().fit_transform(documents, embeddings)


class OnceSentModel(ScriptedModel):
    """A model that reaches the first `sends` workers and no later one."""

    def __init__(self, sends: int) -> None:
        self._left = sends

    def __getstate__(self) -> dict[str, int]:
        if not self._left:
            raise OSError("no more processes")
        self._left -= 1
        return {"_left": 0}
