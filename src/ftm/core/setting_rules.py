"""What the text of a setting may be: no place for a password, and nothing that fails far away.

Settings end up in messages, records and jobs. Each rule raises a ValueError that says what the
value should look like, and leaves the value itself to whoever catches it.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping

from ftm.core.urls import split_http, without_user

_HOST = re.compile(r"[A-Za-z0-9._-]+")
_REGION = re.compile(r"[A-Za-z0-9-]+")
_USER_TOLD = "it holds a user or password, which messages and records would show"
_AWS_LOGIN = (
    "AWS credentials come from a profile, a role, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
)
_WRDS_ALONE = (
    "user, password, port and database are WRDS_USERNAME, WRDS_PASSWORD, FTM_WRDS_PORT and "
    "FTM_WRDS_DBNAME"
)


def check_text(value: str) -> None:
    """Text that paths, servers and terminals take."""
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError("it holds bytes that are no UTF-8") from None
    if "\0" in value:
        raise ValueError("it holds a NUL character")


def check_no_user(value: str) -> None:
    """No URL in it with a user or password."""
    if without_user(value) != value:
        raise ValueError(_USER_TOLD)


def check_store(url: str) -> None:
    """`s3://bucket[/prefix]` or `file:///folder`."""
    is_store = url.startswith(("s3://", "file://"))
    if without_user(url) != url or ("@" in url and not is_store):
        raise ValueError(f"{_USER_TOLD}; {_AWS_LOGIN}")
    if not is_store:
        raise ValueError("a store is s3://bucket[/prefix] or file:///folder")
    if url.startswith("s3://") and (set("?#") & set(url) or ":" in url.split("/")[2]):
        raise ValueError("a store on S3 is s3://bucket[/prefix], without ? and #")


def check_bucket(name: str) -> None:
    """A bucket's name, or bucket/prefix."""
    if "@" in name:
        raise ValueError(f"{_USER_TOLD}; {_AWS_LOGIN}")
    if set("?#:") & set(name):
        raise ValueError("it is the bucket's name alone; FTM_STORE takes s3://bucket[/prefix]")


def check_endpoint(url: str) -> None:
    """Where AWS is: what no S3 client stops at."""
    if "@" in url.replace("%40", "@"):
        raise ValueError(f"{_USER_TOLD}; {_AWS_LOGIN}")
    parts = split_http(url)
    if parts is None or not _is_host(parts.hostname or ""):
        raise ValueError("it looks like http://localhost:9000 or https://s3.example.org")


def check_endpoints(environment: Mapping[str, str]) -> None:
    """The same for the variables that AWS's libraries read besides, one for each service.

    Raises:
        ValueError: with the variable's name.
    """
    for name, value in sorted(environment.items()):
        if value and (name == "AWS_ENDPOINT" or name.startswith("AWS_ENDPOINT_URL_")):
            try:
                check_endpoint(value)
            except ValueError as error:
                raise ValueError(f"{name} cannot be used: {error}") from None


def check_llm_url(url: str) -> None:
    """An OpenAI-compatible server; a user and password may be in it where they belong."""
    if split_http(url) is None:
        raise ValueError("it looks like http://localhost:8000/v1")


def check_region(name: str) -> None:
    """A name like eu-central-1."""
    if not _REGION.fullmatch(name):
        raise ValueError("it looks like us-east-1")


def check_batch_name(name: str) -> None:
    """Of a queue or job definition; name, name:revision or ARN."""
    if "://" in name or set("@?#= ") & set(name):
        raise ValueError("it is the name or ARN that AWS Batch shows")


def check_wrds_host(host: str) -> None:
    """One host's name or address, or the folder of a socket."""
    if "," in host:
        raise ValueError("name one host; at several libpq would log in until one answers")
    if host.startswith("/"):
        return
    if set("@/?#=") & set(host) or host.count(":") == 1 or host.split() != [host]:
        raise ValueError(
            f"it is the host alone, or a socket's folder, which starts with /; {_WRDS_ALONE}"
        )


def check_wrds_name(name: str) -> None:
    """Of a database or user; libpq would read a URL or `key=value` out of more."""
    if set("@/?#=:") & set(name) or name.split() != [name]:
        raise ValueError(f"it is the name alone; {_WRDS_ALONE}")


def _is_host(name: str) -> bool:
    """Whether Rust's URL parser takes it: what ends in a number has to be an IPv4 address."""
    last = name.rstrip(".").rpartition(".")[2]
    if ":" in name or last.isdigit():
        try:
            return "%" not in name and bool(ipaddress.ip_address(name))
        except ValueError:
            return False
    return bool(_HOST.fullmatch(name))
