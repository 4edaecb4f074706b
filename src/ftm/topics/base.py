"""The interfaces of the map stage's two models. Imports numpy and nothing heavier."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic of one firm.

    Args:
        local_topic_id: 0 is the largest; ties by first sentence.
        keywords: best first, up to ten 1- or 2-grams of the cleaned text.
        representation: a readable name made of the first keywords.
        sentences: indexes into the documents, most typical (nearest the centroid) first.
        centroid: mean sentence embedding, float32, shape (n_dims,).
    """

    local_topic_id: int
    keywords: tuple[str, ...]
    representation: str
    sentences: tuple[int, ...]
    centroid: FloatArray


@dataclass(frozen=True, slots=True)
class TopicModelResult:
    """What a fit found.

    Args:
        assignments: int32, shape (n_documents,): local_topic_id, -1 = outlier.
        probabilities: float32, shape (n_documents,): membership strength in [0, 1].
        topics: ordered by local_topic_id; empty when there are too few documents.
    """

    assignments: IntArray
    probabilities: FloatArray
    topics: tuple[Topic, ...]

    @property
    def outlier_share(self) -> float:
        """Share of documents in no topic; 0.0 without documents."""
        return float(np.mean(self.assignments < 0)) if self.assignments.size else 0.0


class Embedder(Protocol):
    """Turns sentences into unit vectors."""

    @property
    def fingerprint(self) -> Mapping[str, str]:
        """Model name, weights' hash, device, dtype, batch size, library versions."""

    def encode(self, texts: Sequence[str]) -> FloatArray:
        """Embed sentences.

        Returns:
            Unit vectors, float32, shape (n_texts, n_dims), in order; (0, n_dims) for none. The
            result for a text list depends on nothing but that list.
        """


class TopicModel(ABC):
    """Finds topics in the documents of one firm; holds no state between firms."""

    @property
    @abstractmethod
    def fingerprint(self) -> Mapping[str, str]:
        """Method, its parameters, seed and library versions."""

    @property
    def preload(self) -> Sequence[str]:
        """Modules that a pool imports once, before it forks its workers."""
        return ()

    @abstractmethod
    def fit_transform(
        self, documents: Sequence[str], embeddings: FloatArray | None = None
    ) -> TopicModelResult:
        """Cluster documents.

        Args:
            documents: cleaned text, one per sentence; keywords come from it.
            embeddings: float32 unit vectors, shape (n_documents, n_dims).

        Returns:
            Zero topics and all -1 when there are too few documents to cluster.

        Raises:
            TopicModelError: clustering failed.
            ValueError: embeddings are missing where the model cannot embed, or do not fit.
        """


class TopicPool(Protocol):
    """Fits firms side by side while the caller embeds the next ones."""

    def submit(self, documents: Sequence[str], embeddings: FloatArray) -> Future[TopicModelResult]:
        """Queue one firm; the future raises what the model raised."""

    def close(self) -> None:
        """Stop the workers; unfinished fits are dropped."""


class InlinePool:
    """Fits at once, in this process."""

    def __init__(self, model: TopicModel) -> None:
        self._model = model

    def submit(self, documents: Sequence[str], embeddings: FloatArray) -> Future[TopicModelResult]:
        """See TopicPool; the future is already done."""
        future: Future[TopicModelResult] = Future()
        try:
            future.set_result(self._model.fit_transform(documents, embeddings))
        except Exception as error:  # noqa: BLE001 - a future carries any error to its reader
            future.set_exception(error)
        return future

    def close(self) -> None:
        """Nothing to stop."""
