"""An unfinished prefetch against its checkpoint: what is durable of it must be there and whole."""

from __future__ import annotations

from collections.abc import Iterator

from ftm.care.faults import Fault, Grade, Inventory
from ftm.core.errors import FtmError, ManifestVersionError, StoreError
from ftm.core.layout import PrefetchLayout
from ftm.storage.checkpoint import NamedEntry, Session, decode_session, finishing_command
from ftm.storage.object_store import ObjectStore
from ftm.storage.open_lease import peek_leased


def read_session(store: ObjectStore, layout: PrefetchLayout) -> tuple[Session | None, list[Fault]]:
    """The unfinished prefetch, if there is one; that there is one is worth a note.

    Raises:
        ManifestVersionError: a newer ftm works on it.
        StoreError: the store cannot be read.
    """
    key = layout.checkpoint
    try:
        session = decode_session(peek_leased(store, key), key=store.name(key))
    except (StoreError, ManifestVersionError):
        raise
    except FtmError as error:
        return None, [Fault(key, str(error), "delete it: what is published stays")]
    if session is None:
        return None, []
    command = finishing_command(session, str(layout.quarter))
    what = f"an unfinished {session.kind}, {session.n_attempted} firms tried so far"
    return session, [Fault(key, what, f"`{command}` goes on with it", Grade.NOTE)]


def verify_session(
    inventory: Inventory, layout: PrefetchLayout, session: Session
) -> Iterator[Fault]:
    """What the checkpoint names and nothing published does; seldom is a prefetch at work.

    Raises:
        StoreError: the store cannot be read.
    """
    faults = [*_plan(inventory, layout, session), *_chunks(inventory, layout, session)]
    faults += _parts(inventory, layout, session)
    if not faults:
        return
    # Parts go when their chunk is closed: only what is still named counts.
    now, _ = read_session(inventory.store, layout)
    named = set() if now is None else set(named_by_session(layout, now))
    yield from (fault for fault in faults if fault.key in named)


def _plan(inventory: Inventory, layout: PrefetchLayout, session: Session) -> Iterator[Fault]:
    key = layout.key(layout.plan_file(session.generation))
    # Its hash is on record before it is put; firms are tried after that only.
    if session.n_taken and session.plan_sha256 and key not in inventory.judged:
        fix = f"restore it from a backup, or `ftm prefetch --quarter {layout.quarter} --refresh`"
        yield from inventory.compare({key: session.plan_sha256}, fix=fix)


def _chunks(inventory: Inventory, layout: PrefetchLayout, session: Session) -> Iterator[Fault]:
    named = {layout.key(n.file): n.entry for n in _closed(session)}
    new = {key: entry for key, entry in named.items() if key not in inventory.judged}
    command = finishing_command(session, str(layout.quarter))
    yield from inventory.compare(
        {key: entry.sha256 for key, entry in new.items()},
        fix=f"`{command}`, then `ftm verify --quarter {layout.quarter} --deep --repair`",
        sizes={key: entry.bytes for key, entry in new.items()},
    )


def _parts(inventory: Inventory, layout: PrefetchLayout, session: Session) -> Iterator[Fault]:
    files = {layout.key(n.file): n.sha256 for part in session.parts for n in part.files}
    command = finishing_command(session, str(layout.quarter))
    fix = f"`{command}` does the firms of that part again and keeps the rest"
    yield from inventory.compare(files, fix=fix)


def named_by_session(layout: PrefetchLayout, session: Session) -> Iterator[str]:
    """Keys of the plan, the parts and the closed chunks of an unfinished prefetch."""
    yield layout.key(layout.plan_file(session.generation))
    yield from (layout.key(named.file) for part in session.parts for named in part.files)
    yield from (layout.key(named.file) for named in _closed(session))


def _closed(session: Session) -> list[NamedEntry]:
    pairs = [(closed.chunk, closed.components) for closed in session.chunks]
    return [named for pair in pairs for named in pair if named is not None]


def belongs_to(key: str, layout: PrefetchLayout, session: Session) -> bool:
    """Whether an unfinished prefetch may have put it and not got to naming it."""
    folder = layout.generation(session.generation)
    return key.startswith((f"{layout.parts}/", *([layout.key(folder)] if folder else [])))
