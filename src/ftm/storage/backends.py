"""The obstore backends behind a store's URL, and which keys a store takes."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from obstore.store import LocalStore, S3Store

from ftm.core.errors import ConfigError, StoreError, StoreUnavailableError
from ftm.core.urls import shown

if TYPE_CHECKING:
    from obstore.store import ClientConfig

BULK_TIMEOUT_S = 300.0
"""For one request, whatever it moves."""

_BUCKET = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9._-]{1,61}[a-zA-Z0-9]")


def check_key(key: str) -> None:
    """Refuse a key that is empty, leaves the root, or that some store would change.

    Raises:
        StoreError: with the key.
    """
    parts = key.split("/")
    if any(part in ("", ".", "..") for part in parts) or "\\" in key or not key.isprintable():
        raise StoreError(f"not a key: {key!r}; keys stay below the store's root, like a/b.parquet")


_LONGEST_NAME = 255
"""Bytes of a file's name, on all file systems in use."""


def folder_of(rest: str, url: str) -> Path:
    """The folder a `file://` URL names; `rest` is what follows `file://`.

    Raises:
        ConfigError: it is not absolute, or no file system has such a name.
    """
    folder = Path(unquote(rest))
    if not folder.is_absolute():
        raise ConfigError(f"{shown(url)!r} is not an absolute folder; write file:///home/me/store")
    if "\0" in str(folder) or any(len(part.encode()) > _LONGEST_NAME for part in folder.parts):
        raise ConfigError(f"{url!r} cannot be a folder: a name in it is too long, or has a NUL")
    return folder


def file_backend(folder: Path, *, create: bool) -> LocalStore:
    """A folder; empty folders go with their last object.

    Args:
        folder: absolute.
        create: make it if it is missing.

    Raises:
        StoreUnavailableError: it is not there, or cannot be made.
    """
    if not create and not folder.is_dir():
        raise StoreUnavailableError(
            f"there is no store: {folder} is not a folder; correct FTM_STORE or --store "
            "(`ftm prefetch --quarter 2023Q1` makes a new one)"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        why = "it is a file" if isinstance(error, FileExistsError) else error.strerror
        raise StoreUnavailableError(
            f"cannot make the folder {folder}: {why}; choose another (FTM_STORE or --store)"
        ) from error
    return LocalStore(folder, automatic_cleanup=True)


def _bucket_and_prefix(rest: str, url: str) -> tuple[str, str]:
    bucket, _, prefix = rest.partition("/")
    if not _BUCKET.fullmatch(bucket):
        raise ConfigError(
            f"{shown(url)!r} names no valid bucket; write s3://bucket or s3://bucket/prefix"
        )
    prefix = prefix.rstrip("/")
    if prefix and (urlsplit(url).query or urlsplit(url).fragment):
        raise ConfigError(f"{shown(url)!r}: a prefix has no ? and no #")
    try:
        if prefix:
            check_key(prefix)
    except StoreError as error:
        raise ConfigError(f"{shown(url)!r}: {prefix!r} cannot be a prefix ({error})") from error
    return bucket, prefix


def s3_backends(
    rest: str,
    url: str,
    *,
    endpoint_url: str | None,
    region: str | None = None,
    stall_s: float = 30.0,
) -> tuple[S3Store, S3Store]:
    """A bucket, or a folder in one, with boto3's credentials; and the same for large puts.

    An upload has no answer before its end, so whoever takes silence for a stall must not upload
    much: 8 MB at 2 Mbit/s take half a minute.

    Args:
        rest: what follows `s3://`.
        url: the whole, for messages.
        endpoint_url: None for AWS.
        region: of the bucket; None: what boto3 finds.
        stall_s: silence for so long is the end of a request; large puts have BULK_TIMEOUT_S.

    Raises:
        ConfigError: no valid bucket or prefix.
        StoreUnavailableError: no credentials are found.
    """
    from botocore.exceptions import BotoCoreError
    from obstore.auth.boto3 import Boto3CredentialProvider

    bucket, prefix = _bucket_and_prefix(rest, url)
    try:
        credentials = Boto3CredentialProvider()
    except (BotoCoreError, ValueError) as error:
        raise StoreUnavailableError(
            f"no AWS credentials for s3://{bucket} ({error}); run `aws configure` or `aws sso "
            "login`, or set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        ) from error
    # obstore takes no None for these: without the key it goes to AWS.
    named = {"region": region, "endpoint": endpoint_url}
    options: dict[str, Any] = {name: value for name, value in named.items() if value}

    common: ClientConfig = {
        "allow_http": bool(endpoint_url and endpoint_url.startswith("http:")),
        "connect_timeout": timedelta(seconds=3),
        "timeout": timedelta(seconds=BULK_TIMEOUT_S),
    }
    quick: ClientConfig = {**common, "read_timeout": timedelta(seconds=stall_s)}
    of_requests, of_uploads = (
        S3Store(
            bucket,
            prefix=prefix or None,
            client_options=chosen,
            # Retries are `retrying`'s, so that they are seen and counted once.
            retry_config={"max_retries": 0},
            credential_provider=credentials,
            **options,
        )
        for chosen in (quick, common)
    )
    return of_requests, of_uploads
