"""Terraform's outputs as settings. The names are those of `terraform/examples/complete`."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ftm.core.errors import SetupError
from ftm.core.plain import one_line

COMPUTE = ("gpu", "cpu")
DEFAULT_SOURCE = "terraform/examples/complete"
_COMMAND = ("terraform", "output", "-json", "-no-color")
_NEEDED = ("store_url", "aws_region")
_APPLY_IMAGE = "put it into image.auto.tfvars and run `terraform apply`"


def read_outputs(source: Path) -> bytes:
    """What `terraform output -json` printed: run in a folder, or kept in a file.

    Raises:
        SetupError: no such folder or file, no terraform, or it failed.
    """
    if source.is_dir():
        return _run_terraform(source)
    try:
        return source.read_bytes()
    except OSError as error:
        raise SetupError(
            f"{source} is neither a folder with Terraform files nor a file ({error.strerror}); give"
            " the folder in which `terraform apply` was run, or what `terraform output -json` "
            "printed there, as a file or (-) on stdin"
        ) from error


def _run_terraform(folder: Path) -> bytes:
    command = shutil.which(_COMMAND[0])
    if command is None:
        raise SetupError(
            f"terraform is not installed here, so it cannot be asked in {folder}; where it is, run "
            "`terraform output -json > outputs.json`, then here `ftm config from-terraform "
            "outputs.json`"
        )
    done = subprocess.run(  # noqa: S603 - no shell, nothing of the user's among the arguments
        [command, *_COMMAND[1:]], cwd=folder, capture_output=True, check=False
    )
    if done.returncode != 0:
        told = " ".join(done.stderr.decode("utf-8", "replace").split()) or "no reason was given"
        raise SetupError(
            f"`{' '.join(_COMMAND)}` failed in {folder}: {told}; run `terraform init` and "
            "`terraform apply` there first (terraform/README.md)"
        )
    return done.stdout


def parse_outputs(printed: bytes, *, where: str) -> dict[str, Any]:
    """Output → value; outputs that are null are not among them.

    Args:
        printed: JSON of `terraform output -json`, in any of JSON's encodings.
        where: it comes from, for messages.

    Raises:
        SetupError: it is something else, or holds no outputs.
    """
    try:
        found = json.loads(printed)
    except (ValueError, RecursionError) as error:
        why = "nested too deeply" if isinstance(error, RecursionError) else error
        raise SetupError(
            f"{where} holds no JSON ({why}); it has to be what `terraform output -json` prints"
        ) from error
    if not isinstance(found, dict) or not all(
        isinstance(each, dict) and "value" in each for each in found.values()
    ):
        raise SetupError(f"{where} is not what `terraform output -json` prints; run it again")
    if not found:
        raise SetupError(
            f"{where} has no outputs: nothing is applied yet; run `terraform apply` there first "
            "(terraform/README.md)"
        )
    values = {name: each["value"] for name, each in found.items()}
    return {name: value for name, value in values.items() if value is not None}


def settings_from(outputs: Mapping[str, Any], *, compute: str | None = None) -> dict[str, str]:
    """The settings that outputs stand for: key of `ftm.toml` → value.

    Args:
        outputs: see parse_outputs.
        compute: `gpu` or `cpu`; None: `gpu` if there is such a job definition.

    Raises:
        SetupError: an output is missing, or there is no job definition yet.
    """
    if missing := [name for name in _NEEDED if name not in outputs]:
        have = one_line(", ".join(sorted(outputs)))
        raise SetupError(
            f"the outputs lack {missing[0]!r} and have {have}; ftm reads those of {DEFAULT_SOURCE}"
        )
    chosen = compute or ("gpu" if "gpu_job_definition" in outputs else "cpu")
    if chosen not in COMPUTE:
        raise SetupError(f"unknown compute {chosen!r}; it is {' or '.join(COMPUTE)}")
    queue, definition = f"{chosen}_queue", f"{chosen}_job_definition"
    if queue not in outputs:
        there = [kind for kind in COMPUTE if f"{kind}_queue" in outputs]
        raise SetupError(
            f"there is no {chosen} queue (output {queue!r}); there is: "
            f"{', '.join(there) or 'none'}. Use `--compute {there[0] if there else chosen}`, or "
            "apply Terraform with one"
        )
    if definition not in outputs:
        raise SetupError(
            f"there is no {chosen} job definition yet (output {definition!r}), for there is no "
            f"image: push it, then {_APPLY_IMAGE} (terraform/README.md)"
        )
    values = {
        "store": outputs["store_url"],
        "aws_region": outputs["aws_region"],
        "batch_queue": outputs[queue],
        "batch_job_definition": outputs[definition],
    }
    if (stages := outputs.get("stage_job_definition")) is not None:
        values["batch_stage_job_definition"] = stages
        # Without a GPU: on the other queue they would pay for one.
        if (cpu := outputs.get("cpu_queue", outputs[queue])) != outputs[queue]:
            values["batch_stage_queue"] = cpu
    if wrong := [name for name, value in values.items() if not isinstance(value, str)]:
        kind = type(values[wrong[0]]).__name__
        raise SetupError(
            f"the output for {wrong[0]!r} is a JSON {kind}, and should be a text; ftm reads those "
            f"of {DEFAULT_SOURCE}"
        )
    return values
