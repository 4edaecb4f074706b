"""A quarter scored against the themes of an earlier one: frozen, and nothing looks ahead."""

from __future__ import annotations

import csv
import io
from itertools import count

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from ftm.core.errors import ConfigError, OrchestratorError
from ftm.core.layout import RunLayout, assigned_pointer
from ftm.core.quarter import Quarter
from ftm.reduce.assign_quarter import assign_quarter
from ftm.reduce.label_themes import apply_labels, labels_template
from ftm.reduce.link_quarters import link_quarters
from ftm.storage.assigned import read_assigned_table, require_assigned
from ftm.storage.object_store import ObjectStore, open_store
from ftm.storage.published import read_published_table, require_published
from ftm.storage.sealed import decode_sealed, encode_sealed
from tests.support.killed import kill_at
from tests.support.planted_run import plant_run
from tests.support.planted_stages import do_all, objects

Q1, Q2 = Quarter(2022, 1), Quarter(2022, 2)
EARLIER = ((0, 1), (0, 1, 2), (1, 2), (2, 0))
LATER = ((0, 1, 3), (1, 3), (2, 3), (3,), ())
SHARES = ("themed_share", "outlier_share", "unthemed_share", "excluded_share")


def publish(store: ObjectStore, quarter: Quarter, firms: tuple[tuple[int, ...], ...]) -> None:
    """A quarter of planted topics."""
    do_all(plant_run(store, firms, quarter=quarter, run_id=f"run-{quarter}"))


def two_quarters(later: tuple[tuple[int, ...], ...] = LATER) -> ObjectStore:
    """A store with both quarters."""
    store = open_store("memory://")
    publish(store, Q1, EARLIER)
    publish(store, Q2, later)
    return store


def table(store: ObjectStore, name: str) -> pa.Table:
    """A table of the later quarter with the themes of the earlier."""
    return read_assigned_table(store, require_assigned(store, Q2, Q1), name)


@pytest.fixture(scope="module")
def published() -> dict[str, bytes]:
    """Both quarters, published."""
    return objects(two_quarters())


def copy(published: dict[str, bytes]) -> ObjectStore:
    """A store of its own with these objects."""
    store = open_store("memory://")
    for key, data in published.items():
        store.put(key, data)
    return store


def test_the_panel_says_whose_themes_it_has(published: dict[str, bytes]) -> None:
    """Estimation frozen, themes_from the earlier quarter, its theme ids, zeros included."""
    store = copy(published)
    found = assign_quarter(store, Q2, Q1)
    assert (found.n_topics, found.n_themed, found.n_themes) == (8, 4, 3)
    panel, calls = table(store, "panel"), table(store, "panel_calls")
    for each in (panel, calls):
        assert set(each["estimation"].to_pylist()) == {"frozen"}
        assert set(each["themes_from"].to_pylist()) == {"2022Q1"}
        assert set(each["quarter"].to_pylist()) == {"2022Q2"}
    assert set(panel["theme_id"].to_pylist()) == {f"theme_2022Q1_00{i}" for i in range(3)}
    with_topics = calls.filter(pc.greater(calls["n_topics"], 0))
    assert panel.num_rows == 3 * with_topics.num_rows == 12
    assert panel["series_id"].null_count == panel.num_rows


def test_calls_are_told_as_where_they_are_published(published: dict[str, bytes]) -> None:
    """All but what depends on themes: status, sizes, dates, and which firm is primary."""
    store = open_store("memory://")
    publish(store, Q1, EARLIER)
    plan = {i: {"permno": 777} for i in range(5)}
    do_all(plant_run(store, LATER, quarter=Q2, run_id="run", plan=plan, outcomes={0: "failed"}))
    assign_quarter(store, Q2, Q1)
    frozen = table(store, "panel_calls")
    own = read_published_table(store, require_published(store, Q2), "panel_calls")
    same = [n for n in own.column_names if "theme" not in n and n != "estimation"]
    assert frozen.select(same).equals(own.select(same))
    assert set(own["status"].to_pylist()) >= {"done", "failed"}
    assert sum(own["primary_firm"].to_pylist()) < own.num_rows


def test_shares_add_up_to_one(published: dict[str, bytes]) -> None:
    """Of every call with topics; a topic near no theme counts as unthemed."""
    store = copy(published)
    assign_quarter(store, Q2, Q1)
    panel, calls = table(store, "panel"), table(store, "panel_calls")
    calls = calls.filter(pc.greater(calls["n_topics"], 0))
    total = sum(calls[name].to_numpy() for name in SHARES)
    assert np.allclose(total, 1.0, atol=1e-12)
    sums = panel.group_by("call_id").aggregate([("share_all", "sum")]).sort_by("call_id")
    by_call = calls.sort_by("call_id")
    assert np.allclose(sums["share_all_sum"].to_numpy(), by_call["themed_share"].to_numpy())
    unthemed = dict(
        zip(calls["firm_id"].to_pylist(), calls["unthemed_share"].to_pylist(), strict=True)
    )
    assert unthemed["100003"] > 0.6, "a topic unlike every earlier theme"


def test_what_else_is_said_in_the_later_quarter_changes_nothing(
    published: dict[str, bytes],
) -> None:
    """A firm's rows are the same, whatever other firms of its quarter talk about."""
    store = copy(published)
    assign_quarter(store, Q2, Q1)
    other = two_quarters((*LATER[:2], (4, 5), (4, 5, 0), (5, 4)))
    assign_quarter(other, Q2, Q1)
    rows = [
        each.filter(pc.is_in(each["firm_id"], pa.array(["100000", "100001"])))
        for each in (table(store, "panel"), table(other, "panel"))
    ]
    assert rows[0].num_rows == 6
    assert rows[0].equals(rows[1])


def test_series_of_the_earlier_quarter_come_along(published: dict[str, bytes]) -> None:
    """Once it is linked."""
    store = copy(published)
    link_quarters(store, [Q1])
    assign_quarter(store, Q2, Q1)
    panel = table(store, "panel")
    assert set(panel["series_id"].to_pylist()) == {f"series_2022Q1_00{i}" for i in range(3)}


def test_killed_at_every_write_boundary_assigning_gives_the_same_bytes(
    published: dict[str, bytes],
) -> None:
    """Two tables and the pointer, last; done twice it writes nothing."""
    whole = copy(published)
    assign_quarter(whole, Q2, Q1)
    expected = objects(whole)
    assert not kill_at(whole, 0, lambda: assign_quarter(whole, Q2, Q1))
    for boundary in count():
        store = copy(published)
        if not kill_at(store, boundary, lambda store=store: assign_quarter(store, Q2, Q1)):
            break
        with pytest.raises(OrchestratorError, match="not assigned"):
            require_assigned(store, Q2, Q1)
        assign_quarter(store, Q2, Q1)
        assert objects(store) == expected, boundary
    assert boundary == 3


def test_what_is_damaged_is_written_again(published: dict[str, bytes]) -> None:
    """A pointer that names nothing, a table that is gone or has other bytes: the same as before."""
    store = copy(published)
    assign_quarter(store, Q2, Q1)
    expected = objects(store)
    pointer = assigned_pointer(Q2, Q1)
    key = require_assigned(store, Q2, Q1).place_of("panel")[0]
    for damaged, data in ((pointer, b"[]"), (pointer, b"{"), (key, b"PAR1"), (key, None)):
        store.delete(damaged)
        if data is not None:
            store.put(damaged, data)
        assign_quarter(store, Q2, Q1)
        assert objects(store) == expected


def test_themes_that_have_changed_since_are_refused_until_assigned_again(
    published: dict[str, bytes],
) -> None:
    """An excluded theme, a firm tried again, another run: ids would be taken for other themes."""
    store = copy(published)
    assign_quarter(store, Q2, Q1)
    rename_and_exclude(store, name="Renamed")
    assert require_assigned(store, Q2, Q1), "names change nothing"
    rename_and_exclude(store, exclude="x")
    with pytest.raises(OrchestratorError, match=r"published with other .*`ftm assign --themes"):
        require_assigned(store, Q2, Q1)
    assign_quarter(store, Q2, Q1)
    assert len(set(table(store, "panel")["theme_id"].to_pylist())) == 2
    do_all(plant_run(store, LATER[:4], quarter=Q2, run_id="another"))
    with pytest.raises(OrchestratorError, match="published with other"):
        require_assigned(store, Q2, Q1)


def rename_and_exclude(store: ObjectStore, **cells: str) -> None:
    """Fill in the first theme's row of the earlier quarter's labels, and put them in use."""
    rows = list(csv.DictReader(io.StringIO(labels_template(store, Q1)[0].decode("utf-8-sig"))))
    rows[0] |= cells
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    apply_labels(store, Q1, text.getvalue().encode(), name="labels.csv")


@pytest.mark.parametrize("name", ["embedding_model", "weights", "embed_text"])
def test_themes_of_other_embeddings_are_refused(published: dict[str, bytes], name: str) -> None:
    """Another model, other weights of that name, or cleaned instead of raw text; both are named."""
    store = copy(published)
    for quarter in (Q1, Q2):
        key = RunLayout(quarter, f"run-{quarter}").spec
        spec = decode_sealed(store.get(key))
        spec["model"][name] = f"that of {quarter}"
        store.put(key, encode_sealed(spec))
    before = objects(store)
    with pytest.raises(ConfigError, match=rf"{name} is 'that of 2022Q1' .* 'that of 2022Q2'"):
        assign_quarter(store, Q2, Q1)
    assert objects(store) == before


@pytest.mark.parametrize("themes_from", [Q2, Q2.next()])
def test_themes_of_the_same_or_a_later_quarter_are_refused(
    published: dict[str, bytes], themes_from: Quarter
) -> None:
    """They would know what was said later; nothing is written."""
    store = copy(published)
    with pytest.raises(
        ConfigError, match=rf"--themes {themes_from} is not before --quarter 2022Q2"
    ):
        assign_quarter(store, Q2, themes_from)
    assert objects(store) == published
