"""Words a second of a whole `ftm prefetch` against bare `nlp.pipe` on the same texts.

    python -m benchmarks.prefetch [--firms 2000]

The prefetch is timed from the start of its process to its end: start-up, login, plan, reading,
preprocessing, Parquet, manifest. A quarter has thousands of firms, so start-up weighs little. The
bare loop is one process, the same spaCy pipeline, its best of two passes, without loading. Fails
below 1.3 times.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from contextlib import closing

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
    """Print the figures as JSON; 1 if the ratio is too low."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--firms", type=int, default=2000)
    firms = parser.parse_args().firms
    with synthetic_wrds(firms) as server:
        texts = texts_of(server)
        n_words = sum(len(text.split()) for text in texts)
        bare = min(bare_seconds(texts) for _ in range(2))
        whole = prefetch(server).seconds
    ratio = bare / whole
    figures = {
        "firms": firms,
        "words": n_words,
        "bare_nlp_pipe_words_per_s": round(n_words / bare),
        "whole_prefetch_words_per_s": round(n_words / whole),
        "whole_prefetch_s": round(whole, 1),
        "ratio": round(ratio, 2),
    }
    print(json.dumps(figures, indent=1))
    return int(ratio < AT_LEAST)


if __name__ == "__main__":
    sys.exit(main())
