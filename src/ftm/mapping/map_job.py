"""The map stage of one batch: firms in, parts of firm-topics and firm-sentences out."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TypeVar

from ftm.connectors.base import DataConnector
from ftm.core.errors import (
    CircuitBreakerError,
    CorruptObjectError,
    FtmError,
    StoreError,
)
from ftm.core.records import FirmTranscriptData
from ftm.mapping.batch_ledger import BatchLedger, Part
from ftm.mapping.circuit_breaker import BreakerSettings, CircuitBreaker
from ftm.mapping.failures import FATAL, describe_failure
from ftm.mapping.firm_processor import FirmProcessor, PendingFirm
from ftm.mapping.stage_clock import StageClock
from ftm.storage.run_records import BatchProgress

log = logging.getLogger(__name__)

LOOK_AHEAD = 6
"""Firms embedded and not yet written; enough to keep a few clustering processes busy."""


_T = TypeVar("_T")


def _never() -> bool:
    return False


@dataclass(frozen=True, slots=True)
class MapOptions:
    """How a batch is worked off.

    Args:
        breaker: when failures stop the batch.
        look_ahead: firms that may be embedded while earlier ones are clustered.
        stopping: asked before every firm; once True nothing new is started.
    """

    breaker: BreakerSettings = field(default_factory=BreakerSettings)
    look_ahead: int = LOOK_AHEAD
    stopping: Callable[[], bool] = _never


def run_map(
    ledger: BatchLedger,
    *,
    source: DataConnector,
    make_processor: Callable[[StageClock], FirmProcessor],
    options: MapOptions,
) -> BatchProgress:
    """Work off a batch, or what an earlier attempt left of it.

    Args:
        ledger: the batch's durable state.
        source: delivers its firms.
        make_processor: loads the models; not called when no firm is left to do.
        options: see MapOptions.

    Returns:
        The progress record; not complete if `stopping` turned True before the end.

    Raises:
        CircuitBreakerError: too many firms failed, or all of them.
        CorruptObjectError: a chunk is damaged or lacks a firm.
        FtmError: anything else that every firm would meet.
    """
    ledger.resume()
    if ledger.progress.complete:
        log.info("batch %s is already complete", ledger.progress.batch_id)
        return ledger.progress
    clock = StageClock()
    pipeline = _Pipeline(ledger, source, partial(make_processor, clock), clock, options)
    try:
        pipeline.run()
    finally:
        pipeline.close()
    return _conclude(ledger, clock)


def _conclude(ledger: BatchLedger, clock: StageClock) -> BatchProgress:
    progress = ledger.finish()
    log.info(
        "batch %s: %d firms done, %d failed, %d skipped; %.1f s (%s)",
        progress.batch_id,
        len(progress.done),
        len(progress.failed),
        len(progress.skipped),
        clock.total_s,
        clock.summary(),
    )
    if progress.failed and len(progress.failed) == len(ledger.firm_ids):
        first = next(iter(progress.failed.values()))
        raise CircuitBreakerError(
            f"all {len(progress.failed)} firms of {progress.batch_id} failed, the first with "
            f"{first}; mend the cause and run the same command again"
        )
    return progress


class _Pipeline:
    """Embeds the next firms while the pool clusters earlier ones; parts end in order."""

    def __init__(
        self,
        ledger: BatchLedger,
        source: DataConnector,
        make_processor: Callable[[], FirmProcessor],
        clock: StageClock,
        options: MapOptions,
    ) -> None:
        self._ledger = ledger
        self._source = source
        self._make_processor = make_processor
        self._clock = clock
        self._options = options
        self._open: dict[int, Part] = {}
        self._window: deque[tuple[Part, PendingFirm]] = deque()
        self._breaker = CircuitBreaker(options.breaker)
        self._outcomes = dict.fromkeys(ledger.progress.done, True)
        self._n_counted = 0

    @cached_property
    def _processor(self) -> FirmProcessor:
        return self._make_processor()

    def close(self) -> None:
        """Stop the processor, if any firm needed it."""
        if "_processor" in self.__dict__:
            self._processor.close()

    def run(self) -> None:
        """Every pending part, until done or told to stop."""
        try:
            for part in self._ledger.pending():
                if self._options.stopping():
                    break
                self._work_off(part)
            self._settle(down_to=0)
        except StoreError:
            raise
        except FtmError:
            self._keep_open_parts()
            raise
        self._keep_open_parts()

    def _keep_open_parts(self) -> None:
        for part in self._open.values():
            self._ledger.keep_partial(part)
            log.warning(
                "part %d ends early with %d of %d firms; run again to complete it",
                *(part.number, len(part.rows), len(part.firm_ids)),
            )

    def _work_off(self, part: Part) -> None:
        self._open[part.number] = part
        for firm_id in part.rows:
            self._count(firm_id, ok=True)
        for firm in self._read(part):
            pending = self._attempt(part, firm, partial(self._processor.start, firm))
            if pending is not None:
                self._window.append((part, pending))
            # After a failure wait for all before it, so that the breaker hears of it at once.
            self._settle(down_to=self._options.look_ahead if pending is not None else 0)
        self._list_if_full(part)

    def _read(self, part: Part) -> Iterator[FirmTranscriptData]:
        """The part's missing firms in the source's order, until told to stop."""
        missing = set(part.missing)
        firms = iter(self._source.iter_firms(part.missing) if missing else ())
        while not self._options.stopping():
            with self._clock.measure("read"):
                firm = next(firms, None)
            if firm is None:
                if missing:
                    raise _not_delivered(missing)
                return
            missing.discard(firm.firm_id)
            yield firm

    def _settle(self, *, down_to: int) -> None:
        """Wait for the oldest firms until so many are left; take what is ready anyway."""
        while self._window and (len(self._window) > down_to or self._window[0][1].ready):
            part, pending = self._window.popleft()
            firm = pending.firm
            rows = self._attempt(part, firm, partial(self._processor.finish, pending))
            if rows is not None:
                part.rows[firm.firm_id] = rows
                self._count(firm.firm_id, ok=True)
            self._list_if_full(part)

    def _attempt(self, part: Part, firm: FirmTranscriptData, step: Callable[[], _T]) -> _T | None:
        """The per-firm guard: one bad firm is recorded and the batch goes on."""
        try:
            return step()
        except FATAL:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, it is this firm's alone
            if self._options.stopping():
                return None  # The signal may have killed the process that clustered it.
            part.failed[firm.firm_id] = describe_failure(error, firm)
            log.warning("firm %s failed: %s", firm.firm_id, part.failed[firm.firm_id])
            self._count(firm.firm_id, ok=False)
            return None

    def _list_if_full(self, part: Part) -> None:
        if part.number not in self._open or part.missing:
            return
        with self._clock.measure("write"):
            self._ledger.list_part(part)
        del self._open[part.number]
        done, total = len(self._ledger.progress.done), len(self._ledger.firm_ids)
        log.info("part %d written: %d of %d firms done", part.number, done, total)

    def _count(self, firm_id: str, *, ok: bool) -> None:
        """Tell the breaker of every outcome that is next in the batch's order."""
        self._outcomes[firm_id] = ok
        ids = self._ledger.firm_ids
        while self._n_counted < len(ids) and ids[self._n_counted] in self._outcomes:
            firm = ids[self._n_counted]
            self._n_counted += 1
            self._breaker.record(ok=self._outcomes[firm])


def _not_delivered(missing: set[str]) -> CorruptObjectError:
    return CorruptObjectError(
        f"the source did not deliver firm {min(missing)} ({len(missing)} missing); "
        "check the quarter with `ftm status` and prefetch it again with `--refresh`"
    )
