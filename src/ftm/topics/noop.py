"""Stand-ins for both models that cost nothing: for dry runs and crash tests. Imports no model."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np

from ftm.topics.base import FloatArray, Topic, TopicModel, TopicModelResult

NOOP = "noop"
N_DIMS = 8
BLOCK = 20  # sentences per topic


class NoOpEmbedder:
    """Unit vectors from a hash of each text."""

    @property
    def fingerprint(self) -> Mapping[str, str]:
        """See Embedder."""
        return MappingProxyType({"embedding_model": NOOP, "weights": NOOP})

    def encode(self, texts: Sequence[str]) -> FloatArray:
        """See Embedder; shape (n_texts, 8)."""
        if not texts:
            return np.zeros((0, N_DIMS), np.float32)
        return np.stack([_vector(text) for text in texts])


class NoOpTopicModel(TopicModel):
    """Topics are runs of twenty sentences; keywords are the first words. No model."""

    @property
    def fingerprint(self) -> Mapping[str, str]:
        """See TopicModel."""
        return MappingProxyType({"clustering": NOOP})

    def fit_transform(
        self, documents: Sequence[str], embeddings: FloatArray | None = None
    ) -> TopicModelResult:
        """See TopicModel; a last run shorter than twenty is outliers."""
        n = len(documents)
        if embeddings is not None and len(embeddings) != n:
            raise ValueError(f"{n} documents but {len(embeddings)} embeddings")
        assignments = np.full(n, -1, np.int32)
        n_topics = n // BLOCK
        assignments[: n_topics * BLOCK] = np.repeat(np.arange(n_topics, dtype=np.int32), BLOCK)
        topics = tuple(_block(i, documents, embeddings) for i in range(n_topics))
        return TopicModelResult(assignments, (assignments >= 0).astype(np.float32), topics)


def _block(i: int, documents: Sequence[str], embeddings: FloatArray | None) -> Topic:
    rows = range(i * BLOCK, (i + 1) * BLOCK)
    words = sorted({word for row in rows for word in documents[row].split()[:1]})[:10]
    centroid = (
        np.zeros(N_DIMS, np.float32)
        if embeddings is None
        else np.asarray(embeddings[rows.start : rows.stop].mean(axis=0), np.float32)
    )
    return Topic(i, tuple(words), ", ".join(words[:4]), tuple(rows), centroid)


def _vector(text: str) -> FloatArray:
    digest = hashlib.sha256(text.encode()).digest()[:N_DIMS]
    vector = np.frombuffer(digest, np.uint8).astype(np.float32) + 1.0
    return np.asarray(vector / np.linalg.norm(vector), np.float32)
