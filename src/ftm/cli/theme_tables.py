"""How themes and series look on a terminal."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from ftm.cli.tables import make_console, make_table, print_facts
from ftm.core.counted import counted

if TYPE_CHECKING:
    from ftm.analysis.theme_views import SeriesLine, ThemeLine, ThemeView
    from ftm.reduce.assign_quarter import AssignedQuarter
    from ftm.reduce.link_quarters import LinkedQuarter

KEYWORDS_SHOWN = 6
SENTENCE_LENGTH = 250
_BARS = "▁▂▃▄▅▆▇█"


def print_themes(themes: Sequence[ThemeLine], quarter: str) -> None:
    """One line per theme."""
    console = make_console()
    if not themes:
        console.print(f"{quarter} has no theme: too few topics are shared by several firms")
        return
    table = make_table("theme", "firms", "topics", "share", "what it is about")
    for column in table.columns[1:4]:
        column.justify = "right"
    table.columns[4].overflow = "fold"
    for line in themes:
        words = ", ".join(line.keywords[:KEYWORDS_SHOWN])
        about = Text(words)
        # Named by keywords, a theme is what its keywords say: not twice.
        if line.naming_method != "keywords":
            about = Text(f"{line.name}  ", style="bold") + Text(words, style="dim")
        table.add_row(
            line.theme_id, f"{line.n_firms:,}", f"{line.n_topics:,}", f"{line.share:.1%}", about
        )
    console.print(Text(f"{quarter}: {counted(len(themes), 'theme')}", style="bold"))
    console.print(table)


def print_theme(view: ThemeView) -> None:
    """A theme, its firms and what they say."""
    console = make_console()
    line = view.line
    console.print()
    console.print(Text(line.name, style="bold"))
    size = (
        f"{counted(line.n_topics, 'topic')} of {counted(line.n_firms, 'firm')}, "
        f"{counted(line.n_sentences, 'sentence')}, {line.share:.1%} of those in themes"
    )
    print_facts(
        console,
        {
            "theme": line.theme_id,
            "series": line.series_id,
            "about": view.description,
            "named by": line.naming_method,
            "keywords": ", ".join(line.keywords),
            "size": size,
            "cohesion": f"{line.cohesion:.2f}, the mean cosine of its topics to its centroid",
        },
    )
    if view.firms:
        table = make_table("firm", "PERMNO", "sentences", "share of its call")
        for column in table.columns[1:]:
            column.justify = "right"
        for firm in view.firms:
            table.add_row(
                firm.firm_name, str(firm.permno), f"{firm.n_sentences:,}", f"{firm.share_all:.1%}"
            )
        console.print()
        console.print(table)
    for sentence in view.sentences:
        who = f" [{sentence.firm_name}, {sentence.speaker_type or 'unknown'}]"
        row = Table.grid(padding=(0, 1, 0, 0))
        row.add_row("-", Text(_shorten(sentence.text)) + Text(who, style="dim"))
        console.print()
        console.print(Padding(row, (0, 0, 0, 1), expand=False))


def print_series(series: Sequence[SeriesLine], *, show_all: bool) -> None:
    """One line per series: when, how much, how alike."""
    shown = [line for line in series if show_all or len(line.quarters) > 1]
    console = make_console()
    table = make_table("series", "quarters", "sentences", "cosine", "what it is about")
    table.columns[4].overflow = "fold"
    for line in shown:
        first, last = line.quarters[0], line.quarters[-1]
        span = first if first == last else f"{first}..{last}"
        cosines = [cosine for cosine in line.cosines if cosine is not None]
        alike = f"{min(cosines):.2f}" if cosines else "-"
        total = f"{_bars(line.n_sentences)} {sum(line.n_sentences):,}"
        table.add_row(line.series_id, span, total, alike, Text(line.name))
    n_single = len(series) - len([line for line in series if len(line.quarters) > 1])
    console.print(Text(f"{counted(len(series), 'series', 'series')}", style="bold"))
    if shown:
        console.print(table)
    if n_single and not show_all:
        console.print(f"and {n_single:,} of a single quarter (--all)", style="dim")


def describe_link(line: LinkedQuarter) -> str:
    """`2016Q3: 27 of 35 themes carry on a series of 2016Q2, 8 begin one; 31 links`."""
    state = "" if line.is_new else " (was linked already)"
    if line.before is None:
        return f"{line.quarter}: {counted(line.n_themes, 'theme')}, each begins a series{state}"
    new = line.n_themes - line.n_matched
    return (
        f"{line.quarter}: {line.n_matched} of {counted(line.n_themes, 'theme')} carry on a series "
        f"of {line.before}, {new} begin one; {counted(line.n_links, 'link')}{state}"
    )


def describe_assigned(found: AssignedQuarter, store: str | None) -> list[str]:
    """What came of it, and how to get at it."""
    to = found.assigned
    export = ["ftm", "export", "--quarter", str(to.quarter), "--themes-from", str(to.themes_from)]
    export += ["--csv", "panel.csv", *(["--store", store] if store else [])]
    topics = f"{found.n_themed:,} of {counted(found.n_topics, 'topic')}"
    themes = f"{found.n_themes_found} of {counted(found.n_themes, 'theme')} of {to.themes_from}"
    what = f"{topics} are in {themes}, {found.themed_share:.1%} of the sentences"
    return [f"{to.quarter}: {what}", f"  next      {shlex.join(export)}"]


def _bars(values: Sequence[int]) -> str:
    top = max(values, default=0)
    if not top:
        return ""
    return "".join(_BARS[min(len(_BARS) - 1, value * len(_BARS) // (top + 1))] for value in values)


def _shorten(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= SENTENCE_LENGTH else flat[: SENTENCE_LENGTH - 1].rstrip() + "…"
