"""Names made of keywords: no server, no randomness."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Self

from ftm.naming.base import Name, NamingItem, Totals

_IN_NAME = 4
_IN_DESCRIPTION = 10
_NOTHING = "(no keywords)"


class KeywordNamer:
    """Joins keywords; meets Namer."""

    @property
    def totals(self) -> Totals:
        """See Namer: nobody was asked."""
        return Totals()

    def name_all(self, items: Iterable[NamingItem], *, done: Callable[[int], None]) -> list[Name]:
        """See Namer."""
        names = []
        for item in items:
            names.append(_name(item))
            done(1)
        return names

    def close(self) -> None:
        """See Namer."""

    def __enter__(self) -> Self:
        """See Namer."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """See Namer."""


def _name(item: NamingItem) -> Name:
    keywords = [word.strip() for word in item.keywords if word.strip()]
    label = ", ".join(_different(keywords)[:_IN_NAME]) or _NOTHING
    joined = ", ".join(keywords[:_IN_DESCRIPTION]) or _NOTHING
    if item.item_kind == "theme":
        described = f"Topics about {joined}" if keywords else joined
    else:
        described = next((part for part in item.parts if part.strip()), label)
    return Name(item.item_kind, item.item_id, label, described, "keywords")


def _different(keywords: list[str]) -> list[str]:
    """The keywords that share no word with an earlier one: "rate", but not "tax rate" then."""
    chosen: list[str] = []
    used: set[str] = set()
    for keyword in keywords:
        words = set(keyword.split())
        if not words & used:
            chosen.append(keyword)
            used |= words
    return chosen
