"""ftm: earnings calls from WRDS to firm topics and cross-firm themes.

The names below load on first use, so that `import ftm` stays fast and pulls in none of the heavy
libraries.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from ftm.core import version as _version

if TYPE_CHECKING:
    from ftm.analysis.loaders import load_calls, load_sentences, load_topics
    from ftm.analysis.results import (
        load_panel,
        load_panel_calls,
        load_sentiment_ready,
        load_series,
        load_themes,
    )
    from ftm.analysis.sql import sql
    from ftm.connectors.s3_connector import S3TranscriptConnector
    from ftm.connectors.wrds_connector import WRDSConnector
    from ftm.core.quarter import Quarter
    from ftm.orchestrate.quarter_orchestrator import QuarterOrchestrator
    from ftm.prefetch.prefetcher import WRDSPrefetcher

__version__ = _version.VERSION

_HOMES = {
    "Quarter": "ftm.core.quarter",
    "QuarterOrchestrator": "ftm.orchestrate.quarter_orchestrator",
    "S3TranscriptConnector": "ftm.connectors.s3_connector",
    "WRDSConnector": "ftm.connectors.wrds_connector",
    "WRDSPrefetcher": "ftm.prefetch.prefetcher",
    "load_calls": "ftm.analysis.loaders",
    "load_panel": "ftm.analysis.results",
    "load_panel_calls": "ftm.analysis.results",
    "load_sentences": "ftm.analysis.loaders",
    "load_sentiment_ready": "ftm.analysis.results",
    "load_series": "ftm.analysis.results",
    "load_themes": "ftm.analysis.results",
    "load_topics": "ftm.analysis.loaders",
    "sql": "ftm.analysis.sql",
}

__all__ = [
    "Quarter",
    "QuarterOrchestrator",
    "S3TranscriptConnector",
    "WRDSConnector",
    "WRDSPrefetcher",
    "load_calls",
    "load_panel",
    "load_panel_calls",
    "load_sentences",
    "load_sentiment_ready",
    "load_series",
    "load_themes",
    "load_topics",
    "sql",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'ftm' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
