"""One firm from sentences to topics: kinds, embeddings, clustering, rows."""

from __future__ import annotations

from collections.abc import Set
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from ftm.core.records import FirmTranscriptData
from ftm.mapping.firm_rows import FirmRows, build_rows
from ftm.mapping.stage_clock import StageClock
from ftm.text.kinds import classify_kinds
from ftm.text.marks import texts_without_marks
from ftm.topics.base import Embedder, TopicModelResult, TopicPool

DEFAULT_KEEP_KINDS = frozenset({"content"})


@dataclass(frozen=True, slots=True)
class PendingFirm:
    """A firm whose sentences are embedded and being clustered.

    Args:
        firm: whose.
        kinds: one per sentence.
        clustered: indexes of the sentences handed to the pool.
        future: their topics; None when no sentence is of a kept kind.
    """

    firm: FirmTranscriptData
    kinds: tuple[str, ...]
    clustered: tuple[int, ...]
    future: Future[TopicModelResult] | None

    @property
    def ready(self) -> bool:
        """Whether `finish` would not wait."""
        return self.future is None or self.future.done()


class FirmProcessor:
    """Turns firms into rows; what it does to one depends on nothing but that firm.

    Args:
        embedder: loaded once, used for every firm, one call per firm.
        pool: clusters one firm while the caller starts the next.
        timestamp: the run's start, written into every topic.
        embed_text: embed sentences as spoken (`raw`), without transcriber's marks, or lemmatised
            (`cleaned`); keywords always come from the cleaned text.
        keep_kinds: which kinds of core.schemas.KINDS are clustered; the others keep their row.
        clock: told where the time goes.
    """

    def __init__(
        self,
        embedder: Embedder,
        pool: TopicPool,
        *,
        timestamp: datetime,
        embed_text: Literal["raw", "cleaned"] = "raw",
        keep_kinds: Set[str] = DEFAULT_KEEP_KINDS,
        clock: StageClock | None = None,
    ) -> None:
        self._embedder = embedder
        self._pool = pool
        self._timestamp = timestamp
        self._embed_text = embed_text
        self._keep_kinds = frozenset(keep_kinds)
        self.clock = clock or StageClock()

    def process(self, firm: FirmTranscriptData) -> FirmRows:
        """One firm, from beginning to end. Too few sentences give no topics, not an error."""
        return self.finish(self.start(firm))

    def start(self, firm: FirmTranscriptData) -> PendingFirm:
        """Classify and embed a firm's sentences and queue them for clustering."""
        with self.clock.measure("kinds"):
            kinds = classify_kinds(
                [s.raw_text for s in firm.sentences], [s.speaker_type for s in firm.sentences]
            )
        clustered = tuple(i for i, kind in enumerate(kinds) if kind in self._keep_kinds)
        return PendingFirm(firm, tuple(kinds), clustered, self._submit(firm, clustered))

    def finish(self, pending: PendingFirm) -> FirmRows:
        """Wait for a firm's topics and lay them out as rows.

        Raises:
            TopicModelError: clustering failed; or whatever else the pool raised.
        """
        with self.clock.measure("wait"):
            result = None if pending.future is None else pending.future.result()
        with self.clock.measure("rows"):
            return build_rows(
                pending.firm,
                kinds=pending.kinds,
                clustered=pending.clustered,
                result=result,
                timestamp=self._timestamp,
            )

    def close(self) -> None:
        """Stop the pool."""
        self._pool.close()

    def _submit(
        self, firm: FirmTranscriptData, clustered: tuple[int, ...]
    ) -> Future[TopicModelResult] | None:
        if not clustered:
            return None
        kept = [firm.sentences[i] for i in clustered]
        cleaned = [s.cleaned_text for s in kept]
        spoken = self._embed_text == "raw"
        texts = texts_without_marks([s.raw_text for s in kept]) if spoken else cleaned
        with self.clock.measure("embed"):
            embeddings = self._embedder.encode(texts)
        with self.clock.measure("wait"):
            return self._pool.submit(cleaned, embeddings)
