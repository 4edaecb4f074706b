"""A published quarter's themes and panel as pandas DataFrames, for notebooks.

Every loader takes one quarter or several (`"2016Q2"`, `"2016Q1..2016Q4"`, a list of these) and
follows the pointer of each, so that all tables of a quarter come from one run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from ftm.analysis.frames import Quarters, Store, open_given, parse_quarters, to_pandas
from ftm.core.errors import ConfigError, OrchestratorError
from ftm.core.quarter import Quarter
from ftm.core.schemas import PROCESSED_TABLES
from ftm.storage.assigned import ASSIGNED_TABLES, read_assigned_table, require_assigned
from ftm.storage.linked import LINK_FILES, linked_quarters, read_linked_table
from ftm.storage.object_store import ObjectStore
from ftm.storage.published import read_published_table, require_published

if TYPE_CHECKING:
    import pandas as pd

RESULT_TABLES = (*PROCESSED_TABLES, *LINK_FILES)
"""Every table that `read_result` knows: those of a published quarter, and those across quarters."""


def load_themes(quarter: Quarters, store: Store = None) -> pd.DataFrame:
    """Themes, largest first: name, description, keywords, size, centroid (schema THEMES).

    Args:
        quarter: one or several, like 2016Q2.
        store: a URL, an open store, or None for the store of the settings.

    Raises:
        OrchestratorError: the quarter is not published; says what to run.
        CorruptObjectError: a file differs from what was published.
    """
    return _load("themes", quarter, store)


def load_panel(
    quarter: Quarters, store: Store = None, *, themes_from: str | Quarter | None = None
) -> pd.DataFrame:
    """Every call by theme with the share of each, zeros included (schema PANEL).

    Args:
        quarter: one or several, like 2016Q2.
        store: a URL, an open store, or None for the store of the settings.
        themes_from: None: the quarter's own themes, estimated on its own calls; a quarter: the
            themes of that one, as `ftm assign` scored the calls against them.

    Raises:
        OrchestratorError: the quarter is not published, or these themes are not assigned to it.
        CorruptObjectError: a file differs from what was published.
    """
    return _load("panel", quarter, store, themes_from=themes_from)


def load_panel_calls(
    quarter: Quarters, store: Store = None, *, themes_from: str | Quarter | None = None
) -> pd.DataFrame:
    """Every kept call with its denominators, those without topics too (schema PANEL_CALLS).

    Args and errors are those of `load_panel`.
    """
    return _load("panel_calls", quarter, store, themes_from=themes_from)


def load_sentiment_ready(quarter: Quarters, store: Store = None) -> pd.DataFrame:
    """Theme by firm by topic, with the sentences as spoken (schema SENTIMENT_READY).

    `sentences` holds a list of dicts per row: sentence_id, text, speaker_type, position. Args and
    errors are those of `load_themes`.
    """
    return _load("themes_for_sentiment", quarter, store)


def load_series(store: Store = None) -> pd.DataFrame:
    """Which themes of successive quarters are one series (schema SERIES), of all linked quarters.

    Args:
        store: a URL, an open store, or None for the store of the settings.

    Raises:
        OrchestratorError: no quarter is linked; says what to run.
        CorruptObjectError: a file differs from what was linked.
    """
    return to_pandas(read_linked(open_given(store), "series"))


def _load(
    table: str, quarters: Quarters, store: Store, *, themes_from: str | Quarter | None = None
) -> pd.DataFrame:
    opened = open_given(store)
    source = None if themes_from is None else Quarter.parse(themes_from)
    tables = [
        read_result(opened, quarter, table, themes_from=source)
        for quarter in parse_quarters(quarters)
    ]
    return to_pandas(pa.concat_tables(tables))


def read_result(
    store: ObjectStore, quarter: Quarter, table: str, *, themes_from: Quarter | None = None
) -> pa.Table:
    """A table of a published quarter, or of one scored against an earlier one's themes.

    Args:
        store: where the quarter is.
        quarter: which.
        table: one of RESULT_TABLES.
        themes_from: None: the quarter's own themes.

    Raises:
        ConfigError: with `themes_from`, a table that does not exist then.
        OrchestratorError: it is not published, or these themes are not assigned.
        CorruptObjectError: a file differs from what was published.
    """
    if table in LINK_FILES:
        return read_linked_table(store, quarter, table)
    if themes_from is None:
        return read_published_table(store, require_published(store, quarter), table)
    if table not in ASSIGNED_TABLES:
        raise ConfigError(
            f"{table} does not exist with the themes of another quarter, only "
            f"{' and '.join(ASSIGNED_TABLES)}"
        )
    return read_assigned_table(store, require_assigned(store, quarter, themes_from), table)


def read_linked(store: ObjectStore, table: str) -> pa.Table:
    """Series or theme_links of all linked quarters, in time.

    Raises:
        OrchestratorError: no quarter is linked.
        CorruptObjectError: a file differs from what was linked.
    """
    quarters = linked_quarters(store)
    if not quarters:
        raise OrchestratorError(
            f"no quarter of {store.url} is linked; run `ftm link --quarters 2016Q1..2016Q4`"
        )
    return pa.concat_tables([read_linked_table(store, each, table) for each in quarters])
