"""`ftm verify`: what of a quarter is damaged, gone or left over, and that nothing else is said."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from functools import cache

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ftm.care.faults import Fault, Grade, Verification
from ftm.care.verify import verify_quarter
from ftm.core.errors import ManifestNotFoundError
from ftm.core.layout import PrefetchLayout, current_pointer
from ftm.core.schemas import CHUNK
from ftm.reduce.assign_quarter import assign_quarter
from ftm.reduce.link_quarters import link_quarters
from ftm.storage.manifest import decode_manifest, encode_manifest
from ftm.storage.object_store import ObjectStore, open_store
from ftm.storage.parquet import from_bytes
from ftm.storage.parquet_layout import write_firm_file
from ftm.storage.sealed import SEAL
from tests.support.fake_source import FakeSource
from tests.support.planted_run import plant_run
from tests.support.planted_stages import do_all
from tests.support.prefetch_quarter import (
    LAYOUT,
    QUARTER,
    Killed,
    everything,
    firms,
    killed_at,
    manifest,
    prefetch,
)

NEXT = LAYOUT.quarter.next()
LAYOUT_OF_NEXT = PrefetchLayout(NEXT)
ROOTS = ("prefetch/transcripts/quarter=", "processed/quarter=", "series/quarter=")
ROOTS += ("runs/", "progress/")


@cache
def prefetched() -> dict[str, bytes]:
    """Objects of a prefetched quarter: three chunks, a skipped and a failed firm."""
    store = open_store("memory://")
    texts = {"1001": [], "1006": ["BAD"], "1008": ["Two words.", "And more."]}
    prefetch(store, FakeSource(firms(11), dropped={"9": "no_link"}, texts=texts))
    return everything(store)


@cache
def packaged() -> dict[str, bytes]:
    """Objects of two quarters with runs, published, linked, the second also assigned."""
    store = open_store("memory://")
    for quarter in (LAYOUT.quarter, NEXT):
        do_all(plant_run(store, [(0, 1), (0, 1, 2), (0, 2), (1, 2)], quarter=quarter))
    link_quarters(store, [LAYOUT.quarter, NEXT])
    assign_quarter(store, NEXT, LAYOUT.quarter)
    return everything(store)


def holding(objects: dict[str, bytes]) -> ObjectStore:
    """A store of these objects."""
    store = open_store("memory://")
    for key, data in objects.items():
        store.put(key, data)
    return store


def found_in(
    objects: dict[str, bytes], quarter: object = QUARTER, *, deep: bool = True
) -> Verification:
    """What is found in a store of these objects."""
    return verify_quarter(holding(objects), str(quarter), deep=deep)


def damaged_keys(found: Verification) -> set[str]:
    """Keys of what is damaged."""
    return {fault.key for fault in found.damaged}


@pytest.mark.parametrize("deep", [False, True])
def test_a_quarter_in_order_has_no_fault_and_all_of_it_is_looked_at(deep: bool) -> None:
    """Every object of the store is counted, with its size."""
    told: list[Fault] = []
    objects = prefetched()
    found = verify_quarter(holding(objects), QUARTER, deep=deep, tell=told.append)
    assert (found.faults, told) == ((), [])
    assert (found.n_objects, found.size_bytes) == (len(objects), sum(map(len, objects.values())))


@pytest.mark.parametrize("deep", [False, True])
def test_a_run_in_order_has_no_fault(deep: bool) -> None:
    """Nor have its published, linked and assigned tables; linking wrote the panel anew."""
    for quarter in (LAYOUT.quarter, NEXT):
        found = found_in(packaged(), quarter, deep=deep)
        tables = {key.rpartition("/")[2].partition(".")[0] for key in superseded(found)}
        assert len(found.faults) == len(superseded(found))
        assert tables == {"panel"}


def superseded(found: Verification) -> list[str]:
    """Keys of tables that were written differently later."""
    return [f.key for f in found.faults if "an earlier version" in f.what]


@settings(max_examples=150)
@given(st.data())
def test_every_byte_of_a_prefetch_matters_or_is_harmless(data: st.DataObject) -> None:
    """A flipped bit or a lost end of any object is found under its key, or changes nothing."""
    objects = prefetched()
    key = data.draw(st.sampled_from(sorted(objects)))
    whole = objects[key]
    at = data.draw(st.integers(0, len(whole) - 1))
    bit = data.draw(st.integers(0, 8))
    other = whole[:at] if bit == 8 else whole[:at] + bytes([whole[at] ^ 1 << bit]) + whole[at + 1 :]
    found = found_in({**objects, key: other})
    if key == LAYOUT.manifest and not found.damaged:
        # Of gzip's ten first bytes some are for people: time, compression, operating system.
        assert at < 10
        assert encode_manifest(decode_manifest(other, key=key)) == whole
        return
    assert key in damaged_keys(found)


@settings(max_examples=300)
@given(st.data())
def test_every_byte_of_what_a_run_made_matters(data: st.DataObject) -> None:
    """Parts, tables, records, pointers, series: a flip anywhere is found under its key."""
    objects = packaged()
    old = superseded(found_in(objects, NEXT))
    own = [k for k in objects if f"/{NEXT}/" in k or f"quarter={NEXT}/" in k]
    key = data.draw(st.sampled_from(sorted(k for k in own if k not in old)))
    whole = objects[key]
    at = data.draw(st.integers(0, len(whole) - 1))
    other = bytearray(whole)
    other[at] ^= 1 << data.draw(st.integers(0, 7))
    if key not in damaged_keys(found_in({**objects, key: bytes(other)}, NEXT)):
        assert is_harmless(whole, bytes(other), at)


def is_harmless(whole: bytes, other: bytes, at: int) -> bool:
    """Whether it is one of the first bytes of gzip, or only the name of a record's own hash."""
    if whole[:2] == b"\x1f\x8b":
        return at < 10 and gzip.decompress(other) == gzip.decompress(whole)
    name = whole.find(SEAL.encode())
    return name <= at < name + len(SEAL) and len(json.loads(other)) == len(json.loads(whole))


def shifted(table: pa.Table) -> pa.Table:
    """Positions from 1 on."""
    return table.set_column(10, table.schema.field(10), pc.add(table["position"], 1).cast("int32"))


def of_another_call(table: pa.Table) -> pa.Table:
    """The last firm with another PERMNO than the plan's."""
    other = pc.if_else(pc.equal(table["firm_id"], "1002"), 77, table["permno"])
    return table.set_column(2, table.schema.field(2), other.cast("int64"))


def without_a_sentence(table: pa.Table) -> pa.Table:
    """The file's last one is missing."""
    return table.slice(0, table.num_rows - 1)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (shifted, "the sentences of firm 1000 are not numbered from 0 on"),
        (of_another_call, "firm 1002 is there with another call than the plan's"),
        (without_a_sentence, "its speaker turns do not fit its sentences"),
        (without_a_sentence, "sentences, its chunks hold"),
    ],
)
def test_a_wrong_writer_is_found_though_every_hash_fits(
    change: Callable[[pa.Table], pa.Table], expected: str
) -> None:
    """What is in the files is compared with the plan and the turns, too."""
    file = "chunk_0000.parquet"
    objects = dict(prefetched())
    old = manifest(holding(objects))
    table = change(from_bytes(objects[LAYOUT.key(file)], CHUNK))
    objects[LAYOUT.key(file)], entry = write_firm_file(table, CHUNK)
    objects[LAYOUT.manifest] = encode_manifest(
        old.model_copy(update={"chunks": {**old.chunks, file: entry}})
    )
    whats = [fault.what for fault in found_in(objects).damaged]
    assert any(expected in what for what in whats), whats


def test_a_manifest_of_other_firms_is_found() -> None:
    """The hashes fit, the names do not: a firm would be looked for in the wrong row group."""
    objects = dict(prefetched())
    text = gzip.decompress(objects[LAYOUT.manifest]).decode()
    objects[LAYOUT.manifest] = text.replace('"1002"', '"1012"').encode()
    whats = {fault.key: fault.what for fault in found_in(objects).damaged}
    assert "other firms" in whats[LAYOUT.key("chunk_0000.parquet")]
    # Told last: that this manifest holds a firm that the plan does not keep.
    assert "it holds firm 1012, which the plan does not keep" in whats[LAYOUT.manifest]


def test_a_lost_firm_is_found() -> None:
    """The plan keeps it, and a manifest that says it is complete names it nowhere."""
    objects = dict(prefetched())
    whole = manifest(holding(objects))
    objects[LAYOUT.manifest] = encode_manifest(whole.model_copy(update={"skipped": {}}))
    (fault,) = found_in(objects).damaged
    assert fault.key == LAYOUT.manifest
    assert "complete, and firm 1001 of the plan is not in it" in fault.what


@pytest.mark.parametrize("deep", [False, True])
def test_any_object_that_is_gone_is_named(deep: bool) -> None:
    """Of everything that is recorded somewhere; what only records is missed where it is needed."""
    objects = packaged()
    old = superseded(found_in(objects, NEXT))
    unneeded = (*old, "/jobs/", "/claims/", "/lease", "_current.json", "link.json")
    for key in sorted(key for key in objects if str(NEXT) in key):
        if any(word in key for word in unneeded) or key.startswith("progress/"):
            continue
        if key == LAYOUT_OF_NEXT.manifest:
            continue
        rest = {k: v for k, v in objects.items() if k != key}
        assert key in damaged_keys(found_in(rest, NEXT, deep=deep)), key


def test_without_deep_sizes_and_footers_are_seen_and_bodies_are_not() -> None:
    """A cut file and a damaged footer are found by reading a few hundred bytes; the body is not."""
    objects = prefetched()
    key = LAYOUT.key("chunk_0001.parquet")
    footer = manifest(holding(objects)).chunks["chunk_0001.parquet"].footer
    for at, expected in ((footer.offset + 3, {key}), (40, set())):
        other = bytearray(objects[key])
        other[at] ^= 1
        assert damaged_keys(found_in({**objects, key: bytes(other)}, deep=False)) == expected
    cut = found_in({**objects, key: objects[key][:-1]}, deep=False)
    assert f"{len(objects[key]) - 1:,} bytes" in cut.damaged[0].what
    assert "--repair" in cut.damaged[0].fix
    assert "--deep" not in cut.damaged[0].fix


def test_an_object_without_bytes_is_seen_without_reading() -> None:
    """Where no size is on record: a part of a run."""
    key = next(key for key in sorted(packaged()) if key.startswith("intermediate/firm-topics/"))
    found = found_in({**packaged(), key: b""}, deep=False)
    assert [fault.what for fault in found.damaged if fault.key == key] == ["it is empty"]


@pytest.mark.parametrize("deep", [False, True])
def test_turns_of_firms_that_left_no_sentence_are_looked_at(deep: bool) -> None:
    """Their file has no chunk beside it, and can be made anew like any other."""
    store = open_store("memory://")
    silent = {firm: [""] for firm in firms(5)[4:]}
    prefetch(store, FakeSource(firms(5), texts=silent))
    named = manifest(store)
    (file,) = {f.replace("components", "chunk") for f in named.components} - named.chunks.keys()
    file = file.replace("chunk", "components")
    store.delete(LAYOUT.key(file))
    found = verify_quarter(store, QUARTER, deep=deep)
    assert [(fault.key, fault.what) for fault in found.damaged] == [
        (LAYOUT.key(file), "it is gone")
    ]
    assert found.repairable == [file]


def test_what_nothing_names_is_left_over_and_damages_nothing() -> None:
    """An orphan of a killed writer, and the generation before a refresh."""
    store = holding(prefetched())
    before = set(everything(store)) - {LAYOUT.manifest}
    prefetch(store, FakeSource(firms(11), version="v2"), refresh=True)
    store.put(LAYOUT.key("gen=0002/chunk_0007.parquet"), b"PAR1")
    found = verify_quarter(store, QUARTER, deep=True)
    left = {fault.key for fault in found.faults if fault.grade is Grade.LEFT_OVER}
    assert found.damaged == []
    assert left == before | {LAYOUT.key("gen=0002/chunk_0007.parquet")}


def test_a_generation_that_a_run_reads_is_not_left_over() -> None:
    """A refresh pulls no chunk from under a run, so it is not called rubbish either."""
    objects = packaged()
    store = holding(objects)
    prefetch(store, FakeSource(firms(3)), refresh=True, accept_losses=True, chunk=None, part=100)
    found = verify_quarter(store, QUARTER)
    old = {key for key in objects if key.startswith(f"{LAYOUT.root}/") and "manifest" not in key}
    assert old
    assert not old & {fault.key for fault in found.faults}


def test_an_unfinished_prefetch_is_a_note_and_its_parts_are_its_own() -> None:
    """Killed at any write, a quarter has no damage, and says how to go on."""
    n_notes = 0
    for boundary in range(0, 60, 3):
        store = open_store("memory://")
        try:
            with killed_at(store, boundary):
                prefetch(store, FakeSource(firms(9)))
        except Killed:
            pass
        try:
            found = verify_quarter(store, QUARTER, deep=True)
        except ManifestNotFoundError:
            continue
        assert found.damaged == []
        notes = [fault for fault in found.faults if fault.grade is Grade.NOTE]
        assert all("ftm prefetch --quarter 2023Q1" in note.fix for note in notes)
        n_notes += bool(notes)
    assert n_notes > 5


def test_a_part_that_no_batch_lists_is_left_over() -> None:
    """A worker that died after a part and before its record leaves one."""
    objects = packaged()
    part = next(key for key in objects if "firm-topics" in key and str(NEXT) in key)
    stray = part.replace("_part_0000", "_part_0009")
    found = found_in({**objects, stray: objects[part]}, NEXT)
    left = [fault.key for fault in found.faults if fault.key not in superseded(found)]
    assert (left, found.damaged) == ([stray], [])


@pytest.mark.parametrize(
    "record", ["prefetch/", "_current.json", "link.json", "spec.json", "batch_0000.json"]
)
def test_a_record_that_cannot_be_read_is_one_fault_with_its_fix(record: str) -> None:
    """A nonsense record stops no verification; it is named, and so is what to do."""
    objects = packaged()
    wanted = LAYOUT.manifest if record == "prefetch/" else record
    own_keys = [k for k in objects if k.startswith(tuple(f"{root}{QUARTER}/" for root in ROOTS))]
    key = next(key for key in own_keys if key.endswith(wanted))
    found = found_in({**objects, key: b"{nonsense"})
    own = [fault for fault in found.damaged if fault.key == key]
    assert len(own) == 1
    assert own[0].fix


def test_a_quarter_that_is_not_there_is_an_error() -> None:
    """As everywhere; nothing to verify is not the same as in order."""
    with pytest.raises(ManifestNotFoundError, match="2023Q1 is not prefetched"):
        verify_quarter(open_store("memory://"), QUARTER)


def test_the_pointer_is_not_needed_for_a_quarter_without_themes() -> None:
    """A quarter that is only prefetched, or run and not published, is in order."""
    objects = {k: v for k, v in packaged().items() if k != current_pointer(NEXT)}
    assert found_in(objects, NEXT).damaged == []
