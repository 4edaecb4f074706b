"""Settings to concrete objects: the only place that chooses implementations.

Every heavy library is imported inside the function that needs it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ftm.core.errors import ConfigError
from ftm.core.quarter import Quarter
from ftm.core.settings import Settings

if TYPE_CHECKING:
    from ftm.connectors.base import DataConnector
    from ftm.storage.object_store import ObjectStore

DATA_SOURCES = ("wrds", "s3")


def get_store(settings: Settings) -> ObjectStore:
    """The store the settings name."""
    from ftm.storage.object_store import open_store

    return open_store(settings.store_url, endpoint_url=settings.aws_endpoint_url)


def get_data_connector(
    data_source: str,
    quarter: str | Quarter | None = None,
    bucket: str | None = None,
    *,
    settings: Settings | None = None,
) -> DataConnector:
    """The connector a worker or a notebook reads transcripts with.

    Args:
        data_source: `wrds` or `s3` (any store, a local folder included).
        quarter: needed by `s3`.
        bucket: bucket name, or None for the store of the settings.
        settings: None: read from the environment.

    Raises:
        ConfigError: (a ValueError) another data source, or no quarter for `s3`.
    """
    chosen = settings or Settings.load()
    if data_source == "wrds":
        from ftm.connectors.wrds_connector import WRDSConnector

        return WRDSConnector(settings=chosen)
    if data_source == "s3":
        from ftm.connectors.s3_connector import S3TranscriptConnector

        if quarter is None:
            raise ConfigError("DATA_SOURCE=s3 needs a quarter, like 2023Q1 (QUARTER)")
        store = None if bucket else get_store(chosen)
        return S3TranscriptConnector(bucket=bucket, quarter=quarter, store=store)
    raise ConfigError(
        f"unknown DATA_SOURCE {data_source!r}; it is one of {', '.join(DATA_SOURCES)}"
    )
