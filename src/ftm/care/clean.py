"""`ftm clean`: remove what nothing reads any more, and runs that another one has replaced."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from ftm.care.faults import Grade, Inventory
from ftm.care.verify_prefetch import verify_prefetch
from ftm.care.verify_runs import runs_without_spec, verify_runs
from ftm.core.errors import OrchestratorError
from ftm.core.layout import PrefetchLayout, RunLayout
from ftm.core.quarter import Quarter
from ftm.storage.lease import LeasedObject, Say, Writer
from ftm.storage.object_store import ObjectStore
from ftm.storage.open_lease import open_leased
from ftm.storage.run_reader import RunRecords, list_runs, published_run
from ftm.storage.unfinished_puts import unfinished_puts

_LOOKS = (verify_prefetch, verify_runs)


@dataclass(frozen=True, slots=True)
class Removal:
    """One object that goes.

    Args:
        key: relative to the store's root.
        size_bytes: of it.
        why: it may.
        path: of a file that is no object; else None.
    """

    key: str
    size_bytes: int
    why: str
    path: Path | None = None


@dataclass(frozen=True, slots=True)
class OldRuns:
    """Which runs go, besides what nothing reads.

    Args:
        replaced: those begun before the published one that nobody works at.
        named: these, whatever their state, unless published.
    """

    replaced: bool = False
    named: tuple[str, ...] = ()

    def choose(
        self, store: ObjectStore, quarter: Quarter, *, say: Say = lambda _line: None
    ) -> list[RunLayout]:
        """The runs, and what remains of others that have no spec.

        Args:
            store: where.
            quarter: whose.
            say: told of each that was replaced and has to stay.

        Raises:
            OrchestratorError: a named one is not there, or is published.
        """
        runs, published = list_runs(store, quarter), published_run(store, quarter)
        ids = [run.spec.run_id for run in runs]
        self._check(quarter, ids, published)
        before = ids.index(published) if self.replaced and published in ids else 0
        ended = {run.spec.run_id for run in runs[:before] if _has_ended(store, run)}
        for run_id in ids[:before]:
            if run_id not in {*ended, *self.named}:
                say(
                    f"run {run_id} stays: it is not complete, and jobs may be at it; "
                    f"`--run {run_id}` removes it all the same"
                )
        chosen = [run_id for run_id in ids if run_id in {*ended, *self.named}]
        return [RunLayout(quarter, each) for each in (*runs_without_spec(store, quarter), *chosen)]

    def _check(self, quarter: Quarter, ids: Sequence[str], published: str | None) -> None:
        for run_id in self.named:
            if run_id == published:
                raise OrchestratorError(
                    f"run {run_id} is the one that readers of {quarter} get; publish another first"
                )
            if run_id not in ids:
                known = ", ".join(ids) or "none"
                raise OrchestratorError(f"{quarter} has no run {run_id}; its runs: {known}")


def _has_ended(store: ObjectStore, run: RunRecords) -> bool:
    """Whether no job can be at it; jobs that ended unseen look as if they went on."""
    ids = [batch.batch_id for batch in run.batches]
    ended = all(run.progress_of(each).complete or each in run.outcomes for each in ids)
    return ended or not any(store.list(_jobs(run.layout)))


def _jobs(layout: RunLayout) -> str:
    """Folder of what was submitted, before anything could be at the run."""
    return f"{layout.root}/jobs"


def find_removable(
    store: ObjectStore,
    quarter: Quarter,
    old_runs: OldRuns | None = None,
    *,
    say: Say = lambda _line: None,
) -> list[Removal]:
    """What `clean_quarter` would remove, in the order in which it would.

    Args:
        store: where.
        quarter: prefetched.
        old_runs: which runs go as well; None: none.
        say: told of runs that stay though they were asked for.

    Raises:
        ManifestNotFoundError: nothing of the quarter is prefetched.
        OrchestratorError: something is damaged, so that what reads what is not known; or a named
            run cannot go.
        StoreError: the store cannot be read.
    """
    runs = (old_runs or OldRuns()).choose(store, quarter, say=say)
    found = [removal for layout in runs for removal in _of_run(store, layout)]
    known = {removal.key for removal in found}
    found += [each for each in _left_over(store, quarter, runs) if each.key not in known]
    drafts = {k: p for k, p in unfinished_puts(store).items() if str(quarter) in k}
    why = "the draft of an object, by a command that was killed"
    return found + [Removal(key, p.stat().st_size, why, p) for key, p in drafts.items()]


def _of_run(store: ObjectStore, layout: RunLayout) -> Iterator[Removal]:
    """All of a run but labels by hand.

    In an order in which a half removed run looks like one that was never submitted, then like one
    that never began: what says that something is done goes before that does, its spec last.
    """
    datasets = store.list_folders("intermediate")
    logs = [each for each in store.list_folders("logs") if layout.run_id in each]
    folders = [
        _jobs(layout),
        layout.progress_root,
        *(f"intermediate/{d}/quarter={layout.quarter}/run={layout.run_id}" for d in datasets),
        layout.processed_root,
        *(f"logs/{each}" for each in logs),
        f"manifests/{layout.quarter}/{layout.run_id}",
        layout.root,
    ]
    sizes = {info.key: info.size_bytes for folder in folders for info in store.list(folder)}
    sizes.pop(layout.lease, None)
    for key in sorted(sizes, key=lambda key: key == layout.spec):
        yield Removal(key, sizes[key], f"of run {layout.run_id}")


def _left_over(
    store: ObjectStore, quarter: Quarter, without: Sequence[RunLayout]
) -> Iterator[Removal]:
    ignored = frozenset(layout.run_id for layout in without)
    inventory = Inventory(store, deep=False, ignored_runs=ignored)
    faults = [fault for look in _LOOKS for fault in look(inventory, quarter)]
    for fault in faults:
        if fault.grade is Grade.DAMAGED:
            raise OrchestratorError(
                f"{fault.key}: {fault.what}; nothing is removed before `ftm verify --quarter "
                f"{quarter}` finds no damage, for what reads what is not known"
            )
    at_work = [
        f"/run={run.spec.run_id}/" for run in list_runs(store, quarter) if not run.is_complete
    ]
    for fault in faults:
        if fault.grade is Grade.LEFT_OVER and not any(run in fault.key for run in at_work):
            yield Removal(fault.key, inventory.sizes[fault.key], fault.what)


def clean_quarter(
    store: ObjectStore,
    quarter: Quarter,
    old_runs: OldRuns | None = None,
    *,
    say: Say,
    tell: Callable[[Removal], None] = lambda _removal: None,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    new_identity: Callable[[], Writer] = Writer.current,
) -> list[Removal]:
    """Remove it, while nobody else writes the quarter or one of these runs.

    Killed anywhere, the next one goes on: a run's spec, by which it is found, goes last.

    Args:
        store: where.
        quarter: prefetched.
        old_runs: see `find_removable`.
        say: told of leases that are taken over.
        tell: told of each object that went.
        clock: the time, for leases.
        new_identity: who holds the leases.

    Returns:
        What was removed.

    Raises:
        LeaseHeldError: the quarter, or one of the runs, is being written.
        LeaseLostError: somebody else began to; the rest stays.
        ManifestNotFoundError, OrchestratorError, StoreError: see `find_removable`.
    """
    chosen = old_runs or OldRuns()

    def lease(key: str, lock_name: str) -> LeasedObject:
        return open_leased(
            store, key, lock_name=lock_name, writer=new_identity(), clock=clock, say=say
        )

    prefetch = PrefetchLayout(quarter)
    with ExitStack() as held:
        leases = [lease(prefetch.checkpoint, prefetch.lock_name)]
        held.callback(_give_up, leases[0], leases[0].acquire())
        for layout in chosen.choose(store, quarter):
            leases.append(lease(layout.lease, layout.lock_name))
            held.callback(_give_up, leases[-1], leases[-1].acquire())
        removed = find_removable(store, quarter, chosen)
        for removal in removed:
            for each in leases:
                each.ensure_held()
            if removal.path is None:
                store.delete(removal.key)
            else:
                removal.path.unlink(missing_ok=True)
            tell(removal)
    return removed


def _give_up(lease: LeasedObject, content: object) -> None:
    """Release it; one that held nothing but the lease goes."""
    if not content:
        lease.delete()
    lease.release()
