"""`ftm clean`: remove what nothing reads any more, and runs that another one has replaced."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from ftm.care.at_work import may_have_jobs, runs_at_rest
from ftm.care.faults import Grade, Inventory
from ftm.care.verify_prefetch import verify_prefetch
from ftm.care.verify_runs import runs_begun, runs_without_spec, verify_runs
from ftm.core.errors import CorruptObjectError, LeaseHeldError, OrchestratorError
from ftm.core.layout import PrefetchLayout, RunLayout, runs_root
from ftm.core.quarter import Quarter
from ftm.storage.lease import LeasedObject, Say, Writer
from ftm.storage.object_store import ObjectStore
from ftm.storage.open_lease import find_holder, open_leased, peek_leased
from ftm.storage.run_reader import list_runs, published_run, read_run, run_ids
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
        replaced: those begun before the published one that nobody works at; not those that were
            never to be published, like one with another seed.
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
        damaged = self._damaged(store, quarter)
        runs = list_runs(store, quarter, without=damaged)
        published = published_run(store, quarter)
        ids = [run.spec.run_id for run in runs]
        # A job that went on behind a cleaning leaves results without a spec: only by name.
        lost = [*damaged, *(e for e in runs_begun(store, quarter) if e not in {*ids, *damaged})]
        self._check(quarter, [*ids, *lost], published)
        before = ids.index(published) if self.replaced and published in ids else 0
        older = [run for run in runs[:before] if run.spec.publish]
        ended = {run.spec.run_id for run in older if not may_have_jobs(store, run)}
        for run_id in (run.spec.run_id for run in older):
            if run_id not in {*ended, *self.named}:
                say(
                    f"run {run_id} stays: it is not complete, and jobs may be at it; "
                    f"`--run {run_id}` removes it all the same"
                )
        chosen = [each for each in (*ids, *lost) if each in {*ended, *self.named}]
        return [RunLayout(quarter, each) for each in (*runs_without_spec(store, quarter), *chosen)]

    def _damaged(self, store: ObjectStore, quarter: Quarter) -> list[str]:
        """Named runs whose records cannot be read: they can go all the same."""
        found = []
        for run_id in {*self.named} & {*run_ids(store, quarter)}:
            try:
                read_run(store, quarter, run_id)
            except CorruptObjectError:
                found.append(run_id)
        return sorted(found)

    def _check(self, quarter: Quarter, ids: Sequence[str], published: str | None) -> None:
        for run_id in self.named:
            if run_id == published:
                raise OrchestratorError(
                    f"run {run_id} is the one that readers of {quarter} get; publish another first"
                )
            if run_id not in ids:
                known = ", ".join(ids) or "none"
                raise OrchestratorError(f"{quarter} has no run {run_id}; its runs: {known}")


def find_removable(
    store: ObjectStore,
    quarter: Quarter,
    old_runs: OldRuns | None = None,
    *,
    say: Say = lambda _line: None,
    held: Collection[str] | None = None,
) -> list[Removal]:
    """What `clean_quarter` would remove, in the order in which it would.

    Args:
        store: where.
        quarter: prefetched.
        old_runs: which runs go as well; None: none.
        say: told of runs that stay though they were asked for.
        held: ids of runs that no other command is at; None: that is not known.

    Raises:
        ManifestNotFoundError: nothing of the quarter is prefetched.
        OrchestratorError: a record is damaged, so that what reads what is not known; or a named
            run cannot go.
        StoreError: the store cannot be read.
    """
    chosen = old_runs or OldRuns()
    runs = chosen.choose(store, quarter, say=say)
    # Before anything is listed: what a run that ends meanwhile has put looks left over.
    at_rest = runs_at_rest(store, quarter, without=chosen.named)
    if held is not None:
        at_rest &= set(held)
    found = [removal for layout in runs for removal in _of_run(store, layout)]
    known = {removal.key for removal in found}
    left_over = _left_over(store, quarter, runs, at_rest)
    found += [each for each in left_over if each.key not in known]
    why = "the draft of an object, by a command that was killed"
    drafts = unfinished_puts(store, quarter).items()
    found += [Removal(key, size, why, path) for key, (path, size) in drafts]
    # Those of whoever holds the runs go when they are given up.
    return found if held is not None else found + list(_dead_leases(store, quarter, runs, at_rest))


def _dead_leases(
    store: ObjectStore, quarter: Quarter, runs: Sequence[RunLayout], at_rest: Collection[str]
) -> Iterator[Removal]:
    """Leases of nothing that nobody alive holds, as a killed command leaves them; S3 only."""
    if store.folder is not None:
        return
    prefetch = PrefetchLayout(quarter)
    places = {prefetch.checkpoint: prefetch.lock_name}
    layouts = [*runs, *(RunLayout(quarter, each) for each in sorted(at_rest))]
    places |= {layout.lease: layout.lock_name for layout in layouts}
    me = Writer.current()
    for key, lock_name in places.items():
        info = store.head(key)
        if info is None or peek_leased(store, key):
            continue
        if not find_holder(
            store, key, lock_name=lock_name, writer=me, clock=lambda: datetime.now(UTC)
        ):
            yield Removal(key, info.size_bytes, "the lease of a command that was killed")


def _of_run(store: ObjectStore, layout: RunLayout) -> Iterator[Removal]:
    """All of a run but labels by hand.

    In an order in which a half removed run looks like one that was never submitted, then like one
    that never began: what says that something is done goes before that does, its spec last but for
    the manifest, without which a run that has a spec looks damaged.
    """
    datasets = store.list_folders("intermediate")
    logs = [each for each in store.list_folders("logs") if layout.run_id in each]
    folders = [
        f"{layout.root}/jobs",
        f"{layout.progress_root}/stages",
        layout.progress_root,
        *(f"intermediate/{d}/quarter={layout.quarter}/run={layout.run_id}" for d in datasets),
        layout.processed_root,
        *(f"logs/{each}" for each in logs),
        f"manifests/{layout.quarter}/{layout.run_id}",
        layout.root,
    ]
    sizes = {info.key: info.size_bytes for folder in folders for info in store.list(folder)}
    sizes.pop(layout.lease, None)
    last = ["", layout.spec, layout.manifest]
    for key in sorted(sizes, key=lambda key: last.index(key) if key in last else 0):
        yield Removal(key, sizes[key], f"of run {layout.run_id}")


def _left_over(
    store: ObjectStore, quarter: Quarter, without: Sequence[RunLayout], at_rest: Collection[str]
) -> Iterator[Removal]:
    ignored = frozenset(layout.run_id for layout in without)
    inventory = Inventory(store, deep=False, ignored_runs=ignored)
    faults = [fault for look in _LOOKS for fault in look(inventory, quarter)]
    for fault in faults:
        # Records say what reads what; tables do not, and those of a map stage may have expired.
        if fault.grade is Grade.DAMAGED and not fault.key.endswith(".parquet"):
            raise OrchestratorError(
                f"{fault.key}: {fault.what}; nothing is removed before `ftm verify --quarter "
                f"{quarter}` finds no damage, for what reads what is not known"
            )
    busy = [f"/run={each}/" for each in {*run_ids(store, quarter)} - {*at_rest, *ignored}]
    # What lies below runs/ and was not chosen is of a run that begins just now.
    busy.append(f"{runs_root(quarter)}/")
    for fault in faults:
        if fault.grade is Grade.LEFT_OVER and not any(each in fault.key for each in busy):
            yield Removal(fault.key, inventory.sizes[fault.key], fault.what)


def clean_quarter(
    store: ObjectStore,
    quarter: Quarter,
    old_runs: OldRuns | None = None,
    *,
    say: Say,
    shown: Collection[str] | None = None,
    tell: Callable[[Removal], None] = lambda _removal: None,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    new_identity: Callable[[], Writer] = Writer.current,
) -> list[Removal]:
    """Remove it, while nobody else writes the quarter or one of these runs.

    Killed anywhere, the next one goes on. Of a run that another command is at, what looks left
    over stays.

    Args:
        store: where.
        quarter: prefetched.
        old_runs: see `find_removable`.
        say: told of leases that are taken over, and of runs that others are at.
        shown: keys that somebody agreed to; None: whatever is found.
        tell: told of each object that went.
        clock: the time, for leases.
        new_identity: who holds the leases.

    Returns:
        What was removed.

    Raises:
        LeaseHeldError: the quarter, or one of the runs that are to go, is being written.
        LeaseLostError: somebody else began to; the rest stays.
        OrchestratorError: see `find_removable`; or more would go by now than was shown.
        ManifestNotFoundError, StoreError: see `find_removable`.
    """
    chosen = old_runs or OldRuns()
    with ExitStack() as stack:

        def take(key: str, lock_name: str) -> LeasedObject:
            lease = open_leased(
                store, key, lock_name=lock_name, writer=new_identity(), clock=clock, say=say
            )
            stack.callback(_give_up, lease, lease.acquire())
            return lease

        prefetch = PrefetchLayout(quarter)
        leases = [take(prefetch.checkpoint, prefetch.lock_name)]
        runs = _take_runs(store, quarter, chosen, take, say)
        leases += runs.values()
        removed = find_removable(store, quarter, chosen, held=runs)
        _check_shown(removed, shown, quarter)
        for removal in removed:
            for each in leases:
                each.ensure_held()
            if removal.path is None:
                store.delete(removal.key)
            else:
                removal.path.unlink(missing_ok=True)
            tell(removal)
    return removed


def _take_runs(
    store: ObjectStore,
    quarter: Quarter,
    chosen: OldRuns,
    take: Callable[[str, str], LeasedObject],
    say: Say,
) -> dict[str, LeasedObject]:
    """Run id → its lease: of those that are to go, and of those at rest that nobody else is at."""
    going = [layout.run_id for layout in chosen.choose(store, quarter)]
    found: dict[str, LeasedObject] = {}
    for run_id in (*going, *sorted(runs_at_rest(store, quarter, without=going))):
        layout = RunLayout(quarter, run_id)
        try:
            found[run_id] = take(layout.lease, layout.lock_name)
        except LeaseHeldError as error:
            if run_id in going:
                raise
            say(f"what is left over of run {run_id} stays: {error}")
    return found


def _check_shown(
    removed: Sequence[Removal], shown: Collection[str] | None, quarter: Quarter
) -> None:
    """Refuse to remove what came to be removable while somebody thought about it."""
    more = [each.key for each in removed if shown is not None and each.key not in shown]
    if more:
        raise OrchestratorError(
            f"more of {quarter} would go by now than was shown, like {more[0]}; nothing is "
            "removed, run the same command again"
        )


def _give_up(lease: LeasedObject, content: object) -> None:
    """Release it; one that held nothing but the lease goes."""
    if not content:
        lease.delete()
    lease.release()
