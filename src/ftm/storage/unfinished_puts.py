"""What a process that is killed while it puts leaves on `file://`: no object, listed nowhere."""

from __future__ import annotations

import re
import time
from pathlib import Path

from ftm.storage.object_store import ObjectStore

OLD_S = 3600.0
"""A draft that nobody has written to for so long is nobody's."""

_DRAFT = re.compile(r".+#\d+")
"""How obstore names the file that it renames when all of it is written."""


def unfinished_puts(store: ObjectStore, *, old_s: float = OLD_S) -> dict[str, Path]:
    """Drafts in a store; none but on `file://`.

    Args:
        store: any.
        old_s: younger ones may be a living writer's.

    Returns:
        Their paths by what would be their keys, sorted.
    """
    if store.folder is None:
        return {}
    before = time.time() - old_s
    drafts = [p for p in store.folder.rglob("*#*") if _DRAFT.fullmatch(p.name) and p.is_file()]
    old = [p for p in sorted(drafts) if p.stat().st_mtime < before]
    return {path.relative_to(store.folder).as_posix(): path for path in old}
