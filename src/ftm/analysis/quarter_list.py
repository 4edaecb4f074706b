"""The quarters of a store, one line each, from a handful of requests per quarter."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass

from ftm.core.errors import ConfigError, FtmError, ManifestNotFoundError, StoreError
from ftm.core.layout import PREFETCH_ROOT, PrefetchLayout, RunLayout
from ftm.core.quarter import Quarter
from ftm.storage.manifest import PrefetchManifest, load_manifest
from ftm.storage.object_store import ObjectStore
from ftm.storage.run_reader import run_ids


@dataclass(frozen=True, slots=True)
class QuarterLine:
    """One line of `ftm quarters`.

    Args:
        quarter: like 2023Q1.
        complete: every firm the plan keeps has been tried.
        ongoing: a prefetch has not ended.
        generation: 1, or higher after a refresh; None: nothing is published, or unreadable.
        n_firms: with sentences; None like generation.
        n_sentences: of all of them; None like generation.
        n_runs: whatever their state.
        n_complete_runs: of these, those a command has seen through.
        unreadable: why the manifest cannot be read, and what to do.
    """

    quarter: str
    complete: bool = False
    ongoing: bool = False
    generation: int | None = None
    n_firms: int | None = None
    n_sentences: int | None = None
    n_runs: int = 0
    n_complete_runs: int = 0
    unreadable: str = ""


def list_quarters(store: ObjectStore) -> list[QuarterLine]:
    """Every quarter with something of a prefetch, in time's order.

    Folders that are no quarter's are left out; one that cannot be read hides no other.

    Raises:
        StoreError: the store cannot be read.
    """
    names = store.list_folders(PREFETCH_ROOT)
    return [_line(store, quarter) for quarter in sorted(_quarters(names))]


def _quarters(folders: Iterable[str]) -> Iterator[Quarter]:
    for name in folders:
        with suppress(ConfigError):
            yield Quarter.parse(name.removeprefix("quarter="))


def _line(store: ObjectStore, quarter: Quarter) -> QuarterLine:
    manifest: PrefetchManifest | None = None
    unreadable = ""
    try:
        manifest = load_manifest(store, quarter)
    except ManifestNotFoundError:
        pass
    except StoreError:
        raise
    except FtmError as error:
        unreadable = str(error)
    runs = run_ids(store, quarter)
    # Written when a command has seen every batch complete: no need to read their records.
    finished = [run for run in runs if store.exists(RunLayout(quarter, run).processed("firms"))]
    return QuarterLine(
        quarter=str(quarter),
        complete=manifest is not None and manifest.complete,
        ongoing=store.exists(PrefetchLayout(quarter).checkpoint),
        generation=manifest.generation if manifest else None,
        n_firms=manifest.n_firms if manifest else None,
        n_sentences=manifest.n_sentences if manifest else None,
        n_runs=len(runs),
        n_complete_runs=len(finished),
        unreadable=unreadable,
    )
