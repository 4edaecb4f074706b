"""Themes across quarters: what `ftm link` wrote of each, found by its marker `link.json`."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from ftm.core.errors import ConfigError, CorruptObjectError, ObjectNotFoundError
from ftm.core.layout import SERIES_ROOT, series_root
from ftm.core.quarter import Quarter
from ftm.storage.checked import checked_table
from ftm.storage.object_store import ObjectStore
from ftm.storage.sealed import decode_sealed

LINK_FILES = {"series": "series.parquet", "theme_links": "links.parquet"}
"""Dataset → its file in a linked quarter's folder."""


def mend_link(quarter: Quarter) -> str:
    """What writes a linked quarter's tables again, with the ids that they had."""
    return (
        f"`ftm link --quarters {quarter}..LAST --redo-from {quarter}`, up to the last linked "
        "quarter, writes it again"
    )


def link_record(quarter: Quarter) -> str:
    """Key of what is written last of a linked quarter; it holds file → sha256, and what else."""
    return f"{series_root(quarter)}/link.json"


def linked_quarters(store: ObjectStore) -> list[Quarter]:
    """Quarters whose link is complete, in time."""
    found = []
    for folder in store.list_folders(SERIES_ROOT):
        try:
            quarter = Quarter.parse(folder.removeprefix("quarter="))
        except ConfigError:
            continue
        if store.exists(link_record(quarter)):
            found.append(quarter)
    return sorted(found)


def linked_file(store: ObjectStore, quarter: Quarter, dataset: str) -> tuple[str, str]:
    """Key and sha256 of a linked quarter's series or theme_links.

    Raises:
        CorruptObjectError: the marker is gone or names no such file.
    """
    marker = link_record(quarter)
    file = LINK_FILES[dataset]
    try:
        return f"{series_root(quarter)}/{file}", str(read_link(store, quarter)[file])
    except KeyError as error:
        raise CorruptObjectError(
            f"{store.name(marker)} is damaged, it does not name {file}; {mend_link(quarter)}",
            key=marker,
        ) from error


def read_link(store: ObjectStore, quarter: Quarter) -> dict[str, Any]:
    """What a quarter was linked from, and the files that hold it.

    Raises:
        CorruptObjectError: it is gone, damaged, or that of another quarter.
    """
    marker = link_record(quarter)
    try:
        found = decode_sealed(store.get(marker))
    except ObjectNotFoundError as error:
        raise CorruptObjectError(
            f"{store.name(marker)} is gone; {mend_link(quarter)}", key=marker
        ) from error
    except ValueError as error:
        raise CorruptObjectError(
            f"{store.name(marker)} is damaged: {error}; {mend_link(quarter)}", key=marker
        ) from error
    if found.get("quarter", str(quarter)) != str(quarter):
        raise CorruptObjectError(
            f"{store.name(marker)} is that of {found['quarter']}; {mend_link(quarter)}", key=marker
        )
    return found


def read_linked_table(store: ObjectStore, quarter: Quarter, dataset: str) -> pa.Table:
    """A linked quarter's series or theme_links, its hash checked.

    Raises:
        CorruptObjectError: it is gone or has other bytes.
    """
    return checked_table(
        store, *linked_file(store, quarter, dataset), dataset=dataset, mend=mend_link(quarter)
    )
