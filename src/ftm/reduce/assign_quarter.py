"""A quarter's topics scored against the themes of an earlier one: nothing looks ahead."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ftm.core.errors import ConfigError, CorruptObjectError
from ftm.core.quarter import Quarter
from ftm.core.schemas import DATASETS, SENTENCES
from ftm.reduce.calls import Origin, call_rows, calls_table
from ftm.reduce.counts import count_calls
from ftm.reduce.link_quarters import read_series_ids
from ftm.reduce.matching import nearest_theme
from ftm.reduce.panel import panel_table
from ftm.reduce.theme_vectors import PublishedThemes, check_comparable, read_themes, vectors_of
from ftm.storage.assigned import (
    ASSIGNED_TABLES,
    Assigned,
    basis_of,
    point_to_assigned,
    read_assigned,
)
from ftm.storage.checked import is_intact
from ftm.storage.object_store import ObjectStore
from ftm.storage.parquet import to_bytes
from ftm.storage.published import read_published_table
from ftm.storage.run_reader import read_calls, read_run_manifest
from ftm.topics.theme_clusters import MIN_COSINE


@dataclass(frozen=True, slots=True)
class AssignedQuarter:
    """What came of it.

    Args:
        assigned: the pointer.
        n_topics: of the quarter.
        n_themed: of these, near enough to a theme.
        n_themes: of the earlier quarter.
        n_themes_found: of these, that any topic is in.
        themed_share: of all sentences of calls with topics; in a theme.
    """

    assigned: Assigned
    n_topics: int
    n_themed: int
    n_themes: int
    n_themes_found: int
    themed_share: float


def assign_quarter(
    store: ObjectStore, quarter: Quarter, themes_from: Quarter, *, min_cosine: float = MIN_COSINE
) -> AssignedQuarter:
    """Score a quarter against frozen themes, and write its panel.

    Args:
        store: where both are published.
        quarter: whose calls.
        themes_from: whose themes; earlier.
        min_cosine: a topic less like its nearest theme is in none, as within a quarter.

    Raises:
        ConfigError: the themes are not of an earlier quarter, or embedding models differ.
        OrchestratorError: one of the quarters is not published.
        CorruptObjectError: a file differs from what was published.
    """
    if not themes_from < quarter:
        raise ConfigError(
            f"--themes {themes_from} is not before --quarter {quarter}: its themes would know what "
            "was said later; name an earlier quarter"
        )
    frozen, own = read_themes(store, themes_from), read_themes(store, quarter)
    check_comparable(frozen, own)
    topics = read_published_table(store, own.published, "topics")
    near = nearest_theme(vectors_of(topics), frozen.vectors, min_cosine=min_cosine)
    ids = np.array([*frozen.vectors.theme_ids, None], object)[near]
    themes = dict(zip(topics["topic_id"].to_pylist(), ids.tolist(), strict=True))
    tables = _tables(store, own, frozen, themes)
    assigned = _put(store, own, frozen, tables)
    calls = tables["panel_calls"]
    with_topics = calls.filter(pc.greater(calls["n_topics"], 0))
    n = with_topics["n_sentences"].to_numpy()
    themed = (with_topics["themed_share"].to_numpy() * n).sum() / max(n.sum(), 1)
    return AssignedQuarter(
        assigned,
        n_topics=len(near),
        n_themed=int((near >= 0).sum()),
        n_themes=len(frozen.vectors.theme_ids),
        n_themes_found=len(np.unique(near[near >= 0])),
        themed_share=float(themed),
    )


def _tables(
    store: ObjectStore,
    own: PublishedThemes,
    frozen: PublishedThemes,
    themes: dict[str, str | None],
) -> dict[str, pa.Table]:
    sentences = read_published_table(store, own.published, "sentences")
    of_sentence = [themes.get(topic) for topic in sentences["topic_id"].to_pylist()]
    place = sentences.schema.get_field_index("theme_id")
    sentences = sentences.set_column(
        place, SENTENCES.field("theme_id"), pa.array(of_sentence, pa.string())
    )
    manifest = read_run_manifest(store, own.run.layout, own.run.spec)
    before = read_published_table(store, own.published, "panel_calls")
    sizes = _by_firm(before, "n_sentences")
    rows = call_rows(read_calls(store, manifest), sizes)
    columns = pa.array(frozen.vectors.theme_ids, pa.string())
    counts = count_calls(sentences, rows["firm_id"].combine_chunks(), columns)
    calls = calls_table(
        rows,
        counts,
        statuses=_by_firm(before, "status"),
        n_topics=_by_firm(before, "n_topics"),
        origin=Origin(own.published.run_id, "frozen", str(frozen.quarter)),
        quarter=str(own.quarter),
    )
    series = read_series_ids(store, frozen.quarter, frozen.published.run_id)
    panel = panel_table(counts, calls, themes=columns, series=series)
    return {"panel": panel, "panel_calls": calls}


def _by_firm(calls: pa.Table, column: str) -> dict[str, Any]:
    return dict(zip(calls["firm_id"].to_pylist(), calls[column].to_pylist(), strict=True))


def _put(
    store: ObjectStore,
    own: PublishedThemes,
    frozen: PublishedThemes,
    tables: dict[str, pa.Table],
) -> Assigned:
    data = {name: to_bytes(tables[name], DATASETS[name]) for name in ASSIGNED_TABLES}
    # Named by what they hold: readers have the old tables until the pointer moves.
    digests = {name: sha256(each).hexdigest() for name, each in data.items()}
    files = {f"{name}-{digest[:12]}.parquet": digest for name, digest in digests.items()}
    assigned = Assigned(
        own.quarter,
        frozen.quarter,
        own.published.run_id,
        frozen.published.run_id,
        files,
        basis_of(own.published, frozen.published),
    )
    if not _is_there(store, assigned):
        for name, each in data.items():
            store.put(assigned.place_of(name)[0], each)
        point_to_assigned(store, assigned)
    return assigned


def _is_there(store: ObjectStore, assigned: Assigned) -> bool:
    """Whether nothing is to be written: pointer and tables are these, and whole."""
    try:
        found = read_assigned(store, assigned.quarter, assigned.themes_from)
    except CorruptObjectError:
        return False
    places = [assigned.place_of(name) for name in ASSIGNED_TABLES]
    return found == assigned and all(is_intact(store, *place) for place in places)
