"""How quarters, firms and their topics look on a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from zoneinfo import ZoneInfo

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from ftm.analysis.attrition import Attrition
from ftm.analysis.quarter_list import QuarterLine
from ftm.analysis.show import Call, FirmView, ShownTopic
from ftm.cli.tables import make_console, make_table, print_facts

NEW_YORK = ZoneInfo("America/New_York")
SENTENCE_LENGTH = 250
"""Characters of a typical sentence on the terminal: about three lines."""


def print_attrition(found: Attrition) -> None:
    """The waterfall: totals flush left, drops indented and negative."""
    table = make_table("", "n")
    table.columns[1].justify = "right"
    for line in found.lines:
        if line.kind == "total":
            table.add_row(Text(line.text, style="bold"), Text(f"{line.n:,}", style="bold"))
        else:
            table.add_row(f"  less: {line.text}", f"-{line.n:,}")
    console = make_console()
    console.print(Text(f"{found.quarter}: from earnings calls to firms", style="bold"))
    console.print(table)
    if n := found.n_sharing_permno:
        console.print(f"{n:,} kept firms share their PERMNO with another; all are counted")


def print_quarters(found: Sequence[QuarterLine], url: str) -> None:
    """One line per quarter."""
    console = make_console()
    if not found:
        nothing = f"{url} holds no quarter; run `ftm prefetch --quarter 2023Q1`"
        console.print(nothing, markup=False, soft_wrap=True)
        return
    table = make_table("quarter", "prefetch", "generation", "firms", "sentences", "runs")
    for column in table.columns[2:]:
        column.justify = "right"
    for line in found:
        table.add_row(
            line.quarter,
            _prefetch_word(line),
            str(line.generation or "-"),
            _number(line.n_firms),
            _number(line.n_sentences),
            _runs_word(line),
        )
    console.print(table)
    for line in found:
        if line.unreadable:
            text = Text(f"{line.quarter} cannot be read: {line.unreadable}", style="red")
            console.print(text, soft_wrap=True)


def print_firm(view: FirmView) -> None:
    """A firm's call, then its topics with keywords, size, share and typical sentences."""
    console = make_console()
    name = view.firm_name or "(no name)"
    console.print()
    console.print(Text(f"{name} in {view.quarter}", style="bold"))
    print_facts(console, _call_facts(view))
    for topic in view.topics:
        console.print()
        _print_topic(console, topic)


def _prefetch_word(line: QuarterLine) -> str:
    if line.unreadable:
        return "unreadable"
    if line.generation is None:
        return "not finished"
    word = "complete" if line.complete else "in part"
    return f"{word}, another unfinished" if line.ongoing else word


def _number(n: int | None) -> str:
    return "-" if n is None else f"{n:,}"


def _runs_word(line: QuarterLine) -> str:
    unfinished = line.n_runs - line.n_complete_runs
    return f"{line.n_complete_runs} complete" + (f", {unfinished} not" if unfinished else "")


def _call_facts(view: FirmView) -> dict[str, str]:
    call = view.call
    shares = f"{view.n_outliers / view.n_clustered:.1%}" if view.n_clustered else ""
    kinds = ", ".join(f"{n} {kind}" for kind, n in (view.kinds or {}).items())
    return {
        "ids": _ids(view),
        "call": call.headline or "(no headline)",
        "held": _held(call),
        "chosen": view.why_this_call,
        "version": _version(call),
        "fiscal": _fiscal(call),
        "link": _link(call),
        "others": "\n".join(
            f"{other.call_ts_utc:%Y-%m-%d %H:%M} UTC, {other.headline or '(no headline)'}"
            for other in view.other_calls
        ),
        "sentences": f"{view.n_sentences} ({kinds})" if kinds else "",
        "clustered": f"{view.n_clustered}, {shares} of them in no topic" if shares else "",
        "topics": _topics_word(view),
    }


def _ids(view: FirmView) -> str:
    ids = [f"firm {view.firm_id}"]
    if view.call.gvkey:
        ids.append(f"gvkey {view.call.gvkey}")
    if view.call.permno is not None:
        ids.append(f"PERMNO {view.call.permno}")
    return ", ".join(ids)


def _held(call: Call) -> str:
    when, local = "time of day missing", f"{call.call_date_et}"
    if not call.time_missing:
        when = f"{call.call_ts_utc:%H:%M} UTC"
        local += f" {call.call_ts_utc.astimezone(NEW_YORK):%H:%M}"
    text = f"{call.earnings_call_date}, {when}; {local} in New York"
    return f"{text}; first trading session {call.day0}"


def _version(call: Call) -> str:
    if call.transcript_id is None:
        return "none that is Final"
    parts = [p for p in (call.collection_type, call.presentation_type) if p]
    if call.created_ts_utc is not None:
        parts.append(f"created {call.created_ts_utc:%Y-%m-%d}")
    return f"transcript {call.transcript_id}: " + ", ".join(parts)


def _fiscal(call: Call) -> str:
    if call.fiscal_year is None:
        return ""
    return f"{call.fiscal_year}" + (f" Q{call.fiscal_quarter}" if call.fiscal_quarter else "")


def _link(call: Call) -> str:
    if call.permno is None:
        return ""
    dates = f"{call.link_date or 'open'} to {call.link_end_date or 'now'}"
    return f"CCM {call.linktype}, {call.linkprim}, valid {dates}"


def _topics_word(view: FirmView) -> str:
    if view.outcome != "topics":
        return view.outcome
    if not view.topics:
        return f"none: too few sentences to cluster (run {view.run_id})"
    return f"{len(view.topics)} (run {view.run_id})"


def _print_topic(console: Console, topic: ShownTopic) -> None:
    console.print(Text(f"{topic.local_topic_id:>3}  {topic.representation}", style="bold"))
    size = (
        f"{topic.n_sentences} sentences, {topic.share:.1%} of all, "
        f"{topic.share_of_clustered:.1%} of those clustered"
    )
    console.print(_indent(Text(size, style="dim")))
    if topic.summary:
        console.print(_indent(Text(topic.summary)))
    if more := [k for k in topic.keywords if k not in topic.representation.split(", ")]:
        console.print(_indent(Text(", ".join(more), style="cyan")))
    for sentence in topic.typical:
        who = f" [{sentence.speaker_type}]" if sentence.speaker_type else ""
        console.print(_indent(_hang(Text(_shorten(sentence.text)) + Text(who, style="dim"))))


def _indent(what: Text | Table) -> Padding:
    return Padding(what, (0, 0, 0, 5), expand=False)


def _shorten(text: str) -> str:
    """One paragraph of at most SENTENCE_LENGTH characters; --json has it whole."""
    flat = " ".join(text.split())
    return flat if len(flat) <= SENTENCE_LENGTH else flat[: SENTENCE_LENGTH - 1].rstrip() + "…"


def _hang(text: Text) -> Table:
    """A dash, and the sentence beside it, so that long ones wrap under themselves."""
    table = Table.grid(padding=(0, 1, 0, 0))
    table.add_row("-", text)
    return table
