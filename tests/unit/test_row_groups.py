"""Range reads: hashes first, one more fetch, then an error that names what is damaged."""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from obstore.store import MemoryStore

from ftm.connectors.s3_connector import S3TranscriptConnector
from ftm.core.errors import CorruptObjectError
from ftm.core.layout import PrefetchLayout
from ftm.core.schemas import CHUNK
from ftm.storage.manifest import FileEntry
from ftm.storage.object_store import ObjectStore, open_store
from ftm.storage.row_groups import FirmFileReader
from tests.support.s3_server import Answer, Bucket
from tests.support.stored_quarter import QUARTER, chunk_file, firm, store_quarter

FIRMS = [firm(number, n_sentences=4) for number in range(25)]
DATA, ENTRY = chunk_file(FIRMS)
KEY = "quarter/chunk_0000.parquet"


def reader(store: ObjectStore, entry: FileEntry = ENTRY) -> FirmFileReader:
    """A reader that believes the original chunk's manifest entry."""
    return FirmFileReader(store, KEY, entry, schema=CHUNK, mend="ftm prefetch --refresh")


def stored(data: bytes) -> ObjectStore:
    """A store whose chunk has these bytes."""
    store = open_store("memory://")
    store.put(KEY, data)
    return store


def group_or_error(data: bytes, group: int) -> pa.Table | CorruptObjectError:
    """What reading a row group gives, its one kind of error included."""
    try:
        return reader(stored(data)).read_group(group)
    except CorruptObjectError as error:
        return error


def test_groups_are_read_one_by_one(store: ObjectStore) -> None:
    """On every store a row group has exactly its firms, and the whole is their sum."""
    store.put(KEY, DATA)
    chunk = reader(store)
    groups = [chunk.read_group(number) for number in range(chunk.n_groups)]
    assert [group.num_rows for group in groups] == [40, 40, 20]
    assert chunk.read_all().num_rows == 100
    assert chunk.group_of[FIRMS[12].firm_id] == 1
    assert chunk.facts()[FIRMS[3].firm_id].n_components == 6


@given(position=st.integers(0, len(DATA) - 1), bit=st.integers(0, 7), group=st.integers(0, 2))
def test_any_flipped_bit_is_detected_or_harmless(position: int, bit: int, group: int) -> None:
    """Wherever it is: the right rows, or an error naming file and command, never other rows."""
    damaged = bytearray(DATA)
    damaged[position] ^= 1 << bit
    found = group_or_error(bytes(damaged), group)
    if isinstance(found, CorruptObjectError):
        assert KEY in str(found)
        assert "ftm prefetch --refresh" in str(found)
    else:
        assert found.equals(reader(stored(DATA)).read_group(group))
    with pytest.raises(CorruptObjectError):
        reader(stored(bytes(damaged))).read_all()


@given(st.integers(0, len(DATA) - 1))
def test_any_truncation_is_detected(length: int) -> None:
    """A file cut short says how long it is and how long it should be."""
    with pytest.raises(CorruptObjectError, match=f"{length} bytes.*records {len(DATA)}"):
        reader(stored(DATA[:length])).read_group(2)


def test_a_file_that_is_gone_is_an_error_of_the_quarter() -> None:
    """Named by the manifest but not there."""
    with pytest.raises(
        CorruptObjectError, match=r"names it, but it is not there.*`ftm prefetch --refresh` makes"
    ):
        reader(open_store("memory://")).read_group(0)


def test_a_firm_that_is_not_in_its_row_group_is_named() -> None:
    """Hashes right, firms wrong: the manifest was made for another file."""
    groups = [g.model_copy(update={"firms": [*g.firms, "999"]}) for g in ENTRY.row_groups]
    entry = ENTRY.model_copy(update={"row_groups": groups})
    with pytest.raises(CorruptObjectError, match=rf"{KEY}.*firm 999 is in its manifest but not in"):
        reader(stored(DATA), entry).read_group(1)


def flipping(n_times: int) -> Callable[[str, str, Callable[[], Answer]], Answer]:
    """A script that damages the first n chunk ranges on their way."""
    left = [None] * n_times

    def script(method: str, path: str, ask: Callable[[], Answer]) -> Answer:
        answer = ask()
        if method == "GET" and path.endswith("chunk_0000.parquet") and left:
            left.pop()
            answer.body = answer.body[:-1] + bytes([answer.body[-1] ^ 1])
        return answer

    return script


def test_a_transfer_that_flips_a_bit_is_fetched_again(s3: Bucket) -> None:
    """The object is fine, so a later fetch is; the user sees the firm, the log a warning."""
    store = open_store(s3.url, endpoint_url=s3.server.url)
    store.put(KEY, DATA)
    s3.server.script = flipping(2)
    assert reader(store).read_group(0).num_rows == 40
    s3.server.script = flipping(3)
    with pytest.raises(CorruptObjectError, match=r"the footer .* does not have the sha256"):
        reader(store).read_group(0)


class FlippingStore(ObjectStore):
    """In memory; its first ranges come with a bit flipped."""

    def __init__(self, n_times: int) -> None:
        super().__init__(MemoryStore(), url="memory://", scheme="memory")
        self.n_left = n_times

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """See ObjectStore."""
        data = super().get_range(key, start, length)
        self.n_left -= 1
        return data if self.n_left < 0 else bytes([data[0] ^ 1]) + data[1:]


def test_a_range_that_memory_or_a_disk_flips_is_read_once_more() -> None:
    """Not on S3 only: a second look, and then it is damage."""
    once, twice = FlippingStore(1), FlippingStore(2)
    for store in (once, twice):
        store.put(KEY, DATA)
    assert reader(once).read_group(0).num_rows == 40
    with pytest.raises(CorruptObjectError, match=r"the footer .* does not have the sha256"):
        reader(twice).read_group(0)


def test_a_damaged_chunk_leaves_the_other_row_groups_readable() -> None:
    """A flipped bit in one row group costs its firms, with the key in the error, no others."""
    store = open_store("memory://")
    manifest = store_quarter(store, FIRMS)
    key = PrefetchLayout(QUARTER).key("chunk_0000.parquet")
    data = bytearray(store.get(key))
    data[manifest.chunks["chunk_0000.parquet"].row_groups[1].offset + 5] ^= 1
    store.put(key, bytes(data))
    connector = S3TranscriptConnector(store, QUARTER)
    assert len(connector.fetch_transcripts([FIRMS[0].firm_id, FIRMS[24].firm_id])) == 2
    with pytest.raises(
        CorruptObjectError, match=r"row group 1.*--quarter 2023Q1 --deep --repair"
    ) as got:
        connector.fetch_transcripts([FIRMS[12].firm_id])
    assert got.value.key == key
