"""What a session that is given up leaves in the store, and its removal."""

from __future__ import annotations

from collections.abc import Callable

from ftm.core.layout import PrefetchLayout
from ftm.storage.checkpoint import GivenUp, Session, decode_given_up
from ftm.storage.lease import Document, LeasedObject
from ftm.storage.manifest import PrefetchManifest
from ftm.storage.object_store import ObjectStore


def files_of_session(
    store: ObjectStore, layout: PrefetchLayout, session: Session, manifest: PrefetchManifest
) -> list[str]:
    """Files that only this session made, without its parts; relative to the quarter's root.

    A generation after the published one is the session's alone: all of it, also a chunk that was
    put just before a kill and is named nowhere. In the published generation, only what the session
    names and the manifest does not. An older generation is left to its readers.
    """
    published = {*manifest.chunks, *manifest.components, manifest.plan.file}
    if session.generation < manifest.generation:
        return []
    if session.generation == manifest.generation:
        pairs = ((closed.chunk, closed.components) for closed in session.chunks)
        return sorted({named.file for pair in pairs for named in pair if named} - published)
    folder = layout.key(layout.generation(session.generation).rstrip("/"))
    found = {info.key.removeprefix(f"{layout.root}/") for info in store.list(folder)}
    return sorted(found - published)


def finish_giving_up(
    store: ObjectStore,
    layout: PrefetchLayout,
    lease: LeasedObject,
    document: Document,
    say: Callable[[str], None],
) -> bool:
    """Go on where a writer died that was giving a session up.

    Args:
        store: where.
        layout: the quarter's keys.
        lease: held.
        document: content of the checkpoint.
        say: told, if there was something to go on with.

    Returns:
        Whether there was; the document is of no use any more.
    """
    given_up = decode_given_up(document, key=store.name(layout.checkpoint))
    if given_up is None:
        return False
    remove_files(store, layout, lease, given_up)
    say(f"{layout.quarter}: an unfinished {given_up.kind} is given up, as was asked before")
    return True


def remove_files(
    store: ObjectStore, layout: PrefetchLayout, lease: LeasedObject, given_up: GivenUp | None
) -> None:
    """Delete the files of a session that was given up, and all parts.

    Raises:
        LeaseLostError: another writer took over; nothing more is deleted.
    """
    files = given_up.files if given_up else []
    parts = [info.key for info in store.list(layout.parts)]
    for key in (*(layout.key(file) for file in files), *parts):
        lease.ensure_held()
        store.delete(key, again_if=lease.is_held)
