"""Topics: quality of each clustering, and firms a minute against a plain BERTopic loop.

    python -m benchmarks.clustering [--planted 8] [--real 8] [--rounds 5] [--calls FOLDER]

Quality: adjusted Rand index with planted topics; agreement of two fits of a call when the seed is
another, the vectors are shaken, or one sentence in twenty is left out. Speed: the same firms, the
same vectors, after warm-up, in turns. The plain loop is timed twice: as UMAP comes (500 epochs),
and with the 200 epochs that `umap-hdbscan` has, which is the fair ratio. Fails below its goals.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import adjusted_rand_score
from tests.support.corpora import Firm, planted_firms, real_firms

from benchmarks._report import Line, interleaved, ratio_line, report
from ftm.topics.base import FloatArray, IntArray
from ftm.topics.bertopic_model import BERTopicModel
from ftm.topics.clusterings import CLUSTERINGS, UMAP_EPOCHS
from ftm.topics.embedder import SentenceEmbedder
from ftm.topics.keywords import count_terms
from ftm.topics.pool import ClusterPool

WORKERS = 2
LEFT_OUT = 0.05
DEFAULTS = "plain loop, UMAP's defaults"
EQUAL = "plain loop, 200 epochs"
AT_LEAST = {"umap-hdbscan": 4.0, "ward": 10.0}

Embedded = list[tuple[Firm, FloatArray]]


def quality(name: str, planted: Embedded, cleaned: Embedded, calls: Embedded) -> list[Line]:
    """What a clustering finds, and what of it stays when little changes."""
    fits = [BERTopicModel(name).fit_transform(f.documents, v) for f, v in calls]
    changed = {
        "another seed": _seeds,
        "noise of 2e-7": partial(_shaken, scale=2e-7),
        "noise of 1e-3": partial(_shaken, scale=1e-3),
        "5 % of sentences left out": _left_out,
    }
    lines = [
        Line(f"{name}: planted, raw text", _planted(name, planted)),
        Line(f"{name}: planted, cleaned text", _planted(name, cleaned)),
    ]
    for what, agreements in changed.items():
        found = list(agreements(name, calls, [fit.assignments for fit in fits]))
        stable = name == "ward" and what in ("another seed", "noise of 2e-7")
        goal = (">=", 0.95) if stable else None
        lines.append(Line(f"{name}: {what}", float(np.mean(found)), goal, f"min {min(found):.2f}"))
    topics = [len(fit.topics) for fit in fits]
    shares = [fit.outlier_share for fit in fits]
    spread = f"{min(shares):.0%}-{max(shares):.0%} a call; {min(topics)}-{max(topics)} topics"
    lines.append(Line(f"{name}: outliers", float(np.mean(shares)), None, spread, ".0%"))
    return lines


def _seeds(name: str, calls: Embedded, plain: Sequence[IntArray]) -> Iterator[float]:
    model = BERTopicModel(name, seed=7)
    for (firm, vectors), before in zip(calls, plain, strict=True):
        yield adjusted_rand_score(before, model.fit_transform(firm.documents, vectors).assignments)


def _shaken(
    name: str, calls: Embedded, plain: Sequence[IntArray], *, scale: float
) -> Iterator[float]:
    rng = np.random.default_rng(0)
    for (firm, vectors), before in zip(calls, plain, strict=True):
        moved = (vectors + scale * rng.standard_normal(vectors.shape)).astype(np.float32)
        after = BERTopicModel(name).fit_transform(firm.documents, moved).assignments
        yield adjusted_rand_score(before, after)


def _left_out(name: str, calls: Embedded, plain: Sequence[IntArray]) -> Iterator[float]:
    rng = np.random.default_rng(0)
    for (firm, vectors), before in zip(calls, plain, strict=True):
        kept = np.flatnonzero(rng.random(len(vectors)) >= LEFT_OUT)
        documents = [firm.documents[i] for i in kept]
        after = BERTopicModel(name).fit_transform(documents, vectors[kept]).assignments
        yield adjusted_rand_score(before[kept], after)


def _planted(name: str, firms: Embedded) -> float:
    model = BERTopicModel(name)
    found = [model.fit_transform(f.documents, v).assignments for f, v in firms]
    return _agreement(firms, found)


def _agreement(firms: Embedded, found: Sequence[np.ndarray]) -> float:
    scores = [adjusted_rand_score(f.labels, a) for (f, _), a in zip(firms, found, strict=True)]
    return float(np.mean(scores))


def plain_bertopic(firms: Embedded, n_epochs: int | None = None) -> list[np.ndarray]:
    """BERTopic with the same settings, built anew for every firm, one after the other.

    Without `n_epochs` UMAP does what it does when not told otherwise: 500 for calls of this size.
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
                n_neighbors=15, n_components=10, min_dist=0.0, metric="cosine", random_state=42,
                n_epochs=n_epochs,
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


def speed(firms: Embedded, rounds: int) -> list[Line]:
    """Each pool against both plain loops, by round."""
    with ExitStack() as opened:
        pools = {
            name: opened.enter_context(ClusterPool(BERTopicModel(name), workers=WORKERS))
            for name in CLUSTERINGS
        }
        contenders = {
            DEFAULTS: partial(plain_bertopic, firms),
            EQUAL: partial(plain_bertopic, firms, UMAP_EPOCHS),
            **{name: partial(_through, pool, firms) for name, pool in pools.items()},
        }
        taken = interleaved(contenders, rounds)
    lines = []
    for name in CLUSTERINGS:
        rate = 60 * len(firms) / statistics.median(t[name] for t in taken)
        for plain in (EQUAL, DEFAULTS):
            goal = (">=", AT_LEAST[name]) if name in AT_LEAST and plain == EQUAL else None
            ratios = [t[plain] / t[name] for t in taken]
            what = f"{name}: times the {plain}"
            lines.append(ratio_line(what, ratios, goal=goal, detail=f"{rate:.0f} firms a minute"))
    return lines


def _through(pool: ClusterPool, firms: Embedded) -> None:
    for future in [pool.submit(firm.documents, vectors) for firm, vectors in firms]:
        future.result()


def main() -> int:
    """Measure and print; 1 below a goal."""
    warnings.filterwarnings("ignore")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--planted", type=int, default=8)
    parser.add_argument("--real", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    default = Path(__file__).resolve().parents[2] / "shared" / "data" / "calls"
    parser.add_argument("--calls", type=Path, default=default)
    given = parser.parse_args()
    embedder = SentenceEmbedder()
    firms = planted_firms(given.planted)
    planted = [(f, embedder.encode(f.raw)) for f in firms]
    cleaned = [(f, embedder.encode(f.documents)) for f in firms]
    calls = real_firms(given.calls, given.real) if given.calls.is_dir() else []
    real = [(f, embedder.encode(f.raw)) for f in calls]
    lines = [
        line for name in CLUSTERINGS for line in quality(name, planted, cleaned, real or planted)
    ]
    theirs = _agreement(planted, plain_bertopic(planted, UMAP_EPOCHS))
    classic = _planted("umap-hdbscan", planted)
    # Both draw by chance: 0.02 either way is no difference.
    lines.append(
        Line("umap-hdbscan: planted, above the plain loop's", classic - theirs, (">=", -0.02),
             f"plain {theirs:.2f}")
    )  # fmt: skip
    return report(lines + speed(planted + real, given.rounds))


if __name__ == "__main__":
    sys.exit(main())
