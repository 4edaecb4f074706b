"""One firm's sentences to topics, with BERTopic's parts and a clustering of choice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np

from ftm.core.errors import ConfigError, TopicModelError
from ftm.topics.base import FloatArray, IntArray, Topic, TopicModel, TopicModelResult
from ftm.topics.clusterings import CLUSTERINGS, MIN_DOCUMENTS, Clustering, cluster
from ftm.topics.fingerprint import clustering_fingerprint
from ftm.topics.keywords import count_terms, topic_keywords, topic_name


class BERTopicModel(TopicModel):
    """Clusters sentence embeddings and describes the clusters by c-TF-IDF and MMR keywords.

    Args:
        clustering: `ward`, `leiden` or `umap-hdbscan`.
        seed: of the methods that draw random numbers.

    Raises:
        ConfigError: an unknown clustering.
    """

    def __init__(self, clustering: str = "ward", *, seed: int = 42) -> None:
        if clustering not in CLUSTERINGS:
            raise ConfigError(
                f"FTM_CLUSTERING {clustering!r} is not one of {', '.join(CLUSTERINGS)}"
            )
        self._clustering = clustering
        self._seed = seed

    @property
    def preload(self) -> Sequence[str]:
        """See TopicModel."""
        slow = self._clustering == "umap-hdbscan"
        return ("ftm.topics.umap_preload",) if slow else ("ftm.topics.stable_preload",)

    @property
    def fingerprint(self) -> Mapping[str, str]:
        """See TopicModel."""
        return MappingProxyType(clustering_fingerprint(self._clustering, seed=self._seed))

    def fit_transform(
        self, documents: Sequence[str], embeddings: FloatArray | None = None
    ) -> TopicModelResult:
        """See TopicModel; embeddings are needed."""
        vectors = _checked(documents, embeddings)
        if len(documents) < MIN_DOCUMENTS:
            return _no_topics(len(documents))
        from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

        # One BLAS thread: the same bits whatever the number of cores and workers.
        with threadpool_limits(limits=1):
            found = self._cluster(vectors)
            labels = _by_size(found.labels)
            return _describe(documents, vectors, labels, found.strengths)

    def _cluster(self, vectors: FloatArray) -> Clustering:
        try:
            return cluster(self._clustering, vectors, self._seed)
        except Exception as error:
            raise TopicModelError(
                f"{self._clustering} failed on {len(vectors)} sentences: {error}"
            ) from error


def _checked(documents: Sequence[str], embeddings: FloatArray | None) -> FloatArray:
    if embeddings is None:
        raise ValueError("embeddings are needed: this model does not embed")
    if embeddings.ndim != 2 or len(embeddings) != len(documents):
        raise ValueError(f"{len(documents)} documents but embeddings of shape {embeddings.shape}")
    if not np.isfinite(embeddings).all():
        raise ValueError("embeddings hold values that are not finite")
    return np.ascontiguousarray(embeddings, np.float32)


def _no_topics(n: int) -> TopicModelResult:
    return TopicModelResult(np.full(n, -1, np.int32), np.zeros(n, np.float32), ())


def _by_size(labels: np.ndarray) -> IntArray:
    """Relabel: 0 is the largest cluster, ties by first sentence; -1 stays."""
    ids, first, sizes = np.unique(labels, return_index=True, return_counts=True)
    order = sorted((i for i in range(len(ids)) if ids[i] >= 0), key=lambda i: (-sizes[i], first[i]))
    renamed = np.full(len(labels), -1, np.int32)
    for new, i in enumerate(order):
        renamed[labels == ids[i]] = new
    return renamed


def _describe(
    documents: Sequence[str], vectors: FloatArray, labels: IntArray, strengths: FloatArray
) -> TopicModelResult:
    keywords = topic_keywords(count_terms(documents), labels, vectors)
    topics = tuple(
        _topic(i, words, np.flatnonzero(labels == i), vectors) for i, words in enumerate(keywords)
    )
    probabilities = np.where(labels >= 0, np.clip(strengths, 0, 1), 0).astype(np.float32)
    return TopicModelResult(labels, probabilities, topics)


def _topic(i: int, words: tuple[str, ...], rows: np.ndarray, vectors: FloatArray) -> Topic:
    members = vectors[rows].astype(np.float64)
    centroid = members.mean(axis=0)
    # A stable sort of cosines to the centroid: ties go to the earlier sentence.
    norms = np.maximum(np.linalg.norm(members, axis=1), 1e-12)
    order = np.argsort(-(members @ centroid) / norms, kind="stable")
    sentences = tuple(int(row) for row in rows[order])
    return Topic(i, words, topic_name(words), sentences, centroid.astype(np.float32))
