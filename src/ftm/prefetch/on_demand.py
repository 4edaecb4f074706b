"""Something costly, opened on first use."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, Protocol, TypeVar, cast


class Closable(Protocol):
    """Has something to free."""

    def close(self) -> None:
        """Free it."""


_T = TypeVar("_T", bound=Closable)


class OnDemand(Generic[_T]):
    """A thing, or the function that opens it when it is first asked for.

    Args:
        given: the thing, which stays its owner's to close, or the function.
        having: a method that tells the thing from a function.
    """

    def __init__(self, given: _T | Callable[[], _T], *, having: str) -> None:
        self._is_ours = not hasattr(given, having)
        self._open = cast("Callable[[], _T]", given if self._is_ours else lambda: given)
        self._thing: _T | None = None

    def get(self) -> _T:
        """The thing; the same one every time."""
        if self._thing is None:
            self._thing = self._open()
        return self._thing

    @property
    def can_reopen(self) -> bool:
        """Whether `get` opens another one after `close`."""
        return self._is_ours

    def close(self) -> None:
        """Close what was opened here; calling it twice is fine."""
        thing, self._thing = self._thing, None
        if thing is not None and self._is_ours:
            thing.close()
