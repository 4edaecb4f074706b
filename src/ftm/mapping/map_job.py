"""The map stage of one batch: firms in, parts of firm-topics and firm-sentences out."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TypeVar

from ftm.connectors.base import DataConnector
from ftm.core.errors import (
    CircuitBreakerError,
    CorruptObjectError,
    FtmError,
    LeaseLostError,
    StoreError,
)
from ftm.core.records import FirmTranscriptData
from ftm.jobs.worker_log import format_count
from ftm.mapping.batch_ledger import BatchLedger, Part
from ftm.mapping.circuit_breaker import BreakerSettings, CircuitBreaker
from ftm.mapping.failures import FATAL, describe_failure
from ftm.mapping.firm_processor import FirmProcessor, PendingFirm
from ftm.mapping.stage_clock import StageClock
from ftm.mapping.stop_signal import StopRequested
from ftm.storage.run_records import BatchProgress

log = logging.getLogger(__name__)

LOOK_AHEAD = 6
"""Firms embedded and not yet written; enough to keep a few clustering processes busy."""

COUNT_EVERY_S = 2.0
"""Between two lines that say how many firms are done."""

_T = TypeVar("_T")


def _never() -> bool:
    return False


@dataclass(frozen=True, slots=True)
class MapOptions:
    """How a batch is worked off.

    Args:
        breaker: when failures stop the batch.
        look_ahead: firms that may be embedded while earlier ones are clustered.
        stopping: asked before every firm; once True nothing new is started, and what is not
            ready by then is dropped.
        droppable: entered around what may be broken off by StopRequested.
        now_s: seconds that only grow.
    """

    breaker: BreakerSettings = field(default_factory=BreakerSettings)
    look_ahead: int = LOOK_AHEAD
    stopping: Callable[[], bool] = _never
    droppable: Callable[[], AbstractContextManager[object]] = nullcontext
    now_s: Callable[[], float] = time.monotonic


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
        LeaseLostError: another worker does this batch; nothing of its work was touched.
        FtmError: anything else that every firm would meet.
    """
    ledger.resume()
    if ledger.is_finished:
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
        self._told_s = float("-inf")
        self._at = ""

    @cached_property
    def _processor(self) -> FirmProcessor:
        with self._options.droppable():
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
        except StopRequested:
            self._take_ready()
        except (StoreError, LeaseLostError):
            raise
        except FtmError:
            self._keep_open_parts()
            raise
        self._keep_open_parts()
        self._tell(always=True)

    def _keep_open_parts(self) -> None:
        for part in self._open.values():
            if not self._ledger.keep_partial(part):
                continue
            log.warning(
                "part %d ends early with %d of %d firms; run again to complete it",
                *(part.number, len(part.rows), len(part.firm_ids)),
            )

    def _work_off(self, part: Part) -> None:
        self._open[part.number] = part
        for firm_id in part.rows:
            self._count(firm_id, ok=True)
        self._tell()
        for firm in self._read(part):
            self._at = firm.firm_id
            self._tell()
            context = self._options.droppable()
            pending = self._attempt(part, firm, partial(self._processor.start, firm), context)
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
            with self._clock.measure("read"), self._options.droppable():
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
            if self._options.stopping():
                self._take_ready()
                return
            self._take(*self._window[0], self._options.droppable())
            self._window.popleft()

    def _take_ready(self) -> None:
        """Keep what is there and wait for nothing: there are seconds until SIGKILL."""
        ready = [pair for pair in self._window if pair[1].ready]
        self._window.clear()
        for part, pending in ready:
            self._take(part, pending, nullcontext())

    def _take(
        self, part: Part, pending: PendingFirm, context: AbstractContextManager[object]
    ) -> None:
        firm = pending.firm
        rows = self._attempt(part, firm, partial(self._processor.finish, pending), context)
        if rows is not None:
            part.rows[firm.firm_id] = rows
            self._count(firm.firm_id, ok=True)
        self._tell()
        self._list_if_full(part)

    def _attempt(
        self,
        part: Part,
        firm: FirmTranscriptData,
        step: Callable[[], _T],
        context: AbstractContextManager[object],
    ) -> _T | None:
        """The per-firm guard: one bad firm is recorded and the batch goes on."""
        try:
            with context:
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

    def _tell(self, *, always: bool = False) -> None:
        """Log how many firms of the batch have an outcome, at most every COUNT_EVERY_S."""
        now_s = self._options.now_s()
        if always or now_s - self._told_s >= COUNT_EVERY_S:
            self._told_s = now_s
            progress = self._ledger.progress
            settled = {*progress.done, *progress.kept, *progress.failed, *progress.skipped}
            for part in self._open.values():
                settled.update(part.rows, part.failed)
            log.info(format_count(len(settled), self._ledger.n_firms, self._at))

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
        "`ftm verify --deep` of the quarter says what is damaged and what mends it"
    )
