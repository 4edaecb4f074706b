"""Published tables as CSV and Stata files."""

import csv
import re
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

from ftm.analysis.export import Selection, export_table, for_stata, label_of
from ftm.analysis.flat import flatten
from ftm.analysis.results import RESULT_TABLES, load_panel, load_panel_calls
from ftm.core.codebook_tables import define
from ftm.core.errors import ConfigError, OrchestratorError
from ftm.core.quarter import Quarter
from ftm.core.schemas import DATASETS
from ftm.storage.linked import LINK_FILES
from ftm.storage.object_store import ObjectStore
from tests.support.linked_quarters import link_quarters
from tests.support.published_quarter import TITLE, assign_quarter, publish_quarter

Q2, Q3 = Quarter(2016, 2), Quarter(2016, 3)


@pytest.fixture
def published(memory: ObjectStore) -> ObjectStore:
    """2016Q2 and 2016Q3, linked and assigned."""
    for quarter in (Q2, Q3):
        publish_quarter(memory, quarter)
    link_quarters(memory, [Q2, Q3])
    assign_quarter(memory, Q3, themes_from=Q2)
    return memory


def read_csv(path: Path) -> list[dict[str, str]]:
    """All rows, as texts."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def reader(published: ObjectStore, tmp_path: Path) -> Iterator[pd.io.stata.StataReader]:
    """panel_calls of two quarters as a Stata file, opened."""
    path = tmp_path / "calls.dta"
    export_table(published, Selection("panel_calls", [Q2, Q3]), path, style="dta")
    with pd.read_stata(path, iterator=True, convert_dates=False) as opened:
        yield opened


def test_csv_is_plain_and_whole(published: ObjectStore, tmp_path: Path) -> None:
    """UTF-8, ISO dates, missing empty, booleans 0 and 1, lists joined, several quarters."""
    path = tmp_path / "calls.csv"
    assert export_table(published, Selection("panel_calls", [Q2, Q3]), path, style="csv") == 14
    rows = read_csv(path)
    assert list(rows[0]) == DATASETS["panel_calls"].names
    assert [row["quarter"] for row in rows] == ["2016Q2"] * 7 + ["2016Q3"] * 7
    assert {row["primary_firm"] for row in rows} == {"0", "1"}
    assert re.fullmatch(r"2016-\d\d-\d\d", rows[0]["day0"])
    assert (rows[0]["fiscal_year"], rows[2]["firm_name"], rows[5]["outlier_share"]) == ("", "", "")
    frame = load_panel_calls([Q2, Q3], published)
    assert [float(row["themed_share"] or "nan") for row in rows] == pytest.approx(
        frame["themed_share"].tolist(), nan_ok=True, rel=1e-15
    )
    export_table(published, Selection("themes", [Q2]), path, style="csv", force=True)
    rows = read_csv(path)
    assert (rows[0]["name"], rows[0]["keywords"]) == (TITLE, "word0; revenue")
    assert rows[0]["centroid"] == "1; 0; 0; 0; 0; 0"


def test_stata_keeps_values_and_missing_ones(
    reader: pd.io.stata.StataReader, published: ObjectStore
) -> None:
    """What Stata reads is what the loader says: PERMNOs exact, missing where it is missing."""
    frame, wanted = reader.read(), load_panel_calls([Q2, Q3], published)
    assert list(frame) == list(wanted)
    assert frame["permno"].tolist() == wanted["permno"].tolist()
    assert frame["permco"].isna().tolist() == wanted["permco"].isna().tolist()
    assert frame["fiscal_year"].dropna().tolist() == wanted["fiscal_year"].dropna().tolist()
    assert frame["fiscal_year"].isna().sum() == 2
    pd.testing.assert_series_equal(frame["themed_share"], wanted["themed_share"])
    assert frame["firm_name"].tolist() == wanted["firm_name"].fillna("").tolist()
    assert frame["primary_firm"].tolist() == wanted["primary_firm"].astype(int).tolist()
    days = pd.to_datetime("1960-01-01") + pd.to_timedelta(frame["day0"].astype(int), unit="D")
    assert days.tolist() == wanted["day0"].tolist()


def test_stata_has_labels_and_daily_dates(reader: pd.io.stata.StataReader) -> None:
    """Every variable is labelled from the codebook, dates are %td, the data say what they are."""
    labels = reader.variable_labels()
    assert labels == {
        name: define("panel_calls", name).label for name in DATASETS["panel_calls"].names
    }
    assert labels["day0"].startswith("First NYSE session")
    formats = dict(zip(labels, reader._fmtlist, strict=True))
    assert {formats[n] for n in ("earnings_call_date", "call_date_et", "day0")} == {"%td"}
    assert reader.data_label == "ftm panel_calls 2016Q2..2016Q3"


@pytest.mark.parametrize("table", RESULT_TABLES)
def test_every_table_can_be_exported_both_ways(
    table: str, published: ObjectStore, tmp_path: Path
) -> None:
    """Empty tables, long texts, centroids, times: same rows, columns and labels in both."""
    selection = Selection(table, [] if table in LINK_FILES else [Q2, Q3])
    first, second = tmp_path / "a.csv", tmp_path / "a.dta"
    n = export_table(published, selection, first, style="csv")
    assert export_table(published, selection, second, style="dta") == n
    assert len(read_csv(first)) == n
    with pd.read_stata(second, iterator=True) as reader:
        frame, labels = reader.read(), reader.variable_labels()
    header = [name.strip('"') for name in first.read_text("utf-8").split("\n")[0].split(",")]
    assert (len(frame), list(frame)) == (n, header)
    assert "quarter" in header or "quarter_from" in header
    assert labels == {name: label_of(table, name) for name in header}
    if table == "themes_for_sentiment":
        assert frame["sentences"].tolist() == [row["sentences"] for row in read_csv(first)]
    if table == "topics":
        assert str(frame["processing_timestamp"][0]) == "2026-01-02 03:04:05"


def test_large_numbers_and_long_texts_survive_stata(tmp_path: Path) -> None:
    """int64 beyond Stata's long is a double and exact; texts of 3,000 bytes are not cut."""
    import ftm.analysis.export as export

    table = pa.table({"permno": pa.array([2**40 + 1, None], pa.int64()),
                      "firm_name": ["é" * 1500, None]})  # fmt: skip
    path = tmp_path / "a.dta"
    export._write_stata(Selection("panel", [Q2]), iter([table]), path)
    frame = pd.read_stata(path)
    assert frame["permno"][0] == 2**40 + 1
    assert frame["permno"].isna().tolist() == [False, True]
    assert frame["firm_name"].tolist() == ["é" * 1500, ""]


def test_frozen_panels_are_exported_too(published: ObjectStore, tmp_path: Path) -> None:
    """--themes-from exports what `ftm assign` made, and the data say whose themes they are."""
    path = tmp_path / "a.dta"
    export_table(published, Selection("panel", [Q3], Q2), path, style="dta")
    with pd.read_stata(path, iterator=True) as reader:
        assert reader.data_label == "ftm panel 2016Q3, themes of 2016Q2"
        assert set(reader.read()["estimation"]) == {"frozen"}
    with pytest.raises(ConfigError, match="themes does not exist with the themes of another"):
        export_table(published, Selection("themes", [Q3], Q2), path, style="csv", force=True)


@pytest.mark.parametrize("style", ["csv", "dta"])
def test_the_same_table_gives_the_same_bytes(
    style: str, published: ObjectStore, tmp_path: Path
) -> None:
    """No clock in the file: a replication package can be compared."""
    for name in ("a", "b"):
        export_table(published, Selection("panel", [Q2]), tmp_path / name, style=style)  # type: ignore[arg-type]
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    if style == "dta":  # its stamp has minutes only
        with pd.read_stata(tmp_path / "a", iterator=True) as reader:
            assert reader.time_stamp == "01 Jan 1960 00:00"


def test_a_file_that_is_there_stays(published: ObjectStore, tmp_path: Path) -> None:
    """Without --force it is refused; a failed export leaves neither it nor a rest changed."""
    path = tmp_path / "panel.csv"
    path.write_text("mine")
    with pytest.raises(ConfigError, match=r"panel.csv is there already; pass --force"):
        export_table(published, Selection("panel", [Q2]), path, style="csv")
    with pytest.raises(OrchestratorError, match="2016Q4 is not published"):
        export_table(published, Selection("panel", [Q2, Q3.next()]), path, style="csv", force=True)
    assert path.read_text() == "mine"
    assert [p.name for p in tmp_path.iterdir()] == ["panel.csv"]
    export_table(published, Selection("panel", [Q2]), path, style="csv", force=True)
    assert len(read_csv(path)) == len(load_panel(Q2, published))


def test_wrong_selections_are_refused(published: ObjectStore, tmp_path: Path) -> None:
    """Unknown tables, quarters missing or too many, a folder that is not there."""
    with pytest.raises(ConfigError, match=r"no table 'pannel'; there are: .*panel"):
        Selection("pannel", [Q2])
    with pytest.raises(ConfigError, match="panel of which quarter"):
        Selection("panel")
    with pytest.raises(ConfigError, match="series is one table of all linked quarters"):
        Selection("series", [Q2])
    with pytest.raises(ConfigError, match=r"cannot write .*there is no folder"):
        export_table(published, Selection("panel", [Q2]), tmp_path / "x" / "a.csv", style="csv")


def test_names_are_names_in_stata_as_well() -> None:
    """No column has to be renamed, which pandas would do without asking."""
    for table in RESULT_TABLES:
        for name in DATASETS[table].names:
            assert re.fullmatch(r"[a-z][a-z0-9_]{0,31}", name)


def test_flat_tables_hold_no_nested_value() -> None:
    """Lists joined, missing lists missing, records as JSON, other columns untouched."""
    table = pa.table({"a": [["x", "y"], [], None], "b": [[{"k": "é"}], None, []], "c": [1, 2, 3]})
    assert flatten(table).to_pydict() == {
        "a": ["x; y", "", None],
        "b": ['[{"k": "é"}]', None, "[]"],
        "c": [1, 2, 3],
    }
    assert for_stata(flatten(table))["a"].to_pylist() == ["x; y", "", ""]
