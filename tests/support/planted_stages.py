"""The stages after map over a planted run, and what they made."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial

import pyarrow as pa

from ftm.core.layout import RunLayout
from ftm.core.schemas import DATASETS
from ftm.naming.base import Name, NamingItem
from ftm.naming.keywords import KeywordNamer
from ftm.orchestrate.stages import StageSpan, StageTools, run_stages
from ftm.reduce.link_quarters import read_series_ids
from ftm.reduce.name_stage import NameOptions, name_run
from ftm.reduce.package_stage import package_run, publish_package
from ftm.reduce.reduce_stage import ReduceOptions, reduce_run
from ftm.storage.object_store import ObjectStore
from ftm.storage.parquet import from_bytes
from ftm.storage.run_reader import RunRecords
from ftm.storage.stage_records import StageRecord
from ftm.wiring.stages import get_reduce_options
from tests.support.planted_run import Planted
from tests.support.runs import noop_settings

FIRMS: tuple[tuple[int, ...], ...] = (
    *((0, 1), (0, 1, 2), (1, 2, 3), (2, 0), (3, 0)),
    *((), (0, 3), (1, 4), (2, 3, 1), (0, 2), (5,)),
)
"""Eleven firms: themes 0 to 3 are shared, 4 and 5 belong to one firm each, one has no topic."""

_MODEL = {"naming": "llm", "model": "a test's"}


class ToldNamer(KeywordNamer):
    """Gives names of its own, as a language model would, and keeps what it was shown."""

    def __init__(self, prefix: str = "Told") -> None:
        self.prefix = prefix
        self.items: list[NamingItem] = []

    def name_all(self, items: Iterable[NamingItem], *, done: Callable[[int], None]) -> list[Name]:
        """See Namer."""
        found = []
        for item in items:
            self.items.append(item)
            told = f"{self.prefix} {item.item_id}"
            found.append(Name(item.item_kind, item.item_id, told, f"{told}, at length.", "llm"))
            done(1)
        return found


def reduce_options(*, min_firms: int = 2, allow_failed: bool = False) -> ReduceOptions:
    """As the composition root makes them."""
    settings = noop_settings(theme_min_firms=min_firms)
    return get_reduce_options(settings, allow_failed=allow_failed)


def name_options(namer: ToldNamer | None = None) -> NameOptions:
    """Names by keywords, or those a test tells."""
    if namer is None:
        return NameOptions({"naming": "keywords"}, KeywordNamer, needs_text=False)
    return NameOptions(_MODEL | {"prefix": namer.prefix}, lambda: namer, needs_text=True)


def do_reduce(store: ObjectStore, run: RunRecords, **options: object) -> StageRecord:
    """Stage reduce."""
    return reduce_run(store, run, reduce_options(**options))  # type: ignore[arg-type]


def do_all(
    planted: Planted,
    *,
    namer: ToldNamer | None = None,
    publish: bool = True,
    allow_failed: bool = False,
) -> StageRecord:
    """Reduce, name, package and publish a run.

    Returns:
        The record of stage package.
    """
    store, run = planted.store, planted.run
    do_reduce(store, run, allow_failed=allow_failed)
    name_run(store, run, name_options(namer))
    record = package_run(store, run)
    if publish:
        publish_package(store, run, record, lambda: None)
    return record


def stage_tools(
    *, min_firms: int = 2, allow_failed: bool = False, namer: ToldNamer | None = None
) -> StageTools:
    """What `run_stages` works with."""
    return StageTools(
        reduce=reduce_options(min_firms=min_firms, allow_failed=allow_failed),
        name=lambda _report: name_options(namer),
        series=lambda _quarter, _run_id: {},
    )


def run_span(
    planted: Planted,
    first: str = "map",
    last: str = "package",
    *,
    min_firms: int = 2,
    said: list[str] | None = None,
) -> tuple[StageRecord | None, bool]:
    """The stages as `ftm run-quarter --from FIRST --to LAST` does them."""
    end = run_stages(
        planted.store,
        planted.run,
        tools=replace(
            stage_tools(min_firms=min_firms), series=partial(read_series_ids, planted.store)
        ),
        span=StageSpan(first, last),
        publish=True,
        say=(said if said is not None else []).append,
    )
    return end.package, end.worked


def made_tables(store: ObjectStore, record: StageRecord) -> dict[str, pa.Table]:
    """Every table that stage package recorded, by name."""
    found = {}
    for key in record.files:
        name = key.rpartition("/")[2].removesuffix(".parquet").partition("-")[0]
        found[name] = from_bytes(store.get(key), DATASETS[name], key=key)
    return found


def stage_bytes(store: ObjectStore, layout: RunLayout, table: str) -> bytes:
    """A table that stage reduce or name handed on."""
    stage = "reduce" if table in ("themes", "theme_contributions") else "name"
    return store.get(layout.stage_table(stage, table))


def objects(store: ObjectStore, *prefixes: str) -> dict[str, bytes]:
    """Everything below some folders, or everything, by key."""
    keys = [info.key for prefix in prefixes or ("",) for info in store.list(prefix)]
    return {key: store.get(key) for key in keys}


def changed(table: pa.Table, column: str, value: object, *, row: int = 0) -> pa.Table:
    """The table with one value replaced."""
    values = table[column].to_pylist()
    values[row] = value
    field = table.schema.field(column)
    return table.set_column(
        table.column_names.index(column), field.with_nullable(True), pa.array(values, field.type)
    )
