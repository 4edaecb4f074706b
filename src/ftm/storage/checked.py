"""Objects whose hash is on record: what comes is looked at, and asked for again if it is not that.

Amazon's S3 never answers with what an object held before; servers that imitate it may, for a moment
after a write, or through a cache. What is told as damaged or gone here was so three times.
"""

from __future__ import annotations

import logging
import time
from hashlib import sha256

from ftm.core.errors import CorruptObjectError, ObjectNotFoundError
from ftm.storage.object_store import ObjectStore

_LOG = logging.getLogger(__name__)

WAITS = (1, 5)
"""Times the store's own wait, before the second and the third look."""


class MissingObjectError(CorruptObjectError):
    """An object that a record names is not there."""


def checked(store: ObjectStore, key: str, digest: str) -> bytes:
    """An object whose hash is known.

    Args:
        store: where.
        key: which.
        digest: its sha256.

    Raises:
        MissingObjectError: it is not there.
        CorruptObjectError: it has other bytes.
    """
    for wait in looks(store):
        try:
            return _look(store, key, digest)
        except CorruptObjectError as error:
            if wait is None:
                raise
            _LOG.warning("%s; looking again", error)
            time.sleep(wait)
    raise AssertionError("the last look returns or raises")


def looks(store: ObjectStore) -> tuple[float | None, ...]:
    """Seconds to wait after each look, None after the last; a folder or memory is asked once."""
    waits = WAITS if store.scheme == "s3" else ()
    return (*(store.retry.wait_s * n for n in waits), None)


def _look(store: ObjectStore, key: str, digest: str) -> bytes:
    try:
        data = store.get(key)
    except ObjectNotFoundError as error:
        raise MissingObjectError(f"{store.name(key)} is missing", key=key) from error
    if sha256(data).hexdigest() == digest:
        return data
    raise CorruptObjectError(
        f"{store.name(key)} differs from what was recorded when it was written", key=key
    )
