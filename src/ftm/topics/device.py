"""Which device a run embeds on; torch is imported only to look for a GPU."""

from __future__ import annotations

import importlib.util
import platform
from pathlib import Path

from ftm.core.errors import ConfigError

DEVICES = ("auto", "cpu", "cuda")


def resolve_device(device: str) -> str:
    """`cpu` or `cuda`; `auto` takes the GPU if there is one.

    Raises:
        ConfigError: another device, or `cuda` where there is none.
    """
    kind = device.split(":")[0]
    if kind not in DEVICES:
        raise ConfigError(f"FTM_DEVICE {device!r} is not one of {', '.join(DEVICES)}")
    if kind == "cpu":
        return device
    if _has_cuda():
        return "cuda" if kind == "auto" else device
    if kind == "auto":
        return "cpu"
    raise ConfigError(f"FTM_DEVICE {device!r}: this machine has no usable GPU; set FTM_DEVICE=cpu")


def machine_name(device: str) -> str:
    """The processor's model, and the GPU's for a device on one: what vectors' last bits depend on.

    Args:
        device: resolved, never `auto`.
    """
    names = [_processor()]
    if device.startswith("cuda"):
        import torch

        names.append(torch.cuda.get_device_name(device))
    return " + ".join(names)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:  # not Linux
        lines = []
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    # ARM's list names no model.
    return next(models, "") or platform.processor() or platform.machine()


def _has_cuda() -> bool:
    if importlib.util.find_spec("torch") is None:
        return False
    import torch

    return bool(torch.cuda.is_available())
