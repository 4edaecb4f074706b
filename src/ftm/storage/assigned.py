"""A quarter scored against the themes of an earlier one: a pointer, and two tables of the panel.

The pointer is that of published quarters with one field more, and is written last as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256

import pyarrow as pa

from ftm.core.errors import CorruptObjectError, ObjectNotFoundError, OrchestratorError
from ftm.core.layout import assigned_pointer, assigned_root
from ftm.core.quarter import Quarter
from ftm.core.schemas import DATASETS
from ftm.storage.object_store import ObjectStore
from ftm.storage.parquet import from_bytes
from ftm.storage.published import run_named
from ftm.storage.sealed import decode_sealed, encode_sealed

ASSIGNED_TABLES = ("panel", "panel_calls")
"""What exists of a quarter whose themes are another's."""

_END = ".parquet"


@dataclass(frozen=True, slots=True)
class Assigned:
    """What `ftm assign` made of a quarter.

    Args:
        quarter: whose calls.
        themes_from: whose themes.
        run_id: the quarter's run whose topics were scored.
        themes_run_id: the run that estimated the themes.
        files: file in the folder → sha256.
    """

    quarter: Quarter
    themes_from: Quarter
    run_id: str
    themes_run_id: str
    files: Mapping[str, str]

    def key(self, table: str) -> str:
        """Key of a table's file.

        Raises:
            OrchestratorError: it was made without this table.
        """
        return f"{assigned_root(self.quarter, self.themes_from)}/{self._file(table)}"

    def sha256_of(self, table: str) -> str:
        """Hash of a table's file; raises what `key` does."""
        return self.files[self._file(table)]

    def _file(self, table: str) -> str:
        tables = {name.removesuffix(_END).partition("-")[0]: name for name in self.files}
        if table not in tables:
            raise OrchestratorError(
                f"{self.quarter} has no {table} with the themes of {self.themes_from}; what there "
                f"is: {', '.join(sorted(tables))}"
            )
        return tables[table]

    @property
    def mend(self) -> str:
        """What makes it anew."""
        return _assign(self.quarter, self.themes_from)


def _assign(quarter: Quarter, themes_from: Quarter) -> str:
    return f"`ftm assign --themes {themes_from} --quarter {quarter}`"


def read_assigned(store: ObjectStore, quarter: Quarter, themes_from: Quarter) -> Assigned | None:
    """What a quarter's pointer for these themes says; None while they were not assigned.

    Raises:
        CorruptObjectError: the pointer names no run.
    """
    key = assigned_pointer(quarter, themes_from)
    try:
        found = decode_sealed(store.get(key))
        files = {k: str(v) for k, v in found.items() if k.endswith(_END)}
        runs = run_named(found["run_id"]), run_named(found["themes_run_id"])
        return Assigned(quarter, themes_from, *runs, files)
    except ObjectNotFoundError:
        return None
    except (ValueError, KeyError) as error:
        raise CorruptObjectError(
            f"{store.name(key)} is damaged, it names no run; {_assign(quarter, themes_from)} "
            "writes it again",
            key=key,
        ) from error


def require_assigned(store: ObjectStore, quarter: Quarter, themes_from: Quarter) -> Assigned:
    """What there is of a quarter with another one's themes.

    Raises:
        OrchestratorError: nothing.
        CorruptObjectError: the pointer names no run.
    """
    found = read_assigned(store, quarter, themes_from)
    if found is None:
        raise OrchestratorError(
            f"the themes of {themes_from} are not assigned to {quarter} in {store.url}; run "
            f"{_assign(quarter, themes_from)}"
        )
    return found


def read_assigned_table(store: ObjectStore, assigned: Assigned, table: str) -> pa.Table:
    """A table of a quarter with another one's themes, its hash checked.

    Raises:
        OrchestratorError: there is no such table.
        CorruptObjectError: it is gone or has other bytes.
    """
    key, wanted = assigned.key(table), assigned.sha256_of(table)
    name = store.name(key)
    try:
        data = store.get(key)
    except ObjectNotFoundError as error:
        raise CorruptObjectError(
            f"{name} is gone; {assigned.mend} writes it again", key=key
        ) from error
    if sha256(data).hexdigest() != wanted:
        raise CorruptObjectError(
            f"{name} is not what was written; {assigned.mend} writes it again", key=key
        )
    return from_bytes(data, DATASETS[table], key=name)


def point_to_assigned(store: ObjectStore, assigned: Assigned) -> None:
    """Write the pointer, after all it names."""
    pointer = {
        "run_id": assigned.run_id,
        "themes_run_id": assigned.themes_run_id,
        **assigned.files,
    }
    key = assigned_pointer(assigned.quarter, assigned.themes_from)
    store.put(key, encode_sealed(pointer))
