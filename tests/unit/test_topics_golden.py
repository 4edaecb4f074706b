"""Topics of one fixed input: whatever changes them must change the fingerprint of runs."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from ftm.topics.base import FloatArray
from ftm.topics.bertopic_model import BERTopicModel
from ftm.topics.fingerprint import TOPICS_VERSION
from tests.support.topic_vectors import unit

N_DIMS = 48
GROUPS = 9
NOISES = (0.06, 0.07, 0.08, 0.09, 0.1, 0.12)
"""From groups that are plain to see to groups that are not, where every step counts."""

GOLDEN = {
    ("3", "ward"): "4e9c50c20b7d525d",
    ("3", "leiden"): "c64e409b2bbffec9",
}
"""(TOPICS_VERSION, clustering) → digest of assignments and keywords. Of whole numbers and words
only, so that another machine's last bits do not count."""


def nested_groups(*, noise: float = 0.08, shake: float = 0.0) -> tuple[FloatArray, list[int]]:
    """Three subjects of three groups of 14 sentences that are hard to tell apart, and 20 strays.

    Returns:
        Unit vectors, and the group of each, -1 for strays.
    """
    rng = np.random.default_rng(0)
    axes = np.linalg.qr(rng.normal(size=(N_DIMS, N_DIMS)))[0]
    centres = [axes[group // 3] + 0.3 * axes[3 + group] for group in range(GROUPS)]
    rows = [centre + noise * rng.normal(size=(14, N_DIMS)) for centre in centres]
    rows.append(0.15 * rng.normal(size=(20, N_DIMS)))
    vectors = unit(np.concatenate(rows))
    shaken = vectors + shake * np.random.default_rng(1).standard_normal(vectors.shape)
    return shaken.astype(np.float32), [group for group in range(GROUPS) for _ in range(14)] + [
        -1
    ] * 20


def cloud(shake: float) -> tuple[FloatArray, list[int]]:
    """300 sentences around 40 directions of a few dimensions: no clusters to speak of."""
    rng = np.random.default_rng(2)
    groups = rng.integers(0, 40, 300)
    centres = rng.normal(size=(40, 8)) @ rng.normal(size=(8, N_DIMS))
    vectors = unit(centres[groups] + 1.5 * rng.normal(size=(300, N_DIMS)))
    shaken = vectors + shake * rng.standard_normal(vectors.shape)
    return shaken.astype(np.float32), groups.tolist()


def documents_of(groups: list[int]) -> list[str]:
    """A text for each: words of its subject, its group, and chatter that all share."""
    chatter = ("growth", "quarter", "margin", "guide", "cost")
    return [
        f"subject{group // 3} item{group} item{group} {chatter[i % 5]} {chatter[i % 3]}"
        for i, group in enumerate(groups)
    ]


@pytest.mark.parametrize("clustering", ["ward", "leiden"])
@pytest.mark.parametrize("shake", [0.0, 2e-7])
def test_other_topics_are_another_version(clustering: str, shake: float) -> None:
    """Runs with other topics would else share a run id; 2e-7 of noise changes nothing."""
    told = []
    for vectors, groups in (*(nested_groups(noise=n, shake=shake) for n in NOISES), cloud(shake)):
        found = BERTopicModel(clustering).fit_transform(documents_of(groups), vectors)
        told += [found.assignments.tolist(), [topic.keywords for topic in found.topics]]
    digest = hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]
    assert digest == GOLDEN.get((TOPICS_VERSION, clustering)), (
        "these topics differ from those of TOPICS_VERSION: raise it in ftm.topics.fingerprint, "
        f"then write {digest!r} here"
    )


@pytest.mark.xdist_group("models")
def test_the_classic_takes_the_leaves_of_the_tree() -> None:
    """HDBSCAN's other rule would merge the groups of a subject: three topics instead of nine."""
    vectors, groups = nested_groups()
    found = BERTopicModel("umap-hdbscan").fit_transform(documents_of(groups), vectors)
    assert len(found.topics) >= 7
    assert adjusted_rand_score(groups, found.assignments) > 0.5
