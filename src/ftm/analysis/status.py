"""What exists of a quarter, what is going on, what failed and why."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass

from pydantic import ValidationError

from ftm.analysis.run_reader import RunRecords, list_runs
from ftm.core.errors import (
    ConfigError,
    CorruptObjectError,
    FtmError,
    ManifestNotFoundError,
    ObjectNotFoundError,
    StoreError,
)
from ftm.core.layout import PREFETCH_ROOT, PrefetchLayout
from ftm.core.quarter import Quarter
from ftm.storage.checkpoint import decode_session
from ftm.storage.lease import LeaseRecord
from ftm.storage.manifest import PrefetchManifest, load_manifest
from ftm.storage.object_store import ObjectStore


@dataclass(frozen=True, slots=True)
class PrefetchStatus:
    """What is prefetched.

    Args:
        generation: 1, or higher after a refresh.
        complete: every firm the plan keeps has an outcome.
        created_at: ISO 8601 UTC.
        n_firms: with sentences.
        n_sentences: of all of them.
        n_chunks: files of sentences.
        skipped: reason → firms.
        failed: firm → error.
        preprocessing: the text pipeline's fingerprint.
        link_vintage: the link table's newest date, or None.
    """

    generation: int
    complete: bool
    created_at: str
    n_firms: int
    n_sentences: int
    n_chunks: int
    skipped: Mapping[str, int]
    failed: Mapping[str, str]
    preprocessing: Mapping[str, str]
    link_vintage: str | None


@dataclass(frozen=True, slots=True)
class OngoingPrefetch:
    """A prefetch that has not ended: running, or killed and to be resumed.

    Args:
        kind: prefetch, refresh or preprocess; empty if it has not got that far.
        n_attempted: firms tried, whatever became of them.
        n_firms: of these, with durable sentences.
        holder: who holds the lease, until when; empty where the store does not say (a folder).
    """

    kind: str
    n_attempted: int
    n_firms: int
    holder: str = ""


@dataclass(frozen=True, slots=True)
class BatchStatus:
    """A batch that is not complete, or has failed firms.

    Args:
        batch_id: which.
        n_firms: in it.
        n_done: with an outcome.
        state: of its last job: succeeded, failed, cancelled; `begun` before any ended, `pending`
            before any wrote something.
        reason: in words.
        log: where its output is.
        failed: firm → error.
        n_cut_short: of n_done, those saved in a part that a stop cut short.
    """

    batch_id: str
    n_firms: int
    n_done: int
    state: str
    reason: str
    log: str
    failed: Mapping[str, str]
    n_cut_short: int = 0


@dataclass(frozen=True, slots=True)
class RunStatus:
    """One run.

    Args:
        run_id: which.
        created_at: ISO 8601 UTC.
        clustering: method.
        embedding_model: its name.
        n_batches: of the run; 0 if nothing was submitted.
        n_complete: of these, complete.
        n_firms: in its batches.
        n_done: firms with results.
        n_failed: firms.
        n_skipped: firms.
        problems: batches that are not complete or have failed firms.
        model: the whole fingerprint.
    """

    run_id: str
    created_at: str
    clustering: str
    embedding_model: str
    n_batches: int
    n_complete: int
    n_firms: int
    n_done: int
    n_failed: int
    n_skipped: int
    problems: tuple[BatchStatus, ...]
    model: Mapping[str, str]

    @property
    def is_complete(self) -> bool:
        """Every batch is complete, and there is one."""
        return 0 < self.n_batches == self.n_complete


@dataclass(frozen=True, slots=True)
class QuarterStatus:
    """Everything about a quarter; what is None or empty does not exist."""

    quarter: str
    store: str
    prefetch: PrefetchStatus | None
    ongoing: OngoingPrefetch | None
    runs: tuple[RunStatus, ...]


@dataclass(frozen=True, slots=True)
class QuarterLine:
    """One line of `ftm quarters`; of a damaged quarter, why it cannot be read and no figures."""

    quarter: str
    complete: bool = False
    ongoing: bool = False
    generation: int | None = None
    n_firms: int = 0
    n_sentences: int = 0
    n_runs: int = 0
    n_complete_runs: int = 0
    damaged: str = ""


def read_status(store: ObjectStore, quarter: Quarter) -> QuarterStatus:
    """What exists of a quarter; a quarter nobody ever touched is all None and empty.

    Raises:
        CorruptObjectError, ManifestVersionError: a record cannot be read.
    """
    return QuarterStatus(
        quarter=str(quarter),
        store=store.url,
        prefetch=_prefetch(store, quarter),
        ongoing=_ongoing(store, quarter),
        runs=tuple(_run(run) for run in list_runs(store, quarter)),
    )


def list_quarters(store: ObjectStore) -> list[QuarterLine]:
    """Every quarter with something of a prefetch, in time's order.

    Folders that are no quarter's are left out; a quarter that cannot be read is said to be damaged.

    Raises:
        StoreError: the store cannot be read at all.
    """
    prefix = f"{PREFETCH_ROOT}/quarter="
    found = {
        info.key.removeprefix(prefix).partition("/")[0]
        for info in store.list(PREFETCH_ROOT)
        if info.key.startswith(prefix)
    }
    return [_read_line(store, quarter) for quarter in sorted(_quarters(found))]


def _quarters(texts: Iterable[str]) -> Iterator[Quarter]:
    for text in texts:
        with suppress(ConfigError):
            yield Quarter.parse(text)


def _read_line(store: ObjectStore, quarter: Quarter) -> QuarterLine:
    try:
        return _line(read_status(store, quarter))
    except StoreError:
        raise
    except FtmError as error:
        return QuarterLine(str(quarter), damaged=str(error))


def _line(status: QuarterStatus) -> QuarterLine:
    prefetch = status.prefetch
    return QuarterLine(
        quarter=status.quarter,
        complete=prefetch is not None and prefetch.complete,
        ongoing=status.ongoing is not None,
        generation=prefetch.generation if prefetch else None,
        n_firms=prefetch.n_firms if prefetch else 0,
        n_sentences=prefetch.n_sentences if prefetch else 0,
        n_runs=len(status.runs),
        n_complete_runs=sum(run.is_complete for run in status.runs),
    )


def _prefetch(store: ObjectStore, quarter: Quarter) -> PrefetchStatus | None:
    try:
        manifest: PrefetchManifest = load_manifest(store, quarter)
    except ManifestNotFoundError:
        return None
    return PrefetchStatus(
        generation=manifest.generation,
        complete=manifest.complete,
        created_at=manifest.created_at,
        n_firms=manifest.n_firms,
        n_sentences=manifest.n_sentences,
        n_chunks=manifest.n_chunks,
        skipped=dict(sorted(Counter(manifest.skipped.values()).items())),
        failed=manifest.failed,
        preprocessing=manifest.preprocessing,
        link_vintage=manifest.source.link_vintage,
    )


def _ongoing(store: ObjectStore, quarter: Quarter) -> OngoingPrefetch | None:
    key = PrefetchLayout(quarter).checkpoint
    try:
        document = json.loads(store.get(key))
    except ObjectNotFoundError:
        return None
    except ValueError as error:
        raise CorruptObjectError(f"{store.name(key)} is no JSON", key=key) from error
    session = decode_session(document, key=store.name(key))
    return OngoingPrefetch(
        kind=session.kind if session else "",
        n_attempted=session.n_attempted if session else 0,
        n_firms=len(session.durable()) if session else 0,
        holder=_holder(document.get("lease")),
    )


def _holder(lease: object) -> str:
    try:
        record = LeaseRecord.model_validate(lease)
    except ValidationError:
        return ""
    return f"{record.holder}, until {record.expires}"


def _run(run: RunRecords) -> RunStatus:
    return RunStatus(
        run_id=run.spec.run_id,
        created_at=run.spec.created_at,
        clustering=run.spec.model.get("clustering", ""),
        embedding_model=run.spec.model.get("embedding_model", ""),
        n_batches=len(run.batches),
        n_complete=run.n_complete,
        n_firms=run.n_firms,
        n_done=len(run.done),
        n_failed=len(run.failed),
        n_skipped=len(run.skipped),
        problems=tuple(_problems(run)),
        model=run.spec.model,
    )


def _problems(run: RunRecords) -> list[BatchStatus]:
    found = []
    for batch in run.batches:
        progress = run.progress_of(batch.batch_id)
        if progress.complete and not progress.failed:
            continue
        outcome = run.outcomes.get(batch.batch_id)
        begun = bool(progress.parts or progress.partial or progress.failed)
        found.append(
            BatchStatus(
                batch_id=batch.batch_id,
                n_firms=len(batch.firm_ids),
                n_done=len({*progress.done, *progress.kept, *progress.failed, *progress.skipped}),
                state=outcome.state if outcome else "begun" if begun else "pending",
                reason=outcome.reason if outcome else "",
                log=outcome.log if outcome else "",
                failed=progress.failed,
                n_cut_short=len(progress.kept),
            )
        )
    return found
