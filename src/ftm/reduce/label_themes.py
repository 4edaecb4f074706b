"""Labels by hand: a file to fill in, and what becomes of it."""

from __future__ import annotations

from contextlib import suppress

from ftm.core.errors import ConfigError
from ftm.core.quarter import Quarter
from ftm.reduce.labels import Labels, carry_edits, read_labels, write_labels
from ftm.reduce.link_quarters import read_series_ids
from ftm.reduce.package_stage import (
    check_names,
    package_run,
    publish_again,
    read_label_bytes,
)
from ftm.storage.lease import Say
from ftm.storage.object_store import ObjectStore
from ftm.storage.published import Published, require_published
from ftm.storage.run_lease import alone
from ftm.storage.run_reader import RunRecords, read_run
from ftm.storage.stage_records import read_stage_table, require_stage


def labels_template(store: ObjectStore, quarter: Quarter) -> tuple[bytes, int]:
    """A labels file for the published run: the one in use, or one to fill in.

    Returns:
        The file; and, where the one in use was made for other themes, how many of its edits do
        not fit those there are now. The others are in the file.

    Raises:
        OrchestratorError: the quarter is not published, or its themes have no names yet.
    """
    run = _published_run(store, quarter)
    reduced = require_stage(store, run.layout, "reduce")
    contributions = read_stage_table(store, run.layout, reduced, "theme_contributions")
    used, name = read_label_bytes(store, run), store.name(run.layout.labels)
    if used:
        with suppress(ConfigError):
            read_labels(used, contributions, name=name)
            return used, 0
    named = require_stage(store, run.layout, "name")
    check_names(run, reduced=reduced, named=named)
    themes = read_stage_table(store, run.layout, reduced, "themes")
    names = read_stage_table(store, run.layout, named, "theme_names")
    for column in ("name", "description"):
        place = themes.schema.get_field_index(column)
        themes = themes.set_column(place, themes.schema.field(column), names[column])
    fresh = write_labels(themes, contributions)
    return carry_edits(used, fresh, name=name) if used else (fresh, 0)


def apply_labels(
    store: ObjectStore,
    quarter: Quarter,
    data: bytes | None,
    *,
    name: str,
    say: Say = lambda _line: None,
) -> tuple[Labels, Published]:
    """Put a labels file in use, and publish the themes it makes.

    Args:
        store: where the quarter is published.
        quarter: which.
        data: of the file; None: no labels any more.
        name: of the file, for messages.
        say: told of a lease that is taken over.

    Raises:
        ConfigError: the file does not fit the themes; nothing was changed.
        LeaseHeldError: another command is at the run; nothing was changed.
        OrchestratorError: the quarter is not published, or another run of it is by now.
    """
    run = _published_run(store, quarter)
    with alone(store, run.layout, say=say) as held:
        labels = _put_labels(store, run, data, name=name)
        series = read_series_ids(store, quarter, run.spec.run_id)
        record = package_run(store, run, series=series)
        return labels, publish_again(store, run, record, held)


def _put_labels(store: ObjectStore, run: RunRecords, data: bytes | None, *, name: str) -> Labels:
    labels = Labels()
    if data is None:
        store.delete(run.layout.labels)
    else:
        reduced = require_stage(store, run.layout, "reduce")
        contributions = read_stage_table(store, run.layout, reduced, "theme_contributions")
        labels = read_labels(data, contributions, name=name)
        store.put(run.layout.labels, data)
    return labels


def _published_run(store: ObjectStore, quarter: Quarter) -> RunRecords:
    return read_run(store, quarter, require_published(store, quarter).run_id)
