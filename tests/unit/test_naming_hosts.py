"""Which servers are ours."""

import socket

import pytest

from ftm.core.errors import ConfigError, LLMUnavailableError
from ftm.naming.hosts import check_host, is_ours

ADDRESSES = {
    **{key: ["127.0.0.1", "::1"] for key in ("localhost", "box.local", "x.localhost")},
    **{key: ["172.18.0.2"] for key in ("vllm", "gpu-1", "x.internal")},
    **{key: ["209.59.119.34"] for key in ("ai", "llm", "gateway.internal", "gateway.local")},
    "gpu.lab.test": ["10.1.2.3", "fd00::1"],
    "mixed.test": ["10.1.2.3", "8.8.8.8"],
    "api.test": ["93.184.216.34"],
    "134744072": ["8.8.8.8"],
    "0x08080808": ["8.8.8.8"],
    "127.1": ["127.0.0.1"],
    "empty.test": [],
}


def resolver(host: str) -> list[str]:
    """Addresses of hosts that exist."""
    if host not in ADDRESSES:
        raise socket.gaierror("no such name")
    return ADDRESSES[host]


@pytest.mark.parametrize(
    "host",
    [
        *("localhost", "vllm", "gpu-1", "gpu.lab.test", "box.local", "x.internal", "vllm."),
        "x.localhost",
        *("127.0.0.1", "127.1", "10.0.0.8", "172.31.255.1", "192.168.1.1", "169.254.1.1"),
        *("::1", "fd12::1", "fe80::1", "fe80::1%eth0", "::ffff:10.0.0.1"),
    ],
)
def test_private_hosts_are_ours(host: str) -> None:
    """Private and link-local addresses, and names that resolve to such."""
    assert is_ours(host, resolver=resolver)


@pytest.mark.parametrize(
    "host",
    [
        *("8.8.8.8", "172.32.0.1", "192.169.0.1", "100.64.0.1", "0.0.0.0", "203.0.113.1"),
        *("2606:4700::1111", "::ffff:8.8.8.8", "api.test", "mixed.test", "empty.test"),
        *("134744072", "0x08080808", "64:ff9b::808:808", "::"),
        *("ai", "llm", "gateway.internal", "gateway.local"),
    ],
)
def test_public_hosts_are_not(host: str) -> None:
    """One public address is enough, however private the name of the host looks."""
    assert not is_ours(host, resolver=resolver)


def test_a_public_host_needs_permission() -> None:
    """The error names the setting and not the credentials."""
    with pytest.raises(ConfigError, match=r"'api\.test'.*FTM_ALLOW_EXTERNAL_LLM") as caught:
        check_host("https://u:pw@api.test/v1", allow_external=False, resolver=resolver)
    assert "pw" not in str(caught.value)
    assert not check_host("https://api.test/v1", allow_external=True, resolver=resolver)
    assert check_host("http://[::1]:8000/v1", allow_external=False, resolver=resolver)


def test_a_name_that_does_not_resolve_is_unreachable() -> None:
    """Whether it is allowed or not."""
    with pytest.raises(LLMUnavailableError, match=r"gone\.test.*does not resolve"):
        check_host("http://gone.test/v1", allow_external=False, resolver=resolver)
    with pytest.raises(LLMUnavailableError):
        check_host(f"http://{'x' * 70}.y/v1", allow_external=False)


@pytest.mark.parametrize(
    "url", ["", "gpu:8000", "localhost", "ftp://gpu/v1", "http://", "http://[::1/v1", "http://a:b/"]
)
def test_what_is_no_url_is_refused(url: str) -> None:
    """The message shows how one looks."""
    with pytest.raises(ConfigError, match=r"LLM_BASE_URL.*http://localhost:8000/v1"):
        check_host(url, allow_external=True, resolver=resolver)
