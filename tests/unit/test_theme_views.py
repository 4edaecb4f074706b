"""Themes and series as people read them."""

from __future__ import annotations

import pytest

import ftm
from ftm.analysis.theme_views import ThemeLine, list_series, list_themes, show_theme
from ftm.cli.theme_tables import print_series, print_themes
from ftm.core.errors import ConfigError
from ftm.core.quarter import Quarter
from ftm.storage.object_store import ObjectStore, open_store
from tests.support.linked_quarters import link_quarters
from tests.support.published_quarter import TITLE, publish_quarter

Q2, Q3 = Quarter(2016, 2), Quarter(2016, 3)


def fill(store: ObjectStore) -> ObjectStore:
    """2016Q2 and 2016Q3, linked."""
    for quarter in (Q2, Q3):
        publish_quarter(store, quarter)
    link_quarters(store, [Q2, Q3])
    return store


@pytest.fixture(scope="module")
def filled() -> ObjectStore:
    """Two quarters that no test changes."""
    return fill(open_store("memory://"))


def test_a_list_says_how_much_each_theme_has(filled: ObjectStore) -> None:
    """Sizes of the table, shares of all sentences in themes, the series."""
    lines, themes = list_themes(filled, Q3), ftm.load_themes(Q3, filled)
    assert [line.theme_id for line in lines] == themes["theme_id"].tolist()
    assert [line.n_sentences for line in lines] == themes["n_sentences"].tolist()
    assert sum(line.share for line in lines) == pytest.approx(1)
    assert [line.series_id for line in lines] == [
        *(f"series_2016Q2_00{n}" for n in range(3)),
        "series_2016Q3_003",
    ]


def test_a_theme_shows_the_firms_that_say_most_of_it(filled: ObjectStore) -> None:
    """By share of their call, with a sentence of each of the nearest topics, once a firm."""
    view = show_theme(filled, Q2, "theme_2016Q2_001", n_firms=2, n_sentences=3)
    panel = ftm.load_panel(Q2, filled)
    own = panel[panel["theme_id"] == "theme_2016Q2_001"].sort_values(
        ["share_all", "firm_id"], ascending=[False, True]
    )
    assert [firm.firm_id for firm in view.firms] == own["firm_id"].tolist()[:2]
    assert [firm.share_all for firm in view.firms] == own["share_all"].tolist()[:2]
    ready = ftm.load_sentiment_ready(Q2, filled).query("theme_id == 'theme_2016Q2_001'")
    said = {s["text"]: row.firm_name for row in ready.itertuples() for s in row.sentences}
    assert len({sentence.firm_name for sentence in view.sentences}) == 3
    assert all(said[sentence.text] == sentence.firm_name for sentence in view.sentences)


@pytest.mark.parametrize("wanted", ["theme_2016Q2_002", "THEME_2016Q2_002", "2", " 002 ", "word2"])
def test_a_theme_is_found_by_id_number_or_word(wanted: str, filled: ObjectStore) -> None:
    """Whatever the case; a number is that of the id."""
    assert show_theme(filled, Q2, wanted).line.theme_id == "theme_2016Q2_002"


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ("revenue", r"'revenue' fits 4 themes of 2016Q2: theme_2016Q2_000 \(.*; name one id"),
        ("nothing", "no theme of 2016Q2 is 'nothing'; `ftm themes --quarter 2016Q2`"),
        ("", "no theme of 2016Q2 is ''"),
        ("9", "no theme of 2016Q2 is '9'"),
        ("²", "no theme of 2016Q2 is '²'"),
    ],
)
def test_what_names_no_theme_or_several_is_said(
    wanted: str, words: str, filled: ObjectStore
) -> None:
    """With those it may mean, or how to list them."""
    with pytest.raises(ConfigError, match=words):
        show_theme(filled, Q2, wanted)


def test_series_say_how_much_in_each_quarter(filled: ObjectStore) -> None:
    """The longest first, then the largest; the name is that of the latest theme."""
    found = list_series(filled)
    themes = ftm.load_themes([Q2, Q3], filled).set_index("theme_id")["n_sentences"]
    assert [len(line.quarters) for line in found] == [2, 2, 2, 1, 1]
    totals = [sum(line.n_sentences) for line in found[:3]]
    assert totals == sorted(totals, reverse=True)
    (first,) = [line for line in found if line.series_id == "series_2016Q2_000"]
    assert first.quarters == ("2016Q2", "2016Q3")
    assert first.n_sentences == (themes["theme_2016Q2_000"], themes["theme_2016Q3_000"])
    assert (first.name, first.cosines[0]) == (TITLE, None)
    assert first.cosines[1] == pytest.approx(0.9)


def test_a_quarter_published_anew_since_it_was_linked_is_said(
    memory: ObjectStore, caplog: pytest.LogCaptureFixture
) -> None:
    """Its themes are others now: their sizes are not shown as those of the series."""
    fill(memory)
    list_series(memory)
    assert caplog.text == ""
    publish_quarter(memory, Q3, seed=1, run_id="other")
    found = list_series(memory)
    assert "2016Q3 was published anew since it was linked" in caplog.text
    assert "--redo-from 2016Q3" in caplog.text
    assert {line.n_sentences[1] for line in found if len(line.quarters) == 2} == {0}
    assert {line.series_id for line in list_themes(memory, Q3)} == {""}


def _line(name: str, method: str) -> ThemeLine:
    return ThemeLine("theme_2016Q2_000", "", name, ("cash", "cash flow"), 3, 4, 5, 0.5, 0.9, method)


def test_keywords_that_are_the_name_are_printed_once(capsys: pytest.CaptureFixture[str]) -> None:
    """Named by keywords, a theme is its keywords; another name stands before them."""
    print_themes([_line("cash flow, cash", "keywords")], "2016Q2")
    assert capsys.readouterr().out.count("cash flow") == 1
    print_themes([_line("Liquidity", "llm")], "2016Q2")
    assert "Liquidity  cash, cash flow" in capsys.readouterr().out
    print_themes([], "2016Q2")
    assert "2016Q2 has no theme" in capsys.readouterr().out


def test_series_of_a_single_quarter_are_counted(
    filled: ObjectStore, capsys: pytest.CaptureFixture[str]
) -> None:
    """And listed with --all."""
    found = list_series(filled)
    print_series(found, show_all=False)
    short = capsys.readouterr().out
    assert "5 series" in short
    assert "and 2 of a single quarter (--all)" in short
    assert "series_2016Q2_003" not in short
    print_series(found, show_all=True)
    full = capsys.readouterr().out
    assert "series_2016Q2_003" in full
    assert "2016Q2..2016Q3" in full
    assert "0.90" in full
