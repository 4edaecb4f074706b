"""The prefetch manifest: what is written is read, what is damaged is refused."""

from __future__ import annotations

import gzip
import json
from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftm.core.errors import CorruptObjectError, ManifestNotFoundError, ManifestVersionError
from ftm.core.layout import PrefetchLayout
from ftm.core.schemas import MANIFEST_VERSION
from ftm.storage.manifest import (
    PrefetchManifest,
    decode_manifest,
    encode_manifest,
    load_manifest,
    prefetched_quarters,
)
from ftm.storage.object_store import ObjectStore, open_store
from tests.support.stored_quarter import QUARTER, firm, store_quarter

KEY = "s3://bucket/manifest.json"


@cache
def example() -> PrefetchManifest:
    """25 firms in two chunks, some skipped and failed."""
    firms = [firm(number, n_sentences=2) for number in range(25)]
    return store_quarter(
        open_store("memory://"),
        firms,
        firms_per_chunk=15,
        skipped={"7": "operator_only"},
        failed={"8": "PreprocessingError: no"},
    )


def changed(**fields: Any) -> bytes:
    """The example's JSON, not gzipped, with some fields replaced."""
    return json.dumps({**example().model_dump(mode="json"), **fields}).encode()


def decoded_or_error(data: bytes) -> PrefetchManifest | CorruptObjectError:
    """What decoding gives, its one kind of error included."""
    try:
        return decode_manifest(data, key=KEY)
    except CorruptObjectError as error:
        return error


def test_round_trip_gives_the_same_manifest_and_the_same_bytes() -> None:
    """Encoding is deterministic: no time stamp, no file name, sorted keys."""
    data = encode_manifest(example())
    assert decode_manifest(data, key=KEY) == example()
    reordered = dict(reversed(example().firm_to_chunk.items()))
    assert encode_manifest(example().model_copy(update={"firm_to_chunk": reordered})) == data
    assert data[:10] == b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\xff"


_TEXT = st.dictionaries(st.text(min_size=1), st.text(), max_size=4)


@given(skipped=_TEXT, preprocessing=_TEXT, vintage=st.none() | st.text(), made=st.text())
def test_any_text_round_trips(
    skipped: dict[str, str], preprocessing: dict[str, str], vintage: str | None, made: str
) -> None:
    """Reasons, fingerprints and dates hold any text, also beyond ASCII."""
    skipped = {f"x{name}": reason for name, reason in skipped.items()}
    source = example().source.model_copy(update={"link_vintage": vintage})
    manifest = example().model_copy(
        update={
            "skipped": skipped,
            "preprocessing": preprocessing,
            "created_at": made,
            "source": source,
        }
    )
    assert decode_manifest(encode_manifest(manifest), key=KEY) == manifest


def test_plain_json_is_read_too() -> None:
    """Gzip is told by the first two bytes: a client may have unpacked it on the way."""
    assert decode_manifest(changed(), key=KEY) == example()


def test_a_manifest_of_before_chunk_size_was_recorded_keeps_its_bytes() -> None:
    """It loads, and a run's copy of it, whose hash is in the run's id, is what it was."""
    fields = example().model_dump(mode="json")
    del fields["chunk_size"]
    text = json.dumps(fields, sort_keys=True, indent=1) + "\n"
    older = decode_manifest(text.encode(), key=KEY)
    assert older.chunk_size is None
    assert gzip.decompress(encode_manifest(older)).decode() == text


def test_fields_of_a_later_ftm_are_ignored() -> None:
    """The same schema_version with an extra field is readable."""
    assert decode_manifest(changed(novelty=[1]), key=KEY) == example()


def test_a_newer_schema_asks_for_an_upgrade() -> None:
    """Even if nothing else in it can be understood."""
    newer = MANIFEST_VERSION + 1
    with pytest.raises(ManifestVersionError, match=rf"{KEY}.*{newer}.*install the ftm that"):
        decode_manifest(json.dumps({"schema_version": newer}).encode(), key=KEY)


@given(position=st.integers(min_value=0), bit=st.integers(0, 7))
def test_any_flipped_bit_is_detected_or_harmless(position: int, bit: int) -> None:
    """A bit anywhere in the object: the same manifest, or an error that names the object."""
    data = bytearray(encode_manifest(example()))
    data[position % len(data)] ^= 1 << bit
    found = decoded_or_error(bytes(data))
    if isinstance(found, CorruptObjectError):
        assert KEY in str(found)
        assert found.key == KEY
    else:
        assert found == example()


@given(st.integers(min_value=0))
def test_any_truncation_is_detected(length: int) -> None:
    """A prefix of the object is never a manifest, gzipped or not."""
    for data in (encode_manifest(example()), changed()):
        with pytest.raises(CorruptObjectError, match="damaged"):
            decode_manifest(data[: length % len(data)], key=KEY)


@given(st.binary(max_size=200))
def test_any_other_bytes_are_refused(data: bytes) -> None:
    """Whatever lies there instead gives one kind of error."""
    with pytest.raises(CorruptObjectError):
        decode_manifest(data, key=KEY)


CHUNK_0, CHUNK_1 = "chunk_0000.parquet", "chunk_0001.parquet"


def _entry(**fields: Any) -> dict[str, Any]:
    chunks = example().model_dump(mode="json")["chunks"]
    return {**chunks, CHUNK_0: {**chunks[CHUNK_0], **fields}}


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"n_firms": 24}, "n_firms is 24"),
        ({"n_chunks": 3}, "n_chunks is 3"),
        ({"n_firms": "many"}, "field n_firms"),
        ({"chunk_sizes": {CHUNK_0: 10, CHUNK_1: 15}}, "chunk_sizes"),
        ({"chunk_size": 14}, "chunk_size is 14, expected 15 or more"),
        ({"firm_to_chunk": {"1": "chunk_9.parquet"}, "n_firms": 1}, "chunk_9"),
        ({"skipped": {"100001": "no_text"}}, "firm 100001 is in more than one"),
        ({"failed": {"7": "boom"}}, "firm 7 is in more than one"),
        ({"generation": 0}, "generation is 0"),
        ({"quarter": "2023Q7"}, "2023Q7"),
        ({"schema_version": "1"}, "schema_version"),
        ({"schema_version": True}, "schema_version"),
        ({"schema_version": 0}, "schema_version"),
        ({"chunks": _entry(bytes=5)}, "the footer ends at"),
        ({"chunks": _entry(row_groups=[])}, "chunk_0000"),
        ({"chunks": _entry(footer={"offset": 4, "bytes": 9, "sha256": ""})}, "a range starts at 4"),
        ({"chunks": {}}, "n_chunks"),
    ],
)
def test_a_manifest_that_contradicts_itself_is_refused(
    fields: dict[str, Any], problem: str
) -> None:
    """The message says which field, and how to mend it."""
    with pytest.raises(CorruptObjectError, match=rf"{problem}.*--refresh"):
        decode_manifest(changed(**fields), key=KEY)


def test_a_firm_moved_to_another_chunk_is_refused() -> None:
    """firm_to_chunk and the row groups must agree firm by firm, not only in number."""
    firms = dict(example().firm_to_chunk)
    firms["100000"], firms["100020"] = firms["100020"], firms["100000"]
    with pytest.raises(CorruptObjectError, match="firm_to_chunk does not say so"):
        decode_manifest(changed(firm_to_chunk=firms), key=KEY)


def test_a_file_name_that_leaves_the_folder_is_refused() -> None:
    """A manifest cannot make a reader leave the quarter."""
    text = changed().decode().replace(CHUNK_0, "../../x.parquet")
    with pytest.raises(CorruptObjectError, match="leaves the quarter's folder"):
        decode_manifest(text.encode(), key=KEY)


def test_loads_what_was_stored(store: ObjectStore) -> None:
    """From memory, file and S3 alike."""
    manifest = store_quarter(store, [firm(1)])
    assert load_manifest(store, QUARTER) == manifest
    assert load_manifest(store, "2023Q1") == manifest
    assert prefetched_quarters(store) == [QUARTER]


def test_a_missing_manifest_names_the_command_and_what_exists(store: ObjectStore) -> None:
    """An unfinished prefetch (no manifest yet) does not count as prefetched."""
    store_quarter(store, [firm(1)])
    store.put("prefetch/transcripts/quarter=2023Q2/_checkpoint.json", b"{}")
    store.put("prefetch/transcripts/readme/x", b"")
    with pytest.raises(
        ManifestNotFoundError, match=r"2023Q2 is not .*prefetched are 2023Q1\); run `ftm prefetch"
    ):
        load_manifest(store, "2023Q2")


def test_another_quarters_manifest_is_refused() -> None:
    """A folder copied to the wrong place is noticed."""
    store = open_store("memory://")
    store_quarter(store, [firm(1)])
    store.put(PrefetchLayout(QUARTER.next()).manifest, store.get(PrefetchLayout(QUARTER).manifest))
    with pytest.raises(CorruptObjectError, match="it is the manifest of 2023Q1"):
        load_manifest(store, QUARTER.next())


def test_a_few_bytes_that_unpack_to_gigabytes_are_refused() -> None:
    """Gzip makes a thousandth of blanks; no manifest has 64 MiB, so no more is unpacked."""
    bomb = gzip.compress(b" " * (64 * 1024 * 1024 + 1), compresslevel=1)
    assert len(bomb) < 1_000_000
    with pytest.raises(CorruptObjectError, match="more than 67108864 bytes when unpacked"):
        decode_manifest(bomb, key=KEY)
