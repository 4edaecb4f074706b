"""The codebook knows every column."""

import re

import pyarrow as pa
import pytest

from ftm.analysis.codebook import codebook_markdown, type_name
from ftm.core.codebook import COMMON, NEVER
from ftm.core.codebook_tables import SPECIFIC, TABLES, define
from ftm.core.errors import ConfigError
from ftm.core.schemas import DATASETS, PROCESSED_TABLES
from tests.support.cli import ROOT

COLUMNS = [(table, field) for table in TABLES for field in DATASETS[table]]


def test_the_tables_are_those_that_are_published_and_those_across_quarters() -> None:
    """No table is left out, none is invented."""
    assert set(TABLES) == set(SPECIFIC) == {*PROCESSED_TABLES, "series", "theme_links"}


@pytest.mark.parametrize(("table", "field"), COLUMNS, ids=lambda x: getattr(x, "name", x))
def test_every_column_has_a_definition_that_fits(table: str, field: pa.Field) -> None:
    """Sentences, a label that Stata takes, and a missing rule where, and only where, it may be."""
    found = define(table, field.name)
    assert found.text.endswith(".")
    assert "|" not in found.text + found.unit + found.missing
    assert 0 < len(found.label) <= 80
    assert found.unit
    assert (found.missing == NEVER) == (not field.nullable)


def test_no_definition_is_left_over() -> None:
    """A definition of a column that no table has, or that no table uses, is a stale one."""
    for table, own in SPECIFIC.items():
        assert set(own) <= set(DATASETS[table].names), table
    used = {field.name for table, field in COLUMNS if field.name not in SPECIFIC[table]}
    assert used == set(COMMON)


def test_types_are_in_words() -> None:
    """A reader needs no Arrow."""
    words = {"text", "integer", "number", "date", "date and time", "true/false"}
    words |= {"list of text", "list of number", "list of records"}
    assert {type_name(field.type) for _, field in COLUMNS} == words


def test_the_page_is_the_one_that_the_command_prints() -> None:
    """docs/codebook.md is made by `ftm codebook > docs/codebook.md`."""
    assert (ROOT / "docs" / "codebook.md").read_text("utf-8") == codebook_markdown()


def test_one_table_alone_has_its_columns_in_order() -> None:
    """`--table panel` prints the panel, without the others and the introduction."""
    text = codebook_markdown(["panel"])
    assert text.startswith("## panel\n")
    assert re.findall(r"^\| `(\w+)` \|", text, flags=re.MULTILINE) == DATASETS["panel"].names
    with pytest.raises(ConfigError, match=r"no table 'pannel'.* panel,"):
        codebook_markdown(["pannel"])
