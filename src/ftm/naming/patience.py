"""How long a language-model server that limits, fails or restarts is waited for.

The only place where requests are sent again. Patience counts from the last success of any
request: a server that still answers others is there, one that restarts takes minutes.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

import stamina

from ftm.core.errors import LLMUnavailableError

_LOG = logging.getLogger(__name__)
_T = TypeVar("_T")


class TransientLLMError(Exception):
    """No answer, or "come back later"; private to `naming`, the only error that is retried.

    Args:
        message: what the server did; never a word of a request.
        retry_after_s: what it asks for.
        is_refused: nothing listens there.
        is_busy: it is there, and limits how much it is asked.
    """

    def __init__(
        self,
        message: str,
        *,
        retry_after_s: float = 0.0,
        is_refused: bool = False,
        is_busy: bool = False,
    ) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
        self.is_refused = is_refused
        self.is_busy = is_busy

    def first_contact_s(self, waits: Waits, limit_s: float) -> float:
        """How long it is borne at the very first contact, when nothing was answered yet."""
        if self.is_refused:
            return 0.0
        return limit_s if self.is_busy else min(waits.first_contact_s, limit_s)


@dataclass(frozen=True, slots=True)
class Waits:
    """Between two tries of a request.

    Args:
        initial_s: before the second; doubles, with as much jitter.
        max_s: the longest.
        first_contact_s: how long the very first contact is tried, if patience lasts as long; not
            at all where nothing listens, and as long as any where a server limits requests.
    """

    initial_s: float = 0.5
    max_s: float = 20.0
    first_contact_s: float = 6.0


class Patience:
    """Sends again what failed for a while; of one event loop.

    Args:
        limit_s: without any success.
        waits: between tries.
        clock: monotonic seconds.
    """

    def __init__(
        self, limit_s: float, waits: Waits, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._limit_s = limit_s
        self._waits = waits
        self._clock = clock
        self._since = clock()
        self._not_before = 0.0
        self._n_running = 0
        self._told = False

    async def bear(self, once: Callable[[], Awaitable[_T]], *, is_first: bool = False) -> _T:
        """The result of `once`, called again while it raises TransientLLMError.

        Args:
            once: a request.
            is_first: it is the very first contact.

        Raises:
            LLMUnavailableError: no request succeeded for so long, or the server asks for more.
        """
        if self._n_running == 0:
            self._since = self._clock()  # nobody asked in between, so nobody waited
        self._n_running += 1
        try:
            return await self._again_and_again(once, is_first)
        except TransientLLMError as error:
            wants = f"; it asks to wait {error.retry_after_s:.0f} s" if error.retry_after_s else ""
            raise LLMUnavailableError(
                f"{error}{wants}; nothing was answered for {self._silent_s():.0f} s"
                f" (LLM_PATIENCE_S {self._limit_s:.0f}). Names so far are kept: see to the server"
                " (LLM_BASE_URL) and run the command again, or use FTM_NAMING=keywords"
            ) from None
        finally:
            self._n_running -= 1

    async def _again_and_again(self, once: Callable[[], Awaitable[_T]], is_first: bool) -> _T:
        async for attempt in stamina.retry_context(
            on=lambda error: self._bears(error, is_first),
            attempts=None,
            timeout=None,
            wait_initial=self._waits.initial_s,
            wait_max=self._waits.max_s,
            wait_jitter=self._waits.initial_s,
        ):
            with attempt:
                await self._wait_for_permission()
                result = await once()
        self._since = self._clock()
        self._told = False
        return result

    async def _wait_for_permission(self) -> None:
        """What one request was told by Retry-After holds for all."""
        while (wait_s := self._not_before - self._clock()) > 0:
            await asyncio.sleep(wait_s)

    def _bears(self, error: Exception, is_first: bool) -> bool:
        if not isinstance(error, TransientLLMError):
            return False
        limit_s = self._limit_s
        if is_first:
            limit_s = error.first_contact_s(self._waits, limit_s)
        left_s = limit_s - self._silent_s()
        if left_s <= 0 or error.retry_after_s > left_s:
            return False
        self._not_before = max(self._not_before, self._clock() + error.retry_after_s)
        if not self._told:
            _LOG.warning("%s; trying again for up to %.0f s", error, left_s)
        self._told = True
        return True

    def _silent_s(self) -> float:
        return self._clock() - self._since
