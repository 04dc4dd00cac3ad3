"""The choice of an engine."""

from __future__ import annotations

from itertools import chain

import torch

from .._support.validation import check_choice, require
from .base import Engine, described, is_installed
from .compile import Compile
from .onnxruntime import OnnxRuntime
from .openvino import OpenVINO

# All engines but torch itself, by name.
ENGINES: dict[str, Engine] = {
    engine.name: engine for engine in (OpenVINO(), OnnxRuntime(), Compile())
}

# The values of the parameter ``engine``.
NAMES = ("auto", "torch", *ENGINES)

# The engines that "auto" takes on a CPU, the fastest first, as benchmarks/engines.py measured them.
# The choice is not timed when a network runs, because features would then depend on the load.  ONNX
# Runtime is left out: many have it for other reasons, and each process would need half a gigabyte
# and some seconds to convert the network.
AUTO = {torch.float32: ("openvino",), torch.bfloat16: ("openvino",)}


def check_engine(name: str, engine: object) -> None:
    """Raise an error if ``engine`` is not a value of the parameter ``name``, or not installed."""
    check_choice(name, engine, NAMES)
    if engine in ENGINES:
        for package in ENGINES[str(engine)].packages:
            require(package, str(engine))


def describe_choice(name: str) -> list[str]:
    """Return the engines that a value of ``engine`` can stand for here, with their versions.

    Results that are kept depend on them.
    """
    order = dict.fromkeys(chain(*AUTO.values())) if name == "auto" else (name,)
    engines = [ENGINES[each] for each in order if each in ENGINES]
    return [described(engine) for engine in engines if is_installed(engine)]


def find_engine(name: str, device: torch.device, dtype: torch.dtype) -> Engine | None:
    """Return the engine of the parameter ``engine``; None stands for torch.

    Parameters
    ----------
    name : str
        One of ``NAMES``.
    device : torch.device
    dtype : torch.dtype
        The type in which the stages compute.  In float64, they always run in torch.

    Raises
    ------
    ValueError
        If a named engine does not run on the device, or not in the type.
    """
    if name == "torch" or dtype == torch.float64:
        return None
    if name == "auto":
        order = AUTO[dtype] if device.type == "cpu" else ()
        return next((ENGINES[each] for each in order if is_installed(ENGINES[each])), None)
    if device.type != "cpu":
        raise ValueError(
            f"engine must be 'auto' or 'torch' on the device {str(device)!r}; got {name!r}. Pass "
            "device='cpu' to use it."
        )
    if dtype not in ENGINES[name].dtypes:
        raise ValueError(
            f"engine must be one that computes in {str(dtype).removeprefix('torch.')}; got "
            f"{name!r}. Pass precision='float32', or engine='auto'."
        )
    return ENGINES[name]
