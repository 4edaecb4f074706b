"""The folder of a demo: the synthetic tables, the truth, and the store ftm fills."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ftm.core.errors import ConfigError
from ftm.core.quarter import Quarter
from ftm.demo.synthetic import Recipe, SyntheticWRDS

_MARKER = "demo.json"


@dataclass(frozen=True, slots=True)
class DemoFolder:
    """Where a demo keeps what it made; `path` is absolute."""

    path: Path

    @property
    def wrds(self) -> Path:
        """Folder of the five tables, one Parquet file each."""
        return self.path / "wrds"

    @property
    def store_url(self) -> str:
        """The store to prefetch into."""
        return (self.path / "store").as_uri()

    def environment(self) -> dict[str, str]:
        """The variables that point ftm at this store."""
        return {"FTM_STORE": self.store_url}

    def read_truth(self, quarter: Quarter) -> pa.Table:
        """What was planted in a quarter, schema demo.firm_rows.TRUTH."""
        named = [("quarter", "=", str(quarter))]
        return pq.read_table(self.path / "truth.parquet", filters=named)

    def write(self, made: SyntheticWRDS) -> None:
        """Put the tables, the truth and the expectations down as Parquet."""
        self.wrds.mkdir(parents=True, exist_ok=True)
        for name, table in made.tables.items():
            pq.write_table(table, self.wrds / f"{name}.parquet", compression="zstd")
        for name, table in (("truth", made.truth), ("expected", made.expected)):
            pq.write_table(table, self.path / f"{name}.parquet", compression="zstd")


def open_folder(path: Path, recipe: Recipe) -> DemoFolder:
    """The folder of this recipe, made or found.

    Raises:
        ConfigError: the folder holds something else, or a demo of another recipe, whose store
            would not fit.
    """
    folder, wanted = DemoFolder(path.resolve()), _describe(recipe)
    marker = folder.path / _MARKER
    if marker.is_file():
        found = json.loads(marker.read_text(encoding="utf-8"))
        if found != wanted:
            raise ConfigError(
                f"{path} holds a demo of {_difference(found, wanted)}; remove it, or pass another"
                " --folder"
            )
    elif folder.path.exists() and (not folder.path.is_dir() or any(folder.path.iterdir())):
        raise ConfigError(f"{path} exists and is not a demo; pass another --folder")
    try:
        folder.path.mkdir(parents=True, exist_ok=True)
        marker.write_text(json.dumps(wanted, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot write to {path}: {error.strerror}; pass --folder") from error
    return folder


def _describe(recipe: Recipe) -> dict[str, int | Sequence[str]]:
    return {
        "firms": recipe.n_firms,
        "quarters": [str(quarter) for quarter in recipe.quarters],
        "seed": recipe.seed,
        "traps": list(recipe.traps),
        "sentences": recipe.n_sentences,
    }


def _difference(found: dict[str, object], wanted: dict[str, int | Sequence[str]]) -> str:
    return ", ".join(
        f"{name} {found.get(name)!r} (not {value!r})"
        for name, value in wanted.items()
        if found.get(name) != value
    )
