"""Views as datasets that DuckDB scans: what a scan asks for is read then, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds

from ftm.analysis.sql_views import StoreViews
from ftm.core.errors import FtmError


def view_datasets(views: StoreViews) -> dict[str, ViewDataset]:
    """Every view by its name in SQL."""
    return {name: ViewDataset(views, name) for name in views.all}


class ViewDataset(ds.InMemoryDataset):  # type: ignore[misc]
    """A view without rows of its own; DuckDB asks its class for a scanner, once for each scan.

    Args:
        views: of the store.
        name: of the view.
    """

    def __init__(self, views: StoreViews, name: str) -> None:
        super().__init__(views.all[name].schema.empty_table())
        self._views = views
        self._name = name
        self.error: FtmError | None = None
        """What a scan met; DuckDB would pass on its text alone, wrapped twice."""

    def scanner(
        self,
        columns: list[str] | None = None,
        filter: ds.Expression | None = None,  # noqa: A002  the name DuckDB gives it
        **_options: Any,
    ) -> _Scan:
        """The columns and rows of a scan; read when its reader is asked for."""
        return _Scan(self, columns, filter)

    def read(self, columns: list[str] | None, where: ds.Expression | None) -> pa.RecordBatchReader:
        """See StoreViews.scan; a failure is kept."""
        try:
            found = self._views.scan(self._name, columns, where)
        except FtmError as error:
            self.error = error
            raise
        return pa.RecordBatchReader.from_batches(found.schema, self._kept_errors(found))

    def _kept_errors(self, batches: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
        try:
            yield from batches
        except FtmError as error:
            self.error = error
            raise


@dataclass(frozen=True, slots=True)
class _Scan:
    """What DuckDB uses of a pyarrow Scanner."""

    dataset: ViewDataset
    columns: list[str] | None
    where: ds.Expression | None

    def to_reader(self) -> pa.RecordBatchReader:
        """The rows."""
        return self.dataset.read(self.columns, self.where)
