"""What loaders share: a store given in any form, Arrow tables as pandas frames."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING

import pyarrow as pa

from ftm.core.errors import ConfigError
from ftm.core.quarter import Quarter
from ftm.core.settings import Settings
from ftm.storage.object_store import ObjectStore, open_store

if TYPE_CHECKING:
    import pandas as pd

Store = str | ObjectStore | None
"""A URL, an open store, or None for the store of the settings."""

Quarters = str | Quarter | Sequence[str | Quarter]
"""`2016Q2`, `2016Q1..2016Q4`, or several of these."""


def open_given(store: Store) -> ObjectStore:
    """The store that is meant; one that is not there is an error, it is only read."""
    if isinstance(store, ObjectStore):
        return store
    settings = Settings.load(store=store)
    return open_store(settings.store_url, endpoint_url=settings.aws_endpoint_url, create=False)


def parse_quarters(quarters: Quarters) -> list[Quarter]:
    """The quarters that are meant, in the order given, each once.

    Raises:
        ConfigError: none, or one is malformed.
    """
    given = [quarters] if isinstance(quarters, str | Quarter) else quarters
    spans = [[q] if isinstance(q, Quarter) else Quarter.parse_range(q) for q in given]
    found = list(dict.fromkeys(quarter for span in spans for quarter in span))
    if not found:
        raise ConfigError("no quarter given; name one or more, like 2016Q2 or 2016Q1..2016Q4")
    return found


def to_pandas(table: pa.Table) -> pd.DataFrame:
    """Integers that may be missing stay integers (Int32), dates and times are pandas' own.

    Raises:
        ConfigError: pandas is not installed.
    """
    require_pandas()
    import pandas as pd

    nullable = {pa.int32(): pd.Int32Dtype(), pa.int64(): pd.Int64Dtype()}
    frame: pd.DataFrame = table.to_pandas(types_mapper=nullable.get, date_as_object=False)
    return frame


def require_pandas() -> None:
    """Say how to get pandas where it is missing, before anything is read.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        import_module("pandas")
    except ModuleNotFoundError as error:
        raise ConfigError(
            "this needs pandas; install it with: pip install 'ftm[notebook]'"
        ) from error
