"""Embedding: sentences a second against `SentenceTransformer.encode` at its best batch size.

    python -m benchmarks.embedding [--firms 1] [--rounds 3]

One process, interleaved rounds, the packaged model on the CPU. bfloat16 is measured where the CPU
has instructions for it; elsewhere it is slower and not worth choosing.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

from sentence_transformers import SentenceTransformer
from tests.support.corpora import planted_firms

from ftm.topics.embedder import SentenceEmbedder
from ftm.topics.model_files import DEFAULT_MODEL, locate_model

THEIR_BATCH_SIZES = (8, 16, 32, 64)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Embedding speed, as ratios")
    parser.add_argument("--firms", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    texts = [text for firm in planted_firms(given.firms) for text in firm.raw]
    plain = SentenceTransformer(str(locate_model(DEFAULT_MODEL)), device="cpu")
    contenders: dict[str, Callable[[], object]] = {
        f"SentenceTransformer batch {size}": _theirs(plain, texts, size)
        for size in THEIR_BATCH_SIZES
    }
    for dtype in ("float32", "bfloat16"):
        contenders[f"ftm {dtype}"] = _ours(SentenceEmbedder(dtype=dtype), texts)
    for work in contenders.values():
        work()
    rounds = [{name: _seconds(work) for name, work in contenders.items()}
              for _ in range(given.rounds)]  # fmt: skip
    for name in contenders:
        rate = len(texts) / statistics.median(taken[name] for taken in rounds)
        ratio = statistics.median(_best_of_theirs(taken) / taken[name] for taken in rounds)
        print(f"{name}: {rate:.0f} sentences/s, {ratio:.2f} times SentenceTransformer's best")


def _theirs(model: SentenceTransformer, texts: list[str], size: int) -> Callable[[], object]:
    return lambda: model.encode(texts, batch_size=size, show_progress_bar=False)


def _ours(model: SentenceEmbedder, texts: list[str]) -> Callable[[], object]:
    return lambda: model.encode(texts)


def _best_of_theirs(taken: dict[str, float]) -> float:
    return min(seconds for name, seconds in taken.items() if name.startswith("Sentence"))


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
