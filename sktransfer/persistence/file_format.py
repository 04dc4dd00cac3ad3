"""The file of a saved model: a text and tensors in one safetensors file, each with its digest."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor

from .._support.files import write_file
from .._support.hashing import hash_parts
from .._support.validation import first_ten
from .._version import __version__

# Raised when a file of the new form would mislead this code.
FORMAT = 1

# Under these names the metadata of the file holds the text, and its digest.
TEXT, DIGEST = "sktransfer", "digest"
MOST_BYTES = 2**25  # of a header, the text within

# Their versions decide the last bits; so does that of the package that the address begins with.
PACKAGES = ("torch", "torchvision", "numpy", "pillow")


def target(path: str | os.PathLike[str]) -> Path:
    """Where a file can be written.

    Raises
    ------
    OSError
        If that is a folder, or in none.
    """
    found = Path(path).expanduser()
    if found.is_dir() or not found.parent.is_dir():
        raise OSError(f"path must be a file in a folder that is there; got {str(found)!r}.")
    return found


def write(path: Path, text: str, tensors: dict[str, Tensor]) -> None:
    """Write a file that is there whole or not at all."""
    write_file(path, to_bytes(tensors, {TEXT: text, DIGEST: _digest_of_text(text)}))


def read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """What the text says, and the tensors, each as it was written.

    Raises
    ------
    OSError
        If there is no such file.
    ValueError
        If it is damaged, of a newer format, or another kind of file.
    """
    if not path.is_file():
        raise FileNotFoundError(f"path must be a file of save; there is none at {str(path)!r}.")
    with path.open("rb") as file:
        start = file.read(8)
    if len(start) < 8 or struct.unpack("<Q", start)[0] > MOST_BYTES:
        raise ValueError(not_ours(path, "it does not begin as safetensors do"))
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            told = _parsed(path, metadata)
            # copies: the file may change under a map of it
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 - it is no dict
    except SafetensorError as error:
        raise ValueError(not_ours(path, f"{error}; was a copy cut short?")) from error
    digests = told.get("tensors", {})
    wrong = [name for name in digests if name not in tensors]
    wrong += [name for name in tensors if digest_of(tensors[name]) != digests.get(name)]
    if wrong:
        raise ValueError(
            f"{str(path)!r} must hold the tensors that save wrote; {len(wrong)} were changed:\n"
            f"{first_ten(wrong)}\nTake another copy of the file."
        )
    return told, tensors


def _parsed(path: Path, metadata: Mapping[str, str]) -> dict[str, Any]:
    if TEXT not in metadata:
        cause = "it holds tensors and no estimator; weights= of an estimator takes such a file"
        raise ValueError(not_ours(path, cause))
    text = metadata[TEXT]
    if _digest_of_text(text) != metadata.get(DIGEST):
        raise ValueError(not_ours(path, "its text was changed; take another copy of the file"))
    try:
        told = json.loads(text)
        newer = told["format"] > FORMAT
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(not_ours(path, f"its text cannot be read: {error!r}")) from error
    if newer:
        by = told.get("versions", {}).get("sktransfer", "a later version")
        raise ValueError(
            f"{str(path)!r} must be of format {FORMAT} at most; it is of format {told['format']}, "
            f"which sktransfer {by} wrote; this is {__version__}. Upgrade: "
            "pip install -U sktransfer."
        )
    return dict(told)


def not_ours(path: Path, cause: str) -> str:
    """What an error says of a file that :func:`write` has not left so."""
    return (
        f"{str(path)!r} must be a whole file of sktransfer.save: {cause}. "
        "What joblib.dump wrote, joblib.load reads."
    )


def _digest_of_text(text: str) -> str:
    return hash_parts("model text", text).hex()


def digest_of(tensor: Tensor) -> str:
    """Return the digest of the dtype, shape and values of a tensor."""
    return hash_parts("tensor", tensor).hex()


def versions(address: str) -> dict[str, str]:
    """The versions of what decides the bits of a network, by package."""
    found = {"sktransfer": __version__}
    for package in (*PACKAGES, address.partition("/")[0]):
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def changed(address: str, saved: Mapping[str, str]) -> str:
    """The packages whose versions differ, with both."""
    here = versions(address)
    pairs = {name: (then, here.get(name, "none")) for name, then in saved.items()}
    return ", ".join(f"{k} {then}, here {now}" for k, (then, now) in pairs.items() if then != now)
