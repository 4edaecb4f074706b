"""One object store by URL: `s3://`, `file://`, `memory://`, through obstore.

Everything ftm reads or writes goes through `ObjectStore`. Transient errors are retried here and
nowhere else. Failpoints: `hook` is called with ("before put", key) and the like around every
write; it does nothing unless a test gives one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import obstore
import stamina
from obstore import exceptions as obstore_errors
from obstore.store import MemoryStore

from ftm.core.errors import (
    ConfigError,
    ObjectExistsError,
    ObjectNotFoundError,
    PreconditionFailedError,
    StoreError,
    StoreUnavailableError,
)
from ftm.core.urls import without_user
from ftm.storage.backends import check_key, file_backend, folder_of, s3_backend
from ftm.storage.store_errors import TransientStoreError, explain

_LOG = logging.getLogger(__name__)
_T = TypeVar("_T")
_PROBE = "_probe"

WriteHook = Callable[[str, str], None]
"""Called as hook("before put", key), ("after put", key), ("before delete", key), …"""


def _no_hook(_moment: str, _key: str) -> None:
    return None


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """What a listing or head says of an object; etag only tells versions apart in If-Match."""

    key: str
    size_bytes: int
    etag: str


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How long transient errors are borne.

    A wrong endpoint shows at once and is said in seconds; a store that has answered before is
    given longer, because a prefetch that stops asks for another login.

    Args:
        first_contact_s: while the store has never answered.
        later_s: after that.
        wait_s: before the first retry; doubles up to 10 s.
    """

    first_contact_s: float = 6.0
    later_s: float = 120.0
    wait_s: float = 0.2


class ObjectStore:
    """Bytes by key below a root.

    Args:
        backend: an obstore store whose root is the store's root.
        url: what the user wrote, for messages.
        scheme: `s3`, `file` or `memory`.
        folder: the root folder of a `file://` store, else None.
        hook: failpoint for tests.
        retry: how long transient errors are borne.
    """

    def __init__(
        self,
        backend: Any,
        *,
        url: str,
        scheme: Literal["s3", "file", "memory"],
        folder: Path | None = None,
        hook: WriteHook = _no_hook,
        retry: RetryPolicy | None = None,
    ) -> None:
        self._backend = backend
        self._retry = retry or RetryPolicy()
        self._answered = False
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

        def write() -> str:
            # One request: a multipart upload cannot be conditional and leaves debris when killed.
            done = obstore.put(
                self._backend, key, data, mode=mode, attributes=attributes, use_multipart=False
            )
            return str(done["e_tag"] or "")

        check_key(key)
        self.hook("before put", key)
        try:
            etag = self._call("write", key, write)
        except (ObjectExistsError, PreconditionFailedError):
            found = self._etag_if_holding(key, data)
            if found is None:
                raise
            etag = found
        self.hook("after put", key)
        return etag

    def head(self, key: str) -> ObjectInfo | None:
        """Size and etag, or None if there is no such object."""

        def read() -> ObjectInfo:
            meta = obstore.head(self._backend, key)
            return ObjectInfo(key, int(meta["size"]), str(meta["e_tag"] or ""))

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
                ObjectInfo(str(m["path"]), int(m["size"]), str(m["e_tag"] or ""))
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

    def delete(self, key: str) -> None:
        """Remove an object; one that is not there is fine."""
        check_key(key)
        self.hook("before delete", key)
        with suppress(ObjectNotFoundError):
            self._call("delete", key, lambda: obstore.delete(self._backend, key))
        self.hook("after delete", key)

    def check_writable(self) -> None:
        """Write, read and remove a small probe object: before hours of work, not after.

        Raises:
            StoreUnavailableError: what is wrong and what to do.
        """
        data = b"ftm asks whether it may write here; this object may be deleted\n"
        try:
            self._call("write", _PROBE, lambda: obstore.put(self._backend, _PROBE, data))
            self._call("read", _PROBE, lambda: obstore.get(self._backend, _PROBE).bytes())
            self._call("delete", _PROBE, lambda: obstore.delete(self._backend, _PROBE))
        except ObjectNotFoundError:
            _LOG.debug("another process removed the probe of %s first", self.url)
        except StoreUnavailableError:
            raise
        except StoreError as error:
            raise StoreUnavailableError(f"the store {self.url} cannot be used: {error}") from error

    def name(self, key: str) -> str:
        """The object's full URL, for messages."""
        return f"{self.url}{key}" if self.url.endswith("/") else f"{self.url}/{key}"

    def _call(self, verb: str, key: str, operation: Callable[[], _T]) -> _T:
        """Run an operation, retrying while the trouble is transient."""
        if verb != "list" or key:
            check_key(key)
        limit_s = self._retry.later_s if self._answered else self._retry.first_contact_s
        for attempt in stamina.retry_context(
            on=_TellOnce(limit_s),
            attempts=None,
            timeout=limit_s,
            wait_initial=self._retry.wait_s,
            wait_jitter=self._retry.wait_s,
            wait_max=10.0,
        ):
            with attempt:
                result = self._try(verb, key, operation)
        self._answered = True
        return result

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
            self._answered |= not isinstance(explained, TransientStoreError)
            raise explained from error

    def _check_reach(self, key: str, end: int) -> None:
        info = self.head(key)
        if info is not None and info.size_bytes < end:
            raise StoreError(
                f"{self.name(key)} has {info.size_bytes} bytes, bytes up to {end} were asked for"
            )

    def _etag_if_holding(self, key: str, data: bytes) -> str | None:
        """The etag of an object that holds these bytes: our own put, whose answer got lost."""
        try:
            found, etag = self.get_versioned(key)
        except ObjectNotFoundError:
            return None
        return etag if found == data else None


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
        bucket = s3_backend(rest, url, endpoint_url=endpoint_url, region=region)
        return ObjectStore(bucket, url=url, scheme="s3", hook=hook, retry=retry)
    raise ConfigError(
        f"unknown store {without_user(url)!r}; use s3://bucket[/prefix] or file:///folder"
    )


class _TellOnce:
    """Whether an error is worth another try; the first is told, the others would only repeat it."""

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._told = False

    def __call__(self, error: Exception) -> bool:
        if not isinstance(error, TransientStoreError):
            return False
        if not self._told:
            _LOG.warning("%s; trying again for up to %.0f s", error, self._limit_s)
        self._told = True
        return True
