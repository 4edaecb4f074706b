"""One run and its batches, as their records tell it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ftm.storage.run_reader import RunRecords
from ftm.storage.stage_records import STAGES


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
        is_unwatched: jobs were submitted to AWS Batch that nobody has seen to end.
        holder: who carries it on now, on S3 until when; empty when nobody does.
        is_published: loaders read it unless they are told another.
        is_partial: its prefetch had not got to every firm the plan keeps.
        outdated: why the same command would begin another run by now; empty when it would not.
        resume: the command that goes on with it; empty for one that is packaged or outdated.
        stages: after map, that have been done.
        diagnosis: figures of its tables; None before they are made.
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
    holder: str = ""
    is_unwatched: bool = False
    is_published: bool = False
    is_partial: bool = False
    outdated: str = ""
    resume: str = ""
    stages: tuple[str, ...] = ()
    diagnosis: Mapping[str, Any] | None = None

    @property
    def is_packaged(self) -> bool:
        """Its tables are made."""
        return STAGES[-1] in self.stages

    @property
    def is_complete(self) -> bool:
        """Every batch is complete, and there is one."""
        return 0 < self.n_batches == self.n_complete


def describe_run(run: RunRecords, *, holder: str, is_unwatched: bool) -> RunStatus:
    """A run's status but for what other runs and settings have to do with it."""
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
        problems=tuple(_problems(run, is_held=bool(holder))),
        model=run.spec.model,
        holder=holder,
        is_unwatched=is_unwatched,
    )


def _problems(run: RunRecords, *, is_held: bool) -> list[BatchStatus]:
    found = []
    for batch in run.batches:
        progress = run.progress_of(batch.batch_id)
        if progress.complete and not progress.failed:
            continue
        # How an earlier attempt ended is no news while another is at it.
        outcome = None if is_held else run.outcomes.get(batch.batch_id)
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
