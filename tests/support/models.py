"""Models that fail on purpose, and count what they are asked."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from concurrent.futures import Future

from ftm.topics.base import FloatArray, TopicModelResult
from ftm.topics.noop import NoOpEmbedder, NoOpTopicModel


class ScriptedEmbedder(NoOpEmbedder):
    """The no-op embedder, which raises on any list that holds one of these texts."""

    def __init__(
        self, bad_texts: Collection[str] = (), error: type[Exception] = RuntimeError
    ) -> None:
        self.bad_texts = frozenset(bad_texts)
        self.error = error
        self.calls: list[list[str]] = []

    def encode(self, texts: Sequence[str]) -> FloatArray:
        """See Embedder."""
        self.calls.append(list(texts))
        if self.bad_texts & set(texts):
            raise self.error("the embedder was told to fail")
        return super().encode(texts)


class LazyPool:
    """Clusters a firm only when its result is waited for: the slowest a pool can be."""

    def __init__(self) -> None:
        self.closed = False

    def submit(self, documents: Sequence[str], embeddings: FloatArray) -> Future[TopicModelResult]:
        """See TopicPool."""
        return _Lazy(self, documents, embeddings)

    def wait(self) -> None:
        """Called before a firm is clustered; a subclass may raise."""

    def close(self) -> None:
        """See TopicPool."""
        self.closed = True


class _Lazy(Future[TopicModelResult]):
    def __init__(self, pool: LazyPool, documents: Sequence[str], embeddings: FloatArray) -> None:
        super().__init__()
        self._pool = pool
        self._job = (documents, embeddings)

    def result(self, timeout: float | None = None) -> TopicModelResult:
        if not self.done():
            self._pool.wait()
            self.set_result(NoOpTopicModel().fit_transform(*self._job))
        return super().result(timeout)
