"""How a quarter's state looks on a terminal: its prefetch, then its runs with what failed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from ftm.analysis.run_status import BatchStatus, RunStatus
from ftm.analysis.status import OngoingPrefetch, PrefetchStatus, QuarterStatus
from ftm.cli.named_store import runnable
from ftm.cli.tables import make_console, make_facts, print_facts
from ftm.core.counted import counted

FAILURES_SHOWN = 5
BATCHES_SHOWN = 12


def print_status(found: QuarterStatus) -> None:
    """Prefetch, then runs, oldest first, each with what failed and how to go on."""
    console = make_console()
    console.print(Text(f"{found.quarter} in {found.store}", style="bold"))
    print_facts(console, _prefetch_facts(found))
    for text in _ways_on(found):
        console.print(runnable(text), markup=False, soft_wrap=True)
    for what, why in found.unreadable.items():
        text = runnable(f"{what} cannot be read: {why}")
        console.print(Text(text, style="red"), soft_wrap=True)
    nothing_run = not found.runs and not found.unreadable
    if nothing_run and found.prefetch is not None:
        text = f"No run yet; run `ftm run-quarter --quarter {found.quarter}`"
        console.print(runnable(text), markup=False, soft_wrap=True)
    for run in found.runs:
        console.print()
        _print_run(console, run)


def _ways_on(found: QuarterStatus) -> list[str]:
    """What to do about an unfinished prefetch that nobody is at."""
    ongoing = found.ongoing
    if ongoing is None or ongoing.holder or not ongoing.resume:
        return []
    ways = [f"  go on with: `{ongoing.resume}`"]
    if found.prefetch is not None:
        ways.append(f"  or drop it: `ftm prefetch --quarter {found.quarter} --give-up`")
    return ways


def _print_run(console: Console, run: RunStatus) -> None:
    console.print(Text(f"Run {run.run_id}: {_run_word(run)}", style="bold"))
    print_facts(console, _run_facts(run))
    begun = [batch for batch in run.problems if batch.state != "pending"]
    for alike in _group(begun)[:BATCHES_SHOWN]:
        _print_problem(console, alike)
    if (hidden := len(_group(begun)) - BATCHES_SHOWN) > 0:
        console.print(f"  and {hidden} batches more; --json has them all")
    if waiting := len(run.problems) - len(begun):
        console.print(f"  {waiting} of {run.n_batches} batches not begun")
    if run.resume and not run.holder:
        # On one line however long, to be copied.
        console.print(f"  go on with: {run.resume}", markup=False, soft_wrap=True)


def _group(batches: Iterable[BatchStatus]) -> list[list[BatchStatus]]:
    """Batches that ended for the same reason, together; those without one each for itself."""
    groups: dict[tuple[str, str], list[BatchStatus]] = {}
    for batch in batches:
        alike = batch.reason and not batch.failed
        key = (batch.state, batch.reason) if alike else ("", batch.batch_id)
        groups.setdefault(key, []).append(batch)
    return list(groups.values())


def _prefetch_facts(found: QuarterStatus) -> dict[str, str]:
    prefetch, ongoing = found.prefetch, found.ongoing
    word = _describe_prefetch(prefetch, found.quarter)
    facts = {
        "prefetch": "unreadable, see below" if "prefetch" in found.unreadable else word,
        "under way": _describe_ongoing(ongoing) if ongoing and ongoing.holder else "",
        "unfinished": _describe_ongoing(ongoing) if ongoing and not ongoing.holder else "",
    }
    if prefetch is None:
        return facts
    skipped = ", ".join(f"{n} {reason}" for reason, n in prefetch.skipped.items())
    return facts | {
        "holds": f"{counted(prefetch.n_firms, 'firm')}, "
        f"{counted(prefetch.n_sentences, 'sentence')} in {counted(prefetch.n_chunks, 'chunk')}",
        "skipped": skipped,
        "failed": _describe_failures(prefetch.failed),
        "text": ", ".join(f"{k} {v[:12]}" for k, v in prefetch.preprocessing.items()),
        "links": f"as of {prefetch.link_vintage}" if prefetch.link_vintage else "",
    }


def _describe_prefetch(prefetch: PrefetchStatus | None, quarter: str) -> str:
    if prefetch is None:
        return f"none; run `ftm prefetch --quarter {quarter}`"
    word = f"in part, run `ftm prefetch --quarter {quarter}` again"
    word = "complete" if prefetch.complete else word
    return f"{word}; generation {prefetch.generation}, begun {_when(prefetch.created_at)}"


def _when(moment: str) -> str:
    """`2023-04-02T12:30:05+00:00` as people write it."""
    return f"{datetime.fromisoformat(moment).astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def _describe_ongoing(ongoing: OngoingPrefetch) -> str:
    tried = counted(ongoing.n_attempted, "firm")
    text = f"a {ongoing.kind or 'prefetch'} with {tried} tried, "
    text += f"{ongoing.n_firms} of them with durable sentences"
    if ongoing.holder:
        return f"{text}; held by {ongoing.holder}"
    return text


def _describe_failures(failed: Mapping[str, str]) -> str:
    lines = [f"{firm}: {why}" for firm, why in list(failed.items())[:FAILURES_SHOWN]]
    rest = len(failed) - len(lines)
    return "\n".join([*lines, f"and {rest} more; --json has them all"] if rest else lines)


_JOBS = "submitted to AWS Batch, and not seen to end: `ftm watch` comes back to them"


def _run_word(run: RunStatus) -> str:
    word = "complete"
    if not run.is_complete:
        word = f"{run.n_complete} of {run.n_batches} batches complete"
    if run.is_published:  # as a part, where failed batches were gone on without
        word += ", published"
    if run.is_complete:
        return word
    if run.holder:
        return f"under way, {word}" if run.n_batches else "under way, nothing submitted yet"
    return word if run.n_batches else "planned, nothing submitted"


def _run_facts(run: RunStatus) -> dict[str, str]:
    counts = [f"{run.n_done:,} of {run.n_firms:,} done"]
    counts += [
        f"{n:,} {what}" for n, what in ((run.n_failed, "failed"), (run.n_skipped, "skipped")) if n
    ]
    settings = ("embed_text", "keep_kinds", "seed", "device", "dtype")
    return {
        "begun": _when(run.created_at),
        "held by": run.holder,
        "jobs": _JOBS * (run.is_unwatched and not run.holder),
        "image": run.model.get("image", ""),
        "model": f"{run.clustering} on {run.embedding_model}",
        "settings": ", ".join(f"{k} {run.model[k]}" for k in settings if k in run.model),
        "partial": "its prefetch had not got to every firm the plan keeps" * run.is_partial,
        "outdated": run.outdated and f"{run.outdated}; `ftm run-quarter` begins another run",
        "firms": ", ".join(counts),
        "stages": ", ".join(("map", *run.stages) if run.is_complete else run.stages),
        "themes": _describe_themes(run.diagnosis),
    }


def _describe_themes(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return ""
    text = (
        f"{found['n_themes']:,}, with {found['topics_themed_share']:.1%} of {found['n_topics']:,} "
        f"topics and {found['themed_share']:.1%} of the sentences"
    )
    return f"{text}; partial: failed batches are left out" if found["is_partial"] else text


def _print_problem(console: Console, alike: list[BatchStatus]) -> None:
    """A batch, or several with one reason, of which the first is named."""
    batch = alike[0]
    n_done, n_firms = sum(b.n_done for b in alike), sum(b.n_firms for b in alike)
    name = batch.batch_id + (f" and {len(alike) - 1} more" if len(alike) > 1 else "")
    state = f"{name}: {batch.state}, {n_done} of {n_firms} firms"
    if n_cut_short := sum(b.n_cut_short for b in alike):
        state += f", {n_cut_short} of them in a part that was cut short"
    console.print(Text(f"  {state}", style="red" if batch.state == "failed" else ""))
    facts = {
        "why": batch.reason,
        "log": batch.log if batch.reason else "",
        "failed": _describe_failures(batch.failed),
    }
    if any(facts.values()):
        console.print(Padding(make_facts(facts), (0, 0, 0, 4)))
