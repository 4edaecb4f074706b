"""The command that goes on with a run, so that nobody has to remember how it was begun."""

from __future__ import annotations

import shlex

from ftm.core.settings import Settings
from ftm.storage.run_records import RunSpec

_FLAGS = ("clustering", "embedding_model", "embed_text", "seed", "keep_kinds", "device", "dtype")
"""Settings that are part of a run's identity and have a flag of the same name."""


def resume_command(
    spec: RunSpec, *, settings: Settings, store: str | None = None, partial: bool = False
) -> str:
    """The `ftm run-quarter` command that finds this run again.

    Args:
        spec: of the run.
        settings: what the command would take from the environment and `ftm.toml`; only what the
            run has otherwise becomes a flag.
        store: `--store`, if it is to be given.
        partial: the run's prefetch was not complete.
    """
    words = ["ftm", "run-quarter", "--quarter", spec.quarter]
    words += ["--backend", spec.backend] if spec.backend != "local" else []
    if spec.batch_size is not None:
        words += ["--batch-size", str(spec.batch_size)]
    for name in _FLAGS:
        value = spec.model.get(name)
        if value is not None and value != str(getattr(settings, name)):
            words += [f"--{name.replace('_', '-')}", value]
    words += ["--allow-partial-prefetch"] if partial else []
    words += [] if spec.publish else ["--no-publish"]
    words += ["--store", store] if store else []
    # A run's only setting without a flag.
    other = f"CHECKPOINT_INTERVAL={spec.checkpoint_firms} "
    return (other if spec.checkpoint_firms != settings.map_checkpoint else "") + shlex.join(words)
