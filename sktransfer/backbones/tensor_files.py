"""Reading of files of tensors without running code from them."""

from __future__ import annotations

import os
import pickle
import re
import tarfile
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import torch

from .._support.tensors import TensorFile

# The maximum length of the header of a safetensors file, which safetensors sets, too.
MOST_HEADER = 100_000_000

# The first bytes of a file of torch: a zip archive or, before torch 1.6, a pickled magic number.
_ZIP = b"PK\x03\x04"
_LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."


def read(file: BinaryIO, path: Path) -> tuple[Any, dict[str, str]]:
    """Return the content of an open file at its start and, for safetensors, its metadata.

    Raises
    ------
    ValueError
        If the file is damaged, or if loading it could run code.
    """
    return (_safetensors if path.suffix.lower() == ".safetensors" else _torch)(file, path)


def _safetensors(file: BinaryIO, path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    try:
        opened = TensorFile(file, MOST_HEADER)
        return opened.read(), opened.metadata
    except ValueError as error:
        raise ValueError(_damaged(path, "safetensors", str(error))) from error


def _torch(file: BinaryIO, path: Path) -> tuple[Any, dict[str, str]]:
    _check_torch(file, path)
    file.seek(0)
    try:
        # A map of a file that is cut short later would kill the process, so torch's default, which
        # users can change, does not hold here.
        return torch.load(file, map_location="cpu", weights_only=True, mmap=False), {}
    except pickle.UnpicklingError as error:
        named = re.search(r"GLOBAL ([\w.]+)", str(error))
        cause = named[1] if named else "data that torch.save does not write"
        raise ValueError(_unsafe(path, cause)) from error
    except Exception as error:  # a damaged pickle can raise any error
        cause = str(error).partition(". ")[0] or type(error).__name__
        raise ValueError(_damaged(path, "torch", cause)) from error


def _check_torch(file: BinaryIO, path: Path) -> None:
    """Raise an error if ``torch.save`` did not write the file, before torch reads it."""
    head = file.read(len(_LEGACY))
    file.seek(0)  # is_tarfile looks at what follows
    if head.startswith(_ZIP):
        try:
            with zipfile.ZipFile(file) as archive:
                entries = archive.infolist()
        except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
            raise ValueError(_damaged(path, "torch", str(error))) from error
        if any("/code/" in entry.filename for entry in entries):
            raise ValueError(_unsafe(path, "a TorchScript program"))
        unpacked = sum(entry.file_size for entry in entries)
        if unpacked > file.seek(0, os.SEEK_END):  # torch does not compress: a zip bomb
            raise ValueError(_damaged(path, "torch", f"it would unpack to {unpacked} bytes"))
    elif head != _LEGACY and head.startswith(b"\x80"):
        raise ValueError(_unsafe(path, "a pickle that torch.save did not write"))
    # a tar archive, which torch wrote in 2016, can run code before torch 2.6 (CVE-2025-32434)
    elif head != _LEGACY or tarfile.is_tarfile(file):
        raise ValueError(_damaged(path, "torch", f"it begins with {head[:8]!r}"))


def _damaged(path: Path, kind: str, cause: str) -> str:
    return (
        f"weights must be a complete {kind} file; {str(path)!r} is not: {cause.rstrip('.')}. "
        "Was its download or copy interrupted, or is it another kind of file?"
    )


def _unsafe(path: Path, cause: str) -> str:
    return (
        f"weights must be tensors only; {str(path)!r} contains {cause}. Loading that could run "
        "code, so it was not loaded. If you trust the file, convert it to safetensors: "
        "safetensors.torch.save_file(net.state_dict(), 'weights.safetensors')."
    )
