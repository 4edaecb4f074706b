"""A rich console that shows names and texts as they are, whatever they hold."""

from __future__ import annotations

from collections.abc import Iterable
from typing import IO

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from ftm.core.plain import plain


class PlainConsole(Console):
    """No markup, no emoji codes, no highlighting, and no control characters but rich's own.

    A company may be called `[/b]`, `:smile:` or an escape sequence.
    """

    def __init__(self, file: IO[str] | None = None) -> None:
        super().__init__(file=file, markup=False, emoji=False, highlight=False)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """See Console; what is left out has no width, so that columns stay in line."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else _plain(segment)


def _plain(segment: Segment) -> Segment:
    text = plain(segment.text)
    return segment if text == segment.text else Segment(text, segment.style)
