"""A lease on `file://`: an `flock`, freed by the kernel whenever and however its holder dies."""

from __future__ import annotations

import os
import time
from pathlib import Path

from ftm.core.errors import (
    CorruptObjectError,
    LeaseLostError,
    ObjectNotFoundError,
    StoreUnavailableError,
)
from ftm.storage.lease import (
    Document,
    LeasedObject,
    Say,
    Writer,
    decode_document,
    encode_document,
    held_error,
)
from ftm.storage.object_store import ObjectStore

LOCK_FOLDER = ".locks"

_TRIES = 3
_BETWEEN_TRIES_S = 0.02
"""Somebody who only looks holds the lock for a moment; a writer holds it for minutes."""


def lock_path(folder: Path, lock_name: str) -> Path:
    """The lock file of a thing that one process at a time may write."""
    return folder / LOCK_FOLDER / f"{lock_name.replace(' ', '-')}.lock"


def who_locks(folder: Path, lock_name: str) -> str:
    """Who holds the lock now; empty when nobody does, or when the file may not be read."""
    import fcntl  # not on Windows, where a store is s3://

    try:
        with lock_path(folder, lock_name).open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return file.read(1000).decode(errors="replace") or "another process"
    except OSError:
        pass
    return ""


class FileLease(LeasedObject):
    """An `flock` on a file beside the objects; the content is a plain object of the store."""

    def __init__(
        self, store: ObjectStore, key: str, *, lock_name: str, writer: Writer, say: Say
    ) -> None:
        self._store = store
        self._key = key
        self._what = lock_name
        self._writer = writer
        self._say = say
        self._descriptor: int | None = None

    def acquire(self) -> Document:
        """See LeasedObject."""
        self._descriptor = self._lock()
        try:
            data = self._store.get(self._key)
        except ObjectNotFoundError:
            return {}
        except BaseException:
            self._unlock()
            raise
        try:
            return decode_document(data, key=self._store.name(self._key))
        except CorruptObjectError:
            self._unlock()
            raise

    def _lock(self) -> int:
        path = lock_path(Path(self._store.folder or "."), self._what)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise StoreUnavailableError(
                f"cannot write {path}: {error.strerror}; --store must be a folder you may write"
            ) from error
        try:
            _lock_alone(descriptor)
            self._sign(descriptor)
        except BlockingIOError as error:
            holder = os.pread(descriptor, 1000, 0).decode(errors="replace")
            os.close(descriptor)
            raise held_error(self._what, holder or "another process") from error
        except OSError as error:
            os.close(descriptor)
            raise StoreUnavailableError(
                f"cannot lock {path}: {error.strerror}; it must be a file system with flock and "
                "free space"
            ) from error
        return descriptor

    def _sign(self, descriptor: int) -> None:
        """Say who holds the lock; what was there is of a holder that died."""
        if previous := os.pread(descriptor, 1000, 0).decode(errors="replace"):
            self._say(f"{self._what}: taking over from {previous}: that process is gone")
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, self._writer.holder.encode(), 0)

    def ensure_held(self) -> None:
        """See LeasedObject; the kernel takes no lock away from a living process."""
        if self._descriptor is None:
            raise LeaseLostError(f"{self._what}: the lock was given up; run the command again")

    def write(self, content: Document) -> None:
        """See LeasedObject."""
        self.ensure_held()
        self._store.put(self._key, encode_document(content))

    def delete(self) -> None:
        """See LeasedObject."""
        self.ensure_held()
        self._store.delete(self._key)
        self.release()

    def release(self) -> None:
        """See LeasedObject."""
        if self._descriptor is not None:
            os.ftruncate(self._descriptor, 0)
        self._unlock()

    def _unlock(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
        self._descriptor = None


def _lock_alone(descriptor: int) -> None:
    """Take the lock.

    Raises:
        BlockingIOError: another process keeps it.
    """
    import fcntl

    for left in reversed(range(_TRIES)):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not left:
                raise
            time.sleep(_BETWEEN_TRIES_S)
        else:
            return
