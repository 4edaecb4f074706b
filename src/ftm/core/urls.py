"""URLs in messages."""

from __future__ import annotations

import re

_USER = re.compile(r"//[^/@\s]*@")


def without_user(text: str) -> str:
    """The text, no URL in it with its user and password."""
    return _USER.sub("//", text)
