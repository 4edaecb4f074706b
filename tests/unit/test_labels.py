"""Hand edits: what a labels file may say, what it does to tables, and that it survives reruns."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from hashlib import sha256

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from ftm.core.errors import ConfigError, LeaseHeldError, OrchestratorError
from ftm.core.layout import sentiment_ready
from ftm.reduce.label_themes import apply_labels, labels_template
from ftm.reduce.labels import (
    COLUMNS,
    Labels,
    carry_edits,
    members_of,
    read_labels,
    write_labels,
)
from ftm.storage.lease import Writer
from ftm.storage.object_store import open_store
from ftm.storage.open_lease import open_leased
from ftm.storage.published import read_published_table, require_published
from ftm.storage.stage_records import read_stage_table, require_stage
from tests.support.business_firms import QUARTER
from tests.support.planted_run import Planted, plant_run
from tests.support.planted_stages import FIRMS, do_all, made_tables, objects
from tests.support.prefetch_quarter import Clock

ONE, TWO, THREE, FOUR = (f"theme_2023Q1_00{i}" for i in range(4))

NAMES = ("one", "two", "three", "four")


@pytest.fixture
def planted() -> Planted:
    """A run with four themes, published under names of keywords."""
    found = plant_run(open_store("memory://"), FIRMS)
    do_all(found)
    return found


def reduced(planted: Planted) -> tuple[pa.Table, pa.Table]:
    """Themes and contributions as stage reduce made them."""
    record = require_stage(planted.store, planted.layout, "reduce")
    return tuple(
        read_stage_table(planted.store, planted.layout, record, name)
        for name in ("themes", "theme_contributions")
    )  # type: ignore[return-value]


def edit(planted: Planted, **edits: dict[str, str]) -> bytes:
    """The template, with some columns of some themes filled in; keys are the last digit's name."""
    data = write_labels(*reduced(planted))
    rows = list(csv.DictReader(io.StringIO(data.decode("utf-8-sig"))))
    for name, given in edits.items():
        rows[NAMES.index(name)].update(given)
    return as_csv(rows)


def as_csv(rows: list[dict[str, str]], **dialect: str) -> bytes:
    """A labels file of these rows."""
    sink = io.StringIO()
    writer = csv.DictWriter(sink, COLUMNS, **{"lineterminator": "\n", **dialect})
    writer.writeheader()
    writer.writerows(rows)
    return sink.getvalue().encode()


def relabel(planted: Planted, **edits: dict[str, str]) -> dict[str, pa.Table]:
    """Package again with these edits; the tables it makes."""
    planted.store.put(planted.layout.labels, edit(planted, **edits))
    return made_tables(planted.store, do_all(planted))


def test_the_template_decides_nothing(planted: Planted) -> None:
    """Read as it was written; it has a line per theme, with what tells themes apart."""
    themes, contributions = reduced(planted)
    data = write_labels(themes, contributions)
    assert data.startswith(b"\xef\xbb\xbftheme_id,members,"), "Excel reads UTF-8 by this mark"
    assert read_labels(data, contributions, name="x").is_empty
    rows = list(csv.DictReader(io.StringIO(data.decode("utf-8-sig"))))
    assert [row["theme_id"] for row in rows] == [ONE, TWO, THREE, FOUR]
    assert rows[0]["keywords"] == ", ".join(themes["keywords"][0].as_py())
    before = made_tables(planted.store, do_all(planted))
    planted.store.put(planted.layout.labels, data)
    after = made_tables(planted.store, do_all(planted))
    assert all(after[name].equals(table) for name, table in before.items())


def test_a_spreadsheet_takes_no_hash_for_a_number(planted: Planted) -> None:
    """Twelve digits come back as 1.23457E+11, digits around an e as well."""
    _, contributions = reduced(planted)
    for i in range(300):
        topics = pa.array([f"{i}_{n}" for n in range(contributions.num_rows)])
        table = contributions.set_column(
            contributions.column_names.index("topic_id"), "topic_id", topics
        )
        for members in members_of(table).values():
            with pytest.raises(ValueError, match="could not convert"):
                float(members)


@pytest.mark.parametrize(
    "save",
    [
        lambda text: text.encode("utf-8-sig"),
        lambda text: text.replace("\n", "\r\n").encode(),
        lambda text: as_csv(list(csv.DictReader(io.StringIO(text))), delimiter=";"),
        lambda text: as_csv(list(csv.DictReader(io.StringIO(text))), delimiter="\t"),
        lambda text: as_csv(list(csv.DictReader(io.StringIO(text))), quoting=csv.QUOTE_ALL),
        lambda text: (
            b"\xef\xbb\xbf"
            + as_csv(list(csv.DictReader(io.StringIO(text))), delimiter=";", lineterminator="\r\n")
        ),
        lambda text: (text + ",,,,,,,,,,\n" * 3).encode(),
        lambda text: "\n".join(
            ",".join(f'"{cell}"' for cell in [*row, "", ""])
            for row in csv.reader(text.splitlines(True))
        ).encode(),
        lambda text: text.replace("theme_id,members", " theme_id , members").encode(),
    ],
    ids=[
        *("bom", "crlf", "semicolons", "tabs", "all-quoted", "excel-in-europe", "blank-lines"),
        *("empty-columns-more", "spaces-in-header"),
    ],
)
def test_what_a_spreadsheet_saves_is_read_alike(
    planted: Planted, save: Callable[[str], bytes]
) -> None:
    """Another mark, another delimiter, other line ends, lines without anything."""
    _, contributions = reduced(planted)
    text = edit(
        planted,
        one={"name": "Prices; costs, “all” of it", "description": "Two\nlines."},
        two={"merge_into": ONE},
        three={"exclude": "X"},
    ).decode()
    found = read_labels(save(text), contributions, name="x")
    assert found.names == {ONE: "Prices; costs, “all” of it"}
    assert found.descriptions[ONE].split() == ["Two", "lines."]
    assert found.merges == {TWO: ONE}
    assert found.excluded == {THREE}


def test_lines_that_are_gone_change_nothing(planted: Planted) -> None:
    """Only what is edited need stay, and only the columns that are used."""
    _, contributions = reduced(planted)
    members = members_of(contributions)
    data = f"theme_id,members,name\n{TWO},{members[TWO]},Clouds\n".encode()
    assert read_labels(data, contributions, name="x") == Labels(names={TWO: "Clouds"})


@pytest.mark.parametrize(
    ("edits", "message"),
    [
        ({"one": {"theme_id": "theme_2023Q1_999"}}, r"line 2: no theme 'theme_2023Q1_999'; there"),
        ({"two": {"theme_id": ""}}, r"line 3: no theme_id"),
        ({"two": {"theme_id": ONE, "members": "m0"}}, r"line 3: theme_2023Q1_000 has other topics"),
        ({"three": {"exclude": "maybe"}}, r"line 4: exclude 'maybe'; write x"),
        ({"four": {"merge_into": "theme_1"}}, r"line 5: .* into 'theme_1', which is no theme"),
        ({"four": {"merge_into": FOUR}}, r"line 5: .* into itself"),
        (
            {"one": {"merge_into": TWO}, "two": {"merge_into": THREE}},
            r"line 2: .* which goes into theme_2023Q1_002 itself",
        ),
        ({"one": {"merge_into": TWO}, "two": {"merge_into": ONE}}, r"line 2: .* itself"),
        ({"one": {"merge_into": TWO}, "two": {"exclude": "yes"}}, r"line 2: .* is excluded"),
        ({"one": {"merge_into": TWO, "exclude": "1"}}, r"line 2: .* is excluded"),
    ],
)
def test_what_cannot_be_is_an_error_that_names_the_line(
    planted: Planted, edits: dict[str, dict[str, str]], message: str
) -> None:
    """One line that says what is wrong where."""
    _, contributions = reduced(planted)
    with pytest.raises(ConfigError, match=f"^my.csv, {message}") as caught:
        read_labels(edit(planted, **edits), contributions, name="my.csv")
    assert "\n" not in str(caught.value)


def test_a_theme_twice_is_an_error(planted: Planted) -> None:
    """Which of the two lines is meant cannot be known."""
    _, contributions = reduced(planted)
    lines = edit(planted).decode().splitlines()
    data = "\n".join([*lines, lines[1]]).encode()
    with pytest.raises(ConfigError, match=r"line 6: theme_2023Q1_000 comes twice"):
        read_labels(data, contributions, name="x")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\x00\xff\xfe", "is not UTF-8"),
        ("theme_id,members,näme\n".encode("latin-1"), "is not UTF-8; save it as CSV UTF-8"),
        (b"\n", "has no column 'theme_id'; `ftm themes --labels FILE` writes one"),
        (b"theme_id,name\n", "has no column 'members'"),
        (b"hello", "has no column 'theme_id'"),
        (b'theme_id,members\n"never closed', "line 2: no CSV"),
        (b'theme_id,members\n"a"b,c\n', "line 2: no CSV"),
    ],
)
def test_what_is_no_labels_file_is_an_error(planted: Planted, data: bytes, message: str) -> None:
    """It says what to save, or which command writes one."""
    _, contributions = reduced(planted)
    with pytest.raises(ConfigError, match=message):
        read_labels(data, contributions, name="my.csv")


def test_a_comma_that_is_not_quoted_shifts_no_column(planted: Planted) -> None:
    """`Prices, up` by hand makes one column more: no description `up`, but an error."""
    _, contributions = reduced(planted)
    lines = edit(planted, one={"name": "NAME"}).decode().splitlines()
    lines[1] = lines[1].replace("NAME", "Prices, up") + "see"
    data = "\n".join(lines).encode()
    with pytest.raises(ConfigError, match="line 2: more columns than the header has"):
        read_labels(data, contributions, name="x")


def test_a_name_by_hand_changes_names_only(planted: Planted) -> None:
    """Method hand; topics, sentences and panels stay as they are, byte for byte."""
    before = do_all(planted).files
    tables = relabel(planted, two={"name": "Clouds"}, three={"description": "By hand."})
    rows = {row["theme_id"]: row for row in tables["themes"].to_pylist()}
    assert (rows[TWO]["name"], rows[TWO]["naming_method"]) == ("Clouds", "hand")
    assert (rows[THREE]["description"], rows[THREE]["naming_method"]) == ("By hand.", "hand")
    assert rows[THREE]["name"]
    assert {rows[theme]["naming_method"] for theme in (ONE, FOUR)} == {"keywords"}
    ready = tables["themes_for_sentiment"]
    assert "Clouds" in ready["theme_name"].to_pylist()
    after = do_all(planted).files
    other = {key.rpartition("/")[2].partition("-")[0] for key in after.keys() - before.keys()}
    assert {name.removesuffix(".parquet") for name in other} == {"themes", "themes_for_sentiment"}


def test_a_merged_theme_has_the_figures_of_all_its_topics(planted: Planted) -> None:
    """Counts, centroid, cohesion, keywords, panel and contributions are of both themes."""
    old = made_tables(planted.store, do_all(planted))
    tables = relabel(planted, three={"merge_into": TWO})
    themes = {row["theme_id"]: row for row in tables["themes"].to_pylist()}
    assert list(themes) == [ONE, TWO, FOUR]
    inside = tables["theme_contributions"].filter(
        pc.equal(tables["theme_contributions"]["theme_id"], TWO)
    )
    topics = tables["topics"].filter(pc.is_in(tables["topics"]["topic_id"], inside["topic_id"]))
    centroids = np.array(topics["centroid"].to_pylist(), np.float32)
    row = themes[TWO]
    assert row["n_topics"] == inside.num_rows == topics.num_rows
    assert row["n_firms"] == len(inside["firm_id"].unique())
    assert row["n_sentences"] == pc.sum(inside["n_sentences"]).as_py()
    np.testing.assert_allclose(row["centroid"], centroids.mean(axis=0), rtol=1e-5)
    centre = centroids.mean(axis=0) / np.linalg.norm(centroids.mean(axis=0))
    cosines = centroids @ centre / np.linalg.norm(centroids, axis=1)
    assert row["cohesion"] == pytest.approx(float(cosines.mean()), rel=1e-5)
    before = {r["theme_id"]: r for r in old["themes"].to_pylist()}
    assert row["n_topics"] == before[TWO]["n_topics"] + before[THREE]["n_topics"]
    assert row["keywords"][:2] == [before[TWO]["keywords"][0], before[THREE]["keywords"][0]]
    sums = [
        sum(r["share_all"] for r in t["panel"].to_pylist() if r["theme_id"] in (TWO, THREE))
        for t in (old, tables)
    ]
    assert sums[0] == pytest.approx(sums[1])
    assert tables["panel_calls"].equals(
        old["panel_calls"].set_column(
            old["panel_calls"].column_names.index("n_themes"),
            old["panel_calls"].schema.field("n_themes"),
            tables["panel_calls"]["n_themes"],
        )
    ), "merging moves no sentence out of a theme"


def test_topics_of_an_excluded_theme_are_in_none(planted: Planted) -> None:
    """Their sentences become unthemed, and shares still add up to 1."""
    old = made_tables(planted.store, do_all(planted))
    tables = relabel(planted, one={"exclude": "x"})
    assert tables["themes"]["theme_id"].to_pylist() == [TWO, THREE, FOUR]
    for name in ("theme_contributions", "panel", "themes_for_sentiment", "sentences"):
        assert ONE not in tables[name]["theme_id"].to_pylist(), name
    n_lost = old["themes"]["n_topics"][0].as_py()
    nulls = [t["theme_contributions"]["theme_id"].null_count for t in (old, tables)]
    assert nulls[1] - nulls[0] == n_lost
    for row, was in zip(
        tables["panel_calls"].to_pylist(), old["panel_calls"].to_pylist(), strict=True
    ):
        if row["n_topics"]:
            both = row["themed_share"] + row["unthemed_share"]
            assert both == pytest.approx(was["themed_share"] + was["unthemed_share"])
            assert both + row["outlier_share"] + row["excluded_share"] == pytest.approx(1)
    assert tables["sentences"].num_rows == old["sentences"].num_rows


def test_every_theme_can_be_excluded(planted: Planted) -> None:
    """No theme is left, but typed empty tables, and everything that was said is unthemed."""
    tables = relabel(planted, **{name: {"exclude": "x"} for name in NAMES})
    assert (tables["themes"].num_rows, tables["panel"].num_rows) == (0, 0)
    assert set(tables["panel_calls"]["themed_share"].to_pylist()) == {0.0, None}


def test_both_editions_are_kept_and_the_pointer_moves(planted: Planted) -> None:
    """Edits survive a rerun; without the file the pointer goes back to the first tables."""
    store, first = planted.store, require_published(planted.store, QUARTER)
    kept = objects(store, "processed/quarter=2023Q1/run=planted-run")
    pointer = store.get("processed/quarter=2023Q1/_current.json")
    relabel(planted, one={"exclude": "x"})
    second = require_published(store, QUARTER)
    assert second.files != first.files
    assert second.tables.keys() == first.tables.keys()
    assert read_published_table(store, second, "themes").num_rows == 3
    ready = store.get("sentiment-ready/quarter=2023Q1/themes_for_sentiment.parquet")
    assert ready == store.get(second.tables["themes_for_sentiment"])
    assert {key: store.get(key) for key in kept} == kept, "the first edition is as it was"

    everything = objects(store)
    do_all(planted)
    assert objects(store) == everything, "a rerun keeps the edits"

    store.delete(planted.layout.labels)
    do_all(planted)
    assert store.get("processed/quarter=2023Q1/_current.json") == pointer
    assert require_published(store, QUARTER) == first


def test_while_another_command_is_at_the_run_labels_are_refused(planted: Planted) -> None:
    """It is named, and the file in use stays."""
    store, layout = planted.store, planted.layout
    elsewhere = Writer("ann", "elsewhere", 7, "nonce")
    now = Clock()
    held = open_leased(
        store, layout.lease, lock_name=layout.lock_name, writer=elsewhere, clock=now, say=print
    )
    held.acquire()
    before = objects(store)
    with pytest.raises(LeaseHeldError, match="ann on host elsewhere"):
        apply_labels(store, QUARTER, edit(planted, one={"name": "New"}), name="l.csv")
    assert {k: v for k, v in objects(store).items() if k != layout.lease} == {
        k: v for k, v in before.items() if k != layout.lease
    }


@pytest.mark.parametrize("late", [False, True])
def test_labels_move_no_pointer_back_to_their_run(planted: Planted, late: bool) -> None:
    """Another run is published while they are applied, or copied: it stays, its copy included."""
    store, data = planted.store, edit(planted, one={"name": "New"})
    when = sentiment_ready(QUARTER) if late else planted.layout.labels

    def publish_another(moment: str, key: str) -> None:
        if moment == "before put" and key == when:
            store.hook = lambda _moment, _key: None
            do_all(plant_run(store, FIRMS, run_id="another"))

    store.hook = publish_another
    with pytest.raises(OrchestratorError, match="run another of 2023Q1 was published while"):
        apply_labels(store, QUARTER, data, name="l.csv")
    now = require_published(store, QUARTER)
    assert now.run_id == "another"
    copied = sha256(store.get(sentiment_ready(QUARTER))).hexdigest()
    assert copied == now.place_of("themes_for_sentiment")[1]
    assert not store.exists(planted.layout.lease)


def test_a_file_made_for_other_themes_is_refused(planted: Planted) -> None:
    """The ids are alike, the topics are not: nothing is published, the old pointer stays."""
    other = plant_run(open_store("memory://"), FIRMS[:-3])
    do_all(other)
    planted.store.put(planted.layout.labels, edit(other, one={"name": "Wrong"}))
    before = objects(planted.store)
    message = r"theme_labels\.csv, line 2: theme_2023Q1_000 has other topics than when this file"
    with pytest.raises(ConfigError, match=message):
        do_all(planted)
    assert objects(planted.store) == before


def test_a_misspelt_column_is_an_error_and_notes_are_not(planted: Planted) -> None:
    """`exlude` would be ignored without a word; a column of the user's own begins with note."""
    _, contributions = reduced(planted)
    text = edit(planted, three={"exclude": "x"}).decode()
    with pytest.raises(ConfigError, match=r"column 'exlude'; known are theme_id"):
        read_labels(text.replace(",exclude", ",exlude", 1).encode(), contributions, name="x")
    noted = "\n".join(
        f"{line},{'note of mine' if n == 0 else 'why'}" for n, line in enumerate(text.splitlines())
    )
    assert read_labels(noted.encode(), contributions, name="x").excluded == {THREE}


def test_a_theme_that_goes_into_another_gets_no_name(planted: Planted) -> None:
    """The name would be lost without a word."""
    _, contributions = reduced(planted)
    data = edit(planted, two={"merge_into": ONE, "name": "Lost"})
    with pytest.raises(ConfigError, match=f"goes into {ONE}; give the name to {ONE}"):
        read_labels(data, contributions, name="x")


def test_a_name_is_one_line_of_what_can_be_printed(planted: Planted) -> None:
    """No line end breaks a table, and no terminal is told what to do; nothing printable is lost."""
    _, contributions = reduced(planted)
    data = edit(
        planted,
        one={"name": "Prices\r\nand\x07 \x1b[31mcosts, Käse 😀"},
        two={"name": "\u200b\x00 "},
    )
    found = read_labels(data, contributions, name="x")
    assert found.names == {ONE: "Prices and [31mcosts, Käse 😀"}


@pytest.mark.parametrize(("column", "most"), [("name", 200), ("description", 2000)])
def test_a_text_that_is_too_long_is_an_error(planted: Planted, column: str, most: int) -> None:
    """A cell into which the rest of the file went is no name."""
    _, contributions = reduced(planted)
    read_labels(edit(planted, one={column: "x" * most}), contributions, name="x")
    with pytest.raises(
        ConfigError, match=rf"line 2: {column} has {most + 1:,} characters; at most"
    ):
        read_labels(edit(planted, one={column: "x" * (most + 1)}), contributions, name="x")


def test_a_column_twice_is_an_error(planted: Planted) -> None:
    """The second would win, and what is in the first be lost without a word."""
    _, contributions = reduced(planted)
    lines = edit(planted, one={"name": "Clouds"}).decode().splitlines()
    data = "\n".join([f"{lines[0]},name", *(f"{line}," for line in lines[1:])]).encode()
    with pytest.raises(ConfigError, match="has the column 'name' twice"):
        read_labels(data, contributions, name="x")


def test_edits_go_on_with_the_topics_they_were_made_for(planted: Planted) -> None:
    """Ids may be others now; what was said of themes that are no more is counted."""
    old = edit(
        planted,
        one={"name": "=Clouds", "description": "By hand."},
        two={"merge_into": ONE},
        three={"exclude": "x"},
        four={"name": "Gone"},
    )
    rows = list(csv.DictReader(io.StringIO(write_labels(*reduced(planted)).decode("utf-8-sig"))))
    ids, (one, two, three, four) = [ONE, TWO, THREE, FOUR], rows
    four["members"] = "m0"
    now = [dict(row, theme_id=name) for row, name in zip([four, three, two, one], ids, strict=True)]
    data, n_lost = carry_edits(old, as_csv(now), name="x")
    found = list(csv.DictReader(io.StringIO(data.decode("utf-8-sig"))))
    edits = [[row[c] for c in ("name", "description", "merge_into", "exclude")] for row in found]
    assert edits == [
        ["", "", "", ""],
        ["", "", "", "x"],
        ["", "", FOUR, ""],
        [" =Clouds", "By hand.", "", ""],
    ]
    assert n_lost == 1
    without_target = as_csv([now[2]])
    data, n_lost = carry_edits(old, without_target, name="x")
    assert b"theme_2023Q1_00" in data
    assert ONE.encode() not in data
    assert n_lost == 4, "a merge into what is gone is lost as well"


def test_a_template_for_themes_made_anew_fits_them(planted: Planted) -> None:
    """The file in use was made for others: it is not handed out again, but its edits that fit."""
    assert labels_template(planted.store, QUARTER) == (write_named(planted), 0)
    used = edit(planted, one={"name": "Clouds"})
    planted.store.put(planted.layout.labels, used)
    assert labels_template(planted.store, QUARTER) == (used, 0)
    stale = edit(planted, one={"name": "Clouds", "members": "m0"})
    planted.store.put(planted.layout.labels, stale)
    data, n_lost = labels_template(planted.store, QUARTER)
    assert n_lost == 1
    assert data == write_named(planted)


def test_a_template_needs_names_of_the_themes_there_are(planted: Planted) -> None:
    """After reduce alone there are new themes with old names: those would be of others."""
    record = require_stage(planted.store, planted.layout, "reduce")
    other = record.model_copy(update={"files": {**record.files, "x": "y"}})
    planted.store.put(planted.layout.stage_record("reduce"), other.encode())
    with pytest.raises(OrchestratorError, match="--from name"):
        labels_template(planted.store, QUARTER)


def write_named(planted: Planted) -> bytes:
    """The template with the names of the published themes."""
    published = require_published(planted.store, QUARTER)
    themes = read_published_table(planted.store, published, "themes")
    return write_labels(themes, reduced(planted)[1])
