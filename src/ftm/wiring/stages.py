"""What the stages after map work with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from ftm.core.settings import Settings

if TYPE_CHECKING:
    from ftm.core.quarter import Quarter
    from ftm.orchestrate.stages import StageTools
    from ftm.reduce.aggregator import FloatArray
    from ftm.reduce.name_stage import NameOptions
    from ftm.reduce.reduce_stage import ReduceOptions
    from ftm.storage.object_store import ObjectStore


def get_stage_tools(
    settings: Settings, store: ObjectStore, *, allow_failed: bool = False
) -> StageTools:
    """How themes are made, named and packaged; nothing heavy is loaded until it is needed."""
    from ftm.orchestrate.stages import StageTools

    return StageTools(
        reduce=get_reduce_options(settings, allow_failed=allow_failed),
        name=lambda report: get_name_options(settings, store, report=report),
        series=lambda quarter, run_id: get_series(store, quarter, run_id),
    )


def resolve_for_stage_jobs(
    settings: Settings, *, image: str, environment: Mapping[str, str]
) -> Settings:
    """The settings that the jobs of the stages after map get.

    Args:
        settings: those that it does not name are taken from the job definition.
        image: of the job definition.
        environment: of the job definition.

    Raises:
        ConfigError: a server's URL with a password, which all could read who may describe jobs.
    """
    from ftm.core.errors import ConfigError
    from ftm.core.settings import with_variables
    from ftm.core.urls import without_user
    from ftm.orchestrate.worker_environment import LATER_SETTINGS

    open_fields = [name for name in LATER_SETTINGS if name not in settings.model_fields_set]
    chosen = with_variables(settings, environment, open_fields)
    url = chosen.llm_base_url or ""
    if without_user(url) != url:
        raise ConfigError(
            f"LLM_BASE_URL {without_user(url)!r} holds a user or password, which the job's "
            "overrides would show; give a key as the secret LLM_API_KEY of the job definition"
        )
    return chosen.model_copy(update={"stage_image": image})


def get_reduce_options(settings: Settings, *, allow_failed: bool = False) -> ReduceOptions:
    """How firm topics become themes."""
    from ftm.reduce.aggregator import ThemeRules
    from ftm.reduce.reduce_stage import ReduceOptions
    from ftm.topics.fingerprint import themes_fingerprint, themes_image_fingerprint

    def cluster(centroids: FloatArray, n_firms: int):  # type: ignore[no-untyped-def]
        from ftm.topics.theme_clusters import cluster_themes

        return cluster_themes(
            settings.theme_clustering,
            centroids,
            n_firms=n_firms,
            resolution=settings.theme_resolution,
            seed=settings.seed,
        )

    def make_text():  # type: ignore[no-untyped-def]
        from ftm.topics.theme_keywords import ThemeText

        return ThemeText()

    method, resolution = settings.theme_clustering, settings.theme_resolution
    if settings.stage_image:
        # Of a job: its libraries are the image's, and here there may be others or none.
        fingerprint = themes_image_fingerprint(
            settings.stage_image, method, resolution=resolution, seed=settings.seed
        )
    else:
        fingerprint = themes_fingerprint(method, resolution=resolution, seed=settings.seed)
    return ReduceOptions(
        clustering=fingerprint,
        cluster=cluster,
        make_text=make_text,
        rules=ThemeRules(settings.theme_min_firms, settings.theme_max_firm_share),
        allow_failed=allow_failed,
    )


def get_name_options(
    settings: Settings, store: ObjectStore, *, report: Callable[[int, int], None]
) -> NameOptions:
    """How topics and themes get names."""
    from ftm.reduce.name_stage import NameOptions
    from ftm.wiring.naming import check_llm_settings, get_namer

    method: dict[str, str] = {"naming": settings.naming}
    if settings.naming == "llm":
        check_llm_settings(settings)
        from ftm.naming.prompts import PROMPT_VERSION

        # Where the server is, and how many requests it takes at a time, changes no name.
        method |= {
            "model": settings.llm_model_name,
            "seed": str(settings.seed),
            "max_tokens": str(settings.llm_max_tokens),
            "prompt_tokens": str(settings.llm_prompt_tokens),
            "prompt_version": str(PROMPT_VERSION),
        }
    return NameOptions(
        method=method,
        open_namer=lambda: get_namer(settings, store),
        needs_text=settings.naming == "llm",
        report=report,
    )


def get_series(store: ObjectStore, quarter: Quarter, run_id: str) -> Mapping[str, str]:
    """Theme → its series, if this run of the quarter is linked."""
    from ftm.reduce.link_quarters import read_series_ids

    return read_series_ids(store, quarter, run_id)
