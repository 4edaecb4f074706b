"""Synthetic WRDS quarters: the five tables, with the truth about every sentence kept aside."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import islice
from random import Random
from types import MappingProxyType
from typing import Any

import pyarrow as pa

from ftm.core.errors import ConfigError
from ftm.core.quarter import Quarter
from ftm.demo.firm_rows import (
    EXPECTED,
    SCHEMAS,
    TRUTH,
    FirmRows,
    Row,
    Version,
    add_truth,
    add_turns,
    detail_row,
    draw_call_time,
    fiscal_quarter,
    gvkey_row,
    link_row,
)
from ftm.demo.firms import Person, Scenario, check_size, make_analysts, make_firm, topics_of
from ftm.demo.phrasebook import Phrasebook, load_phrasebook
from ftm.demo.script import N_SENTENCES, CallPlan, write_script
from ftm.demo.traps import TRAPS, VINTAGE_DAYS
from ftm.demo.wrds_tables import (
    GVKEY,
    LINK,
    WRDSLayout,
    append_tables,
    create_tables,
    index_tables,
)

BLOCK_FIRMS = 200
"""Firms per block of `iter_quarters`: about 30 MB."""

_NO_SCENARIO = Scenario()
_VINTAGE_GVKEY = "900001"
_VINTAGE_PERMNO = 99_001


@dataclass(frozen=True, slots=True)
class SyntheticWRDS:
    """Quarters as WRDS would deliver them, and what was planted.

    Args:
        tables: name (demo.wrds_tables.TABLES) → rows.
        truth: one row per sentence, schema demo.firm_rows.TRUTH; covers the transcript that
            represents each call.
        expected: one row per call, schema demo.firm_rows.EXPECTED.
    """

    tables: Mapping[str, pa.Table]
    truth: pa.Table
    expected: pa.Table

    @property
    def layout(self) -> WRDSLayout:
        """The layout to load the tables in."""
        return WRDSLayout(primaryflag="primaryflag" in self.tables[GVKEY].column_names)


@dataclass(frozen=True, slots=True)
class Recipe:
    """What to make.

    Args:
        n_firms: ordinary firms, which the plan keeps in every quarter.
        quarters: each firm holds one call in each.
        seed: everything follows from it; firm 7 of a large set is firm 7 of a small one.
        traps: names from demo.traps.TRAPS; their firms come on top of n_firms.
        n_sentences: of an average call, operator and greetings included.
        scenario: how topics come and go.
    """

    n_firms: int
    quarters: tuple[Quarter, ...]
    seed: int = 0
    traps: tuple[str, ...] = ()
    n_sentences: int = N_SENTENCES
    scenario: Scenario = _NO_SCENARIO

    def __post_init__(self) -> None:
        if unknown := [name for name in self.traps if name not in TRAPS]:
            raise ConfigError(f"no trap {unknown[0]!r}; there are {', '.join(TRAPS)}")
        check_size(self.n_firms + sum(TRAPS[name].n_firms for name in self.traps), self.quarters)


def make_quarters(
    n_firms: int,
    quarters: Sequence[str | Quarter],
    *,
    seed: int = 0,
    traps: Iterable[str] = (),
    n_sentences: int = N_SENTENCES,
    scenario: Scenario = _NO_SCENARIO,
) -> SyntheticWRDS:
    """Synthetic quarters in memory; `iter_quarters` makes as many in bounded memory.

    The arguments are those of `Recipe`. No firms, or no quarters: typed empty tables but for
    the link of an unrelated company that dates the link table.

    Raises:
        ConfigError: too many firms, a quarter that is none or named twice, an unknown trap.
    """
    parsed = tuple(Quarter.parse(quarter) for quarter in quarters)
    return make_recipe(Recipe(n_firms, parsed, seed, tuple(traps), n_sentences, scenario))


def make_recipe(recipe: Recipe) -> SyntheticWRDS:
    """What the recipe says, in memory."""
    return _concat(list(iter_quarters(recipe)))


def iter_quarters(recipe: Recipe, *, block_firms: int = BLOCK_FIRMS) -> Iterator[SyntheticWRDS]:
    """The same rows in blocks of firms, at least one block."""
    made = _firms(recipe, load_phrasebook())
    block = _block(islice(made, block_firms), recipe, extra_links=_vintage_links(recipe))
    while True:
        yield block
        rows = list(islice(made, block_firms))
        if not rows:
            return
        block = _block(rows, recipe)


def load_quarters(connection: Any, recipe: Recipe, *, block_firms: int = BLOCK_FIRMS) -> None:
    """Make the quarters and fill a database with them, block by block.

    Args:
        connection: a psycopg2 connection, or a DSN.
        recipe: what to make.
        block_firms: firms held in memory at a time.
    """
    for i, block in enumerate(iter_quarters(recipe, block_firms=block_firms)):
        layout = block.layout
        if i == 0:
            create_tables(connection, layout=layout)
        append_tables(connection, block.tables, layout=layout)
    index_tables(connection, layout=layout)


def _firms(recipe: Recipe, book: Phrasebook) -> Iterator[FirmRows]:
    analysts = make_analysts(recipe.seed, book)
    for index in range(recipe.n_firms):
        yield _firm(index, recipe, analysts, book)
    index = recipe.n_firms
    for name in recipe.traps:
        trap = TRAPS[name]
        made = [_firm(index + i, recipe, analysts, book) for i in range(trap.n_firms)]
        trap.apply(made, recipe.quarters)
        for rows in made:
            rows.expect(trap=name)
        index += trap.n_firms
        yield from made


def _firm(index: int, recipe: Recipe, analysts: Sequence[Person], book: Phrasebook) -> FirmRows:
    """An ordinary firm: one Final transcript per quarter, one gvkey, one open link."""
    firm = make_firm(index, seed=recipe.seed, book=book)
    rows = FirmRows(firm)
    rng = Random(f"{recipe.seed}:links:{index}")  # noqa: S311
    since = date(rng.randint(1975, 1998), rng.randint(1, 12), rng.randint(1, 28))
    linktype, linkprim = rng.choice(("LU", "LU", "LC")), rng.choice(("P", "P", "P", "C"))
    rows.gvkeys.append(gvkey_row(firm, startdate=rng.choice((None, since))))
    rows.links.append(link_row(firm, since, linktype=linktype, linkprim=linkprim))
    for quarter in recipe.quarters:
        _add_call(rows, quarter, recipe, analysts, book)
    return rows


def _add_call(
    rows: FirmRows,
    quarter: Quarter,
    recipe: Recipe,
    analysts: Sequence[Person],
    book: Phrasebook,
) -> None:
    firm, seed = rows.firm, recipe.seed
    rng = Random(f"{seed}:call:{firm.index}:{quarter}")  # noqa: S311
    called = draw_call_time(quarter, rng)
    created = called + timedelta(seconds=rng.randint(40_000, 300_000))
    version = Version(0, collection=rng.choice((1, 1, 2)), presentation=5, created=created)
    rows.details.append(detail_row(firm, quarter, called, version))
    topics = topics_of(firm, quarter, seed=seed, scenario=recipe.scenario, book=book)
    fiscal = fiscal_quarter(quarter)
    plan = CallPlan(firm, topics, fiscal, called.date(), recipe.n_sentences)
    turns = write_script(plan, rng, analysts=analysts, book=book)
    transcriptid = firm.transcriptid(quarter)
    add_turns(rows, transcriptid, turns)
    add_truth(rows, quarter, transcriptid, turns)
    rows.expected.append(_kept(rows, quarter, transcriptid))


def _kept(rows: FirmRows, quarter: Quarter, transcriptid: int) -> Row:
    return {
        "firm_id": rows.firm.firm_id,
        "quarter": str(quarter),
        "transcript_id": str(transcriptid),
        "trap": None,
        "kept": True,
        "reason": None,
        "skipped": None,
        "permno": rows.firm.permno,
    }


def _vintage_links(recipe: Recipe) -> list[Row]:
    """The newest link, of a company without calls: how far the link table reaches."""
    if not recipe.quarters:
        return []
    early = "after_link_vintage" in recipe.traps
    newest = max(recipe.quarters).end + timedelta(days=-VINTAGE_DAYS if early else 90)
    link = {"gvkey": _VINTAGE_GVKEY, "linkprim": "P", "liid": "01", "linktype": "LC"}
    ids = {"lpermno": _VINTAGE_PERMNO, "lpermco": _VINTAGE_PERMNO, "usedflag": 1}
    return [{**link, **ids, "linkdt": newest, "linkenddt": None}]


def _block(
    firms: Iterable[FirmRows], recipe: Recipe, *, extra_links: Sequence[Row] = ()
) -> SyntheticWRDS:
    """The rows of these firms as tables."""
    made = list(firms)
    rows = {name: [row for firm in made for row in firm.tables[name]] for name in SCHEMAS}
    rows[LINK].extend(extra_links)
    schemas = {**SCHEMAS, GVKEY: _gvkey_schema(recipe)}
    tables = {name: pa.Table.from_pylist(rows[name], schema=schemas[name]) for name in SCHEMAS}
    return SyntheticWRDS(
        MappingProxyType(tables),
        truth=pa.Table.from_pylist([row for firm in made for row in firm.truth], TRUTH),
        expected=pa.Table.from_pylist([row for firm in made for row in firm.expected], EXPECTED),
    )


def _gvkey_schema(recipe: Recipe) -> pa.Schema:
    """wrds_gvkey as most accounts see it, or with `primaryflag` where a trap is about that."""
    schema = SCHEMAS[GVKEY]
    if "primaryflag" not in recipe.traps:
        return schema
    return schema.append(pa.field("primaryflag", pa.int16()))


def _concat(blocks: Sequence[SyntheticWRDS]) -> SyntheticWRDS:
    tables = {name: pa.concat_tables([b.tables[name] for b in blocks]) for name in SCHEMAS}
    return SyntheticWRDS(
        MappingProxyType(tables),
        truth=pa.concat_tables([block.truth for block in blocks]),
        expected=pa.concat_tables([block.expected for block in blocks]),
    )
