"""Files of the format safetensors, read to memory instead of mapped.

Access to the map of a file that was cut short kills the process, while a read that is too short is
an error.  A map also needs a name that is UTF-8.
"""

from __future__ import annotations

import json
import struct
from typing import Any, BinaryIO

from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

LENGTH = struct.Struct("<Q")  # of the header, before it

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

    def __init__(self, file: BinaryIO, most_bytes: int):
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
        self._file = file

    def read(self) -> dict[str, Tensor]:
        """Return the tensors by name.

        Raises
        ------
        ValueError
            If the file is not complete, or contains other data than its header describes.
        """
        self._file.seek(0)
        try:
            return load(self._file.read())
        except (SafetensorError, AssertionError, *UNEXPECTED) as error:
            raise ValueError(f"it is damaged or incomplete: {error or error!r}") from error
