"""Which run of a quarter loaders read: one pointer, written after everything it points at."""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import sha256

from ftm.core.layout import RunLayout, current_pointer
from ftm.storage.object_store import ObjectStore


def publish_run(store: ObjectStore, layout: RunLayout, files: Mapping[str, bytes]) -> None:
    """Point the quarter at this run; put last, so that a reader never finds half a run.

    Args:
        store: where the run is.
        layout: the run's keys.
        files: name in the run's processed folder → what it holds, already written.
    """
    hashes = {name: sha256(data).hexdigest() for name, data in files.items()}
    pointer = {"run_id": layout.run_id, **hashes}
    data = json.dumps(pointer, sort_keys=True, indent=1) + "\n"
    store.put(current_pointer(layout.quarter), data.encode())
