"""Giving up an unfinished refresh or preprocess: what is published stays, byte for byte."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from ftm.core.errors import ConfigError
from ftm.core.layout import PrefetchLayout
from ftm.core.progress import NoProgress, Progress
from ftm.core.quarter import Quarter
from ftm.prefetch.leftovers import files_of_session, remove_files
from ftm.prefetch.opening import read_published
from ftm.prefetch.prefetcher import utc_now
from ftm.prefetch.publishing import is_published
from ftm.storage.checkpoint import (
    GivenUp,
    Kind,
    Session,
    decode_given_up,
    decode_session,
    encode_given_up,
    finishing_command,
)
from ftm.storage.lease import Clock, Document, LeasedObject, Writer
from ftm.storage.object_store import ObjectStore
from ftm.storage.open_lease import open_leased


@dataclass(frozen=True, slots=True)
class GiveUpSummary:
    """What was given up.

    Args:
        quarter: like 2023Q1.
        kind: of the session; None: nothing was unfinished.
        generation: that it was filling.
        n_attempted: firms it had tried.
        n_files: chunks, components and plans that were its own, without parts.
    """

    quarter: str
    kind: Kind | None = None
    generation: int | None = None
    n_attempted: int = 0
    n_files: int = 0

    def to_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return asdict(self)


def give_up_quarter(
    store: ObjectStore,
    quarter: str | Quarter,
    *,
    clock: Clock = utc_now,
    progress: Progress | None = None,
    new_identity: Callable[[], Writer] = Writer.current,
) -> GiveUpSummary:
    """Drop what an unfinished session made and nothing published names; needs no WRDS login.

    It can be killed anywhere: the same call, or the next prefetch, goes on where it was.

    Args:
        store: where.
        quarter: like 2023Q1.
        clock: the time, aware, UTC.
        progress: told of a take-over.
        new_identity: who holds the lease.

    Raises:
        ConfigError: nothing is published yet, so that all would be lost; nothing is.
        LeaseHeldError: the quarter is being written.
        StoreError: stopped.
    """
    layout = PrefetchLayout(Quarter.parse(quarter))
    if not store.exists(layout.checkpoint):
        return GiveUpSummary(str(layout.quarter))
    lease = open_leased(
        store,
        layout.checkpoint,
        lock_name=layout.lock_name,
        writer=new_identity(),
        clock=clock,
        say=(progress or NoProgress()).message,
    )
    document = lease.acquire()
    try:
        given_up = _give_up(store, layout, lease, document)
        remove_files(store, layout, lease, given_up)
        lease.delete()
    finally:
        lease.release()
    if given_up is None:
        return GiveUpSummary(str(layout.quarter))
    return GiveUpSummary(
        quarter=str(layout.quarter),
        kind=given_up.kind,
        generation=given_up.generation,
        n_attempted=given_up.n_attempted,
        n_files=len(given_up.files),
    )


def _give_up(
    store: ObjectStore, layout: PrefetchLayout, lease: LeasedObject, document: Document
) -> GivenUp | None:
    """Put the session's successor in its place, before any of its files goes.

    Returns:
        None when nothing is unfinished: there was no session, or all of it was published.
    """
    key = store.name(layout.checkpoint)
    found = decode_session(document, key=key)
    if found is None:
        return decode_given_up(document, key=key)
    manifest = read_published(store, layout).manifest
    if is_published(found, manifest):
        return None
    if manifest is None:
        raise _nothing_to_fall_back_on(layout.quarter, found)
    given_up = GivenUp(
        kind=found.kind,
        generation=found.generation,
        n_attempted=found.n_attempted,
        files=files_of_session(store, layout, found, manifest),
    )
    lease.write(encode_given_up(str(layout.quarter), given_up))
    return given_up


def _nothing_to_fall_back_on(quarter: Quarter, found: Session) -> ConfigError:
    return ConfigError(
        f"nothing of {quarter} is published yet, so giving up its unfinished {found.kind} "
        f"({found.n_attempted} firms done) would lose all there is; nothing was dropped; finish "
        f"it: `{finishing_command(found, str(quarter))}`"
    )
