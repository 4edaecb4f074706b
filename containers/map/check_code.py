"""Run as the image is built: ftm is the version of its label, and the worker's modules import.

    python check_code.py 0.1.0

The libraries behind them are imported by check_libraries.py, in a layer that a change of the code
leaves as it is.
"""

from __future__ import annotations

import importlib
import sys

from ftm.core.version import VERSION

NEEDED = (
    "ftm.connectors.s3_connector",
    "ftm.mapping.firm_processor",
    "ftm.naming.llm",
    "ftm.orchestrate.stages",
    "ftm.topics.bertopic_model",
    "ftm.topics.embedder",
    "ftm.topics.pool",
    "ftm.topics.theme_clusters",
    "ftm.topics.theme_keywords",
    "ftm.worker",
)

if __name__ == "__main__":
    if sys.argv[1] != VERSION:
        sys.exit(f"check_code.py: ftm is {VERSION}, the label is to say {sys.argv[1]!r}")
    for name in NEEDED:
        importlib.import_module(name)
    from ftm.topics.model_files import DEFAULT_MODEL, check_packaged_weights, locate_model

    check_packaged_weights(locate_model(DEFAULT_MODEL))
