"""Work that dies before one of its writes."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

from ftm.storage.object_store import ObjectStore


class Killed(BaseException):
    """What a failpoint raises, so that no handler takes it for an error."""


def kill_at(store: ObjectStore, boundary: int, work: Callable[[], object]) -> bool:
    """Work, but die before the n-th write; whether it died.

    After a write is before the next one: a stage keeps nothing but what lies in the store.
    """
    writes = count()

    def hook(moment: str, key: str) -> None:
        if moment.startswith("before") and next(writes) == boundary:
            raise Killed(moment, key)

    store.hook = hook
    try:
        work()
    except Killed:
        return True
    finally:
        store.hook = lambda _moment, _key: None
    return False
