"""URLs in messages."""

from __future__ import annotations

import re

_USER = re.compile(r"//(?:[^/@\s]*|[^/@\s:]+:(?!\d+/)[^@\s]*)@")
"""A password may hold a slash, as AWS's secret keys do; what looks like a port is none."""


def without_user(text: str) -> str:
    """The text, no URL in it with its user and password."""
    return _USER.sub("//", text)
