"""How a server is asked, and what comes back before anybody looks into it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from pydantic import SecretStr

from ftm.naming.prompts import PROMPT_VERSION, Prompt, answer_schema

TEMPERATURE = 0.0

AnswerFormat = Literal["json_schema", "json_object", "plain"]
_NEXT_FORMAT: Mapping[AnswerFormat, AnswerFormat | None] = {
    "json_schema": "json_object",
    "json_object": "plain",
    "plain": None,
}


@dataclass(frozen=True, slots=True)
class LLMOptions:
    """Where the model is and how it is asked.

    Args:
        base_url: an OpenAI-compatible API, like http://localhost:8000/v1.
        model: its name there.
        api_key: None for a server that wants none.
        max_concurrent: requests at a time.
        allow_external: whether the server may be a public one.
        timeout_s: one answer may take so long.
        max_tokens: of an answer, thinking included.
        prompt_tokens: of a prompt, by estimate.
        patience_s: a server without any success is waited for so long.
        seed: of the first try of each item.
        price_in: of a million prompt tokens; None: no cost is told.
        price_out: of a million answer tokens.
    """

    base_url: str
    model: str
    api_key: SecretStr | None = field(default=None, repr=False)
    max_concurrent: int = 10
    allow_external: bool = False
    timeout_s: float = 120.0
    max_tokens: int = 512
    prompt_tokens: int = 2000
    patience_s: float = 600.0
    seed: int = 42
    price_in: float | None = None
    price_out: float | None = None


@dataclass(frozen=True, slots=True)
class Dialect:
    """What a server understands beyond the bare protocol; part of a request's hash.

    Args:
        answer_format: how the form of the answer is asked for.
        no_thinking: whether the chat template is told not to think (vLLM, SGLang).
    """

    answer_format: AnswerFormat = "json_schema"
    no_thinking: bool = True

    def without_format(self) -> Dialect | None:
        """The next simpler way to ask for a form; None at the simplest."""
        following = _NEXT_FORMAT[self.answer_format]
        return None if following is None else replace(self, answer_format=following)

    def without_extra(self) -> Dialect | None:
        """Without the field for thinking; None if it is not there."""
        return replace(self, no_thinking=False) if self.no_thinking else None


@dataclass(frozen=True, slots=True)
class Completion:
    """What came back, before anybody looked into it.

    Args:
        text: the message's content.
        cut_off: it ended at max_tokens.
        model: as the server calls it.
        revision: what the server says of its version; None for nothing.
        prompt_tokens: as the server counts; None if it does not.
        completion_tokens: likewise.
        latency_s: of the try that succeeded.
        dialect: how it was asked.
    """

    text: str | None
    cut_off: bool
    model: str | None
    revision: str | None
    prompt_tokens: int | None
    completion_tokens: int | None
    latency_s: float
    dialect: Dialect


def parameters(
    prompt: Prompt, options: LLMOptions, *, seed: int, dialect: Dialect
) -> dict[str, Any]:
    """Everything of a request but its messages, as the SDK takes it."""
    given: dict[str, Any] = {
        "model": options.model,
        "temperature": TEMPERATURE,
        "seed": seed,
        "max_tokens": options.max_tokens,
    }
    if dialect.answer_format == "json_schema":
        schema = {"name": prompt.item_kind, "schema": answer_schema(prompt.item_kind)}
        given["response_format"] = {
            "type": "json_schema",
            "json_schema": {**schema, "strict": True},
        }
    elif dialect.answer_format == "json_object":
        given["response_format"] = {"type": "json_object"}
    if dialect.no_thinking:
        given["extra_body"] = {"chat_template_kwargs": {"enable_thinking": False}}
    return given


def fingerprint(prompt: Prompt, options: LLMOptions, dialect: Dialect) -> dict[str, Any]:
    """What an answer depends on, besides who computes it; no address, no key."""
    return {
        "prompt_version": PROMPT_VERSION,
        "messages": prompt.messages,
        **parameters(prompt, options, seed=options.seed, dialect=dialect),
    }


def family(options: LLMOptions) -> dict[str, Any]:
    """What the answers of a run share, however its server was asked."""
    return {
        "prompt_version": PROMPT_VERSION,
        "model": options.model,
        "temperature": TEMPERATURE,
        "seed": options.seed,
        "max_tokens": options.max_tokens,
    }
