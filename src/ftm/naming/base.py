"""What is named, what a name is, and the interface of whoever names."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Literal, Protocol, Self

ItemKind = Literal["topic", "theme"]


@dataclass(frozen=True, slots=True)
class NamingItem:
    """A topic or theme without a name.

    Args:
        item_kind: which of the two.
        item_id: its topic_id or theme_id.
        keywords: best first.
        sentences: as spoken, most typical first; they are masked before they go anywhere.
        masked_names: the firms and the speakers whose names are masked in them.
        parts: of a theme: summaries or representations of its largest topics; of a topic: its
            representation, or nothing.
        firm_names: those of masked_names that are firms; empty: the first one is.
    """

    item_kind: ItemKind
    item_id: str
    keywords: tuple[str, ...]
    sentences: tuple[str, ...]
    masked_names: tuple[str, ...]
    parts: tuple[str, ...] = ()
    firm_names: tuple[str, ...] = ()

    @property
    def firms(self) -> tuple[str, ...]:
        """The names that are masked as firms."""
        return self.firm_names or self.masked_names[:1]

    @property
    def persons(self) -> tuple[str, ...]:
        """The names that are masked as persons."""
        firms = frozenset(self.firms)
        return tuple(name for name in self.masked_names if name not in firms)


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """What a name rests on: a row of schema NAMING_AUDIT.

    `answer` is as the server sent it, `latency_s` and `asked_at` are of the time it was first
    asked, `prompt_sha256` is of the messages sent and `request_sha256` the answer's cache key.
    """

    item_kind: ItemKind
    item_id: str
    prompt_sha256: str
    request_sha256: str
    model_asked: str
    model_answered: str | None
    revision: str | None
    answer: str
    prompt_tokens: int | None
    completion_tokens: int | None
    latency_s: float | None
    asked_at: datetime


@dataclass(frozen=True, slots=True)
class Name:
    """The name of a topic or theme.

    Args:
        item_kind: which of the two.
        item_id: its topic_id or theme_id.
        name: a short label.
        description: one or two sentences; a topic's summary.
        method: who made it; never anything but the truth.
        audit: what it rests on; None with keywords.
    """

    item_kind: ItemKind
    item_id: str
    name: str
    description: str
    method: Literal["llm", "keywords"]
    audit: AuditEntry | None = None


@dataclass(frozen=True, slots=True)
class Totals:
    """What naming took so far.

    Args:
        n_asked: answers that came from the server, unusable ones included.
        n_cached: names that came from the store.
        prompt_tokens: of all answers from the server.
        completion_tokens: likewise.
        cost: of them, in the currency of the prices; None without prices.
    """

    n_asked: int = 0
    n_cached: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float | None = None


class Namer(Protocol):
    """Names topics and themes; a context manager."""

    @property
    def totals(self) -> Totals:
        """What naming took so far."""

    def name_all(self, items: Iterable[NamingItem], *, done: Callable[[int], None]) -> list[Name]:
        """Names of all items, in their order; none for none.

        Args:
            items: what to name.
            done: told how many more items have their name, in the caller's thread.

        Raises:
            FtmError: an item could not be named; there is never a name by another method.
        """

    def close(self) -> None:
        """Let go of connections and threads."""

    def __enter__(self) -> Self:
        """The namer itself."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """See close."""
