"""The tables that SQL sees: every dataset over all quarters, read only when a query names it.

A file is fetched whole, hashed, and scanned in memory as it lies there, compressed: what a query
does not name is never decoded. Transcripts alone are read chunk by chunk.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from hashlib import sha256
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from ftm.core.errors import (
    ConfigError,
    CorruptObjectError,
    ObjectNotFoundError,
    OrchestratorError,
    SchemaError,
)
from ftm.core.layout import ASSIGNED_ROOT, PrefetchLayout, assigned_pointer
from ftm.core.quarter import Quarter
from ftm.core.schemas import CHUNK, DATASETS, PROCESSED_TABLES
from ftm.storage.assigned import ASSIGNED_TABLES, require_assigned
from ftm.storage.footers import read_footer
from ftm.storage.linked import LINK_FILES, linked_file, linked_quarters
from ftm.storage.manifest import PrefetchManifest, load_manifest, prefetched_quarters
from ftm.storage.object_store import ObjectStore
from ftm.storage.parquet import from_bytes
from ftm.storage.published import Published, published_quarters, read_published, require_published
from ftm.storage.run_reader import each, read_run_manifest

if TYPE_CHECKING:
    import pyarrow.dataset as ds

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TableFile:
    """A Parquet file of a view.

    Args:
        key: where it is.
        sha256: what it must hold.
        quarter: the value of the column `quarter`, where the file has none.
        mend: what to do when it is damaged.
    """

    key: str
    sha256: str
    quarter: Quarter
    mend: str


@dataclass(frozen=True)
class View:
    """A table that SQL sees.

    Args:
        name: in SQL.
        schema: its columns.
        find: its files; raises what says that there are none.
        fetched: scanned in memory; False: read file by file.
    """

    name: str
    schema: pa.Schema
    find: Callable[[], Sequence[TableFile]]
    fetched: bool = True


class StoreViews:
    """The views of a store.

    Args:
        store: where the quarters are.
        quarters: only these, and they must be there; None: all there are.
    """

    def __init__(self, store: ObjectStore, quarters: Sequence[Quarter] | None = None) -> None:
        self._store = store
        self._asked = quarters
        views = [
            *(View(t, _schema(t), partial(self._published_files, t)) for t in PROCESSED_TABLES),
            *(
                View(f"{t}_assigned", _schema(t), partial(self._assigned_files, t))
                for t in ASSIGNED_TABLES
            ),
            *(View(t, _schema(t), partial(self._linked_files, t)) for t in LINK_FILES),
            View("calls", _schema("calls"), self._plan_files),
            View("transcripts", CHUNK, self._chunk_files, fetched=False),
        ]
        self.all = {view.name: view for view in views}

    def dataset(self, name: str) -> ds.Dataset:
        """All files of a view, fetched and checked; decoded when scanned, and only what is named.

        Raises:
            OrchestratorError: there are none; says what to run.
            CorruptObjectError: one is gone or has other bytes.
            SchemaError: another ftm wrote it.
        """
        import pyarrow.dataset as ds  # loads pandas

        view = self.all[name]
        fragments = list(each(lambda file: self._fragment(view, file), view.find()))
        return ds.FileSystemDataset(fragments, view.schema, ds.ParquetFileFormat())

    def reader(self, name: str) -> pa.RecordBatchReader:
        """The rows of a view from first to last, one file in memory at a time; raises the same."""
        view = self.all[name]
        if view.fetched:
            return self.dataset(name).scanner().to_reader()
        return pa.RecordBatchReader.from_batches(view.schema, self._batches(view))

    def count(self, name: str) -> int:
        """Number of rows, by the footers of the files; raises what `dataset` does."""
        view = self.all[name]
        if not view.fetched:
            return sum(manifest.n_sentences for manifest in self._manifests.values())
        return sum(each(lambda file: self._footer(file).num_rows, view.find()))

    def _batches(self, view: View) -> Iterator[pa.RecordBatch]:
        for file in view.find():
            table = from_bytes(self._bytes(file), view.schema, key=self._store.name(file.key))
            yield from table.to_batches()

    def _fragment(self, view: View, file: TableFile) -> ds.Fragment:
        import pyarrow.dataset as ds

        data = pa.py_buffer(self._bytes(file))
        names = pq.read_schema(pa.BufferReader(data)).names
        is_added = view.schema.names == ["quarter", *names]
        if not is_added and view.schema.names != names:
            raise SchemaError(
                f"{self._store.name(file.key)} was written by another version of ftm, it has "
                f"columns {', '.join(names)}; {file.mend}"
            )
        place = ds.field("quarter") == str(file.quarter) if is_added else None
        return ds.ParquetFileFormat().make_fragment(data, partition_expression=place)

    def _bytes(self, file: TableFile) -> bytes:
        name = self._store.name(file.key)
        try:
            data = self._store.get(file.key)
        except ObjectNotFoundError as error:
            raise CorruptObjectError(f"{name} is gone; {file.mend}", key=file.key) from error
        if sha256(data).hexdigest() != file.sha256:
            raise CorruptObjectError(f"{name} is not what was written; {file.mend}", key=file.key)
        return data

    def _footer(self, file: TableFile) -> pq.FileMetaData:
        try:
            return read_footer(self._store, file.key)
        except CorruptObjectError as error:
            raise CorruptObjectError(f"{error}; {file.mend}", key=file.key) from error
        except ObjectNotFoundError as error:
            name = self._store.name(file.key)
            raise CorruptObjectError(f"{name} is gone; {file.mend}", key=file.key) from error

    @cached_property
    def _published(self) -> list[Published]:
        if self._asked is not None:
            return [require_published(self._store, quarter) for quarter in self._asked]
        found = published_quarters(self._store)
        if not found:
            raise OrchestratorError(
                f"no quarter is published in {self._store.url}; run `ftm run-quarter`"
            )
        return list(each(lambda quarter: require_published(self._store, quarter), found))

    def _published_files(self, table: str) -> list[TableFile]:
        files = []
        for published in self._published:
            quarter = published.quarter
            if table in published.tables:
                mend = f"`ftm run-quarter --quarter {quarter} --from package` writes it again"
                key = published.tables[table]
                files.append(TableFile(key, published.sha256_of(table), quarter, mend))
            else:
                _LOG.warning(
                    "%s was published without %s, its rows are missing; run `ftm run-quarter "
                    "--quarter %s` again",
                    *(quarter, table, quarter),
                )
        if not files:
            raise OrchestratorError(f"no quarter was published with {table}")
        return files

    def _linked_files(self, dataset: str) -> list[TableFile]:
        found = [q for q in linked_quarters(self._store) if self._asked is None or q in self._asked]
        if not found:
            raise OrchestratorError(
                f"no quarter of {self._store.url} is linked; run "
                "`ftm link --quarters 2016Q1..2016Q4`"
            )
        mend = "`ftm link` writes it again"
        return [
            TableFile(*linked_file(self._store, quarter, dataset), quarter, mend)
            for quarter in found
        ]

    def _assigned_files(self, table: str) -> list[TableFile]:
        found = [
            require_assigned(self._store, quarter, themes_from)
            for quarter, themes_from in assigned_quarters(self._store)
            if self._asked is None or quarter in self._asked
        ]
        if not found:
            raise OrchestratorError(
                f"no quarter of {self._store.url} is scored against another one's themes; run "
                "`ftm assign --themes 2016Q2 --quarter 2016Q3`"
            )
        return [TableFile(a.key(table), a.sha256_of(table), a.quarter, a.mend) for a in found]

    @cached_property
    def _manifests(self) -> dict[Quarter, PrefetchManifest]:
        """Of a published quarter the manifest its run read, of another the newest."""
        quarters = prefetched_quarters(self._store) if self._asked is None else self._asked
        if not quarters:
            raise OrchestratorError(
                f"no quarter is prefetched in {self._store.url}; run `ftm prefetch --quarter "
                "2023Q1`"
            )
        return dict(zip(quarters, each(self._manifest, list(quarters)), strict=True))

    def _manifest(self, quarter: Quarter) -> PrefetchManifest:
        published = read_published(self._store, quarter)
        if published is None:
            return load_manifest(self._store, quarter)
        return read_run_manifest(self._store, published.layout)

    def _plan_files(self) -> list[TableFile]:
        return [
            TableFile(PrefetchLayout(q).key(m.plan.file), m.plan.sha256, q, _refresh(q))
            for q, m in self._manifests.items()
        ]

    def _chunk_files(self) -> list[TableFile]:
        return [
            TableFile(PrefetchLayout(q).key(file), m.chunks[file].sha256, q, _refresh(q))
            for q, m in self._manifests.items()
            for file in sorted(m.chunks)
        ]


def assigned_quarters(store: ObjectStore) -> list[tuple[Quarter, Quarter]]:
    """(quarter, quarter whose themes) of all that is complete, in time."""
    found = []
    for folder in store.list_folders(ASSIGNED_ROOT):
        for below in store.list_folders(f"{ASSIGNED_ROOT}/{folder}"):
            try:
                quarter = Quarter.parse(folder.removeprefix("quarter="))
                themes_from = Quarter.parse(below.removeprefix("themes="))
            except ConfigError:
                continue
            if store.exists(assigned_pointer(quarter, themes_from)):
                found.append((quarter, themes_from))
    return sorted(found)


def _schema(dataset: str) -> pa.Schema:
    """The dataset's columns, and first the quarter where it has none."""
    schema = pa.schema(list(DATASETS[dataset]))
    if "quarter" in schema.names or dataset == "theme_links":
        return schema
    return schema.insert(0, pa.field("quarter", pa.string()))


def _refresh(quarter: Quarter) -> str:
    return f"make the quarter anew: `ftm prefetch --quarter {quarter} --refresh`"
