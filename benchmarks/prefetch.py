"""Words a second of a whole `ftm prefetch` against bare `nlp.pipe` on the same texts.

    python -m benchmarks.prefetch [--firms 2000]

The prefetch is timed from the start of its process to its end: start-up, login, plan, reading,
preprocessing, Parquet, manifest. A quarter has thousands of firms, so start-up weighs little. The
bare loop is one process, the same spaCy pipeline, without loading; a pass before and one after, of
which the better one counts. Fails below 1.3 times.
"""

from __future__ import annotations

import argparse
import sys
import time
from contextlib import closing

from benchmarks._report import Line, report
from benchmarks._synthetic_wrds import prefetch, synthetic_wrds
from ftm.demo.embedded_postgres import EmbeddedPostgres
from ftm.text.spacy_pipeline import SpacyTextPipeline

AT_LEAST = 1.3


def texts_of(server: EmbeddedPostgres) -> list[str]:
    """Every turn of the quarter."""
    with closing(server.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT componenttext FROM ciq.ciqtranscriptcomponent")
        return [row[0] for row in cursor.fetchall() if row[0]]


def bare_seconds(texts: list[str]) -> float:
    """One pass of `nlp.pipe`; nothing is done with the Docs."""
    from ftm.text.pipelines import load_pipeline

    pipeline = load_pipeline("rules")
    assert isinstance(pipeline, SpacyTextPipeline)
    started = time.perf_counter()
    for _ in pipeline.nlp.pipe(texts):
        pass
    return time.perf_counter() - started


def main() -> int:
    """Measure and print; 1 if the ratio is too low."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--firms", type=int, default=2000)
    firms = parser.parse_args().firms
    with synthetic_wrds(firms) as server:
        texts = texts_of(server)
        n_words = sum(len(text.split()) for text in texts)
        before = bare_seconds(texts)
        whole = prefetch(server).seconds
        after = bare_seconds(texts)
    detail = f"{n_words / whole:,.0f} words a second of {n_words:,}; {firms} firms in {whole:.0f} s"
    ratios = [before / whole, after / whole]
    # The better pass of theirs counts.
    return report([Line("prefetch, times bare nlp.pipe", min(ratios), (">=", AT_LEAST),
                        f"passes {ratios[0]:.2f} and {ratios[1]:.2f}; {detail}")])  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
