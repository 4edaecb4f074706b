"""Text from outside, made fit for a terminal: it cannot move the cursor or turn the line around."""

from __future__ import annotations

_GONE = dict.fromkeys(
    [
        # Controls but tab and newline: an escape sequence becomes the letters after its first.
        *(n for n in (*range(0x20), *range(0x7F, 0xA0)) if n not in (0x09, 0x0A)),
        # Direction marks, embeddings, overrides and isolates: https://trojansource.codes
        *(0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)),
    ]
)
_GONE_OR_LONE = {**_GONE, **dict.fromkeys(range(0xD800, 0xE000), "\N{REPLACEMENT CHARACTER}")}


def one_line(text: str) -> str:
    """The text on one line, for messages that quote what was found somewhere."""
    return plain(" ".join(text.split()))


def plain(text: str) -> str:
    """The text without what a terminal would obey; all that can be read stays."""
    return text if text.isprintable() else text.translate(_GONE_OR_LONE)
