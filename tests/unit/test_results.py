"""Loaders of what is published."""

import sys

import pandas as pd
import pytest

import ftm
from ftm.core.errors import ConfigError, CorruptObjectError, OrchestratorError
from ftm.core.layout import current_pointer
from ftm.core.quarter import Quarter
from ftm.core.schemas import PANEL, PANEL_CALLS, SENTIMENT_READY, SERIES, THEMES
from ftm.storage.assigned import Assigned
from ftm.storage.object_store import ObjectStore
from tests.support.linked_quarters import link_quarters
from tests.support.published_quarter import (
    N_THEMES,
    assign_quarter,
    publish_quarter,
)

Q2, Q3 = Quarter(2016, 2), Quarter(2016, 3)


@pytest.fixture
def published(memory: ObjectStore) -> ObjectStore:
    """2016Q2 and 2016Q3, linked, the second with the themes of the first as well."""
    for quarter in (Q2, Q3):
        publish_quarter(memory, quarter)
    link_quarters(memory, [Q2, Q3])
    assign_quarter(memory, Q3, themes_from=Q2)
    return memory


def test_a_published_quarter_loads_with_its_types(published: ObjectStore) -> None:
    """Columns are the schema's; what may be missing stays an integer, dates are dates."""
    panel = ftm.load_panel("2016Q2", published)
    assert list(panel) == PANEL.names
    assert panel["fiscal_year"].dtype == pd.Int32Dtype()
    assert panel["permno"].dtype == pd.Int64Dtype()
    assert panel["day0"].dtype.kind == "M"
    assert len(panel) == 5 * N_THEMES
    assert list(ftm.load_themes(Q2, published)) == THEMES.names
    ready = ftm.load_sentiment_ready(Q2, published)
    assert list(ready) == SENTIMENT_READY.names
    assert (ready["sentences"].map(len) == ready["n_sentences"]).all()


def test_calls_without_topics_have_no_shares_and_no_row_in_the_panel(
    published: ObjectStore,
) -> None:
    """panel_calls has every kept call; its shares add to 1 or are missing, never 0 instead."""
    calls = ftm.load_panel_calls("2016Q2", published)
    assert list(calls) == PANEL_CALLS.names
    parts = calls[["themed_share", "outlier_share", "unthemed_share", "excluded_share"]]
    without = calls["n_topics"] == 0
    assert without.sum() == 2
    assert parts[without].isna().all(axis=None)
    assert parts[~without].sum(axis=1).round(12).eq(1).all()
    assert set(ftm.load_panel("2016Q2", published)["call_id"]) == set(calls["call_id"][~without])


def test_several_quarters_come_as_one_frame(published: ObjectStore) -> None:
    """A list and a range say the same; a quarter named twice is read once."""
    listed = ftm.load_panel(["2016Q2", "2016Q3"], published)
    assert listed["quarter"].unique().tolist() == ["2016Q2", "2016Q3"]
    pd.testing.assert_frame_equal(listed, ftm.load_panel("2016Q2..2016Q3", published))
    pd.testing.assert_frame_equal(listed, ftm.load_panel([Q2, "2016Q3", Q2], published))
    with pytest.raises(ConfigError, match="no quarter given"):
        ftm.load_panel([], published)


def test_frozen_themes_are_read_from_where_they_were_assigned(published: ObjectStore) -> None:
    """The panel with another quarter's themes says so, and holds only theirs."""
    frozen = ftm.load_panel("2016Q3", published, themes_from="2016Q2")
    assert set(frozen["estimation"]) == {"frozen"}
    assert set(frozen["themes_from"]) == {"2016Q2"}
    assert set(frozen["theme_id"]) == set(ftm.load_themes("2016Q2", published)["theme_id"])
    calls = ftm.load_panel_calls("2016Q3", published, themes_from=Q2)
    assert set(calls["estimation"]) == {"frozen"}


def test_series_are_those_of_all_linked_quarters(published: ObjectStore) -> None:
    """One row per theme and linked quarter, in time."""
    series = ftm.load_series(published)
    assert list(series) == SERIES.names
    assert series["quarter"].tolist() == ["2016Q2"] * N_THEMES + ["2016Q3"] * N_THEMES
    assert series["cosine"].isna().sum() == N_THEMES + 1


def test_what_is_not_there_is_said_with_the_command_that_makes_it(memory: ObjectStore) -> None:
    """Not published, not assigned, not linked, published without the table."""
    publish_quarter(memory, Q2, without=["panel"])
    with pytest.raises(OrchestratorError, match=r"without panel; run `ftm run-quarter"):
        ftm.load_panel("2016Q2", memory)
    with pytest.raises(OrchestratorError, match=r"2016Q3 is not published .*`ftm run-quarter"):
        ftm.load_themes("2016Q3", memory)
    with pytest.raises(OrchestratorError, match=r"`ftm assign --themes 2016Q1 --quarter 2016Q2`"):
        ftm.load_panel("2016Q2", memory, themes_from="2016Q1")
    with pytest.raises(OrchestratorError, match=r"no quarter .*is linked; run `ftm link"):
        ftm.load_series(memory)
    with pytest.raises(ConfigError, match="not a quarter: '2016q2'"):
        ftm.load_panel("2016q2", memory)


def _damage(store: ObjectStore, key: str) -> None:
    store.put(key, store.get(key).replace(b"PAR1", b"PAR2"))


def test_other_bytes_than_were_published_are_refused(published: ObjectStore) -> None:
    """Published, assigned and linked tables are checked by their hashes."""
    folder = "assigned/quarter=2016Q3/themes=2016Q2"
    _damage(published, f"{folder}/panel.parquet")
    _damage(published, "series/quarter=2016Q3/series.parquet")
    with pytest.raises(CorruptObjectError, match=r"not what was written; `ftm assign"):
        ftm.load_panel("2016Q3", published, themes_from="2016Q2")
    with pytest.raises(
        CorruptObjectError, match=r"not what was written; `ftm link .* --redo-from 2016Q3`"
    ):
        ftm.load_series(published)
    published.delete(f"{folder}/panel_calls.parquet")
    with pytest.raises(CorruptObjectError, match=r"panel_calls.parquet is gone; `ftm assign"):
        ftm.load_panel_calls("2016Q3", published, themes_from="2016Q2")


@pytest.mark.parametrize("text", [b"{", b"[]", b"{}", b'{"run_id": "a"}'])
def test_a_damaged_pointer_is_said(published: ObjectStore, text: bytes) -> None:
    """Of assigned themes and of links; which file, and what writes it again."""
    published.put("assigned/quarter=2016Q3/themes=2016Q2/_current.json", text)
    published.put("series/quarter=2016Q3/link.json", text)
    with pytest.raises(CorruptObjectError, match=r"_current.json is damaged.* `ftm assign"):
        ftm.load_panel("2016Q3", published, themes_from="2016Q2")
    with pytest.raises(
        CorruptObjectError, match=r"link.json is damaged.* `ftm link --quarters 2016Q3"
    ):
        ftm.load_series(published)


def test_an_assigned_quarter_names_what_it_lacks() -> None:
    """A table that was not assigned is an error of its own, with what writes it."""
    found = Assigned(Q3, Q2, "a", "b", {"panel.parquet": "0"}, "c")
    with pytest.raises(OrchestratorError, match=r"no panel_calls .*`ftm assign --themes 2016Q2"):
        found.place_of("panel_calls")


def test_the_pointer_leads(published: ObjectStore) -> None:
    """Tables of another run of the quarter lie beside, and are not read until it is published."""
    before = published.get(current_pointer(Q2))
    publish_quarter(published, Q2, seed=1, run_id="other")
    other = ftm.load_panel("2016Q2", published)
    published.put(current_pointer(Q2), before)
    first = ftm.load_panel("2016Q2", published)
    assert (set(other["run_id"]), set(first["run_id"])) == ({"other"}, {"run2016Q2"})


@pytest.mark.parametrize(("module", "extra"), [("pandas", "notebook"), ("duckdb", "sql")])
def test_a_missing_library_is_said_with_its_extra(
    module: str, extra: str, published: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither is needed to run a quarter, so neither is always there."""
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigError, match=rf"pip install 'ftm\[{extra}\]'"):
        ftm.sql("select 1", published)
