"""Any byte of any object changed: whoever reads it says which and what to do, or is right."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import cache
from itertools import combinations
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftm.analysis.attrition import read_attrition
from ftm.analysis.results import read_linked, read_result
from ftm.analysis.sql_views import StoreViews
from ftm.care.verify import verify_quarter
from ftm.connectors.s3_connector import S3TranscriptConnector
from ftm.core.errors import CorruptObjectError
from ftm.core.layout import RunLayout
from ftm.core.quarter import Quarter
from ftm.core.schemas import PROCESSED_TABLES
from ftm.mapping.batch_ledger import BatchLedger
from ftm.mapping.run_inputs import check_batch, read_batch, read_run_spec
from ftm.reduce.run_sentences import iter_sentences
from ftm.storage.assigned import ASSIGNED_TABLES
from ftm.storage.claims import claim_model, claimed_jobs
from ftm.storage.footers import read_footer
from ftm.storage.manifest import encode_manifest
from ftm.storage.object_store import ObjectStore
from ftm.storage.parquet import to_bytes
from ftm.storage.parquet_layout import parse_footer
from ftm.storage.quarter_reader import iter_chunks, read_turns, sections_of
from ftm.storage.run_reader import list_runs, read_run_manifest, read_table
from ftm.storage.run_records import (
    PLACE,
    BatchOutcome,
    BatchProgress,
    JobClaim,
    JobRecord,
    ModelClaim,
    StageOutcome,
    decode_job,
    decode_outcome,
    decode_progress,
)
from ftm.storage.sealed import MAX_BYTES, SEAL, decode_sealed, encode_sealed
from ftm.storage.stage_records import read_stage_table, require_stage
from tests.support.business_firms import QUARTER
from tests.support.damage import copy_of, damaged, examples, told
from tests.support.fake_source import FakeSource
from tests.support.linked_quarters import link_quarters
from tests.support.planted_run import RUN_ID, plant_run
from tests.support.planted_stages import do_all
from tests.support.prefetch_quarter import Killed, everything, firms, killed_at, prefetch
from tests.support.published_quarter import assign_quarter, publish_quarter

LAYOUT = RunLayout(QUARTER, RUN_ID)
FIRST, SECOND = Quarter(2016, 2), Quarter(2016, 3)
Damage = tuple[str, bytes]


@cache
def run_objects() -> dict[str, bytes]:
    """A prefetched quarter, its complete run and published tables, and all a job leaves behind."""
    store = copy_of({})
    do_all(plant_run(store, ((0, 1), (0, 1), (1, 0), (0,), ()), batch_size=3))
    job = JobRecord(name="j", stage="map", attempt=1, batch_ids=["2023Q1_batch_0000"])
    ended = BatchOutcome(batch_id="2023Q1_batch_0000", state="SUCCEEDED", seconds=2.5)
    for key, record in {
        LAYOUT.jobs("map", 1): job,
        LAYOUT.outcome("map", 1): StageOutcome(name="j", batches=[ended]),
        LAYOUT.job_claim("map", 1): JobClaim(job_id="a-1", claimed_at="2023-04-03T12:00:00+00:00"),
        LAYOUT.model_claim: MODEL,
    }.items():
        store.put(key, record.encode(key))
    return everything(store)


MODEL = ModelClaim(model={"seed": "42"}, ftm_version="0.1.0")


def read_prefetch(store: ObjectStore) -> object:
    """What a connector, the plan's reader and attrition see."""
    with S3TranscriptConnector(store, QUARTER) as connector:
        said = connector.fetch_transcripts(None).firms
    return said, read_attrition(store, QUARTER)


def read_whole_run(store: ObjectStore) -> object:
    """What later stages and loaders see."""
    (run,) = list_runs(store, QUARTER)
    assert run.is_complete
    manifest = read_run_manifest(store, LAYOUT, run.spec)
    return (
        run.spec,
        [sections_of(c, read_turns(store, manifest, c)) for c in iter_chunks(store, manifest)],
        (run.batches, run.progress),
        [read_table(store, run, name) for name in ("firm-topics", "firm-sentences")],
        read_stage_table(store, LAYOUT, require_stage(store, LAYOUT, "reduce"), "themes"),
        [read_result(store, QUARTER, table) for table in PROCESSED_TABLES],
    )


def read_jobs(store: ObjectStore) -> object:
    """What a watching command sees of what was submitted, and a worker of who may work."""
    keys = LAYOUT.jobs("map", 1), LAYOUT.outcome("map", 1)
    claim = claimed_jobs(store, LAYOUT, stage="map", attempt=1)
    return (
        decode_job(store.get(keys[0]), key=store.name(keys[0])),
        decode_outcome(store.get(keys[1]), key=store.name(keys[1])),
        (claim, claim is not None and claim.is_younger(1)),
        claim_model(store, LAYOUT, MODEL),
    )


def read_work(store: ObjectStore) -> object:
    """What a worker is told to do; parts that are not what they were are made again."""
    spec = read_run_spec(store, LAYOUT)
    line = read_batch(store, LAYOUT.batch_manifest(1), batch_id=None, index=1)
    check_batch(store, LAYOUT, spec, line)
    return spec, line


def must_be_said(
    objects: Mapping[str, bytes], damage: Damage, read: Callable[[ObjectStore], object]
) -> None:
    """Reading gives what it gave before the damage, or an error with the key and a fix."""
    key, data = damage
    store = store_of(objects)
    store.put(key, data)
    try:
        found = told(lambda: read(store), key)
    finally:
        store.put(key, objects[key])
    if found is not None:
        if (read, id(objects)) not in _EXPECTED:
            _EXPECTED[read, id(objects)] = read(store)
        assert found == _EXPECTED[read, id(objects)]


_STORES: dict[int, ObjectStore] = {}
_EXPECTED: dict[tuple[object, int], object] = {}


def store_of(objects: Mapping[str, bytes]) -> ObjectStore:
    """A store with these; whoever damages one puts it right again."""
    if id(objects) not in _STORES:
        _STORES[id(objects)] = copy_of(objects)
    return _STORES[id(objects)]


def part_of(objects: Mapping[str, bytes], *prefixes: str) -> dict[str, bytes]:
    """Those below a prefix."""
    found = {k: v for k, v in objects.items() if k.startswith(prefixes)}
    assert found
    return found


@examples(40)
@given(st.data())
def test_a_prefetch_with_any_damage_is_not_read_wrongly(data: st.DataObject) -> None:
    """Chunks, components, plan and manifest."""
    damage = data.draw(damaged(part_of(run_objects(), "prefetch/")))
    must_be_said(run_objects(), damage, read_prefetch)


@examples(40)
@given(st.data())
def test_a_run_with_any_damage_is_not_read_wrongly(data: st.DataObject) -> None:
    """Spec, batches, progress, parts, stage records and tables, what is published."""
    damage = data.draw(damaged(run_objects()))
    must_be_said(run_objects(), damage, read_whole_run)


@examples(40)
@given(st.data())
def test_a_job_with_damaged_records_does_no_wrong_work(data: st.DataObject) -> None:
    """Job records, outcomes, claims, batch manifests and specs."""
    objects = run_objects()
    damage = data.draw(damaged(part_of(objects, "runs/", "progress/", "manifests/")))
    must_be_said(objects, damage, read_jobs)
    must_be_said(objects, damage, read_work)


@examples(40)
@given(st.data())
def test_a_worker_takes_up_no_damaged_batch_as_it_is(data: st.DataObject) -> None:
    """What its record lists after resuming is whole, the rest is pending, or it stops."""
    own = ("2023Q1_batch_0000",)
    objects = {k: v for k, v in run_objects().items() if own[0] in k}
    key, changed = data.draw(damaged(objects))
    store = copy_of(run_objects())
    store.put(key, changed)
    line = read_batch(store, LAYOUT.batch_manifest(1), batch_id=own[0], index=None)
    ledger = BatchLedger(store, LAYOUT, line, part_firms=50, unavailable={})
    if told(lambda: ledger.resume() or True, key) is None:
        return
    intact = {k for k, v in objects.items() if store.get(k) == v}
    assert {k.rpartition("/")[2] for k in ledger.progress.parts} <= {
        k.rpartition("/")[2] for k in intact
    }
    whole = not list(ledger.pending())
    assert whole or not ledger.progress.complete
    assert whole == (ledger.progress.done == line.firm_ids)


@cache
def published_objects() -> dict[str, bytes]:
    """Two published quarters, linked, the second one also scored with the themes of the first."""
    store = copy_of({})
    for quarter in (FIRST, SECOND):
        publish_quarter(store, quarter)
    link_quarters(store, [FIRST, SECOND])
    assign_quarter(store, SECOND, themes_from=FIRST)
    return everything(store)


def read_published_things(store: ObjectStore) -> object:
    """What loaders and SQL give."""
    views = StoreViews(store)
    return (
        [read_result(store, q, t) for q in (FIRST, SECOND) for t in PROCESSED_TABLES],
        [read_result(store, SECOND, t, themes_from=FIRST) for t in ASSIGNED_TABLES],
        [read_linked(store, t) for t in ("series", "theme_links")],
        [views.scan(t).read_all() for t in ("themes", "panel", "panel_assigned", "series")],
        [views.count(t) for t in ("themes", "panel", "panel_assigned", "series", "calls")],
    )


@examples(40)
@given(st.data())
def test_published_tables_with_any_damage_are_not_read_wrongly(data: st.DataObject) -> None:
    """Pointers, tables, links, series, assigned tables and pointers: loaders and SQL."""
    objects = published_objects()
    damage = data.draw(damaged(part_of(objects, "processed/", "series/", "assigned/")))
    must_be_said(objects, damage, read_published_things)


@examples(40)
@given(st.data())
def test_the_rows_that_sql_counts_by_footers_are_right(data: st.DataObject) -> None:
    """No hash is asked for a count, so footers must not contradict themselves."""
    objects = published_objects()
    key, changed = data.draw(
        damaged(part_of(objects, "processed/quarter=2016Q2/run=run2016Q2/themes.p"))
    )
    tail = min(len(changed), len(objects[key]), 600)
    changed = objects[key][:-tail] + changed[-tail:]
    store = copy_of(objects)
    store.put(key, changed)
    assert told(lambda: StoreViews(store).count("themes"), key) in (None, 8)


@cache
def interrupted(nth: int) -> dict[str, bytes]:
    """A prefetch of eleven firms that died at a write."""
    store = copy_of({})
    with killed_at(store, nth), pytest.raises(Killed):
        prefetch(store, FakeSource(firms(11)))
    return everything(store)


@cache
def whole_prefetch() -> dict[str, bytes]:
    """The same prefetch, undisturbed."""
    store = copy_of({})
    prefetch(store, FakeSource(firms(11)))
    return everything(store)


@examples(50)
@given(data=st.data(), nth=st.sampled_from([8, 14, 21, 30]))
def test_a_damaged_unfinished_prefetch_ends_as_an_undamaged_one_or_says_why(
    data: st.DataObject, nth: int
) -> None:
    """Checkpoint, plan and closed chunks: never another quarter than the whole one.

    A part costs its firms only: they are read again, unasked.
    """
    objects = interrupted(nth)
    key, changed = data.draw(damaged(objects))
    store = copy_of(objects)
    store.put(key, changed)
    is_done = told(lambda: prefetch(store, FakeSource(firms(11))), key) is not None
    assert is_done or "/_parts/" not in key
    if is_done:
        found = everything(store)
        if key.rpartition("/")[2].startswith(("chunk_0", "components_0")):
            # Closed for ever, with its hash in the manifest: whoever reads it will say so.
            found[key] = whole_prefetch()[key]
        assert found == whole_prefetch()


def test_a_batch_that_a_later_attempts_manifest_names_with_other_firms_is_refused() -> None:
    """Otherwise one firm would be done twice and another one lost."""
    store = copy_of(run_objects())
    spec = read_run_spec(store, LAYOUT)
    line = read_batch(store, LAYOUT.batch_manifest(1), batch_id=None, index=0)
    other = line.model_copy(update={"firm_ids": ["999", *line.firm_ids[1:]]})
    with pytest.raises(CorruptObjectError, match=r"is no batch of run .*map_1.jsonl; delete it"):
        check_batch(store, LAYOUT, spec, other)


def test_a_spec_of_another_run_is_refused() -> None:
    """A folder copied to the wrong place is noticed, by who reads runs and by workers."""
    store = copy_of(run_objects())
    store.put(LAYOUT.spec.replace(RUN_ID, "other"), store.get(LAYOUT.spec))
    with pytest.raises(CorruptObjectError, match=f"other/spec.json is damaged.*{RUN_ID}/spec.json"):
        list_runs(store, QUARTER)


def test_a_stage_record_in_another_ones_place_is_refused() -> None:
    """Package would otherwise take the themes of reduce for those that were named."""
    store = copy_of(run_objects())
    store.put(LAYOUT.stage_record("name"), store.get(LAYOUT.stage_record("reduce")))
    with pytest.raises(CorruptObjectError, match=r"/name is damaged.* is the one of .*reduce"):
        require_stage(store, LAYOUT, "name")


def test_a_lost_piece_of_a_record_is_damage_wherever_it_is() -> None:
    """Every range from one punctuation mark of JSON to another, the seal's among them."""
    objects = run_objects()
    key = LAYOUT.progress("2023Q1_batch_0000")
    whole = objects[key]
    marks = {i + n for i, byte in enumerate(whole) if byte in b'{}[],:"\n ' for n in (0, 1)}
    n_json = 0
    for start, end in combinations(sorted(marks), 2):
        data = whole[:start] + whole[end:]
        try:
            is_other = json.loads(data) != json.loads(whole)
        except ValueError:
            continue
        n_json += is_other
        try:
            decode_progress(data, key=key)
        except CorruptObjectError:
            continue
        assert not is_other, (start, end)
    assert n_json > 100


def test_every_record_of_a_run_says_where_it_belongs() -> None:
    """And is refused, by its reader and by verify, where the same one of another run lies."""
    objects = run_objects()
    other = {key.replace(RUN_ID, "another-run"): key for key in objects if RUN_ID in key}
    records = [key for key in other if json_of(objects[other[key]]).get(PLACE)]
    assert len(records) == 10
    assert all(json_of(objects[other[key]])[PLACE] == other[key] for key in records)
    store = copy_of(objects)
    for key, own in other.items():
        store.put(key, store.get(own))
    said = {fault.key for fault in verify_quarter(store, QUARTER, deep=True).damaged}
    for key in set(records) - said:  # verify looks no further than to the spec
        with pytest.raises(CorruptObjectError, match="is the one of progress"):
            decode_progress(store.get(key), key=store.name(key))
    assert len(said & set(records)) == 8


def json_of(data: bytes) -> dict[str, Any]:
    """A record's fields; none of what is no single JSON object."""
    try:
        found = json.loads(data)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def test_the_manifest_of_another_generation_is_none_of_the_runs() -> None:
    """A valid one, with other links: no stage, loader or verify takes it for the run's."""
    store = copy_of(run_objects())
    (run,) = list_runs(store, QUARTER)
    own = read_run_manifest(store, LAYOUT)
    store.put(LAYOUT.manifest, encode_manifest(own.model_copy(update={"generation": 2})))
    message = "is not the manifest that run .* was planned from"
    for read in (
        lambda: read_run_manifest(store, LAYOUT),
        lambda: read_run_manifest(store, LAYOUT, run.spec),
        lambda: read_attrition(store, QUARTER, run),
        lambda: list(iter_sentences(store, run)),
    ):
        with pytest.raises(CorruptObjectError, match=message):
            read()
    assert LAYOUT.manifest in {f.key for f in verify_quarter(store, QUARTER).damaged}


OTHER_RUN = "intermediate/firm-topics/quarter=2023Q1/run=other/2023Q1_batch_0000_part_0000.parquet"


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda p: {"done": p.done[:-1]}, "is complete and speaks of 2 of 3 firms"),
        (lambda p: {"done": [*p.done, p.done[0]]}, "names firms twice, or of another batch"),
        (lambda _: {"failed": {"999": "no"}}, "names firms twice, or of another batch"),
        (lambda p: {"parts": {**p.parts, OTHER_RUN: "0"}}, "progress of another batch or run"),
        (lambda _: {"batch_id": "2023Q1_batch_0001"}, "progress of another batch or run"),
    ],
)
def test_progress_that_cannot_be_is_refused(
    change: Callable[[BatchProgress], dict[str, Any]], problem: str
) -> None:
    """A firm would be lost or counted twice, or another run's rows taken for this one's."""
    store = copy_of(run_objects())
    key = LAYOUT.progress("2023Q1_batch_0000")
    record = decode_progress(store.get(key), key=key)
    store.put(key, record.model_copy(update=change(record)).encode())
    with pytest.raises(CorruptObjectError, match=rf"batch_0000.json .*{problem}; delete it"):
        list_runs(store, QUARTER)


BOMBS = {
    "deep list": b"[" * 100_000,
    "deep object": b'{"a":' * 100_000,
    "huge number": b'{"a":' + b"9" * 10_000 + b"}",
    "a name twice": b'{"run_id":"a","run_id":"b"}',
    "not text": b"\xff\xfe\x00",
    "lone surrogate": encode_sealed({"run_id": "\ud800"}),
    "another folder": encode_sealed({"run_id": "../../x"}),
}


@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS)
@pytest.mark.parametrize(
    "key",
    [
        LAYOUT.spec,
        LAYOUT.progress("2023Q1_batch_0000"),
        LAYOUT.stage_record("reduce"),
        "processed/quarter=2023Q1/_current.json",
        LAYOUT.manifest,
    ],
)
def test_json_bombs_are_damage_like_any_other(key: str, bomb: bytes) -> None:
    """Nesting, numbers and names that no ftm writes: one line, no traceback."""
    store = copy_of(run_objects())
    store.put(key, bomb)
    assert told(lambda: read_whole_run(store), key) is None


@given(st.dictionaries(st.text(), st.none() | st.text() | st.integers() | st.floats(), max_size=5))
def test_a_sealed_document_is_read_as_it_was(fields: dict[str, Any]) -> None:
    """Whatever it holds."""
    fields.pop(SEAL, None)
    data = encode_sealed(fields)
    # NaN is not equal to itself.
    assert repr(decode_sealed(data)) == repr(dict(sorted(fields.items())))


def test_a_document_without_its_seal_is_damage() -> None:
    """As with another one: what took the seal away may have taken more."""
    assert decode_sealed(encode_sealed({"run_id": "a"})) == {"run_id": "a"}
    with pytest.raises(ValueError, match="its own hash is missing"):
        decode_sealed(b'{"run_id": "a"}')
    with pytest.raises(ValueError, match="its own hash differs"):
        decode_sealed(encode_sealed({"run_id": "a"}).replace(b'"a"', b'"b"'))


@pytest.mark.parametrize("text", [b'{"a":1,"a":1}', b'{"a":{"b":1,"b":2}}'])
def test_a_document_that_names_something_twice_is_refused(text: bytes) -> None:
    """Which of the two would be read is the parser's business."""
    with pytest.raises(ValueError, match="a name comes twice"):
        decode_sealed(text)


def test_a_document_larger_than_any_of_ours_is_not_parsed() -> None:
    """Valid as it is: blanks would be read for as long as somebody likes."""
    text = encode_sealed({"a": 1})
    assert decode_sealed(text.ljust(MAX_BYTES)) == {"a": 1}
    with pytest.raises(ValueError, match="more than any document of ftm has"):
        decode_sealed(text.ljust(MAX_BYTES + 1))


def test_a_footer_that_counts_other_rows_contradicts_itself() -> None:
    """Every bit whose flip leaves a footer that can be parsed and counts something else."""
    data = to_bytes(pa.table({"a": pa.array(range(8))}), pa.schema([("a", pa.int64())]))
    n_found = 0
    for bit in range(8 * (len(data) - 400), 8 * (len(data) - 8)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        try:
            n_rows = parse_footer(bytes(flipped)).num_rows
        except CorruptObjectError:
            continue
        if n_rows != 8:
            store = copy_of({"a.parquet": bytes(flipped)})
            with pytest.raises(CorruptObjectError, match=r"a.parquet: its footer contradicts"):
                read_footer(store, "a.parquet")
            n_found += 1
    assert n_found
