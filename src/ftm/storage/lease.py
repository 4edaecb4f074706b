"""One writer at a time: a JSON object that only the holder of its lease may write.

`conditional_lease` keeps it on S3 and in memory, `file_lease` on `file://`.
"""

from __future__ import annotations

import getpass
import os
import platform
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from ftm.core.errors import CorruptObjectError, LeaseHeldError, LeaseLostError
from ftm.storage.sealed import decode_sealed, encode_sealed

LEASE_FIELD = "lease"
"""Where a document carries its lease."""

Document = Mapping[str, Any]
"""What the object holds besides the lease: JSON."""

Clock = Callable[[], datetime]
"""The time now, aware, UTC."""

Say = Callable[[str], None]
"""Takes one line for the user."""

LIVE_NONCES: set[str] = set()
"""Leases this process holds: a lease with our pid but another nonce is a dead one's."""


class LeaseRecord(BaseModel):
    """Who holds a lease, and until when."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    owner: str
    host: str
    pid: int = Field(gt=0, lt=2**31)
    nonce: str
    expires: str
    place: str = ""

    @field_validator("expires")
    @classmethod
    def _aware(cls, text: str) -> str:
        if datetime.fromisoformat(text).tzinfo is None:
            raise ValueError("a time without a zone")
        return text

    @property
    def holder(self) -> str:
        """Who, for messages."""
        return _describe(self.owner, self.host, self.pid)


def _describe(owner: str, host: str, pid: int) -> str:
    return f"{owner} on host {host} (process {pid})"


def process_is_alive(pid: int) -> bool:
    """Whether a process of this host has the id and runs; one of another user counts."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return not _has_ended(pid)


def _has_ended(pid: int) -> bool:
    """Whether it was killed and only its parent has not noticed yet, where the system tells."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text("ascii", errors="replace")
    except OSError:
        return False
    return status.rpartition(")")[2].split()[:1] in (["Z"], ["X"])


def process_place() -> str:
    """What a process id is counted in: the kernel since its start, and the container.

    Empty where the system does not tell (macOS).
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
        return f"{boot}:{Path('/proc/self/ns/pid').stat().st_ino}"
    except OSError:
        return ""


@dataclass(frozen=True, slots=True)
class Writer:
    """Who asks for a lease.

    Args:
        owner: user name, for messages.
        host: host name; only a process of the same host can be known to be dead.
        pid: process id.
        nonce: tells this very writer from every other.
        place: of the host; containers with one host name are several, and so is a host before and
            after it was started anew.
        is_alive: whether a pid of this host still runs.
    """

    owner: str
    host: str
    pid: int
    nonce: str
    place: str = ""
    is_alive: Callable[[int], bool] = field(default=process_is_alive)

    @classmethod
    def current(cls) -> Writer:
        """This process."""
        try:
            owner = getpass.getuser()
        except (OSError, KeyError):  # a container may run as a user without a name
            owner = f"user {os.getuid()}"
        return cls(owner, platform.node(), os.getpid(), uuid.uuid4().hex, process_place())

    @property
    def holder(self) -> str:
        """Who, for messages."""
        return _describe(self.owner, self.host, self.pid)

    def record(self, expires: str) -> LeaseRecord:
        """What the others see."""
        return LeaseRecord(
            owner=self.owner,
            host=self.host,
            pid=self.pid,
            nonce=self.nonce,
            expires=expires,
            place=self.place,
        )

    def knows_dead(self, lease: LeaseRecord) -> bool:
        """Whether the holder is of this host and certainly gone."""
        if (lease.host, lease.place) != (self.host, self.place):
            return False
        if lease.pid == self.pid:
            return lease.nonce not in LIVE_NONCES
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

    def is_held(self) -> bool:
        """Whether `ensure_held` would let a write pass."""
        try:
            self.ensure_held()
        except LeaseLostError:
            return False
        return True

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


def held_error(what: str, holder: str, *, until: str = "") -> LeaseHeldError:
    """The error that names who is writing."""
    limit = f" until {until}" if until else ""
    return LeaseHeldError(
        f"{what} is being written by {holder}{limit}; wait for it, or stop it and run this again"
    )


def encode_document(document: Document) -> bytes:
    """JSON with sorted keys and a hash of itself."""
    return encode_sealed(document, indent=None)


def decode_document(data: bytes, *, key: str) -> dict[str, Any]:
    """Read it back.

    Raises:
        CorruptObjectError: not a JSON object, or not what was written.
    """
    try:
        return decode_sealed(data)
    except ValueError as error:
        raise _corrupt(key) from error


def lease_of(document: Document, *, key: str) -> LeaseRecord | None:
    """The lease a document carries, if it carries one.

    Raises:
        CorruptObjectError: it cannot be read.
    """
    found = document.get(LEASE_FIELD)
    try:
        return None if found is None else LeaseRecord.model_validate(found)
    except ValidationError as error:
        raise _corrupt(key) from error


def _corrupt(key: str) -> CorruptObjectError:
    return CorruptObjectError(
        f"{key} is damaged; delete it and run the command again: what is published stays, and what "
        "the unfinished command had read it reads anew",
        key=key,
    )
