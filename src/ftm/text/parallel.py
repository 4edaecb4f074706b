"""Preprocesses firms on several cores: texts go to the workers, results come back, never Docs."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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
MAX_DEADLY_FIRMS = 3
"""When so many in a row kill their worker, it is not for what they say: the machine is at fault."""

_MAIN_GUARD = '`if __name__ == "__main__":`'
_CAUSE = (
    "the usual cause is too little memory or, in a script of your own, a missing "
    f"{_MAIN_GUARD} around what the script does. What is checkpointed is safe: run the same "
    "command again with fewer workers, e.g. --workers 1"
)

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
    pipeline is loaded in this process too, so that a missing model is found before that. Workers
    that died are replaced. One `map` at a time.

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
        if self.workers > 1:
            self._running(self.workers)

    def _running(self, workers: int) -> ProcessPoolExecutor:
        """The pool there is, else a new one of so many workers."""
        if self._pool is None:
            before = set(multiprocessing.active_children())
            self._pool = _start_pool(self._name, workers)
            started = set(multiprocessing.active_children()) - before
            self._pids = sorted(child.pid for child in started if child.pid is not None)
        return self._pool

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
        """Stop the workers; what they have under way is dropped. The next `map` starts new ones."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
        self._pool, self._pids = None, []

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

        A firm that fails comes to `make` as a text with `error`, and the others go on; so does a
        firm that kills its worker.

        Args:
            firms: read only a little ahead.
            make: called in the process that preprocessed the firm, or in this one for a firm that
                killed its worker.

        Raises:
            PreprocessingError: MAX_DEADLY_FIRMS in a row killed their worker (usually for want of
                memory), or no worker can be started.
        """
        self.start()
        if self.workers == 1:
            return (make(firm, _process(self._pipeline, firm)) for firm in firms)
        return self._map_parallel(firms, make)

    def _map_parallel(self, firms: Iterable[FirmTurns], make: Make[_T]) -> Iterator[_T]:
        waiting: deque[_Batch[_T]] = deque()
        for firms_together, n_chars in _batches(firms, LOOK_AHEAD_FIRMS // 2):
            while waiting and self._is_full(waiting, n_chars):
                yield from self._results(waiting, make)
            future = self._submit(firms_together, make)
            waiting.append(_Batch(firms_together, n_chars, future))
        while waiting:
            yield from self._results(waiting, make)

    def _is_full(self, waiting: Iterable[_Batch[_T]], n_chars: int) -> bool:
        n_firms = sum(len(batch.firms) for batch in waiting)
        under_way = sum(batch.n_chars for batch in waiting)
        limit = LOOK_AHEAD_FIRMS * self.workers
        return n_firms >= limit or under_way + n_chars > LOOK_AHEAD_CHARS

    def _submit(self, firms: list[FirmTurns], make: Make[_T]) -> Future[list[_T]]:
        try:
            return self._running(self.workers).submit(partial(_make_remotely, make), firms)
        except BrokenProcessPool as error:
            lost: Future[list[_T]] = Future()
            lost.set_exception(error)
            return lost

    def _results(self, waiting: deque[_Batch[_T]], make: Make[_T]) -> Iterator[_T]:
        """Yield the first batch's, or those of all that wait when its worker died."""
        batch = waiting.popleft()
        results = _unless_lost(batch.future)
        if results is None:
            lost = [batch, *waiting]
            waiting.clear()
            yield from self._recovered(lost, make)
        else:
            yield from results

    def _recovered(self, batches: Iterable[_Batch[_T]], make: Make[_T]) -> Iterator[_T]:
        """Yield what batches of a broken pool give, those that it lost firm by firm.

        One worker does that, with nothing else under way, so that one firm is to blame when it
        dies. The next batch starts them all again.
        """
        deadly: list[str] = []
        try:
            self._start_one()
            for batch in batches:
                results = _unless_lost(batch.future)
                if results is None:
                    yield from self._one_by_one(batch.firms, make, deadly)
                else:
                    yield from results
        finally:
            self.close()

    def _one_by_one(
        self, firms: Iterable[FirmTurns], make: Make[_T], deadly: list[str]
    ) -> Iterator[_T]:
        """Yield what each firm gives on its own; `deadly` are the last ones that died in a row."""
        for firm in firms:
            results = _unless_lost(self._submit([firm], make))
            if results is None:
                deadly.append(firm.call.firm_id)
                self._replace_killed(deadly)
                yield make(firm, self._killed(firm))
            else:
                deadly.clear()
                yield from results

    def _replace_killed(self, deadly: Sequence[str]) -> None:
        if len(deadly) >= MAX_DEADLY_FIRMS:
            raise PreprocessingError(
                f"Each of the firms {', '.join(map(repr, deadly))} in turn killed a text worker "
                f"({self._name!r}) that ran alone; {_CAUSE}"
            )
        self._start_one()

    def _start_one(self) -> None:
        """Start one worker in place of those there are, and wait until it runs."""
        self.close()
        try:
            self._running(1).submit(_warm_up).result()
        except BrokenProcessPool as error:
            raise PreprocessingError(
                f"The text workers ({self._name!r}, {self.workers} of them) died and no new one "
                f"could be started; {_CAUSE}"
            ) from error

    def _killed(self, firm: FirmTurns) -> FirmText:
        error = PreprocessingError(
            f"Firm {firm.call.firm_id!r}, transcript {firm.call.transcript_id!r}, killed its text "
            f"worker ({self._name!r}); too little memory, or a crash in spaCy"
        )
        return _failed(firm, error)


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
        return _failed(firm, error)


def _failed(firm: FirmTurns, error: Exception) -> FirmText:
    return FirmText(firm.call.firm_id, (), {}, error=f"{type(error).__name__}: {error}")


def _unless_lost(future: Future[list[_T]]) -> list[_T] | None:
    """What a worker made, None when it died before; waits for it."""
    try:
        return future.result()
    except BrokenProcessPool:
        return None


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
