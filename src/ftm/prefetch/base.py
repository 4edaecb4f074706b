"""What a prefetch needs from the text step, and what it tells afterwards."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Protocol, TypeVar

import pyarrow as pa

from ftm.core.records import FirmTurns
from ftm.prefetch.plan import kept_calls, shared_permnos
from ftm.storage.checkpoint import Session
from ftm.storage.manifest import PrefetchManifest
from ftm.text.base import FirmText

_T = TypeVar("_T")


class Preprocessor(Protocol):
    """A text pipeline over many firms; `ftm.text.parallel.ParallelPreprocessor` is the real one."""

    @property
    def fingerprint(self) -> Mapping[str, str]:
        """See text.base.TextPipeline."""

    def map(
        self, firms: Iterable[FirmTurns], make: Callable[[FirmTurns, FirmText], _T]
    ) -> Iterator[_T]:
        """What `make` makes of each firm, in order; a firm that fails has a text with `error`.

        `make` may run in another process.
        """

    def close(self) -> None:
        """Stop the workers."""


@dataclass(frozen=True, slots=True)
class PrefetchSummary:
    """What a quarter holds after a prefetch, and what this one did.

    Args:
        quarter: like 2023Q1.
        generation: that the manifest points to.
        complete: every firm the plan keeps is stored, skipped or failed.
        n_planned: firms the plan keeps.
        n_firms: firms with sentences in the store.
        n_new_firms: of them, firms this prefetch stored (a resumed one counts from its start).
        n_sentences: in the store.
        n_chunks: in the store.
        skipped: reason → number of firms.
        failed: firm → error; a rerun tries them again.
        n_tried: firms this prefetch tried, without those that had failed before and did so again.
        n_new_failed: of them, firms that failed.
        shared_permnos: PERMNOs of more than one kept firm → their firm ids.
        lost: firm → why, of firms that the generation before had sentences of.
        not_kept: firm → reason, of firms asked for by name that the plan does not keep.
        resumed: an unfinished prefetch was taken up.
        manifest: key of the manifest.
    """

    quarter: str
    generation: int
    complete: bool
    n_planned: int
    n_firms: int
    n_new_firms: int
    n_sentences: int
    n_chunks: int
    skipped: Mapping[str, int]
    failed: Mapping[str, str]
    n_tried: int
    n_new_failed: int
    shared_permnos: Mapping[int, tuple[str, ...]]
    lost: Mapping[str, str]
    not_kept: Mapping[str, str]
    resumed: bool
    manifest: str

    @property
    def mostly_failed(self) -> bool:
        """More than half of the firms tried now, or of all firms settled, failed."""
        settled = self.n_firms + sum(self.skipped.values()) + len(self.failed)
        return 2 * self.n_new_failed > self.n_tried or 2 * len(self.failed) > settled

    def to_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class PlanReport:
    """What a prefetch would do.

    Args:
        quarter: like 2023Q1.
        generation: that would be filled.
        is_stored: the plan is in the store; else it was read from WRDS for this report only.
        n_calls: rows of the plan.
        n_firms: firms with a call.
        n_planned: firms the plan keeps.
        reasons: why calls are not kept → number of calls.
        n_stored: firms stored already.
        n_skipped: firms known to have no text.
        n_failed: firms that failed and would be tried again.
        pending: firms that would be read now, in order.
        shared_permnos: as in PrefetchSummary.
        not_kept: likewise.
    """

    quarter: str
    generation: int
    is_stored: bool
    n_calls: int
    n_firms: int
    n_planned: int
    reasons: Mapping[str, int]
    n_stored: int
    n_skipped: int
    n_failed: int
    pending: tuple[str, ...]
    shared_permnos: Mapping[int, tuple[str, ...]]
    not_kept: Mapping[str, str]

    def to_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return asdict(self)


def count_reasons(reasons: Iterable[str]) -> dict[str, int]:
    """How often each reason occurs, most often first, ties by name."""
    return dict(sorted(Counter(reasons).items(), key=lambda item: (-item[1], item[0])))


def summarize(
    manifest: PrefetchManifest,
    *,
    plan: pa.Table,
    session: Session | None,
    failed_before: Container[str],
    not_kept: Mapping[str, str],
    resumed: bool,
    key: str,
    lost: Mapping[str, str] | None = None,
) -> PrefetchSummary:
    """The summary of a published manifest.

    Args:
        manifest: published.
        plan: schema CALLS.
        session: that published it; None: nothing was to be done.
        failed_before: firms that had failed when the session began.
        not_kept: see PrefetchSummary.
        resumed: likewise.
        key: of the manifest.
        lost: see PrefetchSummary.
    """
    n_new_firms = len(session.durable()) if session else 0
    n_new_failed = sum(firm not in failed_before for firm in session.failed) if session else 0
    n_new_skipped = len(session.skipped) if session else 0
    return PrefetchSummary(
        quarter=manifest.quarter,
        generation=manifest.generation,
        complete=manifest.complete,
        n_planned=len(kept_calls(plan)),
        n_firms=manifest.n_firms,
        n_new_firms=n_new_firms,
        n_sentences=manifest.n_sentences,
        n_chunks=manifest.n_chunks,
        skipped=count_reasons(manifest.skipped.values()),
        failed=dict(manifest.failed),
        n_tried=n_new_firms + n_new_skipped + n_new_failed,
        n_new_failed=n_new_failed,
        shared_permnos=shared_permnos(plan),
        lost=dict(lost or {}),
        not_kept=dict(not_kept),
        resumed=resumed,
        manifest=key,
    )
