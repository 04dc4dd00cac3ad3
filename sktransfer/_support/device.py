"""The choice of device and precision."""

from __future__ import annotations

import re

import torch

from .forks import check_process, has_lost_cuda
from .validation import check_choice, did_you_mean

# One of several GPUs
CUDA_INDEX = re.compile("cuda:[0-9]+")

DEVICES = ("auto", "cpu", "cuda", "mps")
PRECISIONS = ("float32", "bfloat16", "auto")


def resolve_device(device: str | torch.device) -> torch.device:
    """Return the torch device; "auto" prefers cuda, then mps, then cpu."""
    if isinstance(device, torch.device):
        device = str(device)
    if not (isinstance(device, str) and CUDA_INDEX.fullmatch(device)):
        _check_device(device)
    if device == "cpu":  # a process that asks for CUDA cannot use it after a fork
        return torch.device(device)
    if has_lost_cuda() and device != "mps":  # it is an error to run a network there
        return torch.device("cuda" if device == "auto" else device)
    present = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if present["cuda"]:
        present |= {f"cuda:{index}": True for index in range(torch.cuda.device_count())}
    if device == "auto":
        return torch.device(next(name for name, here in present.items() if here))
    if not present.get(device):
        here = ", ".join(repr(name) for name, is_here in present.items() if is_here)
        raise ValueError(
            f"device must be one that torch finds here: {here}; got {device!r}. 'auto' chooses the "
            "fastest of them."
        )
    return torch.device(device)


def resolve_or_replace(device: str | torch.device) -> torch.device:
    """Return the torch device, or that of "auto" if this machine has no such device.

    It is for results that another machine may have made.
    """
    try:
        return resolve_device(device)
    except ValueError:
        return resolve_device("auto")


def _check_device(device: object) -> None:
    """Raise an error if ``device`` is not a name; other libraries call the accelerator "gpu"."""
    if isinstance(device, str) and device.lower() in ("gpu", "gpu:0"):
        accelerator = "mps" if torch.backends.mps.is_available() else "cuda"
        guess = f" Did you mean {accelerator!r}?"
    else:
        guess = did_you_mean(device, (*DEVICES, "cuda:0"))
    if not (isinstance(device, str) and device in DEVICES):
        listed = ", ".join(map(repr, DEVICES))
        raise ValueError(
            f"device must be one of {listed}, or a GPU by its number such as 'cuda:1'; got "
            f"{device!r}.{guess}"
        )


def resolve_precision(precision: str, device: torch.device) -> torch.dtype:
    """Return the dtype; "auto" is bfloat16 if the device computes in it, else float32."""
    check_choice("precision", precision, PRECISIONS)
    check_process(device)
    if precision == "auto":
        precision = "bfloat16" if _computes_bfloat16(device) else "float32"
    return torch.bfloat16 if precision == "bfloat16" else torch.float32


def at_least_float32(x: torch.Tensor) -> torch.Tensor:
    """Return a tensor in float32, or in float64 if it has this type.

    torch 2.6 cannot export ``torch.promote_types``, which would say the same.
    """
    return x if x.dtype == torch.float64 else x.float()


def _computes_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":  # only with hardware units: emulated bfloat16 is slower
        units = cpu_units()
        return any(units.get(unit) for unit in ("avx512_bf16", "amx_bf16", "bf16", "sve_bf16"))
    return False


def cpu_units() -> dict[str, object]:
    """Return the name and the units of the processor; nothing if torch is too old to know them."""
    units: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return units
