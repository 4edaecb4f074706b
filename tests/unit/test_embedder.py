"""The embedder against SentenceTransformer itself, on the packaged model."""

import random
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest

from ftm.core.errors import ModelNotFoundError
from ftm.topics.embedder import SentenceEmbedder
from ftm.topics.fingerprint import embedding_fingerprint
from ftm.topics.model_files import DEFAULT_MODEL, locate_model
from ftm.topics.noop import NoOpEmbedder

pytestmark = pytest.mark.xdist_group("models")

TEXTS = [
    "Cloud revenue grew by 12% as customers moved workloads to our platform.",
    "No.",
    "We returned $2.1 billion to shareholders through dividends and buybacks. " * 2,
    "",
    "¿Qué pasa? 你好, it's 😀",
    "tariffs " * 600,  # over the model's 256 tokens
    *[f"Gross margin of segment {i} was {i}.{i} percent" + " and rising" * i for i in range(12)],
]


@pytest.fixture(scope="module")
def embedder() -> SentenceEmbedder:
    """The packaged model, float32."""
    return SentenceEmbedder(threads=2)


def test_vectors_equal_sentence_transformers(embedder: SentenceEmbedder) -> None:
    """Cosine with `SentenceTransformer.encode` is at least 0.9999 for every text, long ones too."""
    from sentence_transformers import SentenceTransformer

    theirs = SentenceTransformer(str(locate_model(DEFAULT_MODEL)), device="cpu").encode(
        TEXTS, normalize_embeddings=True, show_progress_bar=False
    )
    ours = embedder.encode(TEXTS)
    assert ours.dtype == np.float32
    assert ours.shape == (len(TEXTS), 384)
    assert ((ours * theirs).sum(axis=1) > 0.9999).all()
    np.testing.assert_allclose(np.linalg.norm(ours, axis=1), 1.0, atol=1e-5)


def test_a_list_gives_the_same_bits_whatever_came_before(embedder: SentenceEmbedder) -> None:
    """Invariant 8: a firm's vectors depend on that firm's sentences alone."""
    first = embedder.encode(TEXTS[:12])
    embedder.encode(TEXTS[12:])
    embedder.encode(random.Random(0).sample(TEXTS, 9))
    assert embedder.encode(TEXTS[:12]).tobytes() == first.tobytes()
    assert SentenceEmbedder().encode(TEXTS[:12]).tobytes() == first.tobytes()


def test_order_is_kept_and_equal_texts_are_equal(embedder: SentenceEmbedder) -> None:
    """Row i belongs to text i; a repeated text has the same bits in both places."""
    shuffled = random.Random(1).sample(TEXTS, len(TEXTS))
    vectors = dict(zip(TEXTS, embedder.encode(TEXTS), strict=True))
    for text, row in zip(shuffled, embedder.encode(shuffled), strict=True):
        np.testing.assert_allclose(row, vectors[text], atol=1e-5)
    twice = embedder.encode([TEXTS[0], TEXTS[1], TEXTS[0]])
    assert twice[0].tobytes() == twice[2].tobytes() != twice[1].tobytes()


@pytest.mark.parametrize("kind", ["packaged", "noop"])
def test_no_texts_give_no_rows(kind: str, embedder: SentenceEmbedder) -> None:
    """An empty list keeps the number of dimensions."""
    model = NoOpEmbedder() if kind == "noop" else embedder
    assert model.encode([]).shape == (0, model.encode(["a"]).shape[1])
    assert model.encode([]).dtype == np.float32


def test_noop_vectors_depend_on_the_text_alone() -> None:
    """The stand-in is deterministic, of length one, and tells texts apart."""
    rows = NoOpEmbedder().encode(["a", "b", "a"])
    assert rows[0].tobytes() == rows[2].tobytes() != rows[1].tobytes()
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1.0, atol=1e-6)


def test_bfloat16_gives_nearly_the_same_unit_vectors(embedder: SentenceEmbedder) -> None:
    """Half the width in the arithmetic, float32 and length one in the result."""
    texts = [*TEXTS[:5], *TEXTS[6:10]]  # a processor without it takes ten seconds for 256 tokens
    fast = SentenceEmbedder(dtype="bfloat16").encode(texts)
    assert fast.dtype == np.float32
    assert ((fast * embedder.encode(texts)).sum(axis=1) > 0.999).all()
    np.testing.assert_allclose(np.linalg.norm(fast, axis=1), 1.0, atol=1e-5)


def test_the_fingerprint_is_the_one_computed_without_the_model(embedder: SentenceEmbedder) -> None:
    """What the run records is what the worker has."""
    given = embedding_fingerprint(DEFAULT_MODEL, device="cpu", dtype="float32", batch_size=16)
    assert dict(embedder.fingerprint) == given


def test_a_folder_is_a_model(tmp_path: Path, embedder: SentenceEmbedder) -> None:
    """A copy of the packaged model, given by its path, embeds alike."""
    shutil.copytree(locate_model(DEFAULT_MODEL), tmp_path / "copy")
    vectors = SentenceEmbedder(str(tmp_path / "copy")).encode(TEXTS[:5])
    assert vectors.tobytes() == embedder.encode(TEXTS[:5]).tobytes()


def test_another_pooling_goes_through_sentence_transformers(tmp_path: Path) -> None:
    """A model that does not average its tokens is called as its authors meant."""
    from sentence_transformers import SentenceTransformer

    folder = tmp_path / "cls"
    shutil.copytree(locate_model(DEFAULT_MODEL), folder)
    pooling = folder / "1_Pooling" / "config.json"
    text = pooling.read_text()
    pooling.write_text(
        text.replace('"pooling_mode_cls_token": false', '"pooling_mode_cls_token": true').replace(
            '"pooling_mode_mean_tokens": true', '"pooling_mode_mean_tokens": false'
        )
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = SentenceTransformer(str(folder), device="cpu").encode(TEXTS[:5])
    ours = SentenceEmbedder(str(folder)).encode(TEXTS[:5])
    assert ((ours * theirs).sum(axis=1) > 0.9999).all()
    mean = SentenceEmbedder().encode(TEXTS[:5])
    assert ((ours * mean).sum(axis=1) < 0.99).any()


def test_a_folder_that_is_no_model_is_told(tmp_path: Path) -> None:
    """The message names the folder."""
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ModelNotFoundError, match=str(tmp_path)):
        SentenceEmbedder(str(tmp_path))
