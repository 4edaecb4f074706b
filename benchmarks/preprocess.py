"""Preprocessing with worker processes against bare one-process `nlp.pipe`: words a second.

    python -m benchmarks.preprocess [--firms 60] [--workers 2] [--rounds 3]

Both use the same pipeline on the same texts, in turns, in one run; quote the ratio. Start-up is
told apart: it is paid once a prefetch, not once a firm. The texts are those of the synthetic
quarter. Fails below 1.3 times, the goal of a whole prefetch, of which this is the larger part.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import deque
from datetime import date
from functools import partial
from statistics import median

from benchmarks._report import Line, interleaved, ratio_line, report
from ftm.core.quarter import Quarter
from ftm.core.records import FirmCall, FirmTurns, SpeakerTurn
from ftm.demo.synthetic import make_quarters
from ftm.demo.wrds_tables import COMPONENT, PERSON
from ftm.prefetch.rows import firm_outcome
from ftm.text.parallel import ParallelPreprocessor
from ftm.text.pipelines import load_pipeline
from ftm.text.spacy_pipeline import SpacyTextPipeline

AT_LEAST = 1.3


def make_calls(n_firms: int) -> list[FirmTurns]:
    """The calls of the synthetic quarter, straight from its rows."""
    tables = make_quarters(n_firms, [Quarter(2023, 1)]).tables
    people = {row["transcriptcomponentid"]: row for row in tables[PERSON].to_pylist()}
    turns: dict[int, list[SpeakerTurn]] = {}
    for row in tables[COMPONENT].to_pylist():
        person = people[row["transcriptcomponentid"]]
        turns.setdefault(int(row["transcriptid"]), []).append(
            SpeakerTurn(
                row["componentorder"],
                person["transcriptcomponenttypename"],
                "qa",
                "1",
                person["transcriptpersonname"] or "",
                person["speakertypename"] or "",
                row["componenttext"] or "",
            )
        )
    return [_firm(transcript, found) for transcript, found in sorted(turns.items())]


def _firm(transcript: int, turns: list[SpeakerTurn]) -> FirmTurns:
    call = FirmCall(str(transcript), "", str(transcript), 1, "1", date(2023, 1, 1), None)
    return FirmTurns(call, tuple(sorted(turns, key=lambda turn: turn.component_order)))


def main() -> int:
    """Measure and print; 1 below the goal."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--firms", type=int, default=60)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()

    calls = make_calls(args.firms)
    texts = [turn.raw_text for call in calls for turn in call.turns]
    words = sum(len(text.split()) for text in texts)
    pipeline = load_pipeline("rules")
    assert isinstance(pipeline, SpacyTextPipeline)
    started = time.perf_counter()
    with ParallelPreprocessor("rules", args.workers) as parallel:
        make = partial(firm_outcome, quarter=Quarter(2023, 1))
        next(iter(parallel.map(calls[:1], make)))
        start_s = time.perf_counter() - started
        contenders = {
            "bare": lambda: deque(pipeline.nlp.pipe(texts), maxlen=0),
            "workers": lambda: deque(parallel.map(calls, make), maxlen=0),
        }
        taken = interleaved(contenders, args.rounds)
    rate = words / median(each["workers"] for each in taken)
    ratios = [each["bare"] / each["workers"] for each in taken]
    what = f"{args.workers} workers, times bare nlp.pipe"
    detail = f"{rate:,.0f} words a second of {words:,}"
    lines = [
        ratio_line(what, ratios, goal=(">=", AT_LEAST), detail=detail),
        Line("start of the workers, seconds", start_s),
    ]
    return report(lines)


if __name__ == "__main__":
    sys.exit(main())
