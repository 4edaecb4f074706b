"""Numbers with their noun, for people."""

from __future__ import annotations


def counted(n: int, noun: str, plural: str = "") -> str:
    """`1 firm`, `2,000 firms`; `plural` where it is not the noun and an s."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {plural or noun + 's'}"
