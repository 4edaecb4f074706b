"""What is prefetched of quarters, and prefetching them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ftm.core.errors import ConfigError
from ftm.core.layout import PrefetchLayout
from ftm.core.quarter import Quarter
from ftm.orchestrate.prefetch_check import require_manifest
from ftm.storage.object_store import ObjectStore

if TYPE_CHECKING:
    from ftm.prefetch.base import PrefetchSummary
    from ftm.prefetch.prefetcher import WRDSPrefetcher


class Prefetched:
    """The prefetched quarters of a store.

    Args:
        store: where they are.
        make_prefetcher: builds the prefetcher of `run_prefetch`; not needed for anything else.
    """

    def __init__(
        self, store: ObjectStore, make_prefetcher: Callable[[], WRDSPrefetcher] | None = None
    ) -> None:
        self._store = store
        self._make_prefetcher = make_prefetcher

    def prefetch_exists(self, quarter: str | Quarter) -> bool:
        """Whether the quarter has a manifest, complete or not."""
        return self._store.exists(PrefetchLayout(Quarter.parse(quarter)).manifest)

    def get_prefetch_firm_ids(self, quarter: str | Quarter) -> list[str]:
        """Firms with sentences, sorted.

        Raises:
            PrefetchRequiredError: the quarter is not prefetched.
        """
        return sorted(require_manifest(self._store, Quarter.parse(quarter)).firm_to_chunk)

    def get_prefetch_summary(self, quarter: str | Quarter) -> dict[str, object]:
        """Counts and provenance of the prefetched quarter.

        Raises:
            PrefetchRequiredError: the quarter is not prefetched.
        """
        manifest = require_manifest(self._store, Quarter.parse(quarter))
        return {
            "quarter": manifest.quarter,
            "generation": manifest.generation,
            "complete": manifest.complete,
            "created_at": manifest.created_at,
            "n_firms": manifest.n_firms,
            "n_chunks": manifest.n_chunks,
            "n_sentences": manifest.n_sentences,
            "n_skipped": len(manifest.skipped),
            "n_failed": len(manifest.failed),
        }

    def run_prefetch(
        self, quarter: str | Quarter, firm_ids: Sequence[str] | None = None
    ) -> PrefetchSummary:
        """Prefetch the quarter from WRDS: on a workstation only, as it logs in.

        Raises:
            ConfigError: this orchestrator was built without a prefetcher.
        """
        if self._make_prefetcher is None:
            raise ConfigError(
                "this orchestrator has no prefetcher; run "
                f"`ftm prefetch --quarter {Quarter.parse(quarter)}`, or pass make_prefetcher"
            )
        return self._make_prefetcher().prefetch_quarter(Quarter.parse(quarter), firm_ids=firm_ids)
