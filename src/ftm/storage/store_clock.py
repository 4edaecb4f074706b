"""How old an object is by its store's own clock, for whom no machine's clock has to be right."""

from __future__ import annotations

from datetime import timedelta

from ftm.storage.object_store import PROBE, ObjectStore

_ATTEMPTS = 3


def age_in_store(store: ObjectStore, key: str) -> timedelta | None:
    """How long ago an object was written.

    Both times are the store's: that of the object, and that of a probe which is put and removed.

    Args:
        store: where; may be written.
        key: the object.

    Returns:
        Its age to the second; None if there is no such object any more.

    Raises:
        StoreError: the store cannot be written or read.
    """
    for _ in range(_ATTEMPTS):
        store.put(PROBE, b"ftm asks what time it is here; this object may be deleted\n")
        now = store.head(PROBE)
        if now is None:
            continue  # another process that asked removed it first
        store.delete(PROBE)
        found = store.head(key)
        return None if found is None else now.modified - found.modified
    return timedelta(0)
