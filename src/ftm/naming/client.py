"""One OpenAI-compatible server: asks, waits, learns what it does not know. The only `openai`.

Everything here belongs to one event loop. No message, log line or error holds a word of a prompt
or of an answer, and none the key.
"""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import Any

from ftm.core.errors import LLMRefusedError, LLMUnavailableError
from ftm.core.urls import without_user
from ftm.naming.hosts import Resolver, check_host, resolve
from ftm.naming.patience import Patience, TransientLLMError, Waits
from ftm.naming.prompts import Prompt
from ftm.naming.refusals import (
    ExtraRefusedError,
    FormatRefusedError,
    explain,
    not_found,
    not_the_protocol,
)
from ftm.naming.requests import Completion, Dialect, LLMOptions, parameters
from ftm.naming.transport import make_sdk

_MAX_MODELS_S = 30.0


class ChatClient:
    """Asks one server; made and used within one event loop.

    Args:
        options: where and how.
        waits: between tries.
        resolver: finds addresses of a host name.
    """

    def __init__(
        self, options: LLMOptions, *, waits: Waits | None = None, resolver: Resolver = resolve
    ) -> None:
        self.dialect = Dialect()
        self._options = options
        self._waits = waits or Waits()
        self._resolver = resolver
        self._where = without_user(options.base_url)
        self._key = options.api_key.get_secret_value() if options.api_key else ""
        self._patience = Patience(options.patience_s, self._waits)
        self._slots = asyncio.Semaphore(options.max_concurrent)
        self._learning = asyncio.Lock()
        self._opening = asyncio.Lock()
        self._accepted: Dialect | None = None
        self._models: list[dict[str, Any]] | None = None
        self._sdk: Any = None

    async def open(self) -> None:
        """See that the host is allowed and the server there, once; nothing of a text is sent.

        Raises:
            ConfigError: a public host that is not allowed, or the package is missing.
            LLMUnavailableError: nobody answers.
            LLMRefusedError: it does not accept the key.
        """
        await self._opened()

    async def _opened(self) -> Any:
        if self._sdk is None:
            async with self._opening:
                if self._sdk is None:
                    self._sdk = await self._connect()
        return self._sdk

    async def _connect(self) -> Any:
        ours = await asyncio.to_thread(
            check_host,
            self._options.base_url,
            allow_external=self._options.allow_external,
            resolver=self._resolver,
        )
        sdk = make_sdk(self._options, use_proxies=not ours)
        try:
            self._models = await self._list_models(sdk)
        except BaseException:
            await sdk.close()
            raise
        return sdk

    async def ask(self, prompt: Prompt, *, seed: int) -> Completion:
        """One answer; repeated while the server is away, in a simpler dialect if it must be.

        Raises:
            ContextTooLongError: the prompt is too long for the model.
            LLMUnavailableError: the server is away for longer than patience lasts.
            LLMRefusedError: it will never answer this.
        """
        await self._opened()
        async with self._slots:
            return await self._patience.bear(partial(self._once, prompt, seed))

    async def close(self) -> None:
        """Close the connections."""
        if self._sdk is not None:
            await self._sdk.close()
            self._sdk = None

    async def _once(self, prompt: Prompt, seed: int) -> Completion:
        """One answer; until a dialect is accepted, one request at a time finds it out for all."""
        completion = None
        while completion is None:
            if self._accepted == self.dialect:
                completion = await self._in_dialect(prompt, seed)
                continue
            async with self._learning:
                if self._accepted != self.dialect:
                    completion = await self._in_dialect(prompt, seed)
        return completion

    async def _in_dialect(self, prompt: Prompt, seed: int) -> Completion | None:
        """One request in the present dialect; None: refused, a simpler one is the present now."""
        used = self.dialect
        try:
            completion = await self._request(prompt, seed, used)
        except (ExtraRefusedError, FormatRefusedError) as refused:
            self._simplify(used, refused)
            return None
        self._accepted = used
        return completion

    def _simplify(self, used: Dialect, refused: Exception) -> None:
        """Ask more simply from now on, unless another request has already seen to it."""
        if self.dialect != used:
            return
        is_extra = isinstance(refused, ExtraRefusedError)
        simpler = used.without_extra() if is_extra else used.without_format()
        if simpler is None:
            raise LLMRefusedError(
                f"{refused} and refuses the request even without response_format and extra fields;"
                " its log says why"
            ) from None
        self.dialect = simpler

    async def _request(self, prompt: Prompt, seed: int, dialect: Dialect) -> Completion:
        started = time.monotonic()
        messages = [{"role": role, "content": content} for role, content in prompt.messages]
        given = parameters(prompt, self._options, seed=seed, dialect=dialect)
        sdk = await self._opened()
        answer = await self._send(sdk.chat.completions.create(messages=messages, **given))
        return self._completion(answer, time.monotonic() - started, dialect)

    async def _send(self, request: Any) -> Any:
        """The SDK's result, its errors as ours, within the time one answer may take."""
        import openai

        try:
            async with asyncio.timeout(self._options.timeout_s):
                return await request
        except TimeoutError:
            raise TransientLLMError(
                f"the language model at {self._where} takes longer than "
                f"{self._options.timeout_s:.0f} s (LLM_TIMEOUT_S)"
            ) from None
        except openai.NotFoundError:
            raise await self._not_found() from None
        except openai.OpenAIError as error:
            raise explain(error, where=self._where, key=self._key) from None
        except ValueError:  # neither JSON nor anything the SDK expects
            raise not_the_protocol(self._where) from None

    def _completion(self, answer: Any, latency_s: float, dialect: Dialect) -> Completion:
        try:
            choice = answer.choices[0]
            text, reason = choice.message.content, choice.finish_reason
        except (AttributeError, IndexError, TypeError):
            raise not_the_protocol(self._where) from None
        usage = getattr(answer, "usage", None)
        model = getattr(answer, "model", None)
        return Completion(
            text=text if isinstance(text, str) else None,
            cut_off=reason == "length",
            model=str(model) if model else None,
            revision=self._revision(getattr(answer, "system_fingerprint", None)),
            prompt_tokens=_count(getattr(usage, "prompt_tokens", None)),
            completion_tokens=_count(getattr(usage, "completion_tokens", None)),
            latency_s=round(latency_s, 3),
            dialect=dialect,
        )

    def _revision(self, system_fingerprint: str | None) -> str | None:
        """What the server says of the model's version, in one line."""
        told = {"fingerprint": system_fingerprint}
        for model in self._models or []:
            if model.get("id") == self._options.model:
                told |= {name: model.get(name) for name in ("root", "created", "owned_by")}
        return "; ".join(f"{name}={value}" for name, value in told.items() if value) or None

    async def _list_models(self, sdk: Any) -> list[dict[str, Any]] | None:
        """What GET /models says; None of a server that has no such list."""
        import openai

        async def once() -> list[dict[str, Any]] | None:
            try:
                async with asyncio.timeout(min(self._options.timeout_s, _MAX_MODELS_S)):
                    return _model_list(await sdk.models.list())
            except TimeoutError:
                raise TransientLLMError(
                    f"the language model at {self._where} does not answer in time"
                ) from None
            except openai.NotFoundError:
                return None
            except openai.OpenAIError as error:
                raise explain(error, where=self._where, key=self._key) from None
            except ValueError:
                return None

        try:
            return await self._patience.bear(once, is_first=True)
        except LLMUnavailableError as error:
            reason = str(error).partition(";")[0]
            raise LLMUnavailableError(
                f"LLM_BASE_URL {self._where!r} cannot be used: {reason}; start the server, correct "
                "LLM_BASE_URL, or use FTM_NAMING=keywords"
            ) from None

    async def _not_found(self) -> LLMRefusedError:
        models = self._models
        ids = None if models is None else [str(model["id"]) for model in models]
        return not_found(self._where, self._options.model, ids)


def _count(value: object) -> int | None:
    """A number of tokens as servers tell it; the SDK checks nothing."""
    return value if type(value) is int and value >= 0 else None


def _model_list(page: Any) -> list[dict[str, Any]] | None:
    """id, root, created and owned_by of each model, as far as they are given."""
    try:
        rows = [model.model_dump() for model in page.data]
    except (AttributeError, TypeError):
        return None
    names = ("id", "root", "created", "owned_by")
    return [{name: row.get(name) for name in names} for row in rows]
