"""What exists of a quarter, what is going on, what failed and why."""

from __future__ import annotations

import gzip
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from hashlib import sha256
from typing import TypeVar

from ftm.analysis.attempt_records import is_unwatched
from ftm.analysis.resume_command import resume_command
from ftm.analysis.run_status import RunStatus, describe_run
from ftm.core.errors import (
    CorruptObjectError,
    FtmError,
    ManifestNotFoundError,
    ManifestVersionError,
    ObjectNotFoundError,
)
from ftm.core.layout import PrefetchLayout
from ftm.core.quarter import Quarter
from ftm.core.settings import Settings
from ftm.storage.checkpoint import decode_session, finishing_command
from ftm.storage.lease import Writer
from ftm.storage.manifest import PrefetchManifest, encode_manifest, load_manifest
from ftm.storage.object_store import ObjectStore
from ftm.storage.open_lease import find_holder, peek_leased
from ftm.storage.run_reader import (
    published_run,
    read_run,
    read_run_manifest,
    run_ids,
)
from ftm.storage.run_records import RunSpec
from ftm.storage.stage_facts import facts_of
from ftm.storage.stage_records import STAGES, read_stage

_T = TypeVar("_T")

Fingerprint = Callable[[Settings], Mapping[str, str]]


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
        holder: who is at it, on S3 until when; empty when nobody is.
        resume: the command that finishes it; empty when it has not got that far.
    """

    kind: str
    n_attempted: int
    n_firms: int
    holder: str = ""
    resume: str = ""


@dataclass(frozen=True, slots=True)
class QuarterStatus:
    """Everything about a quarter; what is None or empty does not exist, or cannot be read.

    Args:
        quarter: like 2023Q1.
        store: its URL.
        prefetch: what is prefetched.
        ongoing: a prefetch that has not ended.
        runs: oldest first.
        published: the run that loaders read; None while there is none.
        unreadable: what cannot be read (`prefetch`, `run 3f2a91c07be4`, …) → why, and what to do.
    """

    quarter: str
    store: str
    prefetch: PrefetchStatus | None
    ongoing: OngoingPrefetch | None
    runs: tuple[RunStatus, ...]
    published: str | None
    unreadable: Mapping[str, str]


def read_status(
    store: ObjectStore,
    quarter: Quarter,
    *,
    settings: Settings | None = None,
    store_flag: str | None = None,
    fingerprint: Fingerprint | None = None,
) -> QuarterStatus:
    """What exists of a quarter; a quarter nobody ever touched is all None and empty.

    One record that cannot be read hides nothing else.

    Args:
        store: where.
        quarter: which.
        settings: what commands take from the environment, for the one that resumes a run; None:
            read it.
        store_flag: the store as commands are to be given it; None: they need not be.
        fingerprint: of the models that settings name, to tell whether a run would still be found;
            None: not told.

    Raises:
        StoreError: the store cannot be read.
    """
    guard = _Guard()
    manifest = guard.read("prefetch", lambda: load_manifest(store, quarter))
    status = QuarterStatus(
        quarter=str(quarter),
        store=store.url,
        prefetch=_prefetch(manifest) if manifest else None,
        ongoing=guard.read("unfinished prefetch", lambda: _ongoing(store, quarter)),
        runs=(),
        published=guard.read("published run", lambda: published_run(store, quarter)),
        unreadable=guard.unreadable,
    )
    given = settings or Settings.load()
    context = _Context(store, quarter, status.published, manifest, given, store_flag, fingerprint)
    found = [
        guard.read(f"run {run}", partial(context.read_run, run)) for run in run_ids(store, quarter)
    ]
    runs = sorted((run for run in found if run), key=lambda run: (run.created_at, run.run_id))
    known = {run.run_id for run in runs} | {what.removeprefix("run ") for what in guard.unreadable}
    if status.published is not None and status.published not in known:
        guard.unreadable["published run"] = (
            f"the pointer names run {status.published}, which is gone; the `ftm run-quarter` "
            "command of the run that is to be read publishes it"
        )
    return replace(status, runs=tuple(runs))


class _Guard:
    """Reads one thing after the other and keeps why some could not be read."""

    def __init__(self) -> None:
        self.unreadable: dict[str, str] = {}

    def read(self, what: str, read: Callable[[], _T]) -> _T | None:
        """What `read` returns; None for what does not exist, or cannot be read.

        Raises:
            StoreError: the store failed.
        """
        try:
            return read()
        except ManifestNotFoundError:
            return None
        except (CorruptObjectError, ManifestVersionError, ObjectNotFoundError) as error:
            self.unreadable[what] = str(error)
            return None


@dataclass(frozen=True, slots=True)
class _Context:
    """What a run is told apart by: the quarter's pointer and its manifest, the user's settings."""

    store: ObjectStore
    quarter: Quarter
    published: str | None
    manifest: PrefetchManifest | None
    settings: Settings
    store_flag: str | None
    fingerprint: Fingerprint | None

    def read_run(self, run_id: str) -> RunStatus:
        """One run, with who is at it and how to go on."""
        run = read_run(self.store, self.quarter, run_id)
        layout = run.layout
        holder = _holder(self.store, layout.lease, layout.lock_name)
        unwatched = is_unwatched(self.store, layout)
        status = describe_run(run, holder=holder, is_unwatched=unwatched)
        is_partial = not read_run_manifest(self.store, layout, run.spec).complete
        records = {name: read_stage(self.store, layout, name) for name in STAGES[1:]}
        packaged = records[STAGES[-1]]
        where = self.store.name(layout.stage_record(STAGES[-1]))
        outdated = self._outdated(run.spec)
        command = resume_command(
            run.spec,
            settings=self.settings,
            store=self.store_flag,
            partial=is_partial,
        )
        return replace(
            status,
            is_published=run_id == self.published,
            is_partial=is_partial,
            outdated=outdated,
            resume="" if (packaged and status.is_complete) or outdated else command,
            stages=tuple(name for name, record in records.items() if record),
            diagnosis=facts_of(packaged, key=where) if packaged else None,
        )

    def _outdated(self, spec: RunSpec) -> str:
        if self.manifest is not None and _sha256(self.manifest) != spec.manifest_sha256:
            return "the quarter was prefetched further since"
        changed = self._changed(spec)
        return f"made with other models or libraries ({', '.join(changed)})" if changed else ""

    def _changed(self, spec: RunSpec) -> list[str]:
        """Parts of the run's fingerprint that are other ones here by now."""
        if self.fingerprint is None or "image" in spec.model:
            return []  # What an image holds is not to be seen from here.
        fields = {name: spec.model[name] for name in Settings.model_fields if name in spec.model}
        seed = int(spec.model.get("seed", self.settings.seed))
        try:
            here = self.fingerprint(self.settings.model_copy(update=fields | {"seed": seed}))
        except FtmError:  # a model that is not installed here
            return []
        return sorted(
            k for k in here.keys() | spec.model.keys() if here.get(k) != spec.model.get(k)
        )


def _sha256(manifest: PrefetchManifest) -> str:
    """As a run's spec records it."""
    return sha256(gzip.decompress(encode_manifest(manifest))).hexdigest()


def _holder(store: ObjectStore, key: str, lock_name: str) -> str:
    return find_holder(
        store, key, lock_name=lock_name, writer=Writer.current(), clock=lambda: datetime.now(UTC)
    )


def _prefetch(manifest: PrefetchManifest) -> PrefetchStatus:
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
    layout = PrefetchLayout(quarter)
    if not store.exists(layout.checkpoint):
        return None
    session = decode_session(
        peek_leased(store, layout.checkpoint), key=store.name(layout.checkpoint)
    )
    return OngoingPrefetch(
        kind=session.kind if session else "",
        n_attempted=session.n_attempted if session else 0,
        n_firms=len(session.durable()) if session else 0,
        holder=_holder(store, layout.checkpoint, layout.lock_name),
        resume=finishing_command(session, str(quarter)) if session else "",
    )
