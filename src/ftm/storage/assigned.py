"""A quarter scored against the themes of an earlier one: a pointer, and two tables of the panel.

The pointer is that of published quarters with two fields more, and is written last as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256

import pyarrow as pa

from ftm.core.errors import CorruptObjectError, ObjectNotFoundError, OrchestratorError
from ftm.core.layout import assigned_pointer, assigned_root
from ftm.core.quarter import Quarter
from ftm.storage.checked import checked_table
from ftm.storage.object_store import ObjectStore
from ftm.storage.published import Published, require_published, run_named
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
        basis: of `basis_of`, when it was made.
    """

    quarter: Quarter
    themes_from: Quarter
    run_id: str
    themes_run_id: str
    files: Mapping[str, str]
    basis: str

    def place_of(self, table: str) -> tuple[str, str]:
        """Key and sha256 of a table's file.

        Raises:
            OrchestratorError: it was made without this table.
        """
        tables = {name.removesuffix(_END).partition("-")[0]: name for name in self.files}
        if table not in tables:
            raise OrchestratorError(
                f"{self.quarter} has no {table} with the themes of {self.themes_from}; {self.mend}"
            )
        file = tables[table]
        return f"{assigned_root(self.quarter, self.themes_from)}/{file}", self.files[file]

    @property
    def mend(self) -> str:
        """What makes its tables anew."""
        return f"{_assign(self.quarter, self.themes_from)} writes it again"


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
        return Assigned(quarter, themes_from, *runs, files, str(found.get("basis", "")))
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
        OrchestratorError: nothing; or it was made of other topics or themes than are published
            now, so that its theme ids would be taken for others.
        CorruptObjectError: a pointer names no run.
    """
    found = read_assigned(store, quarter, themes_from)
    if found is None:
        raise OrchestratorError(
            f"the themes of {themes_from} are not assigned to {quarter} in {store.url}; run "
            f"{_assign(quarter, themes_from)}"
        )
    own, frozen = require_published(store, quarter), require_published(store, themes_from)
    if found.basis != basis_of(own, frozen):
        raise OrchestratorError(
            f"{quarter} or {themes_from} was published with other topics or themes since "
            f"{themes_from}'s were assigned to it; run {_assign(quarter, themes_from)} again"
        )
    return found


def basis_of(own: Published, frozen: Published) -> str:
    """Hash of what decides a quarter's tables: which topics, which themes. Names do not count.

    Args:
        own: the quarter whose topics are scored.
        frozen: the quarter whose themes they are scored against.

    Raises:
        OrchestratorError: one was published without a table that is needed.
    """
    parts = (
        *(own.run_id, own.place_of("firms")[1]),
        *(frozen.run_id, frozen.place_of("theme_contributions")[1]),
    )
    return sha256("\n".join(parts).encode()).hexdigest()


def read_assigned_table(store: ObjectStore, assigned: Assigned, table: str) -> pa.Table:
    """A table of a quarter with another one's themes, its hash checked.

    Raises:
        OrchestratorError: there is no such table.
        CorruptObjectError: it is gone or has other bytes.
    """
    key, wanted = assigned.place_of(table)
    return checked_table(store, key, wanted, dataset=table, mend=assigned.mend)


def point_to_assigned(store: ObjectStore, assigned: Assigned) -> None:
    """Write the pointer, after all it names."""
    pointer = {
        "run_id": assigned.run_id,
        "themes_run_id": assigned.themes_run_id,
        "basis": assigned.basis,
        **assigned.files,
    }
    key = assigned_pointer(assigned.quarter, assigned.themes_from)
    store.put(key, encode_sealed(pointer))
