"""One object store by URL: `s3://`, `file://`, `memory://`, through obstore.

Everything ftm reads or writes goes through `ObjectStore`. Failpoints: `before_write` is called
with (operation, key) before and after every put and delete; it does nothing unless a test sets it.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

import obstore
from obstore import exceptions as obstore_errors
from obstore.store import LocalStore, MemoryStore, S3Store

from ftm.core.errors import (
    ConfigError,
    ObjectExistsError,
    ObjectNotFoundError,
    PreconditionFailedError,
    StoreError,
    StoreUnavailableError,
)

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


class ObjectStore:
    """Bytes by key below a root.

    Args:
        backend: an obstore store whose root is the store's root.
        url: what the user wrote, for messages.
        scheme: `s3`, `file` or `memory`.
        folder: the root folder of a `file://` store, else None.
        hook: failpoint for tests.
    """

    def __init__(
        self,
        backend: Any,
        *,
        url: str,
        scheme: Literal["s3", "file", "memory"],
        folder: Path | None = None,
        hook: WriteHook = _no_hook,
    ) -> None:
        self._backend = backend
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
        try:
            answer = obstore.get(self._backend, key)
            return bytes(answer.bytes()), str(answer.meta["e_tag"] or "")
        except Exception as error:
            raise self._explain(error, "read", key) from error

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """`length` bytes from `start`; fewer than asked is an error, never a short answer."""
        try:
            data = bytes(obstore.get_range(self._backend, key, start=start, length=length))
        except Exception as error:
            raise self._explain(error, "read", key) from error
        if len(data) != length:
            raise StoreError(f"{self.name(key)}: asked for {length} bytes, got {len(data)}")
        return data

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
            if_match: S3 only: replace exactly this version.
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
        self.hook("before put", key)
        try:
            result = obstore.put(self._backend, key, data, mode=mode, attributes=attributes)
        except obstore_errors.AlreadyExistsError as error:
            found, etag = self.get_versioned(key)
            if found != data:
                raise ObjectExistsError(f"{self.name(key)} already exists") from error
            return etag
        except Exception as error:
            raise self._explain(error, "write", key) from error
        self.hook("after put", key)
        return str(result["e_tag"] or "")

    def head(self, key: str) -> ObjectInfo | None:
        """Size and etag, or None if there is no such object."""
        try:
            meta = obstore.head(self._backend, key)
        except FileNotFoundError:
            return None
        except Exception as error:
            raise self._explain(error, "read", key) from error
        return ObjectInfo(key, int(meta["size"]), str(meta["e_tag"] or ""))

    def exists(self, key: str) -> bool:
        """Whether the key holds an object."""
        return self.head(key) is not None

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Every object below a folder-like prefix, sorted by key."""
        try:
            found = [
                ObjectInfo(str(m["path"]), int(m["size"]), str(m["e_tag"] or ""))
                for page in obstore.list(self._backend, prefix or None)
                for m in page
            ]
        except Exception as error:
            raise self._explain(error, "list", prefix) from error
        yield from sorted(found, key=lambda info: info.key)

    def delete(self, key: str) -> None:
        """Remove an object; one that is not there is fine."""
        self.hook("before delete", key)
        try:
            obstore.delete(self._backend, key)
        except FileNotFoundError:
            pass
        except Exception as error:
            raise self._explain(error, "delete", key) from error
        self.hook("after delete", key)

    def name(self, key: str) -> str:
        """The object's full URL, for messages."""
        return f"{self.url.rstrip('/')}/{key}"

    def _explain(self, error: Exception, verb: str, key: str) -> StoreError:
        where = self.name(key)
        text = str(error).partition("\n")[0]
        if isinstance(error, FileNotFoundError) and "bucket" not in text.lower():
            return ObjectNotFoundError(f"{where} does not exist")
        if isinstance(error, obstore_errors.PreconditionError):
            return PreconditionFailedError(f"{where} was changed by another writer")
        if isinstance(error, PermissionError) or f"errno {errno.EACCES}" in text:
            return StoreUnavailableError(f"cannot {verb} {where}: access denied")
        return StoreError(f"cannot {verb} {where}: {text}")


def open_store(url: str, *, endpoint_url: str | None = None) -> ObjectStore:
    """Open a store.

    Args:
        url: `s3://bucket[/prefix]`, `file:///folder` (made if missing) or `memory://`.
        endpoint_url: where S3 is, when it is not AWS (AWS_ENDPOINT_URL).

    Raises:
        ConfigError: the URL is none of these.
        StoreUnavailableError: the folder cannot be made or the bucket not used.
    """
    parts = urlsplit(url)
    if parts.scheme == "memory":
        return ObjectStore(MemoryStore(), url=url, scheme="memory")
    if parts.scheme == "file":
        folder = Path(unquote(parts.path))
        return ObjectStore(_local(folder), url=url, scheme="file", folder=folder)
    if parts.scheme == "s3" and parts.netloc:
        backend = _s3(parts.netloc, prefix=parts.path.strip("/"), endpoint_url=endpoint_url)
        return ObjectStore(backend, url=url, scheme="s3")
    raise ConfigError(f"unknown store {url!r}; use s3://bucket[/prefix] or file:///folder")


def _local(folder: Path) -> LocalStore:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreUnavailableError(f"cannot make the folder {folder}: {error.strerror}") from error
    return LocalStore(folder)


def _s3(bucket: str, *, prefix: str, endpoint_url: str | None) -> S3Store:
    from obstore.auth.boto3 import Boto3CredentialProvider

    return S3Store(
        bucket,
        prefix=prefix or None,
        endpoint=endpoint_url,
        client_options={"allow_http": bool(endpoint_url and endpoint_url.startswith("http:"))},
        credential_provider=Boto3CredentialProvider(),
    )
