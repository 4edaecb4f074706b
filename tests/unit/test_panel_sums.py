"""Whatever firms talk about: shares add up, keys lead somewhere, texts are those of the chunk."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ftm.core.schemas import PROCESSED_TABLES
from ftm.reduce.constraints import check_tables
from ftm.reduce.counts import GROUPS, share
from ftm.storage.object_store import open_store
from ftm.storage.quarter_reader import iter_chunks
from ftm.storage.run_reader import read_run_manifest
from tests.support.business_firms import CALL_DATE
from tests.support.planted_run import Planted, plant_run
from tests.support.planted_stages import do_all, made_tables

SHARES = ("themed_share", "outlier_share", "unthemed_share", "excluded_share")
KEYS = (
    ("theme_contributions", "theme_id", "themes"),
    ("theme_contributions", "topic_id", "topics"),
    ("theme_contributions", "firm_id", "panel_calls"),
    ("topics", "firm_id", "firms"),
    ("firms", "firm_id", "panel_calls"),
    ("sentences", "theme_id", "themes"),
    ("sentences", "topic_id", "topics"),
    ("sentences", "call_id", "panel_calls"),
    ("panel", "theme_id", "themes"),
    ("panel", "call_id", "panel_calls"),
    ("themes_for_sentiment", "theme_id", "themes"),
    ("themes_for_sentiment", "topic_id", "topics"),
    ("themes_for_sentiment", "firm_id", "firms"),
)
GRAIN = {
    "firms": ("firm_id",),
    "sentences": ("sentence_id",),
    "topics": ("topic_id",),
    "themes": ("theme_id",),
    "theme_contributions": ("topic_id",),
    "panel": ("call_id", "theme_id"),
    "panel_calls": ("call_id",),
    "themes_for_sentiment": ("theme_id", "firm_id", "topic_id"),
}

Rows = dict[str, list[dict[str, Any]]]


@st.composite
def runs(draw: st.DrawFn) -> dict[str, Any]:
    """Firms with none to four topics, batches, outcomes and PERMNOs as chance has it."""
    firms = draw(st.lists(st.lists(st.integers(0, 3), max_size=4), min_size=1, max_size=9))
    number = st.integers(0, len(firms) - 1)
    return {
        "firms": [tuple(own) for own in firms],
        "batch_size": draw(st.integers(1, 5)),
        "noise": draw(st.sampled_from([0.02, 0.3])),
        "outcomes": draw(
            st.dictionaries(number, st.sampled_from(["failed", "skipped"]), max_size=2)
        ),
        "plan": {i: {"permno": 777} for i in draw(st.lists(number, max_size=3))},
        "backwards": draw(st.booleans()),
        "incomplete": draw(st.lists(st.integers(1, 3), max_size=1)),
    }


TYPICAL = {
    "firms": [(0, 1), (0, 1, 2), (1, 2, 3), (2, 0), (), (0, 3), (1,), (3, 2, 1, 0)],
    "batch_size": 3,
    "noise": 0.02,
    "outcomes": {3: "failed"},
    "plan": {0: {"permno": 777}, 1: {"permno": 777}},
    "backwards": True,
    "incomplete": [],
}


@settings(max_examples=12, suppress_health_check=[HealthCheck.too_slow])
@example(TYPICAL)
@given(runs())
def test_whatever_is_planted_the_tables_fit(given: dict[str, Any]) -> None:
    """Every sum, key and text of the published tables, counted again from what was planted."""
    planted = plant_run(open_store("memory://"), **given)
    tables = made_tables(planted.store, do_all(planted, allow_failed=True))
    check_tables(tables)
    rows = {name: tables[name].to_pylist() for name in PROCESSED_TABLES}
    check_grain(rows)
    check_keys(rows)
    check_shares(rows)
    check_panel(rows)
    check_contributions(rows)
    check_sentences(planted, rows)
    check_statuses(planted, rows, given["outcomes"])


def check_grain(rows: Rows) -> None:
    """No row comes twice, and PERMNO by day is unique among primary firms."""
    for name, columns in GRAIN.items():
        seen = Counter(tuple(row[c] for c in columns) for row in rows[name])
        assert not [key for key, n in seen.items() if n > 1], name
    days = defaultdict(list)
    for row in rows["panel_calls"]:
        days[row["permno"], row["call_date_et"]].append(row["primary_firm"])
    assert all(sum(primary) == 1 for primary in days.values())


def check_keys(rows: Rows) -> None:
    """Every foreign key resolves, and every row has a PERMNO."""
    for name, column, other in KEYS:
        known = {row[column] for row in rows[other]}
        assert {row[column] for row in rows[name]} - known <= {None}, (name, column)
    for name in ("themes_for_sentiment", "panel", "panel_calls", "theme_contributions"):
        assert all(row["permno"] is not None for row in rows[name]), name


def check_shares(rows: Rows) -> None:
    """Shares of a call add up to 1, or are all null where it has no topic."""
    for row in rows["panel_calls"]:
        shares = [row[name] for name in SHARES]
        if row["n_topics"]:
            assert sum(shares) == pytest.approx(1, abs=1e-12)
        else:
            assert shares == [None] * 4


def check_panel(rows: Rows) -> None:
    """A row per call with topics and theme, zeros included; sums are those of the call."""
    with_topics = {row["call_id"]: row for row in rows["panel_calls"] if row["n_topics"]}
    themes = [row["theme_id"] for row in rows["themes"]]
    assert [(row["call_id"], row["theme_id"]) for row in rows["panel"]] == [
        (call, theme) for call in with_topics for theme in themes
    ]
    by_call = defaultdict(list)
    for row in rows["panel"]:
        by_call[row["call_id"]].append(row)
    said = Counter((row["call_id"], row["theme_id"]) for row in rows["sentences"])
    words: Counter[tuple[str, str | None]] = Counter()
    for row in rows["sentences"]:
        words[row["call_id"], row["theme_id"]] += row["n_words"]
        words[row["call_id"], "all"] += row["n_words"]
    assert all(row["n_words"] == words[row["call_id"], "all"] for row in rows["panel_calls"])
    groups = {
        name: Counter((row["call_id"], row["theme_id"]) for row in rows["sentences"] if row[c] == v)
        for name, (c, v) in GROUPS.items()
    }
    for call, own in by_call.items():
        whole = with_topics[call]
        assert sum(row["share_all"] for row in own) == pytest.approx(whole["themed_share"])
        assert sum(row["n_sentences"] > 0 for row in own) == whole["n_themes"]
        assigned = [row["share_assigned"] for row in own]
        if any(row["n_sentences"] for row in own):
            assert sum(assigned) == pytest.approx(1)
        else:
            assert assigned == [None] * len(own)
        for row in own:
            key = (call, row["theme_id"])
            assert (row["n_sentences"], row["n_words"]) == (said[key], words[key])
            assert row["share_all"] == said[key] / whole["n_sentences"]
            for name, counted in groups.items():
                n = whole[f"n_{name}"]
                assert row[f"share_{name}"] == (counted[key] / n if n else None), name
            assert [row[n] for n in SHARES[1:]] == [whole[n] for n in SHARES[1:]]


def check_contributions(rows: Rows) -> None:
    """Topics add up to themes, to the panel and to what is ready for sentiment."""
    by_theme: Counter[str] = Counter()
    topics: Counter[str] = Counter()
    firms = defaultdict(set)
    for row in rows["theme_contributions"]:
        if row["theme_id"] is not None:
            by_theme[row["theme_id"]] += row["n_sentences"]
            topics[row["theme_id"]] += 1
            firms[row["theme_id"]].add(row["firm_id"])
    assert by_theme == {row["theme_id"]: row["n_sentences"] for row in rows["themes"]}
    assert topics == {row["theme_id"]: row["n_topics"] for row in rows["themes"]}
    assert {t: len(own) for t, own in firms.items()} == {
        row["theme_id"]: row["n_firms"] for row in rows["themes"]
    }
    for name in ("panel", "themes_for_sentiment"):
        found: Counter[str] = Counter()
        for row in rows[name]:
            found[row["theme_id"]] += row["n_sentences"]
        assert +found == by_theme, name
    ready = [(r["theme_id"], r["topic_id"]) for r in rows["themes_for_sentiment"]]
    themed = [r for r in rows["theme_contributions"] if r["theme_id"] is not None]
    assert ready == sorted((r["theme_id"], r["topic_id"]) for r in themed)


def check_sentences(planted: Planted, rows: Rows) -> None:
    """As many as it says, in order of position, with the texts of the chunk."""
    chunks = iter_chunks(planted.store, read_run_manifest(planted.store, planted.layout))
    texts = {row["sentence_id"]: row for chunk in chunks for row in chunk.sentences.to_pylist()}
    done = {row["firm_id"] for row in rows["firms"] if row["status"] == "done"}
    own = [row for row in texts.values() if row["firm_id"] in done]
    assert [r["sentence_id"] for r in rows["sentences"]] == [r["sentence_id"] for r in own]
    for row in rows["sentences"]:
        assert row["n_words"] == len(texts[row["sentence_id"]]["raw_text"].split())
    by_topic = defaultdict(list)
    for row in rows["sentences"]:
        by_topic[row["topic_id"]].append(row["sentence_id"])
    for row in rows["themes_for_sentiment"]:
        assert row["n_sentences"] == len(row["sentences"]) > 0
        assert [s["sentence_id"] for s in row["sentences"]] == by_topic[row["topic_id"]]
        positions = [s["position"] for s in row["sentences"]]
        assert positions == sorted(positions)
        for said in row["sentences"]:
            source = texts[said["sentence_id"]]
            assert said["text"] == source["raw_text"]
            assert said["speaker_type"] == source["speaker_type"]
            assert (source["firm_id"], source["permno"]) == (row["firm_id"], row["permno"])


def check_statuses(planted: Planted, rows: Rows, outcomes: dict[int, str]) -> None:
    """Every call the plan keeps has a row that says what became of it."""
    run = planted.run
    complete = [b for b in run.batches if run.progress_of(b.batch_id).complete]
    begun = {firm for batch in complete for firm in batch.firm_ids}
    calls = {row["firm_id"]: row for row in rows["panel_calls"]}
    assert planted.themes.keys() < calls.keys()
    for firm, own in planted.themes.items():
        outcome = outcomes.get(int(firm) - 100000, "done") if firm in begun else "not_run"
        assert calls[firm]["status"] == outcome
        assert calls[firm]["n_topics"] == (len(own) if outcome == "done" else 0)
        assert calls[firm]["earnings_call_date"] == CALL_DATE
    for firm in calls.keys() - planted.themes.keys():
        assert calls[firm]["status"] == ("failed" if firm == "fail-0" else "skipped")


def test_a_share_of_nothing_is_null() -> None:
    """Not 0, not NaN, and no warning."""
    found = share(np.array([1, 0, 0]), np.array([4, 4, 0]))
    assert found.equals(pa.array([0.25, 0.0, None], pa.float64()))
    valid = np.array([True, False, True])
    assert share(np.array([1, 1, 0]), np.array([4, 4, 0]), valid).to_pylist() == [0.25, None, None]
