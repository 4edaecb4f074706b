"""The SDK's client: no retries, redirects or logs of its own, and no proxy to servers of ours."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from ftm.core.errors import ConfigError
from ftm.naming.requests import LLMOptions

_CONNECT_S = 10.0
_TRANSPORT_LOGGERS = ("openai", "httpx", "httpx2", "httpcore", "httpcore2")


def make_sdk(options: LLMOptions, *, use_proxies: bool) -> Any:
    """An `openai.AsyncOpenAI` for the server, of the running event loop.

    Args:
        options: where it is.
        use_proxies: whether the environment's proxies may carry the text.

    Raises:
        ConfigError: the package openai is not installed.
    """
    try:
        import openai
    except ModuleNotFoundError as error:
        raise ConfigError(
            "FTM_NAMING=llm needs the package openai; install it with: pip install 'ftm[llm]'"
        ) from error
    silence_transport()  # with OPENAI_LOG in the environment the import has set levels of its own
    key = options.api_key.get_secret_value() if options.api_key else ""
    transport = openai.DefaultAsyncHttpxClient(
        follow_redirects=False,
        trust_env=use_proxies,
        timeout=openai.Timeout(options.timeout_s, connect=min(_CONNECT_S, options.timeout_s)),
    )
    sdk = openai.AsyncOpenAI(
        api_key=key or "none", base_url=options.base_url, max_retries=0, http_client=transport
    )
    sdk.organization = sdk.project = None  # OpenAI's own variables are none of ours
    return sdk


def silence_transport() -> Callable[[], None]:
    """Keep the SDK and its transport out of the logs: at DEBUG they write whole requests.

    Returns:
        What puts their levels back.
    """
    known = [n for n in logging.root.manager.loggerDict if n.startswith(_TRANSPORT_LOGGERS)]
    loggers = [logging.getLogger(name) for name in {*_TRANSPORT_LOGGERS, *known}]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)

    def restore() -> None:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)

    return restore
