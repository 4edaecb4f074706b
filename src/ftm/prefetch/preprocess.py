"""Doing the text step again from stored components: a new generation, no login."""

from __future__ import annotations

from collections.abc import Callable

from ftm.core.errors import CorruptObjectError, ManifestNotFoundError, ObjectExistsError
from ftm.core.layout import PrefetchLayout
from ftm.core.progress import NoProgress, Progress
from ftm.core.quarter import Quarter
from ftm.prefetch.base import PrefetchSummary, Preprocessor, summarize
from ftm.prefetch.filling import fill_quarter
from ftm.prefetch.opening import Opened, open_quarter
from ftm.prefetch.plan_file import StoredPlan
from ftm.prefetch.plan_keeping import adopt_plan, find_plan
from ftm.prefetch.prefetcher import WRDSPrefetcher, utc_now
from ftm.prefetch.publishing import firms_lost
from ftm.prefetch.sessions import GIVE_UP, Request
from ftm.prefetch.stored_turns import StoredTurns
from ftm.storage.checkpoint import Selection
from ftm.storage.lease import Clock, Writer
from ftm.storage.manifest import PrefetchManifest, load_manifest
from ftm.storage.object_store import ObjectStore


def preprocess_quarter(
    store: ObjectStore,
    quarter: str | Quarter,
    preprocessor: Preprocessor,
    *,
    chunk_size: int | None = None,
    checkpoint_interval: int = WRDSPrefetcher.CHECKPOINT_INTERVAL,
    accept_losses: bool = False,
    clock: Clock = utc_now,
    progress: Progress | None = None,
    new_identity: Callable[[], Writer] = Writer.current,
) -> PrefetchSummary:
    """Make a new generation of a quarter from its stored components and its plan.

    Firms that were not prefetched yet stay pending, failed ones stay failed: both need WRDS, and
    `ftm prefetch` with the new text pipeline goes on with them.

    Args:
        store: where.
        quarter: prefetched.
        preprocessor: the text step.
        chunk_size: firms tried per chunk; None: as many as the prefetch tried, or, if its manifest
            does not say, no fewer than its largest chunk holds and than WRDSPrefetcher.CHUNK_SIZE.
        checkpoint_interval: firms per part.
        accept_losses: publish though firms that are stored failed or are left without a sentence.
        clock: the time, aware, UTC.
        progress: told of every firm.
        new_identity: who holds the lease.

    Raises:
        ManifestNotFoundError: the quarter is not prefetched.
        ConfigError: an unfinished prefetch is to be finished first.
        LeaseHeldError: the quarter is being written.
        PreprocessingError: a firm that is stored failed; the old generation stays published.
        StoreError: stopped; the same call goes on where this one was.
    """
    old = load_manifest(store, quarter)
    layout, told = PrefetchLayout(Quarter.parse(quarter)), progress or NoProgress()
    request = _request(
        store, layout, old, preprocessor, chunk_size=chunk_size, part_size=checkpoint_interval
    )
    if _is_done(store, layout, old, request):
        told.message(f"{layout.quarter} was preprocessed by this very text pipeline already")
        plan = _plan_of(store, layout, old)
        return summarize(
            old,
            plan=plan.calls,
            session=None,
            failed_before=(),
            not_kept={},
            resumed=False,
            key=layout.manifest,
        )
    with open_quarter(
        store, request, identity=new_identity(), clock=clock, say=told.message
    ) as opened:
        writer = opened.writer
        if opened.opening.is_over or _is_needless(opened, request):
            writer.clean_up()
            manifest, plan = old, _plan_of(store, layout, old)
        else:
            source_manifest = _published(opened, layout)
            plan = _copy_plan(store, layout, opened, source_manifest)
            turns = StoredTurns(store, source_manifest)
            manifest = fill_quarter(
                writer,
                layout,
                plan,
                get_source=lambda: turns,
                get_preprocessor=lambda: preprocessor,
                progress=told,
                published=source_manifest,
                accept_losses=accept_losses,
            )
    return summarize(
        manifest,
        plan=plan.calls,
        session=writer.session,
        failed_before=old.failed,
        lost=firms_lost(manifest, opened.published.manifest),
        not_kept={},
        resumed=not opened.opening.is_new,
        key=layout.manifest,
    )


def _chunk_size_of(manifest: PrefetchManifest) -> int:
    """Of the largest chunk only where nothing better is known: it holds fewer than were tried."""
    return manifest.chunk_size or max([WRDSPrefetcher.CHUNK_SIZE, *manifest.chunk_sizes.values()])


def _is_done(
    store: ObjectStore, layout: PrefetchLayout, old: PrefetchManifest, request: Request
) -> bool:
    same = dict(old.preprocessing) == dict(request.preprocessing)
    return same and not store.exists(layout.checkpoint)


def _is_needless(opened: Opened, request: Request) -> bool:
    """Whether the published pipeline is asked for, and at most another attempt is in the way."""
    manifest = opened.published.manifest
    return (
        opened.opening.is_new
        and manifest is not None
        and dict(manifest.preprocessing) == dict(request.preprocessing)
    )


def _request(
    store: ObjectStore,
    layout: PrefetchLayout,
    old: PrefetchManifest,
    preprocessor: Preprocessor,
    *,
    chunk_size: int | None,
    part_size: int,
) -> Request:
    return Request(
        quarter=layout.quarter,
        kind="preprocess",
        options=_plan_of(store, layout, old).options,
        preprocessing=dict(preprocessor.fingerprint),
        chunk_size=chunk_size,
        default_chunk_size=_chunk_size_of(old),
        part_size=part_size,
        selection=Selection(firm_ids=sorted({*old.firm_to_chunk, *old.skipped}), limit=None),
    )


def _published(opened: Opened, layout: PrefetchLayout) -> PrefetchManifest:
    """The manifest under the lease: what is read from, never what was there a moment before."""
    manifest = opened.published.manifest
    if manifest is None:
        raise ManifestNotFoundError(
            f"{layout.quarter} is not prefetched any more; "
            f"run `ftm prefetch --quarter {layout.quarter}`"
        )
    return manifest


def _plan_of(store: ObjectStore, layout: PrefetchLayout, manifest: PrefetchManifest) -> StoredPlan:
    plan = find_plan(store, layout, manifest.generation)
    if plan is None or plan.sha256 != manifest.plan.sha256:
        key = layout.key(manifest.plan.file)
        raise CorruptObjectError(
            f"the plan of {layout.quarter}, {key}, is gone or differs from what its manifest "
            "recorded; make the quarter anew with "
            f"`ftm prefetch --quarter {layout.quarter} --refresh`",
            key=key,
        )
    return plan


def _copy_plan(
    store: ObjectStore, layout: PrefetchLayout, opened: Opened, old: PrefetchManifest
) -> StoredPlan:
    """The old generation's plan, byte for byte, in the new one; failed firms stay failed."""
    plan = _plan_of(store, layout, old)
    writer = opened.writer
    if writer.session.plan_sha256 is None:
        writer.session = writer.session.changed(source=old.source, failed=dict(old.failed))
        adopt_plan(writer, plan)
    try:
        writer.put_plan(plan.data)
    except ObjectExistsError as error:
        key = layout.key(layout.plan_file(writer.session.generation))
        raise CorruptObjectError(
            f"{store.name(key)} is not the plan it was copied from; "
            f"`{GIVE_UP.format(layout.quarter)}`, then the same command makes it anew",
            key=key,
        ) from error
    return plan
