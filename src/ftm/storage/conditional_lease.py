"""A lease inside the object it protects, for stores that replace by If-Match: S3 and memory.

The lease runs out unless a thread renews it, so a writer that hangs or loses its network is
followed by another, and finds out before it writes again. Whether another's ran out the clock of
the store says, so that a machine whose clock is wrong neither follows a living writer nor waits
for a dead one. The holder gives up as soon as one of two of its own says so: the machine's, which
may be set back while it sleeps, or a stopwatch, which may stand still while a virtual machine does.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from ftm.core.errors import (
    CorruptObjectError,
    FtmError,
    LeaseLostError,
    ObjectExistsError,
    ObjectNotFoundError,
    PreconditionFailedError,
)
from ftm.storage.lease import (
    LEASE_FIELD,
    LIVE_NONCES,
    Clock,
    Document,
    LeasedObject,
    LeaseRecord,
    Say,
    Writer,
    decode_document,
    encode_document,
    held_error,
    lease_of,
)
from ftm.storage.object_store import ObjectStore
from ftm.storage.store_clock import age_in_store

LEASE_LASTS = timedelta(minutes=5)
FOLLOWED_AFTER = LEASE_LASTS + timedelta(seconds=5)
"""By the store's clock, which counts whole seconds."""
RENEW_EVERY_S = 60.0
ATTEMPTS = 3


def stopwatch_s() -> float:
    """Seconds since some moment, those asleep included; setting the clock changes nothing."""
    # Linux counts sleep only in CLOCK_BOOTTIME; macOS in CLOCK_MONOTONIC, not in time.monotonic().
    for name in ("CLOCK_BOOTTIME", "CLOCK_MONOTONIC"):
        if hasattr(time, name):
            return time.clock_gettime(getattr(time, name))
    return time.monotonic()


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
        stopwatch_s: Callable[[], float] = stopwatch_s,
    ) -> None:
        self._store = store
        self._key = key
        self._what = lock_name
        self._writer = writer
        self._clock = clock
        self._say = say
        self._renew_every_s = renew_every_s
        self._stopwatch_s = stopwatch_s
        self._content: Document = {}
        self._etag = ""
        self._expires = datetime.min.replace(tzinfo=UTC)
        self._written_s = 0.0
        self._lost = False
        self._held = False
        self._guard = threading.RLock()
        self._stop = threading.Event()

    def acquire(self) -> Document:
        """See LeasedObject."""
        # Before the put: a thread of this process that sees it must see a living holder.
        LIVE_NONCES.add(self._writer.nonce)
        try:
            self._take_over()
        except BaseException:
            LIVE_NONCES.discard(self._writer.nonce)
            raise
        self._held = True
        threading.Thread(target=self._renew_until_stopped, name="ftm-lease", daemon=True).start()
        return self._content

    def _take_over(self) -> None:
        name = self._store.name(self._key)
        try:
            data, etag = self._store.get_versioned(self._key)
        except ObjectNotFoundError:
            self._take({}, etag=None)
        else:
            document = decode_document(data, key=name)
            lease = lease_of(document, key=name)
            if lease is not None and not self._refuse_or_say(lease):
                self._take({}, etag=None)
                return
            self._take({k: v for k, v in document.items() if k != LEASE_FIELD}, etag=etag)

    def _refuse_or_say(self, lease: LeaseRecord) -> bool:
        """Whether its object is still there; whose holder may be alive is refused."""
        why = "that process is gone"
        if not self._writer.knows_dead(lease):
            age = age_in_store(self._store, self._key)
            if age is None:
                return False
            if age < FOLLOWED_AFTER:
                until = (self._clock() + FOLLOWED_AFTER - age).isoformat(timespec="seconds")
                raise held_error(self._what, lease.holder, until=until)
            why = "its lease ran out"
        self._say(f"{self._what}: taking over from {lease.holder}: {why}")
        return True

    def _take(self, content: Document, *, etag: str | None) -> None:
        expires, written_s = self._clock() + LEASE_LASTS, self._stopwatch_s()
        data = self._encode(content, expires)
        try:
            if etag is None:
                self._etag = self._store.put(self._key, data, if_absent=True)
            else:
                self._etag = self._store.put(self._key, data, if_match=etag)
        except (ObjectExistsError, ObjectNotFoundError, PreconditionFailedError) as error:
            # S3 says of an object that is gone not that it is another one.
            raise held_error(self._what, "a writer that was faster") from error
        self._content, self._expires, self._written_s = content, expires, written_s

    def ensure_held(self) -> None:
        """See LeasedObject."""
        lasted_s = self._stopwatch_s() - self._written_s
        ran_out = self._clock() >= self._expires or lasted_s >= LEASE_LASTS.total_seconds()
        if self._lost or ran_out:
            raise self._lose()

    def _lose(self) -> LeaseLostError:
        self._lost = True
        return LeaseLostError(
            f"{self._what}: this process lost its lease (it slept, or the store was out of reach "
            "for minutes) and another may be writing; nothing is lost, run the same command again"
        )

    def write(self, content: Document) -> None:
        """See LeasedObject."""
        with self._guard:
            self.ensure_held()
            expires, written_s = self._clock() + LEASE_LASTS, self._stopwatch_s()
            self._replace(self._encode(content, expires))
            self._content, self._expires, self._written_s = content, expires, written_s

    def renew(self) -> None:
        """Write the same content with a later expiry."""
        self.write(self._content)

    def _replace(self, data: bytes) -> None:
        """Replace the version we know; one of ours that we do not know is followed.

        A put of ours may have arrived without our learning its etag: its answer got lost, or
        Ctrl-C came before it. Its nonce tells.
        """
        for _ in range(ATTEMPTS):
            try:
                self._etag = self._store.put(self._key, data, if_match=self._etag)
            except (PreconditionFailedError, ObjectNotFoundError):
                found, self._etag = self._find_ours()
                if found == data:
                    return
            else:
                return
        raise self._lose()

    def _find_ours(self) -> tuple[bytes, str]:
        name = self._store.name(self._key)
        try:
            data, etag = self._store.get_versioned(self._key)
            lease = lease_of(decode_document(data, key=name), key=name)
        except (ObjectNotFoundError, CorruptObjectError) as error:
            raise self._lose() from error
        if lease is None or lease.nonce != self._writer.nonce:
            raise self._lose()
        return data, etag

    def _is_ours(self) -> bool:
        try:
            self._find_ours()
        except LeaseLostError:
            return False
        return True

    def delete(self) -> None:
        """See LeasedObject."""
        self._end()
        with self._guard:
            self.ensure_held()
            self._store.delete(self._key, again_if=self._is_ours)

    def release(self) -> None:
        """See LeasedObject; a lease that cannot be given up runs out by itself."""
        if not self._held:
            return
        self._end()
        with self._guard:
            try:
                self.ensure_held()
                self._replace(encode_document({**self._content, LEASE_FIELD: None}))
            except FtmError:
                return

    def _end(self) -> None:
        self._held = False
        self._stop.set()
        LIVE_NONCES.discard(self._writer.nonce)

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
        return encode_document({**content, LEASE_FIELD: record.model_dump()})
