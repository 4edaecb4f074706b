"""Published quarters of `published_quarter`, linked as `ftm link` leaves them."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

from ftm.core.layout import series_root
from ftm.core.quarter import Quarter
from ftm.core.schemas import DATASETS
from ftm.storage.linked import LINK_FILES, link_record
from ftm.storage.object_store import ObjectStore
from ftm.storage.parquet import from_rows, to_bytes
from ftm.storage.sealed import encode_sealed
from tests.support.published_quarter import N_THEMES, Row, theme_ids


def link_quarters(store: ObjectStore, quarters: Sequence[Quarter]) -> None:
    """Theme n of every quarter is series n, but the last, which begins anew in each."""
    for i, quarter in enumerate(quarters):
        before = theme_ids(quarters[i - 1]) if i else []
        series, links = [], []
        for n, theme in enumerate(theme_ids(quarter)):
            goes_on = bool(before) and n < N_THEMES - 1
            series.append(
                {
                    "series_id": f"series_{quarters[0] if n < N_THEMES - 1 else quarter}_{n:03d}",
                    "quarter": str(quarter),
                    "theme_id": theme,
                    "run_id": f"run{quarter}",
                    "cosine": 0.9 if goes_on else None,
                    "n_from": int(goes_on),
                }
            )
            if goes_on:
                links.append(
                    {
                        "quarter_from": str(quarters[i - 1]),
                        "theme_from": before[n],
                        "quarter_to": str(quarter),
                        "theme_to": theme,
                        "cosine": 0.9,
                        "is_match": True,
                    }
                )
        _put_link(store, quarter, {"series": series, "theme_links": links})


def _put_link(store: ObjectStore, quarter: Quarter, tables: dict[str, list[Row]]) -> None:
    record = {}
    for table, rows in tables.items():
        data = to_bytes(from_rows(rows, DATASETS[table]), DATASETS[table])
        record[LINK_FILES[table]] = sha256(data).hexdigest()
        store.put(f"{series_root(quarter)}/{LINK_FILES[table]}", data)
    store.put(link_record(quarter), encode_sealed(record))
