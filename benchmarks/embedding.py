"""Embedding: sentences a second against `SentenceTransformer.encode` at its best batch size.

    python -m benchmarks.embedding [--sentences 300] [--rounds 3] [--calls FOLDER]

One process, in turns, the packaged model on the CPU; sentences of real calls where there are some,
else synthetic ones. bfloat16 is measured only where the CPU has instructions for it. Fails below
its goals.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable
from pathlib import Path

from sentence_transformers import SentenceTransformer
from tests.support.corpora import planted_firms, real_firms

from benchmarks._report import interleaved, ratio_line, report
from ftm.topics.embedder import SentenceEmbedder
from ftm.topics.model_files import DEFAULT_MODEL, locate_model

THEIR_BATCH_SIZES = (8, 16, 32, 64)
AT_LEAST = {"float32": 1.0, "bfloat16": 1.6}
BFLOAT16_FLAGS = ("avx512_bf16", "amx_bf16")


def main() -> int:
    """Measure and print; 1 below a goal."""
    parser = argparse.ArgumentParser(description="Embedding speed, as ratios")
    parser.add_argument("--sentences", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=3)
    default = Path(__file__).resolve().parents[2] / "shared" / "data" / "calls"
    parser.add_argument("--calls", type=Path, default=default)
    given = parser.parse_args()
    kind = "real" if given.calls.is_dir() else "synthetic"
    firms = real_firms(given.calls, 3) if kind == "real" else planted_firms(3)
    texts = [text for firm in firms for text in firm.raw][: given.sentences]
    plain = SentenceTransformer(str(locate_model(DEFAULT_MODEL)), device="cpu")
    contenders: dict[str, Callable[[], object]] = {
        f"theirs {size}": _theirs(plain, texts, size) for size in THEIR_BATCH_SIZES
    }
    dtypes = [dtype for dtype in AT_LEAST if dtype == "float32" or _has_bfloat16()]
    contenders |= {dtype: _ours(SentenceEmbedder(dtype=dtype), texts) for dtype in dtypes}
    taken = interleaved(contenders, given.rounds)
    best = min((name for name in contenders if name not in dtypes), key=lambda n: _median(taken, n))
    lines = [
        ratio_line(
            f"{dtype}, times SentenceTransformer's best",
            [each[best] / each[dtype] for each in taken],
            goal=(">=", AT_LEAST[dtype]),
            detail=f"{len(texts) / _median(taken, dtype):.0f} {kind} sentences a second, {best}",
        )
        for dtype in dtypes
    ]
    return report(lines)


def _has_bfloat16() -> bool:
    info = Path("/proc/cpuinfo")
    return info.exists() and any(flag in info.read_text("utf-8") for flag in BFLOAT16_FLAGS)


def _median(taken: list[dict[str, float]], name: str) -> float:
    return statistics.median(each[name] for each in taken)


def _theirs(model: SentenceTransformer, texts: list[str], size: int) -> Callable[[], object]:
    return lambda: model.encode(texts, batch_size=size, show_progress_bar=False)


def _ours(model: SentenceEmbedder, texts: list[str]) -> Callable[[], object]:
    return lambda: model.encode(texts)


if __name__ == "__main__":
    sys.exit(main())
