"""Taking the lease of an object, of the kind its store can keep, or looking without taking it."""

from __future__ import annotations

from ftm.core.errors import ObjectNotFoundError
from ftm.storage.conditional_lease import ConditionalLease
from ftm.storage.file_lease import FileLease
from ftm.storage.lease import (
    LEASE_FIELD,
    Clock,
    Document,
    LeasedObject,
    Say,
    Writer,
    decode_document,
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
