"""Files of the format safetensors, read to memory instead of mapped.

Access to the map of a file that was cut short kills the process, while a read that is too short is
an error.  A map also needs a name that is UTF-8.  Each tensor is read into memory that torch has
aligned, so a network can take it without a copy.
"""

from __future__ import annotations

import json
import math
import os
import struct
from io import BufferedReader
from typing import Any

import torch
from torch import Tensor

LENGTH = struct.Struct("<Q")  # of the header, before it

# The names of types in the header.
DTYPES = {
    "BOOL": torch.bool,
    **{f"I{8 * size}": getattr(torch, f"int{8 * size}") for size in (1, 2, 4, 8)},
    **{f"U{8 * size}": getattr(torch, f"uint{8 * size}") for size in (1, 2, 4, 8)},
    "F16": torch.float16,
    "F32": torch.float32,
    "F64": torch.float64,
    "BF16": torch.bfloat16,
    "C64": torch.complex64,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E4M3FNUZ": torch.float8_e4m3fnuz,
    "F8_E5M2": torch.float8_e5m2,
    "F8_E5M2FNUZ": torch.float8_e5m2fnuz,
}

# The errors that a header of other values causes.
UNEXPECTED = (ValueError, TypeError, LookupError, AttributeError, OverflowError, RuntimeError)


class TensorFile:
    """An open file of tensors: its header is read at once, and its tensors on request.

    Parameters
    ----------
    file : binary file
        A file at its start.
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

    def __init__(self, file: BufferedReader, most_bytes: int):
        start = file.read(LENGTH.size)
        length = LENGTH.unpack(start)[0] if len(start) == LENGTH.size else 0
        text = file.read(length) if length <= most_bytes else b""
        try:
            header: dict[str, Any] = json.loads(text)
            self.metadata: dict[str, str] = header.pop("__metadata__", {})
            if not all(isinstance(text, str) for text in self.metadata.values()):
                raise TypeError("metadata must be texts")
        except UNEXPECTED as error:
            raise ValueError("it does not begin like a safetensors file") from error
        self._file, self._header, self._start = file, header, LENGTH.size + length

    def read(self) -> dict[str, Tensor]:
        """Return the tensors by name.

        Raises
        ------
        ValueError
            If the file is not complete, or contains other data than its header describes.
        """
        try:
            return self._read()
        except UNEXPECTED as error:
            raise ValueError(f"it is damaged or incomplete: {error or error!r}") from error

    def _read(self) -> dict[str, Tensor]:
        end = self._file.seek(0, os.SEEK_END) - self._start
        places = {name: entry["data_offsets"] for name, entry in self._header.items()}
        self._file.seek(self._start)
        tensors, done = {}, 0
        for name in sorted(places, key=places.__getitem__):
            dtype, shape = DTYPES[self._header[name]["dtype"]], self._header[name]["shape"]
            start, stop = places[name]
            # Memory is reserved only after these checks.
            if not all(type(size) is int and size >= 0 for size in shape):
                raise ValueError(f"the shape of {name!r} is {shape!r}")
            if start != done or stop > end or stop - start != math.prod(shape) * dtype.itemsize:
                raise ValueError(f"the bytes of {name!r} are not {start!r} to {stop!r}")
            tensors[name] = torch.empty(shape, dtype=dtype)
            content: Any = tensors[name].reshape(-1).view(torch.uint8).numpy()
            if self._file.readinto(content) != content.nbytes:
                raise ValueError(f"it ends in {name!r}")
            done = stop
        if done != end:
            raise ValueError(f"{end - done} bytes belong to no tensor")
        return tensors
