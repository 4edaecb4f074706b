"""What tables on the terminal share: a console of at most 100 columns, facts in two of them."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ftm.cli.console import PlainConsole
from ftm.cli.named_store import runnable

WIDTH = 100


def writes_utf8() -> bool:
    """Whether stdout can write every character; JSON has another way to."""
    return (sys.stdout.encoding or "").replace("-", "").lower() == "utf8"


def make_console() -> PlainConsole:
    """Stdout, no wider than people like to read."""
    console = PlainConsole()
    if not console.is_terminal or console.width > WIDTH:
        console.width = WIDTH
    return console


def make_table(*columns: str) -> Table:
    """A table without lines."""
    return Table(*columns, box=None, header_style="dim", padding=(0, 2, 0, 0))


def make_facts(facts: Mapping[str, str]) -> Table:
    """Name and value, one fact a row; empty values are left out."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts.items():
        if value:
            table.add_row(name, Text(runnable(value)))
    return table


def print_facts(console: Console, facts: Mapping[str, str]) -> None:
    """See make_facts."""
    console.print(make_facts(facts))
