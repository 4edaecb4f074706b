"""An event loop in a thread of its own: a notebook's thread has one already, and can wait."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from queue import SimpleQueue
from threading import Thread
from typing import Any, TypeVar

_T = TypeVar("_T")


class LoopThread:
    """Runs coroutines one at a time for a caller that waits; started at the first."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: Thread | None = None

    def run(
        self,
        work: Callable[[Callable[[int], None]], Coroutine[Any, Any, _T]],
        *,
        done: Callable[[int], None] | None = None,
    ) -> _T:
        """The result of a coroutine; Ctrl-C cancels it and waits until it has tidied up.

        Args:
            work: makes the coroutine of a function to report progress with.
            done: told what is reported, in the caller's thread.
        """
        reports: SimpleQueue[int | None] = SimpleQueue()
        future = asyncio.run_coroutine_threadsafe(work(reports.put), self._started())
        future.add_done_callback(lambda _: reports.put(None))
        ended = False
        try:
            while (n := reports.get()) is not None:
                if done is not None:
                    done(n)
            ended = True
            return future.result()
        finally:
            if not ended:
                self._cancel_all()

    def close(self) -> None:
        """End the thread; what waits in it is cancelled."""
        if self._loop is None or self._thread is None:
            return
        self._cancel_all()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._loop = self._thread = None

    def _started(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._thread = Thread(target=self._loop.run_forever, name="ftm-naming", daemon=True)
            self._thread.start()
        return self._loop

    def _cancel_all(self) -> None:
        if self._loop is not None:
            asyncio.run_coroutine_threadsafe(_cancel_others(), self._loop).result()


async def _cancel_others() -> None:
    """Cancel everything in this loop and wait until it is gone."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
