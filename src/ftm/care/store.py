"""Checks of the store: there, readable, writable; on S3 also where it is and closed to others."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ftm.care.aws import CREDENTIALS, REGION
from ftm.care.checks import Check, Finding, failed, ok, warning
from ftm.core.errors import AWSAccessError, JobError, StoreUnavailableError
from ftm.jobs.aws_calls import AWSClient
from ftm.storage.object_store import ObjectStore

STORE = "store"
BUCKET = "bucket"
_CLOSED = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")
_READ_FROM = "prefetch/transcripts"
"""Roles may list only below the folders ftm has."""

OpenStore = Callable[[], ObjectStore]


def unnamed_store(problem: Exception) -> Check:
    """No store is set."""
    return Check(STORE, lambda: [failed(STORE, str(problem))])


def folder_store(open_store: OpenStore) -> list[Check]:
    """A folder: there, and writable."""

    def there() -> Iterator[Finding]:
        yield ok(STORE, f"{open_store().url} is there")

    return [Check(STORE, there), _written(open_store, needs=(STORE,))]


def s3_store(bucket: str, open_store: OpenStore, client: AWSClient) -> list[Check]:
    """A bucket: there and in our region, readable, writable, closed to the public, with versions.

    Args:
        bucket: its name.
        open_store: the store in it.
        client: of the service `s3`.
    """

    def there() -> Iterator[Finding]:
        yield _locate(bucket, client, open_store)

    def read() -> Iterator[Finding]:
        store = open_store()
        store.list_folders(_READ_FROM)
        yield ok("reading", f"{store.url} can be listed")

    return [
        Check(BUCKET, there, (CREDENTIALS, REGION)),
        Check("reading", read, (BUCKET,)),
        _written(open_store, needs=(BUCKET,)),
        Check("public access", lambda: _public_access(bucket, client), (BUCKET,)),
        Check("versioning", lambda: _versioning(bucket, client), (BUCKET,)),
    ]


def _written(open_store: OpenStore, *, needs: tuple[str, ...]) -> Check:
    def look() -> Iterator[Finding]:
        store = open_store()
        store.check_writable()
        yield ok("writing", "a small object was written, read and deleted again")

    return Check("writing", look, needs)


def _locate(bucket: str, client: AWSClient, open_store: OpenStore) -> Finding:
    """Whether the bucket is there, lets us in, and lies in the region of the settings."""
    try:
        # Not HeadBucket, whose refusals come without a word.
        answer = client.call("get_bucket_location", Bucket=bucket)
    except AWSAccessError as error:
        if error.code not in ("AccessDenied", "AllAccessDisabled"):
            raise
        return _closed_or_silent(bucket, open_store)
    except JobError as error:
        if error.code != "NoSuchBucket":
            raise
        return failed(
            BUCKET,
            f"there is no bucket {bucket!r}; make it with Terraform (terraform/README.md) or "
            "correct FTM_STORE",
        )
    # https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetBucketLocation.html
    told = answer.get("LocationConstraint") or "us-east-1"
    region = "eu-west-1" if told == "EU" else told
    if region != client.region:
        return failed(
            BUCKET,
            f"{bucket!r} is in {region}, and AWS_REGION is {client.region}; set AWS_REGION, or "
            f"aws_region in ftm.toml, to {region}",
        )
    return ok(BUCKET, f"{bucket} in {region}")


def _closed_or_silent(bucket: str, open_store: OpenStore) -> Finding:
    """A bucket that does not tell us where it is: does it let us in all the same?"""
    try:
        open_store().list_folders(_READ_FROM)
    except StoreUnavailableError:
        return failed(
            BUCKET,
            f"{bucket!r} does not let this identity in: it belongs to another account, or the "
            "identity has too few rights; correct FTM_STORE, or ask for the operator policy "
            "(terraform output operator_policy_arn)",
        )
    return warning(BUCKET, f"{bucket} lets us in, but not see its region (s3:GetBucketLocation)")


def _public_access(bucket: str, client: AWSClient) -> Iterator[Finding]:
    what = "public access"
    try:
        answer = client.call("get_public_access_block", Bucket=bucket)
        found = answer["PublicAccessBlockConfiguration"]
    except AWSAccessError as error:
        yield warning(what, f"cannot be checked: {error}")
        return
    except JobError as error:
        if error.code != "NoSuchPublicAccessBlockConfiguration":
            raise
        found = {}
    if missing := [name for name in _CLOSED if not found.get(name)]:
        every = ",".join(f"{name}=true" for name in _CLOSED)
        yield failed(
            what,
            f"not blocked ({', '.join(missing)}), and transcripts are licensed; run `aws s3api "
            f"put-public-access-block --bucket {bucket} --public-access-block-configuration "
            f"{every}`",
        )
        return
    yield ok(what, "blocked, all four settings")


def _versioning(bucket: str, client: AWSClient) -> Iterator[Finding]:
    what = "versioning"
    try:
        status = client.call("get_bucket_versioning", Bucket=bucket).get("Status")
    except AWSAccessError as error:
        yield warning(what, f"cannot be checked: {error}")
        return
    if status == "Enabled":
        yield ok(what, "on: what is deleted by mistake can be brought back")
    else:
        yield warning(
            what,
            f"off: what is deleted by mistake is gone; run `aws s3api put-bucket-versioning "
            f"--bucket {bucket} --versioning-configuration Status=Enabled`",
        )
