"""The tables that SQL sees: every dataset over all quarters, read only when a query scans it.

A file is fetched whole, hashed, and scanned in memory as it lies there, compressed: what a query
does not name is never decoded, and a quarter that its conditions rule out never fetched.
Transcripts alone are read chunk by chunk.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from threading import Lock
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
from ftm.storage.checked import checked
from ftm.storage.footers import read_footer
from ftm.storage.linked import LINK_FILES, linked_file, linked_quarters, mend_link
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
        quarter: of all its rows; the value of the column `quarter`, where the file has none.
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

    @property
    def quarter_column(self) -> str:
        """Which column says a row's quarter."""
        return "quarter" if "quarter" in self.schema.names else "quarter_to"


class StoreViews:
    """The views of a store.

    Args:
        store: where the quarters are.
        quarters: only these, and they must be there; None: all there are.
    """

    def __init__(self, store: ObjectStore, quarters: Sequence[Quarter] | None = None) -> None:
        self._store = store
        self._asked = quarters
        self._lock = Lock()
        self._fetched: dict[str, ds.Fragment] = {}
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

    def scan(
        self, name: str, columns: list[str] | None = None, where: ds.Expression | None = None
    ) -> pa.RecordBatchReader:
        """Rows of a view; the files of quarters that cannot have any are not fetched.

        Args:
            name: of the view.
            columns: in this order; None: all.
            where: which rows; None: all.

        Raises:
            OrchestratorError: there are no files; says what to run.
            CorruptObjectError: one is gone or has other bytes.
            SchemaError: another ftm wrote it.
        """
        import pyarrow.dataset as ds  # loads pandas

        view = self.all[name]
        files = _may_match(view, where)
        if view.fetched:
            found = ds.FileSystemDataset(
                self._fragments(view, files), view.schema, ds.ParquetFileFormat()
            )
            return found.scanner(columns=columns, filter=where).to_reader()
        empty = ds.dataset(view.schema.empty_table()).scanner(columns=columns, filter=where)
        batches = self._batches(view, files, columns, where)
        return pa.RecordBatchReader.from_batches(empty.projected_schema, batches)

    def count(self, name: str) -> int:
        """Number of rows, by the footers of the files; raises what `dataset` does."""
        view = self.all[name]
        if not view.fetched:
            return sum(manifest.n_sentences for manifest in self._manifests.values())
        return sum(each(lambda file: self._footer(file).num_rows, view.find()))

    def _batches(
        self,
        view: View,
        files: Sequence[TableFile],
        columns: list[str] | None,
        where: ds.Expression | None,
    ) -> Iterator[pa.RecordBatch]:
        """From first to last, one file in memory at a time."""
        import pyarrow.dataset as ds

        for file in files:
            table = from_bytes(self._bytes(file), view.schema, key=self._store.name(file.key))
            yield from ds.dataset(table).scanner(columns=columns, filter=where).to_batches()

    def _fragments(self, view: View, files: Sequence[TableFile]) -> list[ds.Fragment]:
        """Each file once, however often a query scans it."""
        with self._lock:
            new = [file for file in files if file.key not in self._fetched]
            found = each(lambda file: self._fragment(view, file), new)
            self._fetched |= {file.key: one for file, one in zip(new, found, strict=True)}
            return [self._fetched[file.key] for file in files]

    def _fragment(self, view: View, file: TableFile) -> ds.Fragment:
        import pyarrow.dataset as ds

        data = pa.py_buffer(self._bytes(file))
        names = pq.read_schema(pa.BufferReader(data)).names
        if view.schema.names not in (names, ["quarter", *names]):
            raise SchemaError(
                f"{self._store.name(file.key)} was written by another version of ftm, it has "
                f"columns {', '.join(names)}; {file.mend}"
            )
        place = _place(view, file)
        return ds.ParquetFileFormat().make_fragment(data, partition_expression=place)

    def _bytes(self, file: TableFile) -> bytes:
        return checked(self._store, file.key, file.sha256, mend=file.mend)

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
                place = published.place_of(table)
                files.append(TableFile(*place, quarter, published.mend))
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
        return [
            TableFile(*linked_file(self._store, quarter, dataset), quarter, mend_link(quarter))
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
        return [TableFile(*a.place_of(table), a.quarter, a.mend) for a in found]

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


def _place(view: View, file: TableFile) -> ds.Expression:
    """What holds of every row of a file."""
    import pyarrow.dataset as ds

    return ds.field(view.quarter_column) == str(file.quarter)


def _may_match(view: View, where: ds.Expression | None) -> list[TableFile]:
    """The files of a view that may have such rows, going by their quarter alone."""
    import pyarrow.dataset as ds

    files, form = list(view.find()), ds.ParquetFileFormat()
    if where is None:
        return files
    # Fragments of nothing: Arrow prunes by what holds of every row, and opens none.
    places = [
        form.make_fragment(pa.py_buffer(b""), partition_expression=_place(view, file))
        for file in files
    ]
    return [
        file
        for file, place in zip(files, places, strict=True)
        if any(True for _ in ds.FileSystemDataset([place], view.schema, form).get_fragments(where))
    ]


def _schema(dataset: str) -> pa.Schema:
    """The dataset's columns, and first the quarter where it has none."""
    schema = pa.schema(list(DATASETS[dataset]))
    if "quarter" in schema.names or dataset == "theme_links":
        return schema
    return schema.insert(0, pa.field("quarter", pa.string()))


def _refresh(quarter: Quarter) -> str:
    return f"make the quarter anew: `ftm prefetch --quarter {quarter} --refresh`"
