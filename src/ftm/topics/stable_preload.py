"""Imports what the stable clusterings need; preloaded by the forkserver."""

import scipy.cluster.hierarchy
import threadpoolctl  # type: ignore[import-untyped]

import ftm.topics.bertopic_model

__all__ = ["ftm", "scipy", "threadpoolctl"]
