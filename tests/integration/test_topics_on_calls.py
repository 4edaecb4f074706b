"""Topics of planted and of real calls, through text pipeline, embedder and model."""

from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from ftm.topics.base import FloatArray, TopicModelResult
from ftm.topics.bertopic_model import BERTopicModel
from ftm.topics.embedder import SentenceEmbedder
from tests.support.corpora import Firm, planted_firms, real_firms
from tests.support.real_calls import real_calls_folder

pytestmark = pytest.mark.xdist_group("models")

# What two machines, or two builds of one library, may differ by.
NOISE = 2e-7


@dataclass(frozen=True)
class Embedded:
    """A firm and its sentences' vectors."""

    firm: Firm
    vectors: FloatArray

    def fit(self, clustering: str, *, seed: int = 42, noise: float = 0.0) -> TopicModelResult:
        """Its topics, with the vectors shaken by noise."""
        shaken = self.vectors
        if noise:
            rng = np.random.default_rng(0)
            shaken = (shaken + noise * rng.standard_normal(shaken.shape)).astype(np.float32)
        return BERTopicModel(clustering, seed=seed).fit_transform(self.firm.documents, shaken)


@cache
def embedder() -> SentenceEmbedder:
    """Loaded once."""
    return SentenceEmbedder(threads=1)


@pytest.fixture(scope="module")
def planted() -> list[Embedded]:
    """Two synthetic firms."""
    return [Embedded(f, embedder().encode(f.raw)) for f in planted_firms(2)]


@pytest.fixture(scope="module")
def real() -> list[Embedded]:
    """Three real calls."""
    return [Embedded(f, embedder().encode(f.raw)) for f in real_firms(real_calls_folder(), 3)]


@pytest.mark.parametrize(("clustering", "floor"), [("ward", 0.55), ("leiden", 0.55)])
def test_planted_topics_are_recovered(
    clustering: str, floor: float, planted: list[Embedded]
) -> None:
    """The adjusted Rand index with the planted topics, outliers counted, is over the floor."""
    scores = [adjusted_rand_score(e.firm.labels, e.fit(clustering).assignments) for e in planted]
    assert min(scores) > floor


@pytest.mark.exhaustive
def test_the_default_beats_the_classic_on_planted_topics(planted: list[Embedded]) -> None:
    """Ward agrees better with what was planted than UMAP and HDBSCAN."""
    for e in planted:
        default, classic = (e.fit(c).assignments for c in ("ward", "umap-hdbscan"))
        labels = e.firm.labels
        assert adjusted_rand_score(labels, default) > adjusted_rand_score(labels, classic) + 0.1


@pytest.mark.real_calls
def test_the_default_is_stable_on_real_calls(real: list[Embedded]) -> None:
    """Another seed, or vectors that differ by 2e-7: at least 0.95 agreement on every call."""
    for e in real:
        plain = e.fit("ward").assignments
        assert adjusted_rand_score(plain, e.fit("ward", seed=7).assignments) == 1.0
        assert adjusted_rand_score(plain, e.fit("ward", noise=NOISE).assignments) >= 0.95


@pytest.mark.real_calls
def test_real_calls_have_a_readable_number_of_topics(real: list[Embedded]) -> None:
    """5 to 25 topics a call, most sentences in one, every topic with keywords and a name."""
    for e in real:
        result = e.fit("ward")
        assert 5 <= len(result.topics) <= 25
        assert result.outlier_share < 0.3
        assert all(len(t.keywords) >= 3 and t.representation for t in result.topics)
