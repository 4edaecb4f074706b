"""Series: themes of successive quarters that go on, append-only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import pairwise
from typing import Any

import pyarrow as pa

from ftm.core.errors import ConfigError
from ftm.core.layout import series_root
from ftm.core.quarter import Quarter
from ftm.core.schemas import SERIES, THEME_LINKS
from ftm.reduce.matching import Link, carry_on, find_links
from ftm.reduce.package_stage import package_run, publish_again
from ftm.reduce.theme_vectors import PublishedThemes, check_comparable, read_themes
from ftm.storage.lease import Say
from ftm.storage.linked import (
    LINK_FILES,
    link_record,
    linked_quarters,
    read_link,
    read_linked_table,
)
from ftm.storage.object_store import ObjectStore
from ftm.storage.parquet import from_rows, to_bytes
from ftm.storage.published import require_published
from ftm.storage.run_lease import alone
from ftm.storage.sealed import encode_sealed

THRESHOLD = 0.65
"""Cosine from which two themes are linked: akin, so that splits and merges show."""
SERIES_THRESHOLD = 0.75
"""Cosine from which a theme carries a series on. On real calls of two successive quarters, read
one by one, matches above it are right and most of those below are about something else: a series
that ends is better than one that changes its subject."""
LINK_VERSION = 2


@dataclass(frozen=True, slots=True)
class LinkedQuarter:
    """A quarter in its place among series.

    Args:
        quarter: which.
        before: the quarter it was linked to; None: it is the first.
        n_themes: of the quarter.
        n_matched: of these, that carry a series on.
        n_links: pairs of themes that are linked, whether they carry a series on or not.
        is_new: linked now, not before.
    """

    quarter: Quarter
    before: Quarter | None
    n_themes: int
    n_matched: int
    n_links: int
    is_new: bool


def link_quarters(
    store: ObjectStore,
    quarters: Sequence[Quarter],
    *,
    threshold: float = THRESHOLD,
    series_threshold: float = SERIES_THRESHOLD,
    redo_from: Quarter | None = None,
    say: Say = lambda _text: None,
) -> list[LinkedQuarter]:
    """Link successive quarters, each to the one before; what is linked already stays.

    The panels of quarters linked now are published again, with their series.

    Args:
        store: where they are published.
        quarters: successive, in time.
        threshold: cosine from which two themes are linked.
        series_threshold: cosine from which a link may carry a series on.
        redo_from: forget the links of this quarter and later ones first; series ids of earlier
            ones stay.
        say: told of each quarter.

    Raises:
        ConfigError: what is linked was linked otherwise (another run, threshold, first quarter or
            version), the series threshold is under the other, or embedding models differ;
            nothing was written.
        OrchestratorError: a quarter is not published, and nothing was written; or another run of
            one was meanwhile.
        LeaseHeldError: another command is at a run whose panel is to be published again; the same
            command goes on.
    """
    thresholds = _thresholds(threshold, series_threshold)
    themes = [read_themes(store, quarter) for quarter in quarters]
    known = [q for q in linked_quarters(store) if redo_from is None or q < redo_from]
    before = _before(store, known, quarters[0])
    chain = [*([before] if before else []), *themes]
    for one, other in pairwise(chain):
        check_comparable(one, other)
    befores = [before, *themes[:-1]]
    records = [
        _record(each, earlier, thresholds) for each, earlier in zip(themes, befores, strict=True)
    ]
    _check_version(store, known)
    _check_all_redone(store, quarters, redo_from)
    _check_known(store, known, quarters, records)
    _forget(store, redo_from)
    found = []
    for each, earlier, record in zip(themes, befores, records, strict=True):
        is_new = each.quarter not in known
        if is_new:
            _write(store, each, earlier, record)
        # Also for one that is linked: a command that was killed may not have got to it.
        _republish(store, each, say)
        found.append(_describe(store, each.quarter, earlier, is_new=is_new))
        say(f"{each.quarter}: {'linked' if is_new else 'was linked'}")
    return found


def _thresholds(threshold: float, series_threshold: float) -> dict[str, float]:
    """As a link's record holds them."""
    if series_threshold < threshold:
        raise ConfigError(
            f"the series threshold {series_threshold!r} is under the threshold {threshold!r}, but "
            "only a link carries a series on; raise --series-threshold or lower --threshold"
        )
    return {"threshold": threshold, "series_threshold": series_threshold}


def _before(store: ObjectStore, known: Sequence[Quarter], first: Quarter) -> PublishedThemes | None:
    """The linked quarter right before the first one, if there is one."""
    previous = first.previous()
    return read_themes(store, previous) if previous in known else None


def _record(
    each: PublishedThemes, before: PublishedThemes | None, thresholds: Mapping[str, float]
) -> dict[str, Any]:
    return {
        "version": LINK_VERSION,
        "quarter": str(each.quarter),
        "run_id": each.published.run_id,
        "themes_sha256": each.sha256,
        **thresholds,
        "before": before and str(before.quarter),
        "before_run_id": before and before.published.run_id,
        "before_themes_sha256": before and before.sha256,
    }


def _check_version(store: ObjectStore, known: Sequence[Quarter]) -> None:
    """A series follows one rule from its first quarter to its last."""
    for quarter in known:
        old = read_link(store, quarter)
        if old.get("version") != LINK_VERSION:
            raise ConfigError(
                f"{quarter} was linked with another version of `ftm link` ({old.get('version')}, "
                f"now {LINK_VERSION}); {_redo(quarter)}"
            )


def _redo(quarter: Quarter) -> str:
    return f"--redo-from {quarter} links it and later quarters anew, with other series ids"


def _check_known(
    store: ObjectStore,
    known: Sequence[Quarter],
    quarters: Sequence[Quarter],
    records: Sequence[dict[str, Any]],
) -> None:
    """Ids are append-only: what is linked must have been linked as it would be now."""
    for quarter, record in zip(quarters, records, strict=True):
        if quarter not in known:
            if later := [q for q in known if q > quarter]:
                raise ConfigError(
                    f"{quarter} cannot be linked before {later[0]}, which is: its series begin "
                    f"there; {_redo(quarter)}"
                )
            continue
        old = read_link(store, quarter)
        for name, what in (
            ("threshold", "threshold"),
            ("series_threshold", "series threshold"),
            ("before", "quarter before"),
            ("run_id", "published run"),
            ("before_run_id", "published run of the quarter before"),
            ("themes_sha256", "themes"),
            ("before_themes_sha256", "themes of the quarter before"),
        ):
            if old.get(name) != record[name]:
                raise ConfigError(
                    f"{quarter} was linked with another {what} ({old.get(name)}, now "
                    f"{record[name]}); {_redo(quarter)}"
                )


def _check_all_redone(
    store: ObjectStore, quarters: Sequence[Quarter], redo_from: Quarter | None
) -> None:
    """A quarter that is forgotten must be linked again, or its panel keeps series of before."""
    if redo_from is None:
        return
    forgotten = [q for q in linked_quarters(store) if q >= redo_from]
    if lost := sorted(set(forgotten) - set(quarters)):
        first, last = min(*forgotten, *quarters), max(*forgotten, *quarters)
        raise ConfigError(
            f"--redo-from {redo_from} also concerns {lost[0]}, which is linked; name all of them: "
            f"--quarters {first}..{last}"
        )


def _forget(store: ObjectStore, redo_from: Quarter | None) -> None:
    """Latest first: killed in between, what is left is a chain from the first quarter."""
    for quarter in reversed(linked_quarters(store)):
        if redo_from is not None and quarter >= redo_from:
            store.delete(link_record(quarter))


def _write(
    store: ObjectStore,
    each: PublishedThemes,
    before: PublishedThemes | None,
    record: dict[str, Any],
) -> None:
    thresholds = {name: record[name] for name in ("threshold", "series_threshold")}
    links = find_links(before.vectors, each.vectors, **thresholds) if before else []
    earlier = read_linked_table(store, before.quarter, "series") if before else None
    series = carry_on(links, each.vectors.theme_ids, _ids(earlier))
    files = {}
    for dataset, table in (
        ("theme_links", _links_table(links, before, each)),
        ("series", _series_table(links, series, each)),
    ):
        schema = SERIES if dataset == "series" else THEME_LINKS
        data, file = to_bytes(table, schema), LINK_FILES[dataset]
        store.put(f"{series_root(each.quarter)}/{file}", data)
        files[file] = sha256(data).hexdigest()
    store.put(link_record(each.quarter), encode_sealed({**record, **files}))


def _ids(series: pa.Table | None) -> dict[str, str]:
    if series is None:
        return {}
    return dict(zip(series["theme_id"].to_pylist(), series["series_id"].to_pylist(), strict=True))


def _links_table(
    links: Sequence[Link], before: PublishedThemes | None, each: PublishedThemes
) -> pa.Table:
    rows = [
        {
            "quarter_from": str(before.quarter) if before else "",
            "theme_from": link.before,
            "quarter_to": str(each.quarter),
            "theme_to": link.after,
            "cosine": link.cosine,
            "is_match": link.is_match,
        }
        for link in links
    ]
    return from_rows(rows, THEME_LINKS)


def _series_table(links: Sequence[Link], series: dict[str, str], each: PublishedThemes) -> pa.Table:
    cosines = {link.after: link.cosine for link in links if link.is_match}
    rows = [
        {
            "series_id": series[theme],
            "quarter": str(each.quarter),
            "theme_id": theme,
            "run_id": each.published.run_id,
            "cosine": cosines.get(theme),
            "n_from": sum(link.after == theme for link in links),
        }
        for theme in each.vectors.theme_ids
    ]
    return from_rows(rows, SERIES)


def read_series_ids(store: ObjectStore, quarter: Quarter, run_id: str) -> dict[str, str]:
    """Theme → its series, if this run of the quarter is linked; else nothing."""
    if not store.exists(link_record(quarter)):
        return {}
    series = read_linked_table(store, quarter, "series")
    return _ids(series) if run_id in series["run_id"].to_pylist() else {}


def _republish(store: ObjectStore, each: PublishedThemes, say: Say) -> None:
    """The panel with its series."""
    with alone(store, each.run.layout, say=say) as held:
        # It is linked, so a store that does not show the link must not pass for an unlinked one.
        series = _ids(read_linked_table(store, each.quarter, "series"))
        record = package_run(store, each.run, series=series)
        files = {key.rpartition("/")[2]: digest for key, digest in record.files.items()}
        # Not what it was when this command began: a run may have published since.
        if files != dict(require_published(store, each.quarter).files):
            publish_again(store, each.run, record, held)


def _describe(
    store: ObjectStore, quarter: Quarter, before: PublishedThemes | None, *, is_new: bool
) -> LinkedQuarter:
    series = read_linked_table(store, quarter, "series")
    return LinkedQuarter(
        quarter,
        before.quarter if before else None,
        series.num_rows,
        series.num_rows - series["cosine"].null_count,
        read_linked_table(store, quarter, "theme_links").num_rows,
        is_new,
    )
