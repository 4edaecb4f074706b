"""One object store by URL: `s3://`, `file://`, `memory://`, through obstore.

Everything ftm reads or writes goes through `ObjectStore`. Transient errors are retried here and
nowhere else, by `retrying`. Failpoints: `hook` is called with ("before put", key) and the like
around every write; it does nothing unless a test gives one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, TypeVar

import obstore
from obstore import exceptions as obstore_errors
from obstore.store import MemoryStore

from ftm.core.errors import (
    ConfigError,
    ObjectExistsError,
    ObjectNotFoundError,
    PreconditionFailedError,
    StoreError,
    StoreGaveUpError,
    StoreUnavailableError,
)
from ftm.core.urls import shown
from ftm.storage.backends import BULK_TIMEOUT_S, check_key, file_backend, folder_of, s3_backends
from ftm.storage.retrying import Bounds, Retrier, RetryPolicy
from ftm.storage.store_errors import BusyStoreError, TransientStoreError, explain

_LOG = logging.getLogger(__name__)
_T = TypeVar("_T")
PROBE = "_probe"
"""A small object that is put and removed at once."""
_SIGHTINGS = 3

BULK_BYTES = 2**18
"""Up to here a put is over in seconds on any line, so that a stalled one shows soon."""

WriteHook = Callable[[str, str], None]
"""Called as hook("before put", key), ("after put", key), ("before delete", key), …"""


def _no_hook(_moment: str, _key: str) -> None:
    return None


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """What a listing or head says of an object.

    Args:
        key: where.
        size_bytes: of the whole.
        etag: only tells versions apart in If-Match.
        modified: when it was put, by the store's clock; UTC.
    """

    key: str
    size_bytes: int
    etag: str
    modified: datetime

    @classmethod
    def of(cls, meta: Mapping[str, Any], key: str) -> ObjectInfo:
        """From what obstore says."""
        return cls(key, int(meta["size"]), str(meta["e_tag"] or ""), meta["last_modified"])


class ObjectStore:
    """Bytes by key below a root.

    Args:
        backend: an obstore store whose root is the store's root.
        bulk: the same for puts of more than BULK_BYTES; None: `backend`.
        url: what the user wrote, for messages.
        scheme: `s3`, `file` or `memory`.
        folder: the root folder of a `file://` store, else None.
        hook: failpoint for tests.
        retry: how long transient errors are borne; the attribute is what holds.
    """

    def __init__(
        self,
        backend: Any,
        *,
        bulk: Any = None,
        url: str,
        scheme: Literal["s3", "file", "memory"],
        folder: Path | None = None,
        hook: WriteHook = _no_hook,
        retry: RetryPolicy | None = None,
    ) -> None:
        self._backend = backend
        self._bulk = bulk or backend
        self.retry = retry or RetryPolicy()
        self._retrier = Retrier(TransientStoreError, log=_LOG)
        self._answered = False
        self._is_given_up = False
        self.url = url
        self.scheme = scheme
        self.folder = folder
        self.hook = hook

    def get(self, key: str) -> bytes:
        """The whole object.

        Raises:
            ObjectNotFoundError: no such object.
            StoreError: anything else the store answers.
        """
        return self.get_versioned(key)[0]

    def get_versioned(self, key: str) -> tuple[bytes, str]:
        """The whole object and the etag to hand to `put(…, if_match=…)`."""

        def read() -> tuple[bytes, str]:
            answer = obstore.get(self._backend, key)
            return bytes(answer.bytes()), str(answer.meta["e_tag"] or "")

        return self._call("read", key, read)

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """`length` bytes from `start`; fewer than asked is an error, never a short answer.

        Raises:
            ObjectNotFoundError: no such object.
            StoreError: the object is shorter, or anything else the store answers.
        """
        if length == 0:
            return b""
        where = f"{self.name(key)} bytes {start} to {start + length}"

        def read() -> bytes:
            data = bytes(obstore.get_range(self._backend, key, start=start, length=length))
            if len(data) != length:
                self._check_reach(key, start + length)
                raise TransientStoreError(f"cannot read {where}: {len(data)} bytes came")
            return data

        return self._call("read", key, read)

    def put(
        self,
        key: str,
        data: bytes,
        *,
        if_absent: bool = False,
        if_match: str | None = None,
        gzip_encoded: bool = False,
    ) -> str:
        """Write an object atomically and return its etag.

        Args:
            key: where.
            data: all of it.
            if_absent: fail if the key exists, unless it already holds these very bytes
                (a put whose answer got lost).
            if_match: S3 and memory: replace exactly this version; the object already holding
                these very bytes is success here too. A `file://` writer holds a lock instead.
            gzip_encoded: set ContentEncoding gzip (S3; other stores have no headers).

        Raises:
            ObjectExistsError, PreconditionFailedError, StoreUnavailableError, StoreError.
        """
        mode: Any = "overwrite"
        if if_absent:
            mode = "create"
        elif if_match is not None and self.scheme != "file":
            mode = {"e_tag": if_match}
        attributes = {"Content-Encoding": "gzip"} if gzip_encoded and self.scheme == "s3" else None
        is_bulk = len(data) > BULK_BYTES
        backend = self._bulk if is_bulk else self._backend

        def write() -> str:
            # One request: a multipart upload cannot be conditional and leaves debris when killed.
            done = obstore.put(
                backend, key, data, mode=mode, attributes=attributes, use_multipart=False
            )
            return str(done["e_tag"] or "")

        check_key(key)
        self.hook("before put", key)
        extra_s = BULK_TIMEOUT_S if is_bulk else 0.0
        etag = self._put_or_find(key, data, lambda: self._call("write", key, write, extra_s))
        self.hook("after put", key)
        return etag

    def _put_or_find(self, key: str, data: bytes, put: Callable[[], str]) -> str:
        """The etag of what was put, or of the same bytes that a put of ours left there before.

        A store that refuses a put because of an object, and then has no such object, contradicts
        itself: its answer is from before. It is asked again, for a wrong "another's" would leave
        our own put without a name.
        """
        for _ in range(_SIGHTINGS):
            try:
                return put()
            except (ObjectExistsError, PreconditionFailedError) as error:
                refusal = error
            try:
                found, etag = self.get_versioned(key)
            except ObjectNotFoundError:
                if isinstance(refusal, PreconditionFailedError):
                    break
                continue
            if found == data:
                return etag
            break
        raise refusal

    def head(self, key: str) -> ObjectInfo | None:
        """Size and etag, or None if there is no such object."""

        def read() -> ObjectInfo:
            return ObjectInfo.of(obstore.head(self._backend, key), key)

        try:
            return self._call("read", key, read)
        except ObjectNotFoundError:
            return None

    def exists(self, key: str) -> bool:
        """Whether the key holds an object."""
        return self.head(key) is not None

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Every object below a folder-like prefix, sorted by key; none if there is none."""

        def read() -> Iterable[ObjectInfo]:
            return [
                ObjectInfo.of(m, str(m["path"]))
                for page in obstore.list(self._backend, prefix or None)
                for m in page
            ]

        yield from sorted(self._call("list", prefix, read), key=lambda info: info.key)

    def list_folders(self, prefix: str = "") -> Sequence[str]:
        """Names of the folders directly below a prefix, sorted: one request however much is there.

        `quarter=2023Q1` for `prefix="prefetch/transcripts"`.
        """

        def read() -> Sequence[str]:
            found = obstore.list_with_delimiter(self._backend, prefix or None)
            return sorted(str(path).rpartition("/")[2] for path in found["common_prefixes"])

        return self._call("list", prefix, read)

    def delete(self, key: str, *, again_if: Callable[[], bool] = lambda: True) -> None:
        """Remove an object; one that is not there is fine.

        Args:
            key: where.
            again_if: asked before every try but the first: the answer to one that succeeded may
                have got lost, and the object be another's since.
        """
        n_tries = 0

        def remove() -> None:
            nonlocal n_tries
            n_tries += 1
            if n_tries == 1 or again_if():
                obstore.delete(self._backend, key)

        check_key(key)
        self.hook("before delete", key)
        with suppress(ObjectNotFoundError):
            self._call("delete", key, remove)
        self.hook("after delete", key)

    def check_writable(self) -> None:
        """Write, read and remove a small probe object: before hours of work, not after.

        Raises:
            StoreUnavailableError: what is wrong and what to do.
        """
        data = b"ftm asks whether it may write here; this object may be deleted\n"
        try:
            self._call("write", PROBE, lambda: obstore.put(self._backend, PROBE, data))
            # One that is not there was removed by another process that asks, or not seen yet.
            with suppress(ObjectNotFoundError):
                self._call("read", PROBE, lambda: obstore.get(self._backend, PROBE).bytes())
            with suppress(ObjectNotFoundError):
                self._call("delete", PROBE, lambda: obstore.delete(self._backend, PROBE))
        except StoreUnavailableError:
            raise
        except StoreError as error:
            raise StoreUnavailableError(f"the store {self.url} cannot be used: {error}") from error

    def name(self, key: str) -> str:
        """The object's full URL, for messages."""
        return f"{self.url}{key}" if self.url.endswith("/") else f"{self.url}/{key}"

    def _call(self, verb: str, key: str, operation: Callable[[], _T], extra_s: float = 0.0) -> _T:
        """Run an operation, trying again while the trouble is transient; `extra_s` longer."""
        if verb != "list" or key:
            check_key(key)
        policy = self.retry
        result = self._retrier.call(
            lambda: self._try(verb, key, operation),
            Bounds(
                limit_s=policy.later_s + extra_s,
                attempts=policy.attempts,
                wait_s=policy.wait_s,
                silent_s=policy.first_contact_s,
            ),
            what=f"{verb} {self.name(key)}",
            give_up=self._give_up,
            answers=lambda: self._answered,
        )
        self._answered, self._is_given_up = True, False
        return result

    def _give_up(self, error: Exception, tried: str) -> StoreUnavailableError:
        had_answered = self._answered or self._is_given_up
        self._answered, self._is_given_up = False, True
        kind = StoreGaveUpError if had_answered else StoreUnavailableError
        return kind(f"{error}; {tried}: run the command again")

    def _try(self, verb: str, key: str, operation: Callable[[], _T]) -> _T:
        if self.folder is not None and not self.folder.is_dir():
            # An unplugged disk must look neither like an empty store nor be written beside.
            raise StoreUnavailableError(f"cannot {verb} {self.name(key)}: the folder is gone")
        try:
            return operation()
        except StoreError:
            raise
        except obstore_errors.AlreadyExistsError as error:
            raise ObjectExistsError(f"{self.name(key)} already exists") from error
        except (obstore_errors.BaseError, OSError, ValueError) as error:
            explained = explain(error, verb=verb, where=self.name(key))
            if isinstance(explained, BusyStoreError):
                self._answered |= not self._is_given_up
            else:
                self._answered |= not isinstance(explained, TransientStoreError)
            raise explained from error

    def _check_reach(self, key: str, end: int) -> None:
        info = self.head(key)
        if info is not None and info.size_bytes < end:
            raise StoreError(
                f"{self.name(key)} has {info.size_bytes} bytes, bytes up to {end} were asked for"
            )


def open_store(
    url: str,
    *,
    endpoint_url: str | None = None,
    region: str | None = None,
    create: bool = True,
    hook: WriteHook = _no_hook,
    retry: RetryPolicy | None = None,
) -> ObjectStore:
    """Open a store.

    Args:
        url: `s3://bucket[/prefix]`, `file:///folder` or `memory://`.
        endpoint_url: where S3 is, when it is not AWS (AWS_ENDPOINT_URL).
        region: of the bucket; None: what boto3 finds.
        create: make the folder of `file://` if it is missing; False for whoever only reads, so
            that a mistyped path is an error and leaves no empty folder behind.
        hook: failpoint for tests.
        retry: how long transient errors are borne.

    Raises:
        ConfigError: the URL is none of these.
        StoreUnavailableError: the folder is not there or cannot be made, or there are no
            credentials. That a
            bucket is missing shows at the first use, or in `check_writable`.
    """
    scheme, _, rest = url.partition("://")
    if scheme == "memory":
        return ObjectStore(MemoryStore(), url=url, scheme="memory", hook=hook, retry=retry)
    if scheme == "file":
        folder = folder_of(rest, url)
        backend = file_backend(folder, create=create)
        return ObjectStore(backend, url=url, scheme="file", folder=folder, hook=hook, retry=retry)
    if scheme == "s3":
        stall_s = (retry or RetryPolicy()).stall_s
        quick, bulk = s3_backends(
            rest, url, endpoint_url=endpoint_url, region=region, stall_s=stall_s
        )
        return ObjectStore(quick, bulk=bulk, url=url, scheme="s3", hook=hook, retry=retry)
    raise ConfigError(f"unknown store {shown(url)!r}; use s3://bucket[/prefix] or file:///folder")
