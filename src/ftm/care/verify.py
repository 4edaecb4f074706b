"""`ftm verify`: is everything of a quarter there, and is it what its records say?"""

from __future__ import annotations

from collections.abc import Callable

from ftm.care.faults import Fault, Inventory, Verification
from ftm.care.verify_prefetch import verify_prefetch
from ftm.care.verify_runs import verify_runs
from ftm.core.quarter import Quarter
from ftm.storage.object_store import ObjectStore


def verify_quarter(
    store: ObjectStore,
    quarter: str | Quarter,
    *,
    deep: bool = False,
    tell: Callable[[Fault], None] = lambda _fault: None,
) -> Verification:
    """Look at every object of a quarter: its prefetch, its runs, and what is published of it.

    Reads only. Without `deep`: names, sizes, the plan, footers of the prefetch's files, and every
    small record. With it every byte, so that nothing a disk or a transfer did goes unseen.

    Args:
        store: where.
        quarter: prefetched, or begun to be.
        deep: read every byte.
        tell: told of each fault as it is found.

    Raises:
        ManifestNotFoundError: nothing of the quarter is prefetched.
        StoreError: the store cannot be read.
    """
    chosen = Quarter.parse(quarter)
    inventory = Inventory(store, deep)
    faults = []
    for look in (verify_prefetch, verify_runs):
        for fault in look(inventory, chosen):
            faults.append(fault)
            tell(fault)
    size_bytes = sum(inventory.sizes[key] for key in inventory.seen)
    return Verification(str(chosen), deep, len(inventory.seen), size_bytes, tuple(faults))
