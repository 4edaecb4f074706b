"""Taking the lease of an object, of the kind its store can keep, or looking without taking it."""

from __future__ import annotations

from datetime import datetime

from ftm.core.errors import ObjectNotFoundError
from ftm.storage.conditional_lease import ConditionalLease
from ftm.storage.file_lease import FileLease, who_locks
from ftm.storage.lease import (
    LEASE_FIELD,
    Clock,
    Document,
    LeasedObject,
    Say,
    Writer,
    decode_document,
    lease_of,
)
from ftm.storage.object_store import ObjectStore


def open_leased(
    store: ObjectStore,
    key: str,
    *,
    lock_name: str,
    writer: Writer,
    clock: Clock,
    say: Say,
) -> LeasedObject:
    """The kind of lease the store can keep.

    Args:
        store: where the object is.
        key: the object.
        lock_name: of the lock file on `file://`; also what messages call the thing.
        writer: who asks.
        clock: the time, for expiry.
        say: told of a take-over.
    """
    if store.folder is not None:
        return FileLease(store, key, lock_name=lock_name, writer=writer, say=say)
    return ConditionalLease(store, key, lock_name=lock_name, writer=writer, clock=clock, say=say)


def peek_leased(store: ObjectStore, key: str) -> Document:
    """The content of a leased object, without taking the lease; empty if there is none.

    Raises:
        CorruptObjectError: the object is not JSON.
    """
    try:
        document = decode_document(store.get(key), key=store.name(key))
    except ObjectNotFoundError:
        return {}
    return {name: value for name, value in document.items() if name != LEASE_FIELD}


def find_holder(
    store: ObjectStore, key: str, *, lock_name: str, writer: Writer, clock: Clock
) -> str:
    """Who holds a lease now, for messages; empty when nobody alive does.

    Args:
        store: where the object is.
        key: the object.
        lock_name: of the lock file on `file://`.
        writer: who asks; can tell a dead process of its own host.
        clock: the time, for expiry.

    Raises:
        CorruptObjectError: the object cannot be read.
    """
    if store.folder is not None:
        return who_locks(store.folder, lock_name)
    name = store.name(key)
    try:
        lease = lease_of(decode_document(store.get(key), key=name), key=name)
    except ObjectNotFoundError:
        return ""
    if lease is None or writer.knows_dead(lease):
        return ""
    alive = datetime.fromisoformat(lease.expires) > clock()
    return f"{lease.holder} until {lease.expires}" if alive else ""
