"""Reading files of whole firms by range: the footer once, then only the row groups wanted.

Every range is hashed before pyarrow sees it. A range that differs is fetched again (a transfer
can flip a bit), after that the object itself is damaged.
"""

from __future__ import annotations

import logging
import time
from hashlib import sha256
from threading import Lock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ftm.core.errors import (
    CorruptObjectError,
    ObjectNotFoundError,
    StoreError,
    StoreUnavailableError,
)
from ftm.core.plain import one_line
from ftm.storage.checked import looks
from ftm.storage.manifest import FileEntry, firms_of
from ftm.storage.object_store import ObjectStore
from ftm.storage.parquet import fit, from_bytes
from ftm.storage.parquet_layout import FirmFacts, decode_firm_facts, firm_runs, parse_footer

_LOG = logging.getLogger(__name__)


class FirmFileReader:
    """One Parquet file of the manifest, read by row group.

    Keeps the parsed footer; row groups are the caller's to keep. May be used from two threads.

    Args:
        store: where the file is.
        key: which file.
        entry: what the manifest says of it.
        schema: CHUNK or COMPONENTS.
        mend: the command that makes a damaged file anew, for messages.
    """

    def __init__(
        self, store: ObjectStore, key: str, entry: FileEntry, *, schema: pa.Schema, mend: str
    ) -> None:
        self._store = store
        self._key = key
        self._entry = entry
        self._schema = schema
        self._mend = mend
        self._footer: pq.FileMetaData | None = None
        self._facts: dict[str, FirmFacts] = {}
        self._lock = Lock()
        self.n_groups = len(entry.row_groups)
        self.group_of = {f: n for n, group in enumerate(entry.row_groups) for f in group.firms}

    def read_group(self, number: int) -> pa.Table:
        """The rows of a row group, its firms exactly those the manifest names.

        Raises:
            CorruptObjectError: bytes or firms differ from the manifest, or the file is gone.
            StoreError: the store failed.
        """
        return self.parse_group(number, self.fetch_group(number))

    def fetch_group(self, number: int) -> bytes:
        """A row group as stored, for `parse_group`; raises what `read_group` does."""
        self._load_footer()  # first, for a damaged file shows there what it is
        group = self._entry.row_groups[number]
        return self._fetch(f"row group {number}", group.offset, group.bytes, group.sha256)

    def parse_group(self, number: int, data: bytes) -> pa.Table:
        """The rows of a row group out of its bytes; raises what `read_group` does."""
        footer = self._load_footer()
        group = self._entry.row_groups[number]
        source = _in_place(data, offset=group.offset, size_bytes=self._entry.bytes)
        try:
            file = pq.ParquetFile(source, metadata=footer, pre_buffer=False)
            table = file.read_row_group(number, use_threads=False)
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise self._damaged(
                f"row group {number} cannot be parsed ({one_line(str(error))})"
            ) from error
        self._check_firms(table, group.firms)
        return fit(table, self._schema, key=self._store.name(self._key))

    def facts(self) -> dict[str, FirmFacts]:
        """What the footer says of each firm; empty if it says nothing."""
        self._load_footer()
        return self._facts

    def read_all(self) -> pa.Table:
        """The whole file in one request, checked against the manifest."""
        data = self._fetch("the file", 0, self._entry.bytes, self._entry.sha256)
        table = from_bytes(data, self._schema, key=self._store.name(self._key))
        self._check_firms(table, firms_of(self._entry))
        return table

    def _load_footer(self) -> pq.FileMetaData:
        with self._lock:
            if self._footer is None:
                where = self._entry.footer
                data = self._fetch("the footer", where.offset, where.bytes, where.sha256)
                name = self._store.name(self._key)
                footer = parse_footer(data, key=name)
                self._facts = decode_firm_facts(footer.metadata, key=name)
                self._footer = footer
            return self._footer

    def _fetch(self, what: str, offset: int, length: int, digest: str) -> bytes:
        problem = ""
        # On any store: a transfer can flip a bit.
        for wait in looks(self._store) if self._store.scheme == "s3" else (0.0, None):
            try:
                data = self._store.get_range(self._key, offset, length)
                if sha256(data).hexdigest() == digest:
                    return data
                where = f"(bytes {offset} to {offset + length})"
                problem = f"{what} {where} does not have the sha256 its manifest records"
            except ObjectNotFoundError:
                problem = "its manifest names it, but it is not there"
            except StoreUnavailableError:
                raise
            except StoreError as error:
                raise self._damaged(self._other_size(error)) from error
            if wait is not None:
                _LOG.warning("%s: %s; fetching it again", self._store.name(self._key), problem)
                time.sleep(wait)
        raise self._damaged(problem)

    def _other_size(self, error: StoreError) -> str:
        """What is wrong with a file that is shorter than the range; the error if it is not."""
        info = self._store.head(self._key)
        if info is None or info.size_bytes == self._entry.bytes:
            raise error
        return f"it has {info.size_bytes} bytes, its manifest records {self._entry.bytes}"

    def _check_firms(self, table: pa.Table, expected: list[str]) -> None:
        found, _ = firm_runs(table)
        if missing := [firm for firm in expected if firm not in set(found)]:
            raise self._damaged(f"firm {missing[0]} is in its manifest but not in the file")
        if found != expected:
            raise self._damaged(f"it holds firms {found[:3]}…, its manifest {expected[:3]}…")

    def _damaged(self, problem: str) -> CorruptObjectError:
        name = self._store.name(self._key)
        return CorruptObjectError(
            f"{name} is damaged: {problem}; `{self._mend}` makes it anew, or restore it from a "
            "backup",
            key=self._key,
        )


def _in_place(data: bytes, *, offset: int, size_bytes: int) -> pa.BufferReader:
    """A file of `size_bytes` in memory in which only `data` at `offset` was read.

    The rest is untouched zero pages, which cost no memory. A buffer, not a Python file: pyarrow
    reads those from threads that outlive the call and abort a process that exits meanwhile.
    """
    whole = np.zeros(size_bytes, dtype=np.uint8)
    whole[offset : offset + len(data)] = np.frombuffer(data, dtype=np.uint8)
    return pa.BufferReader(pa.py_buffer(whole))
