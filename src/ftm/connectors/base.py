"""The interface of everything that delivers transcripts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from datetime import date
from types import TracebackType
from typing import Self

from ftm.core.errors import ConfigError, UnknownFirmError
from ftm.core.records import FirmTranscriptData, TranscriptData


class DataConnector(ABC):
    """A source of preprocessed transcripts; a context manager.

    In every method `firm_ids=None` means all firms and an empty list means none; a single text, or
    an id that is no text, is a ConfigError.
    """

    @abstractmethod
    def fetch_transcripts(
        self, firm_ids: Sequence[str] | None, start_date: date | None, end_date: date | None
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
    def iter_firms(self, firm_ids: Sequence[str] | None = None) -> Iterator[FirmTranscriptData]:
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
        firm_ids: Sequence[str] | None,
        start_date: date | None = None,  # noqa: ARG002
        end_date: date | None = None,  # noqa: ARG002
    ) -> TranscriptData:
        """See DataConnector; dates are ignored."""
        return TranscriptData({firm.firm_id: firm for firm in self.iter_firms(firm_ids)})

    def iter_firms(self, firm_ids: Sequence[str] | None = None) -> Iterator[FirmTranscriptData]:
        """See DataConnector."""
        check_ids(firm_ids)
        wanted = list(self._data.firms) if firm_ids is None else list(firm_ids)
        if unknown := [f for f in wanted if f not in self._data.firms]:
            raise unknown_firms(unknown, source="memory", known=list(self._data.firms))
        yield from (self._data.firms[f] for f in self._data.firms if f in set(wanted))

    def get_available_firm_ids(self) -> list[str]:
        """See DataConnector."""
        return sorted(self._data.firms)

    def close(self) -> None:
        """Nothing to free."""


def check_ids(firm_ids: Sequence[str] | None) -> None:
    """Refuse a text in place of a list, whose letters would be taken for ids, and numbers.

    Raises:
        ConfigError: it is one of these.
    """
    if isinstance(firm_ids, str):
        raise ConfigError(f"firm_ids is the text {firm_ids!r}; give a list: [{firm_ids!r}]")
    for firm in firm_ids or ():
        if not isinstance(firm, str):
            raise ConfigError(f"firm id {firm!r} is no text; write '{firm}'")


def unknown_firms(unknown: Sequence[str], *, source: str, known: Sequence[str]) -> UnknownFirmError:
    """The error for firm ids a source does not have, naming some that exist."""
    shown = ", ".join(unknown[:5]) + (f" and {len(unknown) - 5} more" if len(unknown) > 5 else "")
    some = ", ".join(sorted(known)[:3])
    return UnknownFirmError(
        f"unknown firm id {shown}: not in {source}, which has {len(known)} firms"
        + (f" (such as {some})" if some else ""),
        firm_ids=tuple(unknown),
    )
