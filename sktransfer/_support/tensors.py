"""Files of the format safetensors, read instead of mapped to memory.

The library safetensors maps them.  Access to the map of a file that was cut short kills the
process, while a read that is too short is an error.  A map also needs a name that is UTF-8.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterator
from math import prod
from typing import Any, BinaryIO

import torch
from torch import Tensor

LENGTH = struct.Struct("<Q")  # of the header, before it

# The names of types in the format, and in torch.  Older versions of torch lack some of them.
DTYPES = {
    "BOOL": "bool",
    **{f"I{bits}": f"int{bits}" for bits in (8, 16, 32, 64)},
    **{f"U{bits}": f"uint{bits}" for bits in (8, 16, 32, 64)},
    **{f"F{bits}": f"float{bits}" for bits in (16, 32, 64)},
    "BF16": "bfloat16",
    "C64": "complex64",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E4M3FNUZ": "float8_e4m3fnuz",
    "F8_E5M2": "float8_e5m2",
    "F8_E5M2FNUZ": "float8_e5m2fnuz",
    "F8_E8M0": "float8_e8m0fnu",
}

# The errors that a header of other values causes.
UNEXPECTED = (ValueError, TypeError, LookupError, AttributeError, OverflowError, RuntimeError)


class TensorFile:
    """An open file of tensors: its header is read at once, and its tensors on request.

    Parameters
    ----------
    file : binary file
        An unbuffered or buffered file at its start.
    most_bytes : int
        The maximum length of the header.

    Attributes
    ----------
    metadata : dict of str to str

    Raises
    ------
    ValueError
        If the file does not begin with the header of a safetensors file, or this is longer.
    """

    def __init__(self, file: BinaryIO, most_bytes: int):
        start = file.read(LENGTH.size)
        length = LENGTH.unpack(start)[0] if len(start) == LENGTH.size else 0
        try:
            header = json.loads(file.read(length) if length <= most_bytes else b"")
            self.metadata: dict[str, str] = header.pop("__metadata__", {})
            if not all(isinstance(text, str) for text in self.metadata.values()):
                raise TypeError("metadata must be texts")
        except UNEXPECTED as error:
            raise ValueError("it does not begin like a safetensors file") from error
        self._file = file
        self._header: dict[str, Any] = header

    def read(self) -> dict[str, Tensor]:
        """Return the tensors by name.

        Raises
        ------
        ValueError
            If the file is not complete, or contains other data than its header describes.
        """
        try:
            entries = list(self._entries())
        except UNEXPECTED as error:
            raise ValueError(f"its header describes no tensors: {error!r}") from error
        for name, tensor in entries:
            values: Any = tensor.reshape(-1).view(torch.uint8).numpy()
            if self._file.readinto(values) < len(values):  # type: ignore[attr-defined]  # it is binary
                raise ValueError(f"the file ends within {name!r}; it may be incomplete")
        return dict(entries)

    def _entries(self) -> Iterator[tuple[str, Tensor]]:
        """Yield the name of each tensor and its memory, in the order in the file."""
        end = 0
        for name, entry in sorted(self._header.items(), key=lambda x: x[1]["data_offsets"]):
            dtype, shape = getattr(torch, DTYPES[entry["dtype"]]), entry["shape"]
            start, stop = entry["data_offsets"]
            if any(type(n) is not int or n < 0 for n in shape):
                raise ValueError(f"the shape of {name!r} is {shape}")
            if (start, stop) != (end, end + prod(shape) * dtype.itemsize):
                raise ValueError(f"{name!r} is not where its size requires")
            end = stop
            yield name, torch.empty(shape, dtype=dtype)
        remaining = os.fstat(self._file.fileno()).st_size - self._file.tell()
        if end != remaining:
            raise ValueError(f"it has {remaining} bytes of tensors instead of {end}")
