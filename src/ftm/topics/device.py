"""Which device a run embeds on; torch is imported only to look for a GPU."""

from __future__ import annotations

import importlib.util

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


def _has_cuda() -> bool:
    if importlib.util.find_spec("torch") is None:
        return False
    import torch

    return bool(torch.cuda.is_available())
