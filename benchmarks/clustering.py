"""Topics: quality of each clustering, and firms a minute against a plain BERTopic loop.

    python -m benchmarks.clustering [--planted 6] [--real 6] [--rounds 3] [--calls FOLDER]

Quality: adjusted Rand index with planted topics, between two seeds, and under noise of 2e-7 on the
vectors of real calls. Speed: the same firms, the same vectors, rounds interleaved, after warm-up.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import adjusted_rand_score
from tests.support.corpora import Firm, planted_firms, real_firms

from ftm.topics.base import FloatArray
from ftm.topics.bertopic_model import BERTopicModel
from ftm.topics.clusterings import CLUSTERINGS
from ftm.topics.embedder import SentenceEmbedder
from ftm.topics.keywords import count_terms
from ftm.topics.pool import ClusterPool

NOISE = 2e-7
WORKERS = 2

Embedded = list[tuple[Firm, FloatArray]]


def report_quality(name: str, planted: Embedded, cleaned: Embedded, real: Embedded) -> None:
    """One line per clustering."""
    planted_ari = _planted(name, planted)
    seeds, noise, outliers, topics, seconds = [], [], [], [], []
    rng = np.random.default_rng(0)
    for firm, vectors in real or planted:
        started = time.perf_counter()
        one = BERTopicModel(name).fit_transform(firm.documents, vectors)
        seconds.append(time.perf_counter() - started)
        shaken = (vectors + NOISE * rng.standard_normal(vectors.shape)).astype(np.float32)
        other = BERTopicModel(name, seed=7).fit_transform(firm.documents, vectors)
        moved = BERTopicModel(name).fit_transform(firm.documents, shaken)
        seeds.append(adjusted_rand_score(one.assignments, other.assignments))
        noise.append(adjusted_rand_score(one.assignments, moved.assignments))
        outliers.append(one.outlier_share)
        topics.append(len(one.topics))
    print(
        f"{name:13} planted {planted_ari:.2f} (cleaned text {_planted(name, cleaned):.2f})"
        f" | seed mean {np.mean(seeds):.2f} min {min(seeds):.2f}"
        f" | noise mean {np.mean(noise):.2f} min {min(noise):.2f}"
        f" | outliers {np.mean(outliers):.0%} | topics {min(topics)}-{max(topics)}"
        f" | s/fit {statistics.median(seconds):.3f}",
        flush=True,
    )


def _planted(name: str, firms: Embedded) -> float:
    model = BERTopicModel(name)
    return float(
        np.mean(
            [
                adjusted_rand_score(f.labels, model.fit_transform(f.documents, v).assignments)
                for f, v in firms
            ]
        )
    )


def plain_bertopic(firms: Embedded) -> list[np.ndarray]:
    """BERTopic with the same settings, built anew for every firm, one after the other.

    Its MMR gets word vectors for nothing, where BERTopic would call the embedding model: this
    flatters the plain loop.
    """
    from bertopic import BERTopic
    from bertopic.representation import MaximalMarginalRelevance
    from bertopic.vectorizers import ClassTfidfTransformer
    from hdbscan import HDBSCAN
    from sklearn.feature_extraction.text import CountVectorizer
    from umap import UMAP

    found = []
    for firm, vectors in firms:
        model = BERTopic(
            embedding_model=_free_embedder(vectors.shape[1]),
            umap_model=UMAP(
                n_neighbors=15, n_components=10, min_dist=0.0, metric="cosine", random_state=42
            ),
            hdbscan_model=HDBSCAN(
                min_cluster_size=6, min_samples=2, cluster_selection_method="leaf"
            ),
            vectorizer_model=CountVectorizer(vocabulary=count_terms(firm.documents).terms,
                                             ngram_range=(1, 2), min_df=1),
            ctfidf_model=ClassTfidfTransformer(reduce_frequent_words=True),
            representation_model=MaximalMarginalRelevance(diversity=0.3),
        )  # fmt: skip
        topics, _ = model.fit_transform(firm.documents, vectors)
        found.append(np.array(topics))
    return found


def _free_embedder(n_dims: int) -> Any:
    from bertopic.backend import BaseEmbedder

    class Free(BaseEmbedder):  # type: ignore[misc]
        def embed(self, documents: Sequence[str], verbose: bool = False) -> np.ndarray:
            del verbose
            return np.eye(n_dims)[[len(d) % n_dims for d in documents]]

    return Free()


def report_speed(firms: Embedded, rounds: int) -> None:
    """Firms a minute of the plain loop and of each pool; ratios per round, then their median."""
    plain_bertopic(firms[:1])
    pools = {name: ClusterPool(BERTopicModel(name), workers=WORKERS) for name in CLUSTERINGS}
    ratios: dict[str, list[float]] = {name: [] for name in CLUSTERINGS}
    for pool in pools.values():
        _through(pool, firms[:WORKERS])
    for _ in range(rounds):
        plain = _seconds(lambda: plain_bertopic(firms))
        print(f"plain BERTopic loop: {60 * len(firms) / plain:.0f} firms/min", flush=True)
        for name, pool in pools.items():
            took = _seconds(lambda pool=pool: _through(pool, firms))  # type: ignore[misc]
            ratios[name].append(plain / took)
            print(f"{name}: {60 * len(firms) / took:.0f} firms/min, {plain / took:.1f} times")
    for name, pool in pools.items():
        pool.close()
        print(f"{name}: median {statistics.median(ratios[name]):.1f} times the plain loop")


def _through(pool: ClusterPool, firms: Embedded) -> None:
    for future in [pool.submit(firm.documents, vectors) for firm, vectors in firms]:
        future.result()


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def main() -> None:
    """Measure and print."""
    warnings.filterwarnings("ignore")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--planted", type=int, default=6)
    parser.add_argument("--real", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=3)
    default = Path(__file__).resolve().parents[2] / "shared" / "data" / "calls"
    parser.add_argument("--calls", type=Path, default=default)
    given = parser.parse_args()
    embedder = SentenceEmbedder()
    firms = planted_firms(given.planted)
    planted = [(f, embedder.encode(f.raw)) for f in firms]
    cleaned = [(f, embedder.encode(f.documents)) for f in firms]
    calls = real_firms(given.calls, given.real) if given.calls.is_dir() else []
    real = [(f, embedder.encode(f.raw)) for f in calls]
    for name in CLUSTERINGS:
        report_quality(name, planted, cleaned, real)
    theirs = plain_bertopic(planted)
    score = np.mean([adjusted_rand_score(f.labels, a) for f, a in zip(firms, theirs, strict=True)])
    print(f"plain BERTopic: planted {score:.2f}", flush=True)
    report_speed(planted + real, given.rounds)


if __name__ == "__main__":
    main()
