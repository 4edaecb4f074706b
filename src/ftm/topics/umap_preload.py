"""Compiles UMAP and HDBSCAN; preloaded by the forkserver, so that workers fork with it done.

Numba's `workqueue` layer is the only one whose process may be forked (OpenMP's dies), and with
one thread it starts none.
"""

from __future__ import annotations

import os

os.environ["NUMBA_THREADING_LAYER"] = "workqueue"
os.environ["NUMBA_NUM_THREADS"] = "1"

import numpy as np

from ftm.topics.bertopic_model import BERTopicModel


def compile_umap() -> None:
    """Fit a small planted example once."""
    rng = np.random.default_rng(0)
    vectors = np.repeat(rng.normal(size=(4, 32)), 20, axis=0) + rng.normal(size=(80, 32)) / 4
    BERTopicModel("umap-hdbscan").fit_transform(["a b"] * 80, vectors.astype(np.float32))


compile_umap()
