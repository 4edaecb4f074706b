"""Preprocesses firms on several cores: texts go to the workers, results come back, never Docs."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import wait
from types import TracebackType
from typing import Generic, Self, TypeVar

from ftm.core.errors import ConfigError, PreprocessingError
from ftm.core.records import FirmTurns
from ftm.text.base import FirmText, TextPipeline
from ftm.text.pipelines import load_pipeline

BATCH_CHARS = 200_000
"""Text a worker gets at once: some four calls, a fifth of a second of work. Handing calls over one
by one leaves workers idle whenever this process is busy reading or writing."""
LOOK_AHEAD_FIRMS = 16
"""Firms a worker may have waiting: enough to work on while the reader fetches the next chunk."""
LOOK_AHEAD_CHARS = 32_000_000
"""Text that may be under way at once, all workers together; a single longer firm still passes."""

_MAIN_GUARD = '`if __name__ == "__main__":`'

_T = TypeVar("_T")

Make = Callable[[FirmTurns, FirmText], _T]
"""What to make of a firm's text. Runs in the worker, so it is a module's function or a partial of
one, and what it returns travels back: the less Python objects it holds, the better."""


@dataclass(frozen=True)
class _Batch(Generic[_T]):
    firms: list[FirmTurns]
    n_chars: int
    future: Future[list[_T]]


class ParallelPreprocessor:
    """Runs a text pipeline over many firms, in order, with bounded look-ahead.

    Use as a context manager: entering starts the workers, leaving stops them; outside of one,
    the first `map` starts them, so that asking for the fingerprint alone costs no process. The
    pipeline is loaded in this process too, so that a missing model is found before that.

    Args:
        pipeline_name: see `load_pipeline`.
        workers: processes; None means one per usable core, 1 means none but this one.

    Raises:
        ModelNotFoundError: the pipeline is not installed.
        ConfigError: workers is below 1, or a script without a main guard runs in a worker.
    """

    def __init__(self, pipeline_name: str, workers: int | None = None) -> None:
        if workers is not None and workers < 1:
            raise ConfigError(f"The number of workers is {workers!r}; expected 1 or more")
        self.workers = workers or _usable_cores()
        if self.workers > 1:
            _check_main_guard()
        self._name = pipeline_name
        self._pool: ProcessPoolExecutor | None = None
        self._pids: list[int] = []
        self._pipeline = load_pipeline(pipeline_name)

    def start(self) -> None:
        """Start the workers now; does nothing when they run, or when there are to be none."""
        if self._pool is not None or self.workers == 1:
            return
        before = set(multiprocessing.active_children())
        self._pool = _start_pool(self._name, self.workers)
        started = set(multiprocessing.active_children()) - before
        self._pids = sorted(child.pid for child in started if child.pid is not None)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop the workers; what they have under way is dropped. May be called twice."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    @property
    def worker_pids(self) -> tuple[int, ...]:
        """Process ids of the workers, () before they start or when there are none."""
        return tuple(self._pids)

    @property
    def fingerprint(self) -> Mapping[str, str]:
        """The pipeline's, see `TextPipeline`; the number of workers never changes a sentence."""
        return self._pipeline.fingerprint

    def map(self, firms: Iterable[FirmTurns], make: Make[_T]) -> Iterator[_T]:
        """Yield what `make` makes of every firm's text, in the order of `firms`.

        A firm that fails comes to `make` as a text with `error`, and the others go on.

        Args:
            firms: read only a little ahead.
            make: called in the process that preprocessed the firm.

        Raises:
            PreprocessingError: a worker process died (usually killed for want of memory).
        """
        self.start()
        if self._pool is None:
            return (make(firm, _process(self._pipeline, firm)) for firm in firms)
        return self._map_parallel(self._pool, firms, make)

    def _map_parallel(
        self, pool: ProcessPoolExecutor, firms: Iterable[FirmTurns], make: Make[_T]
    ) -> Iterator[_T]:
        waiting: deque[_Batch[_T]] = deque()
        for firms_together, n_chars in _batches(firms, LOOK_AHEAD_FIRMS // 2):
            while waiting and self._is_full(waiting, n_chars):
                yield from self._results(waiting.popleft())
            future = self._submit(pool, firms_together, make)
            waiting.append(_Batch(firms_together, n_chars, future))
        while waiting:
            yield from self._results(waiting.popleft())

    def _is_full(self, waiting: Iterable[_Batch[_T]], n_chars: int) -> bool:
        n_firms = sum(len(batch.firms) for batch in waiting)
        under_way = sum(batch.n_chars for batch in waiting)
        limit = LOOK_AHEAD_FIRMS * self.workers
        return n_firms >= limit or under_way + n_chars > LOOK_AHEAD_CHARS

    def _submit(
        self, pool: ProcessPoolExecutor, firms: list[FirmTurns], make: Make[_T]
    ) -> Future[list[_T]]:
        try:
            return pool.submit(partial(_make_remotely, make), firms)
        except BrokenProcessPool as error:
            raise self._killed(firms[0]) from error

    def _results(self, batch: _Batch[_T]) -> list[_T]:
        try:
            return batch.future.result()
        except BrokenProcessPool as error:
            raise self._killed(batch.firms[0]) from error

    def _killed(self, firm: FirmTurns) -> PreprocessingError:
        return PreprocessingError(
            f"A text worker ({self._name!r}, one of {self.workers}) died at or after firm "
            f"{firm.call.firm_id!r}; the usual cause is too little memory or, in a script of your "
            f"own, a missing {_MAIN_GUARD} around what the script does. What is checkpointed is "
            "safe: run the same command again with fewer workers, e.g. --workers 1"
        )


def _batches(firms: Iterable[FirmTurns], max_firms: int) -> Iterator[tuple[list[FirmTurns], int]]:
    """Yield (some firms, their characters): up to BATCH_CHARS together, or one longer firm."""
    batch: list[FirmTurns] = []
    n_chars = 0
    for firm in firms:
        batch.append(firm)
        n_chars += sum(len(turn.raw_text or "") for turn in firm.turns)
        if n_chars >= BATCH_CHARS or len(batch) >= max_firms:
            yield batch, n_chars
            batch, n_chars = [], 0
    if batch:
        yield batch, n_chars


def _start_pool(name: str, workers: int) -> ProcessPoolExecutor:
    # spawn: a plain fork after torch or obstore were used deadlocks or dies.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, context, initializer=_start_worker, initargs=(name,))
    for _ in range(workers):
        pool.submit(_warm_up)
    return pool


def _check_main_guard() -> None:
    """A spawned worker first runs the script that started it, up to its main guard.

    Without one it would do all that the script does, logging in included, and then be refused
    processes of its own in words of multiprocessing.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise ConfigError(
            f"This script has no {_MAIN_GUARD}, so every text worker runs it from the start; put "
            "what it does below that line"
        )


def _usable_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _process(pipeline: TextPipeline, firm: FirmTurns) -> FirmText:
    try:
        return pipeline.process(firm)
    except Exception as error:  # noqa: BLE001  one bad firm must not stop the quarter
        return FirmText(firm.call.firm_id, (), {}, error=f"{type(error).__name__}: {error}")


_worker_pipeline: TextPipeline | None = None


def _start_worker(name: str) -> None:
    global _worker_pipeline  # a worker has one pipeline for its life
    # Ctrl-C reaches the whole group; the parent decides when the workers go.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    _worker_pipeline = load_pipeline(name)


def _leave_with_parent() -> None:
    """A killed parent closes no queue, so without this its workers would wait for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _warm_up() -> None:
    """Makes the pool start its processes now rather than with the first firm."""


def _make_remotely(make: Make[_T], firms: list[FirmTurns]) -> list[_T]:
    if _worker_pipeline is None:
        raise PreprocessingError("The text worker was asked to work before it was started")
    return [make(firm, _process(_worker_pipeline, firm)) for firm in firms]
