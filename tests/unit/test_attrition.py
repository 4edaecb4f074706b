"""The waterfall from earnings calls to firms with topics."""

from __future__ import annotations

import csv
import io
from collections import Counter

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftm.analysis.attrition import Attrition, build_attrition, escape_latex, to_csv, to_latex
from ftm.core.errors import CorruptObjectError
from ftm.core.schemas import CALLS, PLAN_REASONS, SKIP_REASONS
from ftm.storage.manifest import PlanEntry, PrefetchManifest, Source
from ftm.storage.parquet import from_rows
from ftm.storage.run_reader import RunRecords
from ftm.storage.run_records import BatchLine, BatchProgress, RunSpec
from tests.support.quarters import call_row

LOST = [reason for reason in PLAN_REASONS if reason != "other_call"]
FATES = st.sampled_from([*LOST, *SKIP_REASONS, "failed", "pending", "sentences"])


def build(fates: list[str], n_others: int = 0) -> tuple[pa.Table, PrefetchManifest]:
    """A plan and a manifest in which firm i meets fates[i]; the first has n_others more calls."""
    rows = [
        call_row(f"f{i}", number=i, reason=fate if fate in LOST else None)
        for i, fate in enumerate(fates)
    ]
    rows += [call_row("f0", number=0, reason="other_call") for _ in range(n_others if fates else 0)]
    names = {fate: [f"f{i}" for i, f in enumerate(fates) if f == fate] for fate in fates}
    held = names.get("sentences", [])
    manifest = PrefetchManifest(
        quarter="2023Q1",
        created_at="",
        n_firms=len(held),
        n_chunks=0,
        chunk_sizes={},
        firm_to_chunk=dict.fromkeys(held, "chunk_0000.parquet"),
        generation=1,
        complete="pending" not in fates,
        n_sentences=0,
        chunks={},
        components={},
        plan=PlanEntry(file="calls.parquet", sha256=""),
        skipped={firm: reason for reason in SKIP_REASONS for firm in names.get(reason, [])},
        failed=dict.fromkeys(names.get("failed", []), "ValueError: x"),
        preprocessing={},
        source=Source(
            host="", database="", tables={}, query_sha256="", link_vintage=None, extracted_at=""
        ),
        ftm_version="",
    )
    return from_rows(rows, CALLS), manifest


def test_kept_firms_with_one_permno_are_counted_beside_the_waterfall() -> None:
    """They stay in it, both; who has none or is dropped shares nothing."""
    rows = [call_row(f"f{i}", number=number) for i, number in enumerate([1, 1, 2, 3])]
    rows.append(call_row("f4", number=2, reason="no_link"))
    _, manifest = build(["sentences"] * 4)
    found = build_attrition(from_rows(rows, CALLS), manifest)
    assert (found.total("kept"), found.n_sharing_permno) == (4, 2)


def test_a_joint_call_counts_once_per_firm_and_the_line_says_so() -> None:
    """Two firms held one event together: two calls of firms, in every format."""
    rows = [call_row(f"f{i}", number=i, keydevid=500_001) for i in range(2)]
    _, manifest = build(["sentences"] * 2)
    found = build_attrition(from_rows(rows, CALLS), manifest)
    assert (found.total("firm_calls"), found.total("firms")) == (2, 2)
    assert found.lines[0].text == "earnings calls (one per firm and event)"
    assert "2023Q1,total,firm_calls,earnings calls (one per firm and event),2\n" in to_csv(found)
    assert r"Earnings calls (one per firm and event) & $2$ \\" in to_latex(found)


def check_adds_up(found: Attrition) -> None:
    """Every total is the one before it less the drops between them; no drop is empty."""
    left = found.lines[0].n
    for line in found.lines[1:]:
        assert line.n > 0 or line.kind == "total"
        left -= line.n if line.kind == "drop" else 0
        if line.kind == "total":
            assert line.n == left


@given(st.lists(FATES, max_size=40), st.integers(0, 3))
def test_the_lines_add_up_and_every_firm_has_one_reason(fates: list[str], n_others: int) -> None:
    """Whatever becomes of the firms, the waterfall accounts for each of them once."""
    found = build_attrition(*build(fates, n_others))
    check_adds_up(found)
    others = n_others if fates else 0
    assert found.total("firm_calls") == len(fates) + others
    assert found.total("firms") == len(fates)
    assert found.total("kept") == sum(fate not in LOST for fate in fates)
    assert found.total("with_sentences") == fates.count("sentences")
    drops = {line.name: line.n for line in found.lines if line.kind == "drop"}
    drops.pop("other_call", 0)
    assert drops == {fate: n for fate, n in Counter(fates).items() if fate != "sentences"}


def make_run(done: list[str], failed: list[str]) -> RunRecords:
    """A run of one batch."""
    spec = RunSpec(
        quarter="2023Q1",
        run_id="r1",
        created_at="2023-04-03T00:00:00+00:00",
        manifest_sha256="",
        batches_sha256="",
        model={},
        checkpoint_firms=50,
        ftm_version="",
    )
    batch = BatchLine(batch_id="b", quarter="2023Q1", firm_ids=[*done, *failed])
    progress = BatchProgress(batch_id="b", done=done, failed=dict.fromkeys(failed, "E: x"))
    return RunRecords(spec, (batch,), {"b": progress}, {})


@given(st.lists(st.sampled_from(["done", "failed", "left"]), max_size=20))
def test_a_run_goes_on_where_the_prefetch_ends(fates: list[str]) -> None:
    """Firms failed in the run, and firms it has not got to, each have their line."""
    names = {fate: [f"f{i}" for i, f in enumerate(fates) if f == fate] for fate in set(fates)}
    run = make_run(names.get("done", []), names.get("failed", []))
    found = build_attrition(*build(["sentences"] * len(fates)), run)
    check_adds_up(found)
    drops = {line.name: line.n for line in found.lines if line.kind == "drop"}
    assert found.total("clustered") == fates.count("done")
    assert drops.get("map_failed", 0) == fates.count("failed")
    assert drops.get("not_run", 0) == fates.count("left")


def test_a_manifest_of_another_plan_is_refused() -> None:
    """A firm that has sentences but no kept call would silently break the sum."""
    calls, _ = build(["no_link", "sentences"])
    _, manifest = build(["sentences", "sentences"])
    with pytest.raises(CorruptObjectError, match="do not belong together"):
        build_attrition(calls, manifest)


def test_csv_has_every_line_and_quotes_commas() -> None:
    """What a spreadsheet reads back is the waterfall."""
    found = build_attrition(*build(["link_type", "sentences"]))
    rows = list(csv.DictReader(io.StringIO(to_csv(found))))
    assert [(r["kind"], r["name"], int(r["n"])) for r in rows] == [
        (line.kind, line.name, line.n) for line in found.lines
    ]
    assert "CCM links exist, but of no accepted linktype and linkprim" in rows[2]["text"]


def test_latex_escapes_and_shows_drops_as_negative() -> None:
    """Underscores of wrds_gvkey must not start a subscript."""
    found = to_latex(build_attrition(*build(["no_gvkey", "sentences"])))
    assert r"\quad less: the company has no row in wrds\_gvkey & $-1$ \\" in found
    assert r"Firms with an earnings call & $2$ \\" in found
    assert found.count(r"\begin{tabular}") == found.count(r"\end{tabular}") == 1


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("a_b & 50%", r"a\_b \& 50\%"),
        ("{x}$#~^\\", r"\{x\}\$\#\textasciitilde{}\textasciicircum{}\textbackslash{}"),
    ],
)
def test_every_special_character_of_latex_is_escaped(text: str, escaped: str) -> None:
    """The text comes out of LaTeX as it went in."""
    assert escape_latex(text) == escaped


def test_a_run_with_more_firms_than_its_prefetch_is_refused() -> None:
    """A waterfall never gains firms: the records contradict each other, and that is said."""
    calls, manifest = build(["sentences"] * 2)
    with pytest.raises(CorruptObjectError, match="cannot lose -1 of 2 firms"):
        build_attrition(calls, manifest, make_run(["f0", "f1", "f2"], []))
