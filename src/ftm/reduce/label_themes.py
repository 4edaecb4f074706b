"""Labels by hand: a file to fill in, and what becomes of it."""

from __future__ import annotations

from ftm.core.quarter import Quarter
from ftm.reduce.labels import Labels, read_labels, write_labels
from ftm.reduce.link_quarters import read_series_ids
from ftm.reduce.package_stage import package_run, publish_package
from ftm.storage.object_store import ObjectStore
from ftm.storage.published import Published, require_published
from ftm.storage.run_reader import RunRecords, read_run
from ftm.storage.stage_records import read_stage_table, require_stage


def labels_template(store: ObjectStore, quarter: Quarter) -> bytes:
    """A labels file for the published run, or the one that is in use.

    Raises:
        OrchestratorError: the quarter is not published.
    """
    run = _published_run(store, quarter)
    if store.exists(run.layout.labels):
        return store.get(run.layout.labels)
    reduced = require_stage(store, run.layout, "reduce")
    themes = read_stage_table(store, run.layout, reduced, "themes")
    named = require_stage(store, run.layout, "name")
    names = read_stage_table(store, run.layout, named, "theme_names")
    for column in ("name", "description"):
        place = themes.schema.get_field_index(column)
        themes = themes.set_column(place, themes.schema.field(column), names[column])
    contributions = read_stage_table(store, run.layout, reduced, "theme_contributions")
    return write_labels(themes, contributions)


def apply_labels(
    store: ObjectStore, quarter: Quarter, data: bytes | None, *, name: str
) -> tuple[Labels, Published]:
    """Put a labels file in use, and publish the themes it makes.

    Args:
        store: where the quarter is published.
        quarter: which.
        data: of the file; None: no labels any more.
        name: of the file, for messages.

    Raises:
        ConfigError: the file does not fit the themes; nothing was changed.
        OrchestratorError: the quarter is not published.
    """
    run = _published_run(store, quarter)
    labels = Labels()
    if data is None:
        store.delete(run.layout.labels)
    else:
        reduced = require_stage(store, run.layout, "reduce")
        contributions = read_stage_table(store, run.layout, reduced, "theme_contributions")
        labels = read_labels(data, contributions, name=name)
        store.put(run.layout.labels, data)
    series = read_series_ids(store, quarter, run.spec.run_id)
    record = package_run(store, run, series=series)
    return labels, publish_package(store, run, record)


def _published_run(store: ObjectStore, quarter: Quarter) -> RunRecords:
    return read_run(store, quarter, require_published(store, quarter).run_id)
