"""What the errors of the OpenAI protocol mean.

Of a server's words only status and code pass: its messages may repeat the prompt, licensed text.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from ftm.core.errors import LLMRefusedError
from ftm.naming.patience import TransientLLMError

if TYPE_CHECKING:
    import openai

_TRANSIENT = frozenset({408, 409, 425, 429})
_LIMITED = 429
_FINAL_5XX = frozenset({501, 505})
_CONTEXT = re.compile(
    r"context.?(?:length|window|size)|maximum context|max_model_len|too many tokens"
    r"|(?:prompt|input|request).{0,40}too (?:long|large)|reduce the length",
    re.IGNORECASE,
)
_FORMAT = re.compile(
    r"response_?format|json_?schema|json_?object|guided|structured.?output|grammar", re.IGNORECASE
)
_EXTRA = re.compile(r"chat_template_kwargs|enable_thinking", re.IGNORECASE)
_NO_QUOTA = frozenset({"insufficient_quota", "billing_hard_limit_reached"})
_CODE = re.compile(r"[\w.-]{1,60}")


class ContextTooLongError(Exception):
    """The prompt does not fit into the model's context; private to `naming`."""


class FormatRefusedError(Exception):
    """The server knows no such response_format; private to `naming`."""


class ExtraRefusedError(Exception):
    """The server does not know the field that turns thinking off; private to `naming`."""


def explain(error: openai.OpenAIError, *, where: str, key: str = "") -> Exception:
    """What to raise instead of the SDK's error.

    Args:
        error: what the SDK raised.
        where: the server's URL without credentials.
        key: never passes, whatever the server makes of it.
    """
    import openai

    if isinstance(error, openai.APITimeoutError):
        return TransientLLMError(f"the language model at {where} does not answer in time")
    if isinstance(error, openai.APIConnectionError):
        if _is_refused(error):
            return TransientLLMError(f"nothing listens at {where}", is_refused=True)
        return TransientLLMError(f"the language model at {where} cannot be reached")
    if isinstance(error, openai.APIStatusError):
        return _from_status(error, where, key)
    return not_the_protocol(where)


def not_the_protocol(where: str) -> LLMRefusedError:
    """Something answers, but no language-model server."""
    return LLMRefusedError(
        f"what {where} answers is not the OpenAI protocol; LLM_BASE_URL should end where its API "
        "begins, usually with /v1"
    )


def _is_refused(error: BaseException | None) -> bool:
    """Whether a connection was refused; of a name with several addresses, the last."""
    while error is not None:
        if isinstance(error, ConnectionRefusedError):
            return True
        if isinstance(error, BaseExceptionGroup):
            return all(map(_is_refused, error.exceptions))
        error = error.__cause__ or error.__context__
    return False


def _from_status(error: openai.APIStatusError, where: str, key: str) -> Exception:
    status = error.status_code
    code = _code(error.body)
    code = "" if key and key in code else code
    what = f"the language model at {where} answers {status}{f' {code}' if code else ''}"
    if status in _TRANSIENT or (status >= 500 and status not in _FINAL_5XX):
        if code in _NO_QUOTA:
            return LLMRefusedError(f"{what}: the account behind LLM_API_KEY has no quota left")
        return TransientLLMError(
            what,
            retry_after_s=_retry_after_s(error.response.headers),
            is_busy=status == _LIMITED,
        )
    if status in (401, 403):
        return LLMRefusedError(f"{what}: it does not accept the key; set LLM_API_KEY")
    if status in (400, 413, 422):
        return _from_request(f"{code} {error.message} {error.body}", what)
    if 300 <= status < 400:
        return LLMRefusedError(
            f"{what}, a redirect, which is not followed: transcripts are licensed; set "
            "LLM_BASE_URL to where the server is"
        )
    return LLMRefusedError(f"{what}; see the server's log for the reason")


def _from_request(told: str, what: str) -> Exception:
    if _EXTRA.search(told):
        return ExtraRefusedError(what)
    if _CONTEXT.search(told):
        return ContextTooLongError(what)
    if _FORMAT.search(told):
        return FormatRefusedError(what)
    return LLMRefusedError(
        f"{what} and refuses the request; its log says why (LLM_MAX_TOKENS, LLM_MODEL_NAME and "
        "LLM_PROMPT_TOKENS are what can be changed)"
    )


def not_found(where: str, model: str, models: list[str] | None) -> LLMRefusedError:
    """A 404: the model or the path is wrong.

    Args:
        where: the server's URL.
        model: what was asked for.
        models: what the server has; None if it does not say.
    """
    if models is not None and model not in models:
        has = ", ".join(map(repr, models)) or "none"
        return LLMRefusedError(
            f"the language model at {where} has no model {model!r}; set LLM_MODEL_NAME to one it "
            f"has: {has}"
        )
    return LLMRefusedError(
        f"the language model at {where} answers 404: there is no model {model!r} "
        "(LLM_MODEL_NAME), or no API at this address (LLM_BASE_URL usually ends with /v1)"
    )


def _code(body: Any) -> str:
    """The server's own short word for the error, if it is one."""
    found = body.get("code") or body.get("type") if isinstance(body, dict) else None
    return found if isinstance(found, str) and _CODE.fullmatch(found) else ""


def _retry_after_s(headers: Any) -> float:
    """Seconds to wait, from either form of Retry-After; 0 if there is none."""
    value = str(headers.get("retry-after") or "").strip()
    try:
        return max(0.0, float(value))  # in this order: nan is no wait
    except ValueError:
        pass
    try:
        until = parsedate_to_datetime(value)
    except (TypeError, ValueError):
        return 0.0
    if until.tzinfo is None:
        until = until.replace(tzinfo=UTC)
    return max((until - datetime.now(UTC)).total_seconds(), 0.0)
