"""Calls to AWS that bear throttling and outages, and errors in words. The only boto3 in `jobs`."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    HTTPClientError,
    NoCredentialsError,
    NoRegionError,
    PartialCredentialsError,
)
from botocore.exceptions import (
    ConnectionError as BotoConnectionError,
)

from ftm.core.errors import AWSAccessError, AWSUnavailableError, ConfigError, JobError
from ftm.core.urls import without_login
from ftm.storage.retrying import Bounds, Retrier

_LOG = logging.getLogger(__name__)
_T = TypeVar("_T")

THROTTLED = frozenset(
    {
        *("Throttling", "ThrottlingException", "ThrottledException", "TooManyRequestsException"),
        *("RequestLimitExceeded", "RequestThrottled", "SlowDown", "PriorRequestNotComplete"),
    }
)
_EXPIRED = frozenset(
    {
        *("ExpiredToken", "ExpiredTokenException", "InvalidClientTokenId", "InvalidToken"),
        *("UnrecognizedClientException", "SignatureDoesNotMatch", "InvalidSignatureException"),
        *("AuthFailure", "RequestExpired"),
    }
)
_DENIED = frozenset({"AccessDenied", "AccessDeniedException", "UnauthorizedOperation"})


@dataclass(frozen=True, slots=True)
class Patience:
    """How long throttling and outages are borne, in one call.

    Args:
        limit_s: after that the call fails with AWSUnavailableError.
        wait_s: before the first retry; doubles up to 10 s, with jitter.
        attempts: at most so many tries of a call, the first included.
    """

    limit_s: float = 60.0
    wait_s: float = 0.5
    attempts: int = 20


class AWSClient:
    """One service's client, made on the first call.

    Args:
        service: `batch`, `logs`, …
        region: None: what boto3 finds (AWS_REGION, the profile).
        endpoint_url: None for AWS.
        patience: with throttling and outages.
    """

    def __init__(
        self,
        service: str,
        *,
        region: str | None = None,
        endpoint_url: str | None = None,
        patience: Patience | None = None,
    ) -> None:
        self._service = service
        self._region = region
        self._endpoint_url = endpoint_url
        self._patience = patience or Patience()
        self._retrier = Retrier(AWSUnavailableError, log=_LOG)
        self._client: Any = None

    @property
    def region(self) -> str:
        """The region calls go to."""
        return str(self._get().meta.region_name)

    def call(self, operation: str, **request: Any) -> dict[str, Any]:
        """One call, tried again while AWS throttles or does not answer.

        Args:
            operation: in snake case, like `describe_jobs`.
            request: its parameters, named as AWS names them.

        Raises:
            AWSUnavailableError: throttled, or no answer, for as long as patience lasts.
            AWSAccessError: no, expired or too weak credentials.
            ConfigError: no region.
            JobError: AWS refused the request.
        """

        def once() -> dict[str, Any]:
            return self._once(operation, request)

        return self.patiently(once, what=f"{self._service} {operation}")

    def once(self, operation: str, **request: Any) -> dict[str, Any]:
        """One call, never tried again: for those that do something twice when repeated."""
        return self._once(operation, request)

    def _once(self, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        try:
            answer: dict[str, Any] = getattr(self._get(), operation)(**request)
        except (ClientError, BotoCoreError) as error:
            region = self._get().meta.region_name
            raise explain(error, what=f"{self._service} {operation} in {region}") from error
        return answer

    def patiently(self, once: Callable[[], _T], *, what: str) -> _T:
        """The answer of `once`, tried again while it raises AWSUnavailableError.

        Args:
            once: asks.
            what: service and operation, for the log.
        """
        patience = self._patience
        bounds = Bounds(patience.limit_s, patience.attempts, patience.wait_s)
        return self._retrier.call(once, bounds, what=what, give_up=_given_up)

    def _get(self) -> Any:
        if self._client is None:
            # Retries are the retrier's, in one place; botocore's own would multiply them.
            # A server that is not AWS need not have a host name for each bucket.
            style = {"addressing_style": "path"} if self._endpoint_url else None
            config = Config(
                retries={"total_max_attempts": 1}, connect_timeout=5, read_timeout=30, s3=style
            )
            try:
                # A session of its own: the default one keeps credentials that were renewed since.
                self._client = boto3.Session().client(
                    self._service,
                    region_name=self._region,
                    endpoint_url=self._endpoint_url,
                    config=config,
                )
            except (BotoCoreError, ValueError) as error:
                raise explain(error, what=self._service) from error
        return self._client


def _given_up(error: Exception, tried: str) -> AWSUnavailableError:
    code = error.code if isinstance(error, AWSUnavailableError) else ""
    return AWSUnavailableError(f"{error}; {tried}", code=code)


def credential_source() -> str:
    """Where boto3 finds credentials, as it calls it: `env`, `sso`, `iam-role`, …; never a key.

    Raises:
        AWSAccessError: there are none.
        JobError: a profile that does not exist, or a login that has run out.
    """
    try:
        session = boto3.Session()
        found = session.get_credentials()
        if found is None:
            raise NoCredentialsError
        found.get_frozen_credentials()  # an expired login shows only when its keys are asked for
    except (ClientError, BotoCoreError) as error:
        raise explain(error, what="AWS") from error
    profile = "" if session.profile_name == "default" else f", profile {session.profile_name}"
    return f"{found.method}{profile}"


def chosen_region(region: str | None) -> str:
    """The region calls go to: the given one, or what boto3 finds.

    Raises:
        ConfigError: none is set.
        JobError: a profile that does not exist.
    """
    try:
        found = region or boto3.Session().region_name
    except BotoCoreError as error:
        raise explain(error, what="AWS") from error
    if not found:
        raise explain(NoRegionError(), what="AWS")
    return str(found)


def explain(error: Exception, *, what: str) -> JobError | ConfigError:
    """The ftm error for one of boto3's.

    Args:
        error: what boto3 raised.
        what: service and operation.
    """
    if isinstance(error, NoRegionError):
        return ConfigError("no AWS region is set; set AWS_REGION, or aws_region in ftm.toml")
    if isinstance(error, (NoCredentialsError, PartialCredentialsError)):
        return AWSAccessError(
            f"{what}: no AWS credentials ({error}); run `aws configure` or `aws sso login`, or set "
            "AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
    if isinstance(error, ClientError):
        return _from_answer(error, what)
    if isinstance(error, (BotoConnectionError, HTTPClientError)):
        told = without_login(str(error))
        return AWSUnavailableError(
            f"{what}: AWS does not answer ({told}); is the region right (AWS_REGION), and the "
            "network there?"
        )
    return JobError(f"{what}: {without_login(str(error))}")


def _from_answer(error: ClientError, what: str) -> JobError:
    code = str(error.response.get("Error", {}).get("Code", ""))
    text = str(error.response.get("Error", {}).get("Message", "")) or code
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if code in THROTTLED or status in (429, 500, 502, 503, 504):
        return AWSUnavailableError(f"{what}: AWS answers {code or status}: {text}", code=code)
    if code in _EXPIRED:
        return AWSAccessError(
            f"{what}: AWS does not accept the credentials ({code}: {text}); renew them, for "
            "example with `aws sso login`",
            code=code,
        )
    if code in _DENIED or status in (401, 403):
        return AWSAccessError(
            f"{what}: access denied: {text}; ask whoever runs the account for the operator policy "
            "(terraform output operator_policy_arn)",
            code=code,
        )
    return JobError(f"{what}: AWS refuses ({code}): {text}", code=code)
