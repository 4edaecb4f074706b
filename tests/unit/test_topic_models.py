"""One suite for every TopicModel, and what each clustering promises beyond it."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score

from ftm.core.errors import ConfigError
from ftm.topics.base import FloatArray, TopicModel, TopicModelResult
from ftm.topics.bertopic_model import BERTopicModel
from ftm.topics.clusterings import MIN_CLUSTER_SIZE, with_outliers
from ftm.topics.noop import NoOpTopicModel
from tests.support.topic_vectors import planted_vectors, same, texts_of, unit

STABLE = ("ward", "leiden")
# UMAP compiles for some twenty seconds in the first test of a process that uses it.
UMAP = pytest.param("umap-hdbscan", marks=pytest.mark.xdist_group("models"))
ALL = ("noop", *STABLE, UMAP)
WITHOUT_UMAP = ("noop", *STABLE)


def make_model(name: str) -> TopicModel:
    """A model of every implementation."""
    return NoOpTopicModel() if name == "noop" else BERTopicModel(name)


def check_result(result: TopicModelResult, vectors: FloatArray) -> None:
    """What holds of every result of every model."""
    n = len(vectors)
    assert result.assignments.shape == result.probabilities.shape == (n,)
    assert result.assignments.dtype == np.int32
    assert result.probabilities.dtype == np.float32
    assert ((result.probabilities >= 0) & (result.probabilities <= 1)).all()
    assert [t.local_topic_id for t in result.topics] == list(range(len(result.topics)))
    assert set(result.assignments.tolist()) <= set(range(-1, len(result.topics)))
    for topic in result.topics:
        members = np.flatnonzero(result.assignments == topic.local_topic_id)
        assert sorted(topic.sentences) == members.tolist()
        assert len(members) >= MIN_CLUSTER_SIZE
        assert len(topic.keywords) <= 10
        assert len(set(topic.keywords)) == len(topic.keywords)
        np.testing.assert_allclose(topic.centroid, vectors[members].mean(axis=0), atol=1e-6)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("n", [0, 1, 2, 5, 11, 12, 15, 16, 17])
def test_few_sentences_are_no_error(name: str, n: int) -> None:
    """Any number of sentences gives a well-formed result; under twelve give no topic."""
    rng = np.random.default_rng(n)
    vectors = unit(rng.normal(size=(n, 16))) if n else np.zeros((0, 16), np.float32)
    result = make_model(name).fit_transform(["growth of sales"] * n, vectors)
    check_result(result, vectors)
    assert n >= 12 or result.topics == ()


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("n", [15, 16, 40])
def test_identical_sentences_are_one_topic_or_none(name: str, n: int) -> None:
    """A call that repeats one sentence crashes nothing and is not cut into topics by chance."""
    vectors = np.repeat(unit(np.ones((1, 16))), n, axis=0)
    result = make_model(name).fit_transform(["growth of sales"] * n, vectors)
    check_result(result, vectors)
    assert name == "noop" or len(result.topics) == 1


@pytest.mark.parametrize("name", [*STABLE, UMAP])
def test_vectors_of_zeros_are_no_error(name: str) -> None:
    """Sentences without a direction give a well-formed result."""
    vectors = np.zeros((30, 8), np.float32)
    result = make_model(name).fit_transform(["growth"] * 30, vectors)
    assert result.assignments.shape == (30,)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("text", ["", "a", "unique{i}", "?!"])
def test_documents_without_vocabulary_have_topics_without_keywords(name: str, text: str) -> None:
    """No word in two sentences: topics, but no keyword and an empty name."""
    vectors, _ = planted_vectors(3, 20)
    documents = [text.replace("{i}", str(i)) for i in range(60)]
    result = make_model(name).fit_transform(documents, vectors)
    check_result(result, vectors)
    if name != "noop":
        assert result.topics
        assert {(t.keywords, t.representation) for t in result.topics} == {((), "")}


@pytest.mark.parametrize("name", WITHOUT_UMAP)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    n=st.integers(0, 60),
    n_distinct=st.integers(1, 60),
    n_dims=st.integers(2, 12),
    seed=st.integers(0, 1000),
)
def test_any_vectors_give_a_well_formed_result(
    name: str, n: int, n_distinct: int, n_dims: int, seed: int
) -> None:
    """Repeated, close and few vectors included."""
    rng = np.random.default_rng(seed)
    pool = unit(rng.normal(size=(n_distinct, n_dims)))
    rows = rng.integers(0, n_distinct, n)
    model = make_model(name)
    documents = [f"word{row} topic{row % 3} shared" for row in rows]
    result = model.fit_transform(documents, pool[rows])
    check_result(result, pool[rows])
    assert same(result, model.fit_transform(documents, pool[rows]))


@pytest.mark.parametrize("name", ALL)
def test_embeddings_must_fit_the_documents(name: str) -> None:
    """Another number of rows is a ValueError that names both numbers."""
    with pytest.raises(ValueError, match=r"20 documents .*19"):
        make_model(name).fit_transform(["a"] * 20, np.ones((19, 4), np.float32))


@pytest.mark.parametrize("name", STABLE)
def test_embeddings_must_be_there_and_finite(name: str) -> None:
    """A model that cannot embed says so; not-a-number never reaches a clustering."""
    with pytest.raises(ValueError, match="embeddings are needed"):
        make_model(name).fit_transform(["a"] * 20)
    broken = np.ones((20, 4), np.float32)
    broken[3, 2] = np.nan
    with pytest.raises(ValueError, match="finite"):
        make_model(name).fit_transform(["a"] * 20, broken)


def test_unknown_clustering_lists_what_exists() -> None:
    """The error names the setting, the value and the choices."""
    with pytest.raises(ConfigError, match=r"FTM_CLUSTERING 'kmeans'.*ward, leiden, umap-hdbscan"):
        BERTopicModel("kmeans")


# HDBSCAN's leaves cut clear clusters into several: that is the classic, not a defect of ours.
@pytest.mark.parametrize(
    ("name", "floor"),
    [
        ("ward", 0.98),
        ("leiden", 0.98),
        pytest.param("umap-hdbscan", 0.5, marks=pytest.mark.xdist_group("models")),
    ],
)
def test_well_separated_topics_are_found(name: str, floor: float) -> None:
    """Six clear clusters of different size come back, largest first, with their own words."""
    vectors, labels = planted_vectors(6, 25)
    keep = np.ones(len(labels), bool)
    for label in range(6):  # sizes 25, 24, …, 20
        keep[np.flatnonzero(labels == label)[:label]] = False
    vectors, labels = vectors[keep], labels[keep]
    result = make_model(name).fit_transform(texts_of(labels), vectors)
    check_result(result, vectors)
    assert adjusted_rand_score(labels, result.assignments) >= floor
    sizes = [len(topic.sentences) for topic in result.topics]
    assert sizes == sorted(sizes, reverse=True)
    assert all(topic.keywords for topic in result.topics)
    if name in STABLE:
        assert result.topics[0].representation.startswith("cloud")


def test_sentences_are_ordered_by_typicality() -> None:
    """A topic's first sentence is the nearest to its centroid; ties go to the earlier one."""
    vectors, labels = planted_vectors(3, 20)
    vectors[1::2] = vectors[0::2]  # pairs of equals
    result = BERTopicModel("ward").fit_transform(texts_of(labels), vectors)
    for topic in result.topics:
        cosines = vectors[list(topic.sentences)].astype(float) @ topic.centroid.astype(float)
        assert (np.diff(cosines) < 1e-6).all()
        position = {row: i for i, row in enumerate(topic.sentences)}
        pairs = [row for row in topic.sentences if row % 2 == 0 and row + 1 in position]
        assert pairs
        assert all(position[row] == position[row + 1] - 1 for row in pairs)


def test_a_sentence_far_from_its_cluster_is_an_outlier() -> None:
    """A sentence nearer to the whole call than to its topic has topic -1 and probability 0."""
    vectors, labels = planted_vectors(4, 25, noise=0.1)
    stray = unit(vectors.mean(axis=0, keepdims=True))
    result = BERTopicModel("ward").fit_transform(
        [*texts_of(labels), "stray"], np.concatenate([vectors, stray])
    )
    assert result.assignments[-1] == -1
    assert result.probabilities[-1] == 0
    assert result.outlier_share == pytest.approx(1 / 101)


def test_outliers_are_nearer_to_the_call_than_to_their_cluster() -> None:
    """The rule on a clear case; a cluster left with under six is dissolved."""
    vectors, labels = planted_vectors(3, 10, noise=0.0)
    vectors = np.concatenate([vectors, unit(vectors.mean(axis=0, keepdims=True))])
    labels = np.append(labels, 0)  # the middle of the call, counted with the first cluster
    found = with_outliers(labels, vectors.astype(np.float64))
    assert found.labels.tolist() == [*labels[:-1].tolist(), -1]
    assert found.strengths[-1] == 0
    few = np.where(np.arange(31) < 5, 3, labels)
    assert (with_outliers(few, vectors.astype(np.float64)).labels[:5] == -1).all()


@pytest.mark.parametrize("name", STABLE)
@pytest.mark.parametrize("common", [0.0, 0.6])
@pytest.mark.parametrize(("n", "n_dims"), [(60, 384), (400, 384), (400, 64)])
def test_random_vectors_have_no_topics(name: str, common: float, n: int, n_dims: int) -> None:
    """Where nothing belongs together nothing is found, with or without a direction all share."""
    rng = np.random.default_rng(n + n_dims)
    vectors = unit(unit(rng.normal(size=(n, n_dims))) + common * np.eye(n_dims)[0])
    result = make_model(name).fit_transform(["growth of sales"] * n, vectors)
    assert len(result.topics) <= 1
    assert result.outlier_share > 0.95


def test_no_sentence_votes_for_itself() -> None:
    """A stray sentence in a cluster of seven does not belong because it moved the mean."""
    rng = np.random.default_rng(0)
    rows = np.eye(64)[np.repeat([0, 1, 2], 7)] + 0.4 * rng.normal(size=(21, 64)) / 8
    rows[6] = np.eye(64)[10]
    units = unit(rows).astype(np.float64)
    found = with_outliers(np.repeat([0, 1, 2], 7), units)
    assert np.flatnonzero(found.labels < 0).tolist() == [6]
    others = np.delete(units[:7], [0, 6], axis=0).sum(axis=0) + units[6]
    assert found.strengths[0] == pytest.approx(units[0] @ others / np.linalg.norm(others))


def test_the_number_of_topics_follows_from_the_data() -> None:
    """As many sentences with more planted topics give more topics."""
    found = []
    for n_topics, size in ((4, 60), (8, 30), (16, 15)):
        vectors, labels = planted_vectors(n_topics, size)
        found.append(len(BERTopicModel("ward").fit_transform(texts_of(labels), vectors).topics))
    assert found == [4, 8, 16]


@pytest.mark.parametrize("name", [*STABLE, UMAP])
def test_a_model_keeps_no_state(name: str) -> None:
    """A firm's result is the same, bit for bit, whatever was fitted before it."""
    first, labels = planted_vectors(4, 20, noise=0.8)
    other, _ = planted_vectors(7, 13, noise=0.8, seed=5)
    texts = texts_of(labels)
    used = make_model(name)
    used.fit_transform([f"other text {i % 4}" for i in range(len(other))], other)
    assert same(used.fit_transform(texts, first), make_model(name).fit_transform(texts, first))


def test_the_default_method_knows_no_chance() -> None:
    """Ward gives the same topics for every seed."""
    vectors, labels = planted_vectors(8, 20, noise=1.2)
    texts = texts_of(labels)
    one = BERTopicModel("ward", seed=1).fit_transform(texts, vectors)
    assert same(one, BERTopicModel("ward", seed=2).fit_transform(texts, vectors))


def test_a_method_that_draws_follows_the_models_seed() -> None:
    """Among sentences between two topics Leiden's answer changes with the seed, and only with it.

    Each sentence lies between two neighbours on a ring of topics, so many cuts are as good.
    """
    rng = np.random.default_rng(0)
    first, share = rng.integers(0, 24, 300), rng.uniform(size=(300, 1))
    axes = np.eye(24)
    mixed = axes[first] * share + axes[(first + 1) % 24] * (1 - share)
    vectors = unit(mixed + 0.2 * rng.normal(size=mixed.shape) / 24**0.5)
    texts = texts_of(first)

    def fit(seed: int) -> bytes:
        return (
            BERTopicModel("leiden", seed=seed).fit_transform(texts, vectors).assignments.tobytes()
        )

    found = [fit(seed) for seed in range(6)]
    assert len(set(found)) > 1
    assert found == [fit(seed) for seed in range(6)]
