"""Checks of this machine: ftm itself, its settings, text pipeline, embedding model, device."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from ftm.care.checks import Check, Finding, ok, skipped, warning
from ftm.core.errors import ConfigError
from ftm.core.settings import TOML_FILE, Settings
from ftm.core.version import VERSION
from ftm.topics import device as devices
from ftm.topics import model_files

if TYPE_CHECKING:
    from ftm.text.base import TextPipeline

SETTINGS = "settings"
_ON_AWS = "only prefetch, and runs on AWS, work here"


def installation() -> Check:
    """Which ftm runs, and on what."""
    system = f"{platform.system()} {platform.machine()}"
    text = f"{VERSION}, Python {platform.python_version()}, {system}"
    return Check("ftm", lambda: [ok("ftm", text)])


def readable_settings(settings: Settings, problem: ConfigError | None) -> Check:
    """Whether the settings can be used, and which are given; values are not shown.

    Args:
        settings: those that were read.
        problem: why they could not be read.
    """

    def look() -> Iterator[Finding]:
        if problem is not None:
            raise problem
        path = Path(TOML_FILE)
        where = str(path.resolve()) if path.exists() else f"no {TOML_FILE} in {Path.cwd()}"
        given = ", ".join(sorted(settings.model_fields_set)) or "nothing, so all are defaults"
        yield ok(SETTINGS, f"{where}; given there, by environment or flag: {given}")

    return Check(SETTINGS, look)


def text_pipeline(name: str, load: Callable[[str], TextPipeline]) -> Check:
    """Whether the pipeline of FTM_NLP can be loaded; it is (2 s)."""
    what = "text pipeline"

    def look() -> Iterator[Finding]:
        if find_spec("spacy") is None:
            yield skipped(what, "spaCy is not installed; `pip install 'ftm[prefetch]'` to prefetch")
            return
        found = load(name).fingerprint
        yield ok(what, f"{name} loads (text version {found['text_version']})")

    return Check(what, look)


def embedding_model(name: str) -> Check:
    """Whether the model's files are here; the packaged one's weights are hashed."""
    what = "embedding model"

    def look() -> Iterator[Finding]:
        if name == "noop":
            yield warning(what, "noop is for dry runs; unset FTM_EMBEDDING_MODEL for real topics")
        elif find_spec("torch") is None:
            yield skipped(what, f"torch is not installed; {_ON_AWS} (`pip install 'ftm[topics]'`)")
        elif model_files.needs_download(name):
            yield warning(what, f"{name} is not on this machine; the first local run downloads it")
        else:
            folder = model_files.locate_model(name)
            if name == model_files.DEFAULT_MODEL:
                model_files.check_packaged_weights(folder)
                yield ok(what, f"{name}, packaged; its weights have the published SHA-256")
            else:
                yield ok(what, f"{name} in {folder}")

    return Check(what, look)


def device(name: str, *, runs_on_aws: bool) -> Check:
    """What local runs compute on.

    Args:
        name: FTM_DEVICE.
        runs_on_aws: then a GPU that is missing here is not missed.
    """
    what = "device"

    def look() -> Iterator[Finding]:
        if find_spec("torch") is None:
            yield skipped(what, f"torch is not installed; {_ON_AWS} (`pip install 'ftm[topics]'`)")
            return
        try:
            found = devices.resolve_device(name)
        except ConfigError as error:
            if not runs_on_aws or name.partition(":")[0] != "cuda":
                raise
            yield warning(what, f"{error}; jobs of AWS Batch need it in their definition only")
            return
        yield ok(what, f"{found} ({devices.machine_name(found)})")

    return Check(what, look)
