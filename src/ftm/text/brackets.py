"""Takes bracketed remarks out of a sentence. Imports no spaCy: containers run this."""

from __future__ import annotations

import re
from collections.abc import Mapping


def without_brackets(text: str, closing: Mapping[str, str]) -> str:
    """A text in which every bracket, with all up to the first that closes it, is one blank.

    What nothing closes stays. As `re.sub(r"\\[[^\\]]*\\]", " ", text)`, which goes through the rest
    of the text for every bracket that nothing closes.

    Args:
        text: any.
        closing: opening → closing bracket, of the kinds to take out.
    """
    last = {opening: text.rfind(end) for opening, end in closing.items()}
    kept: list[str] = []
    at = 0
    for found in re.finditer(f"[{re.escape(''.join(closing))}]", text):
        if at <= found.start() < last[found[0]]:
            kept += text[at : found.start()], " "
            at = text.index(closing[found[0]], found.start()) + 1
    return "".join([*kept, text[at:]])
