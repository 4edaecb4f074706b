"""Preprocessing with worker processes against bare one-process `nlp.pipe`: words a second.

    python -m benchmarks.preprocess [--firms 120] [--workers 2] [--rounds 3]

Both use the same pipeline on the same texts, in turns, in one run; quote the ratio. Start-up is
told apart: it is paid once a prefetch, not once a firm. The texts are those of the synthetic
quarter.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from datetime import date
from statistics import median

from ftm.core.quarter import Quarter
from ftm.core.records import FirmCall, FirmTurns, SpeakerTurn
from ftm.demo.synthetic import make_quarters
from ftm.demo.wrds_tables import COMPONENT, PERSON
from ftm.text.parallel import ParallelPreprocessor
from ftm.text.pipelines import load_pipeline
from ftm.text.spacy_pipeline import SpacyTextPipeline


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


def seconds(work: Callable[[], object]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--firms", type=int, default=120)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()

    calls = make_calls(args.firms)
    texts = [turn.raw_text for call in calls for turn in call.turns]
    words = sum(len(text.split()) for text in texts)
    pipeline = load_pipeline("rules")
    assert isinstance(pipeline, SpacyTextPipeline)

    def bare() -> None:
        for _ in pipeline.nlp.pipe(texts):
            pass

    started = time.perf_counter()
    with ParallelPreprocessor("rules", args.workers) as parallel:
        next(iter(parallel.map(calls[:1])))
        print(f"start of {args.workers} workers: {time.perf_counter() - started:.1f} s")

        def many() -> None:
            for _ in parallel.map(calls):
                pass

        bare(), many()  # both have seen the vocabulary
        rounds = [(seconds(bare), seconds(many)) for _ in range(args.rounds)]
    for alone, together in rounds:
        print(
            f"bare nlp.pipe {words / alone:,.0f} words/s, {args.workers} workers "
            f"{words / together:,.0f} words/s, ratio {alone / together:.2f}"
        )
    ratio = median(alone / together for alone, together in rounds)
    print(f"median ratio {ratio:.2f} ({words:,} words, load average {os.getloadavg()[0]:.1f})")


if __name__ == "__main__":
    main()
