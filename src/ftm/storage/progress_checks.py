"""Progress records that cannot be: of another run, of other firms, complete without all of them."""

from __future__ import annotations

from ftm.core.errors import CorruptObjectError
from ftm.core.layout import RunLayout
from ftm.storage.checked import get_listed
from ftm.storage.object_store import ObjectStore
from ftm.storage.run_records import BatchLine, BatchProgress, decode_progress


def read_one_progress(store: ObjectStore, layout: RunLayout, key: str) -> BatchProgress:
    """A batch's record, which was listed.

    Raises:
        CorruptObjectError: it is damaged, or of another batch or run.
    """
    record = decode_progress(get_listed(store, key), key=store.name(key))
    own = f"{layout.quarter}/run={layout.run_id}/{record.batch_id}_part_"
    strange = [part for part in (*record.parts, *record.partial) if own not in f"{part}"]
    if layout.progress(record.batch_id) != key or strange:
        raise CorruptObjectError(
            f"{store.name(key)} is the progress of another batch or run; {BatchProgress.mend}",
            key=key,
        )
    return record


def check_firms(
    store: ObjectStore, layout: RunLayout, batch: BatchLine, found: BatchProgress | None
) -> None:
    """A batch's record must speak of its firms, and a complete one of each, once.

    Raises:
        CorruptObjectError: it does not.
    """
    if found is None:
        return
    spoken = [*found.done, *found.failed, *found.skipped]
    firms = set(batch.firm_ids)
    if len(set(spoken)) < len(spoken) or not firms.issuperset(spoken):
        problem = "names firms twice, or of another batch"
    elif found.complete and len(spoken) < len(firms):
        problem = f"is complete and speaks of {len(spoken)} of {len(firms)} firms"
    else:
        return
    key = layout.progress(batch.batch_id)
    raise CorruptObjectError(f"{store.name(key)} {problem}; {BatchProgress.mend}", key=key)
