"""URLs: which of a server can be used, and what of one a message may show."""

from __future__ import annotations

import re
from urllib.parse import SplitResult, urlsplit

_USER = re.compile(r"//(?:[^/\s]*|[^/@\s:]+:(?!\d+/)\S*)@")
"""A password may hold a slash, as AWS's secret keys do; what looks like a port is none."""
_LOGIN = re.compile(r"[^\s\"']*:[^\s\"']*@")
_PASSWORD = re.compile(r":(?!//|\d+(?:/|$)).*", re.DOTALL)
_UNUSABLE = re.compile(r"[^!-~]|[\"<>`\\]")
_HIDDEN = "…"


def without_user(text: str) -> str:
    """The text, no URL in it with its user and password."""
    return _USER.sub("//", text)


def without_login(text: str) -> str:
    """The text, no word in it with what may be a user and password before an `@`.

    For what other libraries say, who quote what they could not read: `u:pw@host`, `http:/u:p@host`.
    """
    return _LOGIN.sub(f"{_HIDDEN}@", text)


def shown(value: str) -> str:
    """What a message may show of a value that is refused, which may be anything mistyped.

    Nothing before its last `@`, no query, and nothing after a colon but a port or a URL's `//`.
    """
    head, at, tail = value.replace("%40", "@").rpartition("@")
    kept = re.split(r"[?#=]", tail, maxsplit=1)[0]
    if re.search(r"[?#=]", head):  # the tail may be that of a query
        return _HIDDEN
    if not kept.startswith("arn:"):
        kept = _PASSWORD.sub(f":{_HIDDEN}", kept)
    start = f"{_HIDDEN}@" if at else ""
    return start + kept + (_HIDDEN if len(kept) < len(tail) and not kept.endswith(_HIDDEN) else "")


def split_http(url: str) -> SplitResult | None:
    """The parts of a server's URL; None if it is no http or https URL with a host.

    A query, a fragment, an `@` anywhere but after one user, and characters that a URL has not are
    refused too: a password would not be told from the rest, or a library would stop at them.
    """
    try:
        parts = urlsplit(url)
        _ = parts.port
        usable = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        return None
    is_plain = not set("?#") & set(url) and url.count("@") == parts.netloc.count("@") <= 1
    return parts if usable and is_plain and not _UNUSABLE.search(url) else None
