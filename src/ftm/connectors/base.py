"""The interface of everything that delivers transcripts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime
from numbers import Integral
from types import TracebackType
from typing import Self

from ftm.core.errors import ConfigError, UnknownFirmError
from ftm.core.records import FirmTranscriptData, TranscriptData

Day = date | str
"""A date, or its ISO text like 2023-03-31."""


class DataConnector(ABC):
    """A source of preprocessed transcripts; a context manager.

    In every method `firm_ids=None` means all firms and an empty list means none. Any iterable of
    texts will do, a pandas column or a generator too; a single text, or an id that is no text, is
    a ConfigError.
    """

    @abstractmethod
    def fetch_transcripts(
        self, firm_ids: Iterable[str] | None, start_date: Day | None, end_date: Day | None
    ) -> TranscriptData:
        """Firms' sentences, all held in memory, in the source's order.

        Args:
            firm_ids: which firms; None all, empty none.
            start_date: first call date wanted; a source with a fixed quarter ignores it.
            end_date: last call date wanted, itself included; ignored likewise.

        Raises:
            UnknownFirmError: an id the source does not have.
        """

    @abstractmethod
    def iter_firms(self, firm_ids: Iterable[str] | None = None) -> Iterator[FirmTranscriptData]:
        """Firm by firm in the source's order, with memory bounded by a few firms."""

    @abstractmethod
    def get_available_firm_ids(self) -> list[str]:
        """Ids of all firms the source can deliver, sorted."""

    @abstractmethod
    def close(self) -> None:
        """Free what is held open; calling it twice is fine."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class InMemoryConnector(DataConnector):
    """Firms that are already in memory: for tests and for a researcher's own texts."""

    def __init__(self, data: TranscriptData) -> None:
        self._data = data

    def fetch_transcripts(
        self,
        firm_ids: Iterable[str] | None,
        start_date: Day | None = None,  # noqa: ARG002
        end_date: Day | None = None,  # noqa: ARG002
    ) -> TranscriptData:
        """See DataConnector; dates are ignored."""
        return TranscriptData({firm.firm_id: firm for firm in self.iter_firms(firm_ids)})

    def iter_firms(self, firm_ids: Iterable[str] | None = None) -> Iterator[FirmTranscriptData]:
        """See DataConnector."""
        ids = list_ids(firm_ids)
        wanted = list(self._data.firms) if ids is None else ids
        if unknown := [f for f in wanted if f not in self._data.firms]:
            raise unknown_firms(unknown, source="memory", known=list(self._data.firms))
        yield from (self._data.firms[f] for f in self._data.firms if f in set(wanted))

    def get_available_firm_ids(self) -> list[str]:
        """See DataConnector."""
        return sorted(self._data.firms)

    def close(self) -> None:
        """Nothing to free."""


def list_ids(firm_ids: Iterable[str] | None) -> list[str] | None:
    """The firm ids as a list, in their order; None stays None.

    Raises:
        ConfigError: a text in place of a list, whose letters would be taken for ids; something
            that is no list at all; an id that is no text.
    """
    if firm_ids is None:
        return None
    if isinstance(firm_ids, str):
        raise ConfigError(f"firm_ids is the text {firm_ids!r}; give a list: [{firm_ids!r}]")
    try:
        found: list[object] = list(firm_ids)
    except TypeError:
        raise ConfigError(f"firm_ids is {firm_ids!r}; give a list of ids, or None") from None
    for firm in found:
        if not isinstance(firm, str):
            fix = f"write '{firm}'" if isinstance(firm, Integral) else "ids are like '24937'"
            raise ConfigError(f"firm id {firm} is no text; {fix}")
    return [str(firm) for firm in found]


def read_day(day: Day) -> date:
    """A date out of an argument; of a moment, its day.

    Raises:
        ConfigError: neither a date nor its ISO text.
    """
    if isinstance(day, datetime):
        return day.date()
    if isinstance(day, date):
        return day
    try:
        return date.fromisoformat(day)
    except (TypeError, ValueError):
        raise ConfigError(f"{day!r} is no date; write it like 2023-03-31") from None


def unknown_firms(unknown: Sequence[str], *, source: str, known: Sequence[str]) -> UnknownFirmError:
    """The error for firm ids a source does not have, naming some that exist."""
    shown = ", ".join(unknown[:5]) + (f" and {len(unknown) - 5} more" if len(unknown) > 5 else "")
    some = ", ".join(sorted(known)[:3])
    return UnknownFirmError(
        f"unknown firm id {shown}: not in {source}, which has {len(known)} firms"
        + (f" (such as {some})" if some else ""),
        firm_ids=tuple(unknown),
    )
