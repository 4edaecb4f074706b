"""One writer at a time: a JSON object that only the holder of its lease may write.

On S3 (and in memory) the lease lies inside the object, which is replaced by If-Match only, and a
thread renews it. On `file://` it is an `flock`, which the kernel frees when its holder dies.
"""

from __future__ import annotations

import getpass
import json
import os
import platform
import threading
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from ftm.core.errors import (
    CorruptObjectError,
    FtmError,
    LeaseHeldError,
    LeaseLostError,
    ObjectExistsError,
    ObjectNotFoundError,
    PreconditionFailedError,
    StoreUnavailableError,
)
from ftm.storage.object_store import ObjectStore

LEASE_LASTS = timedelta(minutes=5)
RENEW_EVERY_S = 60.0
LOCK_FOLDER = ".locks"
_FIELD = "lease"

Document = Mapping[str, Any]
"""What the object holds besides the lease: JSON."""

Clock = Callable[[], datetime]
"""The time now, aware, UTC."""

Say = Callable[[str], None]
"""Takes one line for the user."""

_live_nonces: set[str] = set()
"""Leases this process holds: a lease with our pid but another nonce is a dead one's."""


class LeaseRecord(BaseModel):
    """Who holds a lease, and until when."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    owner: str
    host: str
    pid: int
    nonce: str
    expires: str

    @property
    def holder(self) -> str:
        """Who, for messages."""
        return f"{self.owner} on host {self.host} (process {self.pid})"


def process_is_alive(pid: int) -> bool:
    """Whether a process of this host has the id; one of another user counts."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


@dataclass(frozen=True, slots=True)
class Writer:
    """Who asks for a lease.

    Args:
        owner: user name, for messages.
        host: host name; only a process of the same host can be known to be dead.
        pid: process id.
        nonce: tells this very writer from every other.
        is_alive: whether a pid of this host still runs.
    """

    owner: str
    host: str
    pid: int
    nonce: str
    is_alive: Callable[[int], bool] = field(default=process_is_alive)

    @classmethod
    def current(cls) -> Writer:
        """This process."""
        try:
            owner = getpass.getuser()
        except (OSError, KeyError):  # a container may run as a user without a name
            owner = f"user {os.getuid()}"
        return cls(owner, platform.node(), os.getpid(), uuid.uuid4().hex)

    def record(self, expires: str) -> LeaseRecord:
        """What the others see."""
        return LeaseRecord(
            owner=self.owner, host=self.host, pid=self.pid, nonce=self.nonce, expires=expires
        )

    def knows_dead(self, lease: LeaseRecord) -> bool:
        """Whether the holder is of this host and certainly gone."""
        if lease.host != self.host:
            return False
        if lease.pid == self.pid:
            return lease.nonce not in _live_nonces
        return not self.is_alive(lease.pid)


class LeasedObject(ABC):
    """An object and the exclusive right to write it, from `acquire` to `release` or `delete`."""

    @abstractmethod
    def acquire(self) -> Document:
        """Take the lease and read the object.

        Returns:
            Its content; empty when there is none yet.

        Raises:
            LeaseHeldError: another writer is alive.
            CorruptObjectError: the object is not JSON.
            StoreError: the store cannot be written.
        """

    @abstractmethod
    def ensure_held(self) -> None:
        """To be called before every write of anything the lease protects.

        Raises:
            LeaseLostError: the lease ran out or was taken over.
        """

    @abstractmethod
    def write(self, content: Document) -> None:
        """Replace the content.

        Raises:
            LeaseLostError: another writer replaced it first.
        """

    @abstractmethod
    def delete(self) -> None:
        """Remove the object and with it the lease."""

    @abstractmethod
    def release(self) -> None:
        """Give the lease up and keep the content; never raises a known failure."""


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
        document = _decode(store.get(key), key=store.name(key))
    except ObjectNotFoundError:
        return {}
    return {name: value for name, value in document.items() if name != _FIELD}


class ConditionalLease(LeasedObject):
    """A lease inside the object, for stores that can replace by If-Match."""

    def __init__(
        self,
        store: ObjectStore,
        key: str,
        *,
        lock_name: str,
        writer: Writer,
        clock: Clock,
        say: Say,
        renew_every_s: float = RENEW_EVERY_S,
    ) -> None:
        self._store = store
        self._key = key
        self._what = lock_name
        self._writer = writer
        self._clock = clock
        self._say = say
        self._renew_every_s = renew_every_s
        self._content: Document = {}
        self._etag = ""
        self._expires = datetime.min.replace(tzinfo=UTC)
        self._lost = False
        self._held = False
        self._guard = threading.RLock()
        self._stop = threading.Event()

    def acquire(self) -> Document:
        """See LeasedObject."""
        try:
            data, etag = self._store.get_versioned(self._key)
        except ObjectNotFoundError:
            self._take({}, etag=None)
        else:
            document = _decode(data, key=self._store.name(self._key))
            self._refuse_or_say(_lease_of(document, key=self._store.name(self._key)))
            self._take({k: v for k, v in document.items() if k != _FIELD}, etag=etag)
        _live_nonces.add(self._writer.nonce)
        self._held = True
        threading.Thread(target=self._renew_until_stopped, name="ftm-lease", daemon=True).start()
        return self._content

    def _refuse_or_say(self, lease: LeaseRecord | None) -> None:
        if lease is None:
            return
        expired = datetime.fromisoformat(lease.expires) <= self._clock()
        if not expired and not self._writer.knows_dead(lease):
            raise _held(self._what, lease.holder, until=lease.expires)
        why = "its lease ran out" if expired else "that process is gone"
        self._say(f"{self._what}: taking over from {lease.holder}: {why}")

    def _take(self, content: Document, *, etag: str | None) -> None:
        expires = self._clock() + LEASE_LASTS
        data = self._encode(content, expires)
        try:
            if etag is None:
                self._etag = self._store.put(self._key, data, if_absent=True)
            else:
                self._etag = self._store.put(self._key, data, if_match=etag)
        except (ObjectExistsError, PreconditionFailedError) as error:
            raise _held(self._what, "a writer that was faster") from error
        self._content, self._expires = content, expires

    def ensure_held(self) -> None:
        """See LeasedObject."""
        if self._lost or self._clock() >= self._expires:
            raise LeaseLostError(
                f"{self._what}: this process lost its lease (it slept, or the store was out of "
                "reach for minutes) and another may be writing; nothing is lost, run the same "
                "command again"
            )

    def write(self, content: Document) -> None:
        """See LeasedObject."""
        with self._guard:
            self.ensure_held()
            expires = self._clock() + LEASE_LASTS
            self._replace(self._encode(content, expires))
            self._content, self._expires = content, expires

    def renew(self) -> None:
        """Write the same content with a later expiry."""
        self.write(self._content)

    def _replace(self, data: bytes) -> None:
        try:
            self._etag = self._store.put(self._key, data, if_match=self._etag)
        except (PreconditionFailedError, ObjectNotFoundError):
            self._etag = self._etag_of(data)

    def _etag_of(self, data: bytes) -> str:
        """The version that holds these bytes: our own put, whose answer got lost."""
        try:
            found, etag = self._store.get_versioned(self._key)
        except ObjectNotFoundError:
            found, etag = b"", ""
        if found != data:
            self._lost = True
            self.ensure_held()
        return etag

    def delete(self) -> None:
        """See LeasedObject."""
        self._end()
        with self._guard:
            self.ensure_held()
            self._store.delete(self._key)

    def release(self) -> None:
        """See LeasedObject; a lease that cannot be given up runs out by itself."""
        if not self._held:
            return
        self._end()
        with self._guard:
            try:
                self.ensure_held()
                self._replace(_encode({**self._content, _FIELD: None}))
            except FtmError:
                return

    def _end(self) -> None:
        self._held = False
        self._stop.set()
        _live_nonces.discard(self._writer.nonce)

    def _renew_until_stopped(self) -> None:
        while not self._stop.wait(self._renew_every_s):
            with self._guard:
                if self._stop.is_set():
                    return
                try:
                    self.renew()
                except LeaseLostError:
                    return
                except FtmError:
                    continue  # the store may be back before the lease runs out

    def _encode(self, content: Document, expires: datetime) -> bytes:
        record = self._writer.record(expires.isoformat())
        return _encode({**content, _FIELD: record.model_dump()})


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
            return _decode(data, key=self._store.name(self._key))
        except CorruptObjectError:
            self._unlock()
            raise

    def _lock(self) -> int:
        import fcntl  # not on Windows, where a store is s3://

        path = (
            Path(self._store.folder or ".") / LOCK_FOLDER / f"{self._what.replace(' ', '-')}.lock"
        )
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise StoreUnavailableError(
                f"cannot write {path}: {error.strerror}; --store must be a folder you may write"
            ) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._sign(descriptor)
        except BlockingIOError as error:
            holder = os.pread(descriptor, 1000, 0).decode(errors="replace")
            os.close(descriptor)
            raise _held(self._what, holder or "another process") from error
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
        os.pwrite(descriptor, self._writer.record("").holder.encode(), 0)

    def ensure_held(self) -> None:
        """See LeasedObject; the kernel takes no lock away from a living process."""
        if self._descriptor is None:
            raise LeaseLostError(f"{self._what}: the lock was given up; run the command again")

    def write(self, content: Document) -> None:
        """See LeasedObject."""
        self.ensure_held()
        self._store.put(self._key, _encode(content))

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


def _held(what: str, holder: str, *, until: str = "") -> LeaseHeldError:
    limit = f" until {until}" if until else ""
    return LeaseHeldError(
        f"{what} is being written by {holder}{limit}; wait for it, or stop it and run this again"
    )


def _encode(document: Document) -> bytes:
    return (json.dumps(document, sort_keys=True, separators=(",", ":")) + "\n").encode()


def _decode(data: bytes, *, key: str) -> dict[str, Any]:
    try:
        document = json.loads(data)
    except ValueError as error:
        raise _corrupt(key) from error
    if not isinstance(document, dict):
        raise _corrupt(key)
    return document


def _lease_of(document: Document, *, key: str) -> LeaseRecord | None:
    found = document.get(_FIELD)
    try:
        return None if found is None else LeaseRecord.model_validate(found)
    except ValidationError as error:
        raise _corrupt(key) from error


def _corrupt(key: str) -> CorruptObjectError:
    return CorruptObjectError(
        f"{key} is damaged; delete it and run the command again (published chunks stay, "
        "firms since the last full chunk are read again)",
        key=key,
    )
