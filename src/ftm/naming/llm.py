"""Names by a language model: masked, asked, checked, kept. A name that fails is an error."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from types import TracebackType
from typing import Self, TypeVar
from weakref import WeakValueDictionary

from ftm.core.errors import LLMRefusedError, NamingError
from ftm.naming.answers import Answer, BadAnswerError, parse_answer
from ftm.naming.base import AuditEntry, Name, NamingItem, Totals
from ftm.naming.cache import AnswerCache, CachedAnswer, request_sha256
from ftm.naming.client import ChatClient
from ftm.naming.hosts import Resolver, resolve
from ftm.naming.loop_thread import LoopThread
from ftm.naming.masking import masker
from ftm.naming.packs import AnswerPacks
from ftm.naming.patience import Waits
from ftm.naming.prompts import Prompt, build_prompt
from ftm.naming.refusals import ContextTooLongError
from ftm.naming.requests import Completion, Dialect, LLMOptions, family, fingerprint
from ftm.naming.transport import silence_transport
from ftm.storage.object_store import ObjectStore

_T = TypeVar("_T")

MAX_TRIES = 3
"""Answers asked for before an item counts as failed."""
MAX_HALVINGS = 2
"""How often a prompt is halved when the server's context is smaller than we were told."""
MAX_FAILED_ITEMS = 20
"""So many items without a usable answer, and the model will not do for the rest either."""
_STORE_THREADS = 16
_NAMED_IN_ERRORS = 3


class LLMNamer:
    """Names by an OpenAI-compatible server; meets Namer.

    Works from any thread, one with a running event loop included: its own loop has its own thread.

    Args:
        store: where answers are kept.
        options: the server, and how it is asked.
        waits: between tries, for tests.
        resolver: finds addresses of a host name.
        now: the time that `asked_at` gets.
    """

    def __init__(
        self,
        store: ObjectStore,
        options: LLMOptions,
        *,
        waits: Waits | None = None,
        resolver: Resolver = resolve,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._options = options
        self._waits = waits
        self._resolver = resolver
        self._now = now
        self._cache = AnswerCache(store, options.model)
        self._packs = AnswerPacks(store, request_sha256(family(options)))
        self._loose: list[CachedAnswer] = []
        self._loop = LoopThread()
        # Kept before another is asked for, so that a crash loses no more than was in flight.
        self._slots = asyncio.Semaphore(options.max_concurrent)
        self._threads = ThreadPoolExecutor(_STORE_THREADS, thread_name_prefix="ftm-answers")
        self._restore_logs = silence_transport()
        self._client: ChatClient | None = None
        self._known: list[Dialect] | None = None
        self._asking: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._totals = Totals()

    @property
    def totals(self) -> Totals:
        """What naming took so far, with the cost if there are prices."""
        found, options = self._totals, self._options
        if options.price_in is None and options.price_out is None:
            return found
        spent = found.prompt_tokens * (options.price_in or 0.0)
        spent += found.completion_tokens * (options.price_out or 0.0)
        return replace(found, cost=spent / 1e6)

    def check(self) -> None:
        """See that the server is allowed and there; sends nothing of a text.

        Raises:
            ConfigError: a public host that is not allowed, or the package openai is missing.
            LLMUnavailableError: nobody answers.
            LLMRefusedError: the key is not accepted.
        """
        self._loop.run(lambda _: self._check())

    def name_all(self, items: Iterable[NamingItem], *, done: Callable[[int], None]) -> list[Name]:
        """See Namer; what is in the store needs no server.

        Raises:
            ConfigError, LLMUnavailableError, LLMRefusedError: see check; the context is too small.
            NamingError: answers hold no usable name; the others are named and kept.
        """
        return self._loop.run(lambda report: self._name_all(iter(items), report), done=done)

    def close(self) -> None:
        """See Namer."""
        client, self._client = self._client, None
        if client is not None:
            self._loop.run(lambda _: client.close())
        self._loop.close()
        self._threads.shutdown()
        self._restore_logs()

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
        self.close()

    async def _check(self) -> None:
        await self._get_client().open()

    def _get_client(self) -> ChatClient:
        if self._client is None:
            self._client = ChatClient(self._options, waits=self._waits, resolver=self._resolver)
        return self._client

    async def _name_all(
        self, items: Iterator[NamingItem], report: Callable[[int], None]
    ) -> list[Name]:
        if self._known is None:
            self._known = await self._in_thread(self._cache.dialects)
            await self._in_thread(self._packs.load)
        names: dict[int, Name] = {}
        failed: dict[str, str] = {}
        numbered = enumerate(items)

        async def work() -> None:
            for number, item in numbered:  # shared: each worker takes the next
                try:
                    names[number] = await self._name(item)
                except BadAnswerError as bad:
                    failed[f"{item.item_kind} {item.item_id}"] = bad.problem
                    if len(failed) >= MAX_FAILED_ITEMS:
                        raise self._failed(failed) from None
                report(1)
                await asyncio.sleep(0)  # an answer from a pack waits for nothing, and Ctrl-C must

        await _all_or_first_error(work, n=max(self._options.max_concurrent, _STORE_THREADS))
        await self._to_the_end(partial(self._packs.add, self._loose))
        if failed:
            raise self._failed(failed)
        return [names[number] for number in sorted(names)]

    async def _name(self, item: NamingItem) -> Name:
        prompt = build_prompt(item, budget_tokens=self._options.prompt_tokens)
        found = await self._look_up(prompt)
        if found is None:
            # Items with the same prompt are asked once and get the same name.
            lock = self._asking.setdefault(prompt.sha256, asyncio.Lock())
            waited = lock.locked()
            async with lock:
                found = await self._look_up(prompt) if waited else None
                if found is None:
                    async with self._slots:
                        return _named(item, await self._ask(item, prompt))
        self._totals = replace(self._totals, n_cached=self._totals.n_cached + 1)
        return _named(item, found)

    async def _look_up(self, prompt: Prompt) -> CachedAnswer | None:
        client = self._get_client()
        dialects = dict.fromkeys([client.dialect, Dialect(), *(self._known or [])])
        keys = [request_sha256(fingerprint(prompt, self._options, one)) for one in dialects]
        for key in keys:
            if (found := self._packs.get(key)) is not None:
                return found
        for key in keys:
            if (found := await self._in_thread(partial(self._cache.get, key))) is not None:
                self._loose.append(found)
                return found
        return None

    async def _ask(self, item: NamingItem, prompt: Prompt) -> CachedAnswer:
        """Ask until an answer can be used, and keep it before anything else."""
        sent, halvings, tries, hint = prompt, 0, 0, ""
        while True:
            seed = self._options.seed + tries
            try:
                completion = await self._get_client().ask(sent.with_hint(hint), seed=seed)
            except ContextTooLongError as error:
                halvings += 1
                if halvings > MAX_HALVINGS:
                    raise self._too_long(item, error) from None
                sent = build_prompt(
                    item, budget_tokens=self._options.prompt_tokens, halvings=halvings
                )
                continue
            tries += 1
            self._count(completion)
            try:
                answer = _parsed(item, completion)
            except BadAnswerError as bad:
                if tries >= MAX_TRIES:
                    raise
                hint = bad.problem
                continue
            kept = self._to_keep(prompt, sent.with_hint(hint), answer, completion)
            kept = kept.model_copy(update={"n_tries": tries, "seed": seed})
            await self._keep(kept, completion.dialect)
            return kept

    def _to_keep(
        self, first: Prompt, sent: Prompt, answer: Answer, completion: Completion
    ) -> CachedAnswer:
        asked = fingerprint(first, self._options, completion.dialect)
        return CachedAnswer(
            request_sha256=request_sha256(asked),
            prompt_sha256=sent.sha256,
            name=answer.name,
            description=answer.description,
            answer=completion.text or "",
            model_asked=self._options.model,
            model_answered=completion.model,
            revision=completion.revision,
            prompt_tokens=completion.prompt_tokens,
            completion_tokens=completion.completion_tokens,
            latency_s=completion.latency_s,
            asked_at=self._now(),
            n_tries=1,
            seed=self._options.seed,
        )

    async def _keep(self, answer: CachedAnswer, dialect: Dialect) -> None:
        known = self._known if self._known is not None else []
        if dialect != Dialect() and dialect not in known:
            known.append(dialect)
            await self._to_the_end(partial(self._cache.put_dialects, list(known)))
        await self._to_the_end(partial(self._cache.put, answer))
        self._loose.append(answer)

    async def _in_thread(self, function: Callable[[], _T]) -> _T:
        """The store is synchronous; the loop must not stand still meanwhile."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, function)

    async def _to_the_end(self, function: Callable[[], None]) -> None:
        """As `_in_thread`; whoever cancels waits: an answer that came is kept."""
        future = asyncio.get_running_loop().run_in_executor(self._threads, function)
        cancelled = False
        while not future.done():
            try:
                await asyncio.wait([future])
            except asyncio.CancelledError:
                cancelled = True
        future.result()
        if cancelled:
            raise asyncio.CancelledError

    def _count(self, completion: Completion) -> None:
        self._totals = replace(
            self._totals,
            n_asked=self._totals.n_asked + 1,
            prompt_tokens=self._totals.prompt_tokens + (completion.prompt_tokens or 0),
            completion_tokens=self._totals.completion_tokens + (completion.completion_tokens or 0),
        )

    def _too_long(self, item: NamingItem, error: Exception) -> LLMRefusedError:
        return LLMRefusedError(
            f"{error}: the prompt of {item.item_kind} {item.item_id} does not fit into the context "
            f"of {self._options.model!r}, not even halved {MAX_HALVINGS} times; lower "
            f"LLM_PROMPT_TOKENS ({self._options.prompt_tokens}) or LLM_MAX_TOKENS "
            f"({self._options.max_tokens}), or serve the model with a longer context"
        )

    def _failed(self, failed: dict[str, str]) -> NamingError:
        first, problem = next(iter(failed.items()))
        listed = ", ".join(list(failed)[:_NAMED_IN_ERRORS])
        n_more = len(failed) - _NAMED_IN_ERRORS
        more = f" and {n_more:,} more" if n_more > 0 else ""
        return NamingError(
            f"{self._options.model!r} gave no usable name to {listed}{more}, asked {MAX_TRIES} "
            f"times each (of its last answer to {first}: {problem}). The names there are are kept; "
            "use another model (LLM_MODEL_NAME) or more LLM_MAX_TOKENS, or FTM_NAMING=keywords",
            item_ids=tuple(name.partition(" ")[2] for name in failed),
        )


def _parsed(item: NamingItem, completion: Completion) -> Answer:
    return parse_answer(
        completion.text,
        item.item_kind,
        names=masker(item.firms, item.persons),
        sentences=item.sentences,
        cut_off=completion.cut_off,
    )


def _named(item: NamingItem, kept: CachedAnswer) -> Name:
    audit = AuditEntry(
        item_kind=item.item_kind,
        item_id=item.item_id,
        prompt_sha256=kept.prompt_sha256,
        request_sha256=kept.request_sha256,
        model_asked=kept.model_asked,
        model_answered=kept.model_answered,
        revision=kept.revision,
        answer=kept.answer,
        prompt_tokens=kept.prompt_tokens,
        completion_tokens=kept.completion_tokens,
        latency_s=kept.latency_s,
        asked_at=kept.asked_at,
    )
    return Name(item.item_kind, item.item_id, kept.name, kept.description, "llm", audit)


async def _all_or_first_error(work: Callable[[], Awaitable[None]], *, n: int) -> None:
    """Run n workers; at the first error the others are cancelled, and it is raised as it is."""

    async def one() -> None:
        await work()

    tasks = [asyncio.create_task(one()) for _ in range(n)]
    try:
        finished, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in finished:
        if not task.cancelled() and (error := task.exception()) is not None:
            raise error
