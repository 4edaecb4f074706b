"""Synthetic WRDS quarters: shape, truth, determinism."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ftm.core.errors import ConfigError
from ftm.core.quarter import Quarter
from ftm.core.schemas import KINDS
from ftm.demo.firm_rows import EXPECTED, SCHEMAS, TRUTH
from ftm.demo.firms import MAX_FIRMS, Scenario
from ftm.demo.phrasebook import load_phrasebook
from ftm.demo.synthetic import Recipe, SyntheticWRDS, iter_quarters, make_quarters
from ftm.demo.traps import TRAPS
from ftm.demo.wrds_tables import COLUMNS, COMPONENT, DETAIL, GVKEY, LINK, PERSON, TABLES
from tests.support.real_calls import real_calls_folder

QUARTERS = st.builds(Quarter, st.integers(2000, 2032), st.integers(1, 4))


@pytest.fixture(scope="module")
def made() -> SyntheticWRDS:
    """Thirty ordinary firms in one quarter."""
    return make_quarters(30, ["2023Q1"], seed=3)


def turns_of(made: SyntheticWRDS) -> dict[tuple[str, int], str]:
    """(transcript, order) → text."""
    rows = made.tables[COMPONENT].to_pylist()
    return {(str(r["transcriptid"]), r["componentorder"]): r["componenttext"] for r in rows}


def planted(made: SyntheticWRDS) -> list[dict[str, Any]]:
    """Sentences with a planted topic."""
    rows: list[dict[str, Any]] = made.truth.to_pylist()
    return [row for row in rows if row["topic"] is not None]


def test_tables_have_the_columns_of_wrds_in_its_order(made: SyntheticWRDS) -> None:
    """Names and order are those of the server's tables."""
    assert {name: made.tables[name].column_names for name in TABLES} == {
        name: list(COLUMNS[name]) for name in TABLES
    }


@pytest.mark.real_calls
@pytest.mark.parametrize("name", TABLES)
def test_tables_have_the_types_of_the_real_calls(made: SyntheticWRDS, name: str) -> None:
    """Column for column, the Arrow schema of the real tables."""
    real = pq.read_schema(real_calls_folder() / f"{name}.parquet")
    assert made.tables[name].schema.equals(real.remove_metadata())


def test_a_seed_gives_the_same_tables_every_time() -> None:
    """Same seed, same rows; another seed, other words."""
    first, again, other = (make_quarters(4, ["2023Q1"], seed=s, traps=TRAPS) for s in (5, 5, 6))
    assert first.tables == again.tables
    assert first.truth.equals(again.truth)
    assert first.expected.equals(again.expected)
    assert not first.truth.equals(other.truth)


def test_a_firm_does_not_depend_on_how_many_others_there_are() -> None:
    """The firms of a small set are the first ones of a large set, in each quarter alone too."""
    small, large = make_quarters(2, ["2023Q1"]), make_quarters(5, ["2022Q4", "2023Q1"])
    wanted = set(small.truth["transcript_id"].to_pylist())
    rows = [row for row in large.truth.to_pylist() if row["transcript_id"] in wanted]
    assert rows == small.truth.to_pylist()


def test_blocks_add_up_to_the_whole() -> None:
    """Made three firms at a time, the rows and their order are the same."""
    quarters = (Quarter(2022, 4), Quarter(2023, 1))
    whole = make_quarters(7, quarters, traps=["joint_call", "primaryflag"])
    recipe = Recipe(7, quarters, traps=("joint_call", "primaryflag"))
    blocks = list(iter_quarters(recipe, block_firms=3))
    assert len(blocks) == 4
    assert pa.concat_tables([b.truth for b in blocks]).equals(whole.truth)
    joined = pa.concat_tables([b.tables[GVKEY] for b in blocks])
    assert joined.equals(whole.tables[GVKEY])


@given(
    n_firms=st.integers(0, 4),
    quarters=st.lists(QUARTERS, max_size=3, unique=True),
    seed=st.integers(0, 2**40),
    n_sentences=st.integers(1, 60),
)
@settings(max_examples=25)
def test_any_number_of_firms_and_quarters(
    n_firms: int, quarters: list[Quarter], seed: int, n_sentences: int
) -> None:
    """One kept call per firm and quarter, in that quarter, ids unique, schemas as stated."""
    made = make_quarters(n_firms, quarters, seed=seed, n_sentences=n_sentences)
    detail, parts = made.tables[DETAIL], made.tables[COMPONENT]
    assert made.expected.num_rows == detail.num_rows == n_firms * len(quarters)
    days = detail["mostimportantdateutc"].to_pylist()
    assert Counter(map(Quarter.containing, days)) == dict.fromkeys(quarters, n_firms) or not days
    for table, column in ((detail, "transcriptid"), (parts, "transcriptcomponentid")):
        assert len(set(table[column].to_pylist())) == table.num_rows
    assert all(made.tables[name].schema == SCHEMAS[name] for name in TABLES)
    assert (made.truth.schema, made.expected.schema) == (TRUTH, EXPECTED)


def test_the_truth_is_what_the_components_say_in_order(made: SyntheticWRDS) -> None:
    """Joined in order, the sentences of a component are its text, newlines aside."""
    said: dict[tuple[str, int], list[str]] = defaultdict(list)
    for row in made.truth.to_pylist():
        sentences = said[row["transcript_id"], row["component_order"]]
        assert row["ordinal"] == len(sentences)
        sentences.append(row["text"])
    assert {key: " ".join(texts) for key, texts in said.items()} == {
        key: text.replace("\n", " ") for key, text in turns_of(made).items()
    }


def test_components_and_speakers_belong_together(made: SyntheticWRDS) -> None:
    """The speaker table has each component once; the operator alone is person 1."""
    parts, people = made.tables[COMPONENT].to_pylist(), made.tables[PERSON].to_pylist()
    ids = ("transcriptcomponentid", "transcriptid", "componentorder", "transcriptpersonid")
    assert [[p[i] for i in ids] for p in parts] == [[p[i] for i in ids] for p in people]
    assert {p["speakertypename"] for p in people} == {"Operator", "Executives", "Analysts"}
    operators = {p["transcriptpersonid"] for p in people if p["speakertypename"] == "Operator"}
    assert operators == {1}
    assert all(t.count("\n") or len(t) < 2000 for t in turns_of(made).values())


def test_calls_have_about_four_hundred_sentences_of_realistic_length(made: SyntheticWRDS) -> None:
    """400 on average; most have 8 to 35 words."""
    sizes = Counter(made.truth["firm_id"].to_pylist()).values()
    assert 370 < sum(sizes) / len(sizes) < 430
    assert min(sizes) > 200
    lengths = [len(row["text"].split()) for row in planted(made)]
    assert sum(8 <= n <= 35 for n in lengths) / len(lengths) > 0.98


def test_sentences_are_varied(made: SyntheticWRDS) -> None:
    """Content sentences hardly ever repeat, and not only thanks to their numbers."""
    rows = planted(made)
    texts = [(row["firm_id"], row["text"]) for row in rows]
    assert len(set(texts)) / len(texts) > 0.98
    wordings = [(f, "".join(c for c in t if not c.isdigit())) for f, t in texts]
    assert len(set(wordings)) / len(wordings) > 0.9


def test_each_firm_has_five_to_ten_topics_that_suit_its_sector(made: SyntheticWRDS) -> None:
    """Topics are many, known and unevenly sized; every kind of sentence occurs."""
    topics = defaultdict(Counter)
    for row in planted(made):
        topics[row["firm_id"]][row["topic"]] += 1
    assert all(4 <= len(found) <= 10 for found in topics.values())
    assert set().union(*topics.values()) <= set(load_phrasebook().topics)
    assert len(set().union(*topics.values())) >= 25
    assert set(made.truth["kind"].to_pylist()) == set(KINDS)
    assert {row["kind"] for row in planted(made)} == {"content"}


def test_firms_keep_most_of_their_topics() -> None:
    """From one quarter to the next most topics stay, and some change."""
    made = make_quarters(20, ["2022Q4", "2023Q1"])
    found: dict[tuple[str, str], set[str]] = defaultdict(set)
    for row in planted(made):
        found[row["firm_id"], row["quarter"]].add(row["topic"])
    firms = {firm for firm, _ in found}
    pairs = [(found[f, "2022Q4"], found[f, "2023Q1"]) for f in firms]
    shares = [len(before & after) / len(before | after) for before, after in pairs]
    assert 0.5 < sum(shares) / len(shares) < 0.95


def test_a_scenario_makes_topics_appear_vanish_and_split() -> None:
    """Outside its window nobody says a topic; split, its parts are said instead."""
    first, second = Quarter(2022, 4), Quarter(2023, 1)
    scenario = Scenario(
        windows={"tariffs": (second, None), "capex": (None, first)},
        splits={"hiring": (second, ("cyber_security", "taxes"))},
    )
    made = make_quarters(40, [first, second], scenario=scenario, n_sentences=120)
    said: dict[str, set[str]] = defaultdict(set)
    for row in planted(made):
        said[row["quarter"]].add(row["topic"])
    assert {"tariffs", "capex", "hiring"} & said["2022Q4"] == {"capex", "hiring"}
    assert {"tariffs", "capex", "hiring"} & said["2023Q1"] == {"tariffs"}


def test_links_are_valid_and_the_link_table_reaches_beyond_the_calls(made: SyntheticWRDS) -> None:
    """Ordinary firms have one open primary link each; the newest is later than any call."""
    links = made.tables[LINK].to_pylist()
    assert len(links) == 30 + 1
    assert {row["linktype"] for row in links} <= {"LU", "LC"}
    assert len({row["lpermno"] for row in links}) == len(links)
    newest = max(row["linkdt"] for row in links)
    assert newest > max(made.tables[DETAIL]["mostimportantdateutc"].to_pylist())


@pytest.mark.parametrize(
    ("n_firms", "quarters", "traps", "message"),
    [
        (MAX_FIRMS + 1, ["2023Q1"], [], "20001"),
        (-1, ["2023Q1"], [], "-1"),
        (1, ["1999Q4"], [], "1999Q4"),
        (1, ["2023Q1", "2023Q1"], [], "twice"),
        (1, ["2023Q5"], [], "2023Q5"),
        (1, ["2023Q1"], ["moon"], "moon"),
    ],
)
def test_what_cannot_be_made_is_refused(
    n_firms: int, quarters: list[str], traps: list[str], message: str
) -> None:
    """The message names the value."""
    with pytest.raises(ConfigError, match=message):
        make_quarters(n_firms, quarters, traps=traps)
