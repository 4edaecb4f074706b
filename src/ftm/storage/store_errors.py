"""What obstore's errors mean: one line for the user, and whether trying again can help."""

from __future__ import annotations

import re

from obstore import exceptions as obstore_errors

from ftm.core.errors import (
    ObjectNotFoundError,
    PreconditionFailedError,
    StoreError,
    StoreUnavailableError,
)
from ftm.core.urls import without_user

_HTTP_STATUS = re.compile(r"status code: (\d{3})")
_OS_ERROR = re.compile(r"os error (\d+)")
_S3_CODE = re.compile(r"<Code>(\w+)</Code>")
_ENDPOINT = re.compile(r"(https?://[^/\s]+)")
_TRANSIENT_STATUS = {408, 409, 429, 500, 502, 503, 504}
_TRANSIENT_TEXT = re.compile(r"HTTP error|Requested \d+\.\.\d+, got")
"""No answer, an answer cut short, and an answer with fewer bytes than the range asked for."""
_TRANSIENT_CODES = {"RequestTimeout"}
"""S3 says 400 to a body that came too slowly: https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html"""
_EXPIRED_CODES = {"ExpiredToken", "InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken"}
_NO_RIGHT_TO_READ = (
    "no permission to read it; run this as the user who wrote it, or have that user allow it "
    "(chmod -R g+rX)"
)
_READING = ("read", "list")
_OS_FIXES = {
    1: "the system refuses it; choose a folder you may write to",
    13: "no permission; choose a folder you may write to (FTM_STORE or --store)",
    20: "a file is in the way where a folder is needed",
    27: "the file is too large for this file system",
    28: "the disk is full; nothing that was recorded is lost: free space and run the command again",
    30: "the file system is read-only; choose a folder you may write to (FTM_STORE or --store)",
    36: "a name is too long for this file system",
    122: "the disk quota is used up; nothing that was recorded is lost: free space and run the "
    "command again",
}
"""errno of Linux: what to do. Any other is shown as the system words it."""


class TransientStoreError(StoreUnavailableError):
    """The store did not answer, or said to come back later: the only error that is retried."""


class BusyStoreError(TransientStoreError):
    """It answered in S3's own words, so it is there, and the right one."""


def explain(error: Exception, *, verb: str, where: str) -> StoreError:
    """The ftm error for an obstore error.

    Args:
        error: what obstore raised.
        verb: what was tried: read, write, delete, list.
        where: the object's or the folder's URL.
    """
    text = str(error).partition("\n\nDebug source")[0]
    bucket = where.removeprefix("s3://").partition("/")[0]
    if isinstance(error, obstore_errors.PreconditionError):
        return PreconditionFailedError(f"{where} was changed by another writer")
    if status := _HTTP_STATUS.search(text):
        code = _S3_CODE.search(text)
        return _from_http(int(status[1]), code[1] if code else "", verb, where, bucket)
    if number := _OS_ERROR.search(text):
        return _from_os(int(number[1]), text, verb, where)
    if isinstance(error, FileNotFoundError):
        return ObjectNotFoundError(f"{where} does not exist")
    return _from_text(text, verb, where)


def _from_http(status: int, code: str, verb: str, where: str, bucket: str) -> StoreError:
    what = f"cannot {verb} {where}"
    if code == "NoSuchBucket":
        return StoreUnavailableError(
            f"{what}: there is no bucket {bucket!r}; create it (`aws s3 mb s3://{bucket}`) or "
            "correct FTM_STORE"
        )
    if status == 404:
        return ObjectNotFoundError(f"{where} does not exist")
    if code in _EXPIRED_CODES:
        return StoreUnavailableError(
            f"{what}: S3 does not accept the credentials ({code}); renew them, for example with "
            "`aws sso login`"
        )
    if code == "RequestTimeTooSkewed":
        return StoreUnavailableError(
            f"{what}: S3 refuses requests of another time than its own; set this machine's clock"
        )
    if status in (401, 403):
        # Without s3:ListBucket S3 answers 403 for an object that does not exist, too.
        return StoreUnavailableError(
            f"{what}: access denied ({status}); the role needs s3:GetObject, s3:PutObject, "
            f"s3:DeleteObject and s3:ListBucket on bucket {bucket!r}"
        )
    if status in _TRANSIENT_STATUS or code in _TRANSIENT_CODES:
        kind = BusyStoreError if code else TransientStoreError
        return kind(f"{what}: the store answers {status} {code}".rstrip())
    return StoreError(f"{what}: the store answers {status} {code}".rstrip())


def _from_os(number: int, text: str, verb: str, where: str) -> StoreError:
    if number == 2 and "canonicalize" in text:
        return StoreUnavailableError(f"cannot {verb} {where}: the store's folder is gone")
    if number == 2:
        return ObjectNotFoundError(f"{where} does not exist")
    if number in (1, 13) and verb in _READING:
        return StoreUnavailableError(f"cannot {verb} {where}: {_NO_RIGHT_TO_READ}")
    if number in _OS_FIXES:
        return StoreUnavailableError(f"cannot {verb} {where}: {_OS_FIXES[number]}")
    return StoreError(f"cannot {verb} {where}: {_first_line(text)}")


def _from_text(text: str, verb: str, where: str) -> StoreError:
    what = f"cannot {verb} {where}"
    if "canonicalize" in text:
        return StoreUnavailableError(f"{what}: the store's folder is gone")
    if "redirect" in text:
        return StoreUnavailableError(
            f"{what}: the bucket is in another region; set AWS_REGION to the bucket's region"
        )
    if _TRANSIENT_TEXT.search(text):
        endpoint = _ENDPOINT.search(text)
        server = f" ({without_user(endpoint[1])})" if endpoint else ""
        return TransientStoreError(
            f"{what}: the server{server} does not answer; check the network and AWS_ENDPOINT_URL"
        )
    if "redential" in text:
        return StoreUnavailableError(
            f"{what}: the AWS credentials cannot be used ({_first_line(text)}); renew them, for "
            "example with `aws sso login`"
        )
    return StoreError(f"{what}: {_first_line(text)}")


def _first_line(text: str) -> str:
    return text.partition("\n")[0]
