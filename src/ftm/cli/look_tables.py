"""How quarters, runs and firms look on a terminal of 100 columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from ftm.analysis.attrition import Attrition
from ftm.analysis.show import Call, FirmView, ShownTopic
from ftm.analysis.status import (
    BatchStatus,
    OngoingPrefetch,
    PrefetchStatus,
    QuarterLine,
    QuarterStatus,
    RunStatus,
)

WIDTH = 100
NEW_YORK = ZoneInfo("America/New_York")
FAILURES_SHOWN = 5
SENTENCE_LENGTH = 250
"""Characters of a typical sentence on the terminal: about three lines."""


def print_attrition(found: Attrition) -> None:
    """The waterfall: totals flush left, drops indented and negative."""
    table = _table("", "n")
    table.columns[1].justify = "right"
    for line in found.lines:
        if line.kind == "total":
            table.add_row(Text(line.text, style="bold"), Text(f"{line.n:,}", style="bold"))
        else:
            table.add_row(f"  less: {line.text}", f"-{line.n:,}")
    console = _console()
    console.print(Text(f"{found.quarter}: from earnings calls to firms", style="bold"))
    console.print(table)
    if n := found.n_sharing_permno:
        console.print(f"{n:,} kept firms share their PERMNO with another; all are counted")


def print_quarters(found: Sequence[QuarterLine], url: str) -> None:
    """One line per quarter."""
    console = _console()
    if not found:
        console.print(f"{url} holds no quarter; run `ftm prefetch --quarter 2023Q1`", markup=False)
        return
    table = _table("quarter", "prefetch", "generation", "firms", "sentences", "runs")
    for column in table.columns[2:]:
        column.justify = "right"
    for line in found:
        table.add_row(
            line.quarter,
            _prefetch_word(line),
            str(line.generation or "-"),
            f"{line.n_firms:,}",
            f"{line.n_sentences:,}",
            _runs_word(line),
        )
    console.print(table)
    for line in found:
        if line.damaged:
            console.print(Text(f"{line.quarter} is damaged: {line.damaged}"), style="red")


def print_status(found: QuarterStatus) -> None:
    """Prefetch, then runs, oldest first, each with what failed."""
    console = _console()
    console.print(Text(f"{found.quarter} in {found.store}", style="bold"))
    _print_facts(console, _prefetch_facts(found))
    if not found.runs and found.prefetch is not None:
        console.print(f"No run yet; run `ftm run-quarter --quarter {found.quarter}`", markup=False)
    for run in found.runs:
        console.print()
        console.print(Text(f"Run {run.run_id}: {_run_word(run)}", style="bold"))
        _print_facts(console, _run_facts(run))
        for batch in run.problems:
            if batch.state != "pending":
                _print_problem(console, batch)
        if waiting := sum(batch.state == "pending" for batch in run.problems):
            console.print(f"  {waiting} of {run.n_batches} batches not begun")
        if run.n_batches and not run.is_complete:
            console.print("  the same `ftm run-quarter` command again resumes it", markup=False)


def print_firm(view: FirmView) -> None:
    """A firm's call, then its topics with keywords, size, share and typical sentences."""
    console = _console()
    name = view.firm_name or "(no name)"
    console.print()
    console.print(Text(f"{name} in {view.quarter}", style="bold"))
    _print_facts(console, _call_facts(view))
    for topic in view.topics:
        console.print()
        _print_topic(console, topic)


def _console() -> Console:
    console = Console(highlight=False)
    if not console.is_terminal or console.width > WIDTH:
        console.width = WIDTH
    return console


def _table(*columns: str) -> Table:
    return Table(*columns, box=None, header_style="dim", padding=(0, 2, 0, 0))


def _print_facts(console: Console, facts: Mapping[str, str]) -> None:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts.items():
        if value:
            table.add_row(name, Text(value))
    console.print(table)


def _prefetch_word(line: QuarterLine) -> str:
    if line.damaged:
        return "damaged"
    if line.generation is None:
        return "not finished"
    word = "complete" if line.complete else "in part"
    return f"{word}, another under way" if line.ongoing else word


def _runs_word(line: QuarterLine) -> str:
    unfinished = line.n_runs - line.n_complete_runs
    return f"{line.n_complete_runs} complete" + (f", {unfinished} not" if unfinished else "")


def _prefetch_facts(found: QuarterStatus) -> dict[str, str]:
    prefetch, ongoing = found.prefetch, found.ongoing
    facts = {
        "prefetch": _describe_prefetch(prefetch, found.quarter),
        "under way": _describe_ongoing(found, ongoing) if ongoing else "",
    }
    if prefetch is None:
        return facts
    skipped = ", ".join(f"{n} {reason}" for reason, n in prefetch.skipped.items())
    return facts | {
        "holds": f"{prefetch.n_firms:,} firms, {prefetch.n_sentences:,} sentences in "
        f"{prefetch.n_chunks} {'chunk' if prefetch.n_chunks == 1 else 'chunks'}",
        "skipped": skipped,
        "failed": _describe_failures(prefetch.failed),
        "text": ", ".join(f"{k} {v[:12]}" for k, v in prefetch.preprocessing.items()),
        "links": f"as of {prefetch.link_vintage}" if prefetch.link_vintage else "",
    }


def _describe_prefetch(prefetch: PrefetchStatus | None, quarter: str) -> str:
    if prefetch is None:
        return f"none; run `ftm prefetch --quarter {quarter}`"
    word = "complete" if prefetch.complete else "in part, run `ftm prefetch` again"
    return f"{word}; generation {prefetch.generation}, begun {_when(prefetch.created_at)}"


def _when(moment: str) -> str:
    """`2023-04-02T12:30:05+00:00` as people write it."""
    return f"{datetime.fromisoformat(moment).astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def _describe_ongoing(found: QuarterStatus, ongoing: OngoingPrefetch) -> str:
    text = f"a {ongoing.kind or 'prefetch'} with {ongoing.n_attempted} firms tried, "
    text += f"{ongoing.n_firms} of them with durable sentences"
    if ongoing.holder:
        return f"{text}; held by {ongoing.holder}"
    command = "preprocess" if ongoing.kind == "preprocess" else "prefetch"
    text += f"; if none runs, `ftm {command} --quarter {found.quarter}` resumes it"
    if found.prefetch is None:
        return text
    return f"{text}, `ftm prefetch --quarter {found.quarter} --give-up` drops it"


def _describe_failures(failed: Mapping[str, str]) -> str:
    lines = [f"{firm}: {why}" for firm, why in list(failed.items())[:FAILURES_SHOWN]]
    rest = len(failed) - len(lines)
    return "\n".join([*lines, f"and {rest} more; --json has them all"] if rest else lines)


def _run_word(run: RunStatus) -> str:
    if run.is_complete:
        return "complete"
    if not run.n_batches:
        return "planned, nothing submitted"
    return f"{run.n_complete} of {run.n_batches} batches complete"


def _run_facts(run: RunStatus) -> dict[str, str]:
    counts = [f"{run.n_done:,} of {run.n_firms:,} done"]
    counts += [
        f"{n:,} {what}" for n, what in ((run.n_failed, "failed"), (run.n_skipped, "skipped")) if n
    ]
    settings = ("embed_text", "keep_kinds", "seed", "device", "dtype")
    return {
        "begun": _when(run.created_at),
        "model": f"{run.clustering} on {run.embedding_model}",
        "settings": ", ".join(f"{k} {run.model[k]}" for k in settings if k in run.model),
        "firms": ", ".join(counts),
    }


def _print_problem(console: Console, batch: BatchStatus) -> None:
    state = f"{batch.batch_id}: {batch.state}, {batch.n_done} of {batch.n_firms} firms"
    if batch.n_cut_short:
        state += f", {batch.n_cut_short} of them in a part that was cut short"
    console.print(Text(f"  {state}", style="red" if batch.state == "failed" else ""))
    facts = {
        "why": batch.reason,
        "log": batch.log if batch.reason else "",
        "failed": _describe_failures(batch.failed),
    }
    if any(facts.values()):
        table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
        for name, value in facts.items():
            if value:
                table.add_row(Text(name, style="dim"), Text(value, overflow="fold"))
        console.print(Padding(table, (0, 0, 0, 4)))


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
