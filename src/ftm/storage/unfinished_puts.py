"""What a process that is killed while it puts leaves on `file://`: no object, listed nowhere."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from ftm.core.layout import PrefetchLayout, runs_root, series_root
from ftm.core.quarter import Quarter
from ftm.storage.object_store import ObjectStore

OLD_S = 3600.0
"""A draft that nobody has written to for so long is nobody's."""

_DRAFT = re.compile(r".+#\d+")
"""How obstore names the file that it renames when all of it is written."""


def unfinished_puts(
    store: ObjectStore, quarter: Quarter, *, old_s: float = OLD_S
) -> dict[str, tuple[Path, int]]:
    """Drafts of objects of a quarter; none but on `file://`.

    Only in folders that ftm alone writes: a store may lie among a researcher's own files, and
    whoever edits labels may name a copy of them like a draft.

    Args:
        store: any.
        quarter: whose.
        old_s: younger ones may be a living writer's.

    Returns:
        Their paths and sizes in bytes by what would be their keys, sorted.
    """
    if store.folder is None:
        return {}
    before = time.time() - old_s
    found = {}
    for path in sorted(_drafts(store.folder, quarter)):
        with suppress(FileNotFoundError):  # a living writer's, and by now an object
            info = path.stat()
            if info.st_mtime < before:
                found[path.relative_to(store.folder).as_posix()] = (path, info.st_size)
    return found


def _drafts(root: Path, quarter: Quarter) -> Iterator[Path]:
    folders = [
        root / PrefetchLayout(quarter).root,
        root / runs_root(quarter),
        root / series_root(quarter),
        *(root / f"{name}/{quarter}" for name in ("manifests", "progress")),
        *(
            root / f"{name}/quarter={quarter}"
            for name in ("processed", "sentiment-ready", "assigned", "reports")
        ),
        *root.glob(f"intermediate/*/quarter={quarter}"),
    ]
    for folder in folders:
        for path in folder.rglob("*#*"):
            if _DRAFT.fullmatch(path.name) and path.is_file():
                yield path
