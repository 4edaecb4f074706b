"""Whether a language-model server is ours: licensed text goes nowhere else unless allowed."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Sequence
from urllib.parse import SplitResult

from ftm.core.errors import ConfigError, LLMUnavailableError
from ftm.core.urls import shown, split_http

_OURS = tuple(
    ipaddress.ip_network(network)
    for network in (
        *("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16"),
        *("::1/128", "fc00::/7", "fe80::/10"),
    )
)
"""Loopback, RFC 1918 and 4193, link-local: not all that `is_private` means."""
Resolver = Callable[[str], Sequence[str]]
"""The addresses of a host name; OSError if there is none."""


def resolve(host: str) -> Sequence[str]:
    """The addresses the system finds for a name."""
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return sorted({str(address[0]) for *_, address in found})


def split_base_url(base_url: str) -> SplitResult:
    """The parts of LLM_BASE_URL.

    Raises:
        ConfigError: it is no http or https URL with a host.
    """
    parts = split_http(base_url)
    if parts is None:
        raise ConfigError(
            f"LLM_BASE_URL {shown(base_url)!r} cannot be used; it looks like "
            "http://localhost:8000/v1"
        )
    return parts


def is_ours(host: str, *, resolver: Resolver = resolve) -> bool:
    """Whether a host is this machine or in a private network.

    No name is trusted for how it looks: `ai` is a host of the public network, and a search domain
    may make one of any short name.

    Args:
        host: name or address, as in the URL.
        resolver: asked for the addresses of a name; all must be private.

    Raises:
        OSError: the name does not resolve.
    """
    host = host.rstrip(".").partition("%")[0]
    if (address := _address(host)) is not None:
        return _in_ours(address)
    try:
        found = resolver(host)
    except UnicodeError as error:  # no host name at all, says the idna codec
        raise OSError(str(error)) from error
    addresses = [_address(one.partition("%")[0]) for one in found]
    return bool(addresses) and all(one is not None and _in_ours(one) for one in addresses)


def check_host(base_url: str, *, allow_external: bool, resolver: Resolver = resolve) -> bool:
    """Whether the server is ours; nothing has been sent yet.

    Raises:
        ConfigError: it is a public one and that is not allowed.
        LLMUnavailableError: its name does not resolve.
    """
    host = split_base_url(base_url).hostname or ""
    try:
        ours = is_ours(host, resolver=resolver)
    except OSError:
        raise LLMUnavailableError(
            f"LLM_BASE_URL names the host {host!r}, which does not resolve; correct it, or use "
            "FTM_NAMING=keywords"
        ) from None
    if not ours and not allow_external:
        raise ConfigError(
            f"LLM_BASE_URL names the public host {host!r}: transcripts are licensed, and their "
            "sentences would go there; use a server of your own, or, if your licence allows it, "
            "set FTM_ALLOW_EXTERNAL_LLM=true"
        )
    return ours


_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def _address(text: str) -> _Address | None:
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        return None
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return mapped or found


def _in_ours(address: _Address) -> bool:
    return any(address in network for network in _OURS if network.version == address.version)
