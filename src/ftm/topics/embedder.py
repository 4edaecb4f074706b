"""Sentences to unit vectors with a sentence-transformers model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from ftm.core.errors import ModelNotFoundError, TopicModelError
from ftm.topics.base import FloatArray
from ftm.topics.fingerprint import BATCH_SIZE, embedding_fingerprint
from ftm.topics.model_files import DEFAULT_MODEL, check_packaged_weights, locate_model

if TYPE_CHECKING:
    import torch


class SentenceEmbedder:
    """Embeds with a sentence-transformers model; meets `Embedder`.

    Equal texts are embedded once. Texts of like length share a batch, so that little padding is
    computed; batches depend on the texts alone, never on what was embedded before.

    Args:
        model: `all-MiniLM-L6-v2` (packaged, hash checked), a folder, or a name on the hub.
        device: `cpu` or `cuda`.
        dtype: `float32` or `bfloat16`; pooling and results are float32 in both.
        batch_size: texts per forward pass.
        threads: of torch on the CPU, for the whole process; None leaves torch's choice.

    Raises:
        ModelNotFoundError: no such model, or its files cannot be loaded.
        CorruptObjectError: the packaged weights are not the official ones.
    """

    def __init__(
        self,
        model: str = DEFAULT_MODEL,
        *,
        device: str = "cpu",
        dtype: str = "float32",
        batch_size: int = BATCH_SIZE,
        threads: int | None = None,
    ) -> None:
        folder = locate_model(model)
        if model == DEFAULT_MODEL:
            check_packaged_weights(folder)
        self._batch_size = batch_size
        self._fingerprint = MappingProxyType(
            embedding_fingerprint(model, device=device, dtype=dtype, batch_size=batch_size)
        )
        if threads is not None:
            _set_threads(threads)
        self._network = _load(folder, name=model, device=device, dtype=dtype)

    @property
    def fingerprint(self) -> Mapping[str, str]:
        """See Embedder."""
        return self._fingerprint

    def encode(self, texts: Sequence[str]) -> FloatArray:
        """See Embedder.

        Raises:
            TopicModelError: the model gave a vector that is not finite.
        """
        if not texts:
            return np.zeros((0, self._network.n_dims), np.float32)
        distinct = list(dict.fromkeys(texts))
        vectors = self._network.embed(distinct, self._batch_size)
        if not np.isfinite(vectors).all():
            raise TopicModelError("the embedding model gave a vector that is not finite")
        row = {text: i for i, text in enumerate(distinct)}
        return np.ascontiguousarray(vectors[[row[text] for text in texts]])


class _MeanPooled:
    """A transformer whose token vectors are averaged: the usual architecture, called directly."""

    def __init__(self, transformer: Any, *, dtype: str, max_length: int) -> None:
        import torch

        self._tokenizer = transformer.tokenizer
        self._model = transformer.auto_model.to(getattr(torch, dtype)).eval()
        self._max_length = max_length
        self.n_dims = int(self._model.config.hidden_size)

    def embed(self, texts: list[str], batch_size: int) -> FloatArray:
        """Unit vectors of distinct texts, in order."""
        import torch

        token_ids = self._tokenizer(
            texts,
            truncation=True,
            max_length=self._max_length,
            return_attention_mask=False,
            return_token_type_ids=False,
        )["input_ids"]
        order = sorted(range(len(texts)), key=lambda i: -len(token_ids[i]))
        vectors = np.empty((len(texts), self.n_dims), np.float32)
        with torch.inference_mode():
            for start in range(0, len(order), batch_size):
                rows = order[start : start + batch_size]
                vectors[rows] = self._forward([token_ids[row] for row in rows]).cpu().numpy()
        return vectors

    def _forward(self, token_ids: list[list[int]]) -> torch.Tensor:
        import torch

        width = len(token_ids[0])  # the longest comes first
        mask = torch.tensor([[1] * len(ids) + [0] * (width - len(ids)) for ids in token_ids])
        padded = torch.tensor([ids + [0] * (width - len(ids)) for ids in token_ids])
        mask = mask.to(self._model.device)
        output = self._model(input_ids=padded.to(self._model.device), attention_mask=mask)
        weights = mask.unsqueeze(-1).float()
        means = (output.last_hidden_state.float() * weights).sum(1) / weights.sum(1)
        return torch.nn.functional.normalize(means, dim=1)


class _AnyArchitecture:
    """Any other sentence-transformers model, called through its own `encode`."""

    def __init__(self, model: Any, *, dtype: str) -> None:
        import torch

        self._model = model.to(getattr(torch, dtype))
        self.n_dims = int(model.get_embedding_dimension())

    def embed(self, texts: list[str], batch_size: int) -> FloatArray:
        """Unit vectors of distinct texts, in order."""
        vectors = self._model.encode(
            texts,
            batch_size=batch_size,
            normalize_embeddings=True,
            convert_to_tensor=True,
            show_progress_bar=False,
        )
        return np.asarray(vectors.float().cpu().numpy(), np.float32)


def _load(folder: Path, *, name: str, device: str, dtype: str) -> _MeanPooled | _AnyArchitecture:
    try:
        with _quiet():
            from sentence_transformers import SentenceTransformer

            model = SentenceTransformer(str(folder), device=device, local_files_only=True)
    except ImportError as error:
        raise ModelNotFoundError(
            f"embedding model {name!r} needs sentence-transformers; pip install 'ftm[topics]'"
        ) from error
    except (OSError, ValueError, KeyError) as error:
        raise ModelNotFoundError(
            f"embedding model {name!r} in {folder} cannot be loaded: {error}"
        ) from error
    if _is_mean_pooled(model):
        return _MeanPooled(model[0], dtype=dtype, max_length=int(model.max_seq_length))
    return _AnyArchitecture(model, dtype=dtype)


def _is_mean_pooled(model: Any) -> bool:
    kinds = [type(module).__name__ for module in model]
    return (
        kinds in (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"])
        and model[1].pooling_mode == "mean"
    )


def _set_threads(threads: int) -> None:
    import torch

    torch.set_num_threads(threads)


@contextmanager
def _quiet() -> Iterator[None]:
    """No progress bar while the weights load: standard error is for our own messages."""
    from transformers.utils import logging

    was_on = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if was_on:
            logging.enable_progress_bar()
