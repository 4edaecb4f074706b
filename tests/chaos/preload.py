"""Imported by the forge of the scenarios: what each process would load for a second is there."""

from __future__ import annotations

from functools import cache

from ftm.prefetch import plan
from ftm.text import parallel

plan._nyse(2023, 2023)
parallel.load_pipeline = cache(parallel.load_pipeline)  # type: ignore[assignment]
parallel.load_pipeline("rules")
parallel._usable_cores = lambda: 1  # type: ignore[assignment]
