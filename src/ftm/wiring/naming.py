"""Who names topics and themes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ftm.core.errors import ConfigError, FtmError
from ftm.core.settings import Settings

if TYPE_CHECKING:
    from ftm.naming.base import Namer
    from ftm.storage.object_store import ObjectStore


def get_namer(settings: Settings, store: ObjectStore) -> Namer:
    """The namer of FTM_NAMING; close it.

    Args:
        settings: of the run.
        store: where a language model's answers are kept.

    Raises:
        ConfigError: `llm` without LLM_BASE_URL, or with one that is no URL.
    """
    if settings.naming == "keywords":
        from ftm.naming.keywords import KeywordNamer

        return KeywordNamer()
    from ftm.naming.llm import LLMNamer
    from ftm.naming.requests import LLMOptions

    options = LLMOptions(
        base_url=check_llm_settings(settings),
        model=settings.llm_model_name,
        api_key=settings.llm_api_key,
        max_concurrent=settings.llm_max_concurrent,
        allow_external=settings.allow_external_llm,
        timeout_s=settings.llm_timeout_s,
        max_tokens=settings.llm_max_tokens,
        prompt_tokens=settings.llm_prompt_tokens,
        patience_s=settings.llm_patience_s,
        seed=settings.seed,
        price_in=settings.llm_price_in,
        price_out=settings.llm_price_out,
    )
    return LLMNamer(store, options)


def trouble_with_llm(settings: Settings, store: ObjectStore) -> str:
    """What stage name would stop at if it were here already; empty if it would not.

    For a warning before hours of map, no more: answers that are stored need no server.
    """
    if settings.naming != "llm":
        return ""
    from ftm.naming.llm import LLMNamer

    try:
        with get_namer(settings, store) as namer:
            if isinstance(namer, LLMNamer):
                namer.check()
    except FtmError as error:
        return str(error)
    return ""


def check_llm_settings(settings: Settings) -> str:
    """The server's URL; cheap, so that a run of hours does not end with a missing setting.

    Raises:
        ConfigError: LLM_BASE_URL is not set, or is no URL.
    """
    from ftm.naming.hosts import split_base_url

    if not settings.llm_base_url:
        raise ConfigError(
            "FTM_NAMING=llm needs LLM_BASE_URL, an OpenAI-compatible server such as "
            "http://localhost:8000/v1; or use FTM_NAMING=keywords"
        )
    split_base_url(settings.llm_base_url)
    return settings.llm_base_url
