"""What must hold between the tables of a run: one table broken for each constraint."""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from ftm.core.errors import OrchestratorError
from ftm.core.schemas import DATASETS, PROCESSED_TABLES
from ftm.reduce.constraints import check_tables
from ftm.storage.object_store import open_store
from tests.support.planted_run import plant_run
from tests.support.planted_stages import FIRMS, changed, do_all, made_tables


@pytest.fixture(scope="module")
def tables() -> dict[str, pa.Table]:
    """Of a run with themes; tests take them apart, they do not change them."""
    planted = plant_run(open_store("memory://"), FIRMS, outcomes={3: "failed"})
    return made_tables(planted.store, do_all(planted))


def test_every_table_has_its_schema(tables: dict[str, pa.Table]) -> None:
    """And there is nothing else; contents fit together."""
    assert tables.keys() == set(PROCESSED_TABLES)
    assert all(table.schema == DATASETS[name] for name, table in tables.items())
    check_tables(tables)


def twice(table: pa.Table) -> pa.Table:
    """Its first row once more."""
    return pa.concat_tables([table, table.slice(0, 1)])


def _edit(name: str, column: str, value: object, *, row: int = 0) -> Callable[..., pa.Table]:
    return lambda tables: tables | {name: changed(tables[name], column, value, row=row)}


def _twice(name: str) -> Callable[..., pa.Table]:
    return lambda tables: tables | {name: twice(tables[name])}


def _first_zero(column: pa.ChunkedArray) -> pa.Array:
    """A mask of the first row that is 0."""
    row = pc.index(pc.equal(column, 0), True).as_py()
    return pa.array([i == row for i in range(len(column))])


BREAKS = {
    "theme_contributions has theme_id nowhere, which themes has not": _edit(
        "theme_contributions", "theme_id", "nowhere"
    ),
    "theme_contributions has topic_id nowhere, which topics has not": _edit(
        "theme_contributions", "topic_id", "nowhere"
    ),
    "theme_contributions has firm_id nowhere, which firms has not": _edit(
        "theme_contributions", "firm_id", "nowhere"
    ),
    "sentences has theme_id nowhere, which themes has not": _edit(
        "sentences", "theme_id", "nowhere"
    ),
    "sentences has topic_id nowhere, which topics has not": _edit(
        "sentences", "topic_id", "nowhere"
    ),
    "sentences has firm_id nowhere, which firms has not": _edit("sentences", "firm_id", "nowhere"),
    "sentences has call_id nowhere, which panel_calls has not": _edit(
        "sentences", "call_id", "nowhere"
    ),
    "panel has theme_id nowhere, which themes has not": _edit("panel", "theme_id", "nowhere"),
    "panel has call_id nowhere, which panel_calls has not": _edit("panel", "call_id", "nowhere"),
    "themes_for_sentiment has theme_id nowhere, which themes has not": _edit(
        "themes_for_sentiment", "theme_id", "nowhere"
    ),
    "themes_for_sentiment has topic_id nowhere, which topics has not": _edit(
        "themes_for_sentiment", "topic_id", "nowhere"
    ),
    "themes_for_sentiment has firm_id nowhere, which firms has not": _edit(
        "themes_for_sentiment", "firm_id", "nowhere"
    ),
    "the shares of a call do not add up to 1": _edit("panel_calls", "outlier_share", 0.9),
    "the shares of a call do not add up to 1 ": _edit("panel_calls", "unthemed_share", None),
    "a call without topics has a share": _edit("panel_calls", "excluded_share", 0.0, row=5),
    "themes_for_sentiment has a row without PERMNO": _edit("themes_for_sentiment", "permno", None),
    "n_sentences is not the number of sentences in themes_for_sentiment": _edit(
        "themes_for_sentiment", "sentences", []
    ),
    "themes does not have the sentences of the topics in themes": _edit("themes", "n_sentences", 1),
    "themes_for_sentiment does not have the sentences of the topics in themes": lambda tables: (
        tables | {"themes_for_sentiment": tables["themes_for_sentiment"].slice(1)}
    ),
    "panel does not have the sentences of the topics in themes": _edit("panel", "n_sentences", 99),
    "firms has two rows of one firm_id": _twice("firms"),
    "topics has two rows of one topic_id": _twice("topics"),
    "sentences has two rows of one sentence_id": _twice("sentences"),
    "panel_calls has two rows of one call_id": _twice("panel_calls"),
    "two primary firms share a PERMNO and a day": _edit("panel_calls", "permno", 10001),
    "panel has not a row for every call with topics and every theme": lambda tables: (
        tables
        | {"panel": tables["panel"].filter(pc.invert(_first_zero(tables["panel"]["n_sentences"])))}
    ),
}


@pytest.mark.parametrize("wrong", BREAKS, ids=lambda text: text.replace(" ", "-"))
def test_a_broken_constraint_is_found(tables: dict[str, pa.Table], wrong: str) -> None:
    """One for each; the message says which, and that nothing was published."""
    with pytest.raises(OrchestratorError, match=f"^nothing was published: {wrong.strip()}; this"):
        check_tables(BREAKS[wrong](tables))


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("themes", "theme_id"),
        ("theme_contributions", "topic_id"),
        ("panel", "call_id and theme_id"),
        ("themes_for_sentiment", "topic_id"),
    ],
)
def test_rows_that_come_twice_are_found_whatever_they_add_up_to(
    tables: dict[str, pa.Table], name: str, key: str
) -> None:
    """A second row without sentences leaves every sum as it was."""
    row = pc.index(pc.equal(tables["panel"]["n_sentences"], 0), True).as_py()
    more = tables[name].slice(row if name == "panel" else 0, 1)
    if name in ("themes", "theme_contributions"):
        more = changed(more, "n_sentences", 0)
    if name == "themes_for_sentiment":
        more = changed(changed(more, "n_sentences", 0), "sentences", [])
    more = more.cast(tables[name].schema)
    broken = tables | {name: pa.concat_tables([tables[name], more])}
    with pytest.raises(OrchestratorError, match=f"{name} has two rows of one {key}"):
        check_tables(broken)
