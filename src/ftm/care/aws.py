"""Checks of the AWS account: credentials, who they are, and where."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ftm.care.checks import Check, Finding, ok
from ftm.jobs.aws_calls import AWSClient

CREDENTIALS = "AWS credentials"
IDENTITY = "AWS identity"
REGION = "AWS region"


def account(
    source: Callable[[], str], where: Callable[[], str], client: Callable[[str], AWSClient]
) -> list[Check]:
    """Credentials, identity and region.

    Args:
        source: how credentials were found; raises if there are none.
        where: the region; raises if none is set.
        client: makes the client of a service.
    """

    def credentials() -> Iterator[Finding]:
        yield ok(CREDENTIALS, f"found ({source()})")

    def identity() -> Iterator[Finding]:
        answer = client("sts").call("get_caller_identity")
        yield ok(IDENTITY, f"account {answer['Account']}, {answer['Arn']}")

    def region() -> Iterator[Finding]:
        yield ok(REGION, where())

    return [
        Check(CREDENTIALS, credentials),
        Check(REGION, region),
        Check(IDENTITY, identity, (CREDENTIALS, REGION)),
    ]
