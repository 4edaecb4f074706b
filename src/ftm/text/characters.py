"""Makes text as delivered safe to store: no NUL, no lone surrogate, nothing invisible."""

from __future__ import annotations

from collections.abc import Iterator

PIECE_CHARS = 100_000
"""Longest text handed to spaCy at once; its own limit (`nlp.max_length`) is a million."""

_REPLACED: dict[int, str] = {
    **dict.fromkeys([*range(0x20), *range(0x7F, 0xA1)], " "),
    **dict.fromkeys([*range(0x2000, 0x200B), 0x202F, 0x205F, 0x1680, 0x3000], " "),
    **dict.fromkeys([0x0A, 0x0B, 0x0C, 0x0D, 0x85, 0x2028, 0x2029], "\n"),
    **dict.fromkeys([0xAD, 0x061C, 0x180E, *range(0x200B, 0x2010), 0xFEFF], ""),
    **dict.fromkeys([*range(0x202A, 0x202F), *range(0x2060, 0x2070)], ""),
    **dict.fromkeys(range(0xD800, 0xE000), "\N{REPLACEMENT CHARACTER}"),
}


def readable(text: str) -> str:
    """Return the text with one kind of blank, one kind of newline and nothing invisible.

    Control characters and every Unicode space become a blank, line and paragraph separators a
    newline, zero-width and direction marks vanish, lone surrogates become U+FFFD (neither UTF-8
    nor Parquet can hold them). All other characters stay as they are.
    """
    if text.isascii() and text.isprintable():
        return text
    return text.translate(_REPLACED)


def pieces(text: str, limit: int = PIECE_CHARS) -> Iterator[str]:
    """Cut a text so that no piece is longer than `limit` characters; joined they are the text.

    Cuts fall after the last newline, else the last sentence end, else the last blank of a piece.
    Empty text gives nothing.
    """
    start = 0
    while start < len(text):
        end = _cut(text, start, start + limit)
        yield text[start:end]
        start = end


def _cut(text: str, start: int, end: int) -> int:
    if end >= len(text):
        return len(text)
    for mark in ("\n", ". ", " "):
        found = text.rfind(mark, start, end)
        if found >= start:
            return found + len(mark)
    return end
