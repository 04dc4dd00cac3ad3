"""Read and write the file of a saved model: one safetensors file with tensors and a JSON text.

The text and each tensor have a digest, so that damage is found when the file is read.
"""

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

# The version of the format.  It has to be increased when older code would misread a new file.
FORMAT = 1

# The keys of the text and of its digest in the metadata of the file.
TEXT, DIGEST = "sktransfer", "digest"
MOST_BYTES = 2**25  # the maximum size of the header, which includes the text

# The packages whose versions can change the last bits of predictions.  The provider's package is
# added to them.
PACKAGES = ("torch", "torchvision", "numpy", "pillow")


def target(path: str | os.PathLike[str]) -> Path:
    """Return the path of a file that can be written.

    Raises
    ------
    OSError
        If the path is a folder, or its folder does not exist.
    """
    found = Path(path).expanduser()
    if found.is_dir() or not found.parent.is_dir():
        raise OSError(f"path must be a file in an existing folder; got {str(found)!r}.")
    return found


def write(path: Path, text: str, tensors: dict[str, Tensor]) -> None:
    """Write a file atomically."""
    write_file(path, to_bytes(tensors, {TEXT: text, DIGEST: _digest_of_text(text)}))


def read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return the description of the model and its tensors, after comparing all digests.

    Raises
    ------
    OSError
        If there is no such file.
    ValueError
        If the file is damaged, has a newer format, or was not written by :func:`write`.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"path must be a file written by save; {str(path)!r} does not exist."
        )
    with path.open("rb") as file:
        start = file.read(8)
    if len(start) < 8 or struct.unpack("<Q", start)[0] > MOST_BYTES:
        raise ValueError(not_ours(path, "it does not begin like a safetensors file"))
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            description = _parsed(path, metadata)
            # Copies, because the tensors are memory-mapped and the file may change.
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 - it is no dict
    except SafetensorError as error:
        raise ValueError(not_ours(path, f"{error}; the file may be incomplete")) from error
    digests = description.get("tensors", {})
    wrong = [name for name in digests if name not in tensors]
    wrong += [name for name in tensors if digest_of(tensors[name]) != digests.get(name)]
    if wrong:
        raise ValueError(
            f"{str(path)!r} must contain the tensors that save wrote; {len(wrong)} have changed:\n"
            f"{first_ten(wrong)}\nUse another copy of the file."
        )
    return description, tensors


def _parsed(path: Path, metadata: Mapping[str, str]) -> dict[str, Any]:
    if TEXT not in metadata:
        cause = "it contains tensors but no estimator; pass it as weights= of an estimator"
        raise ValueError(not_ours(path, cause))
    text = metadata[TEXT]
    if _digest_of_text(text) != metadata.get(DIGEST):
        raise ValueError(not_ours(path, "its text has changed; use another copy of the file"))
    try:
        description = json.loads(text)
        newer = description["format"] > FORMAT
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(not_ours(path, f"its text cannot be read: {error!r}")) from error
    if newer:
        by = description.get("versions", {}).get("sktransfer", "a later version")
        raise ValueError(
            f"{str(path)!r} must have format {FORMAT} or lower; got format "
            f"{description['format']}, which sktransfer {by} wrote; this is sktransfer "
            f"{__version__}. Upgrade: pip install -U sktransfer."
        )
    return dict(description)


def not_ours(path: Path, cause: str) -> str:
    """Return the message of an error about a file that :func:`write` did not write."""
    return (
        f"{str(path)!r} must be a complete file written by sktransfer.save: {cause}. "
        "Use joblib.load for files written by joblib.dump."
    )


def _digest_of_text(text: str) -> str:
    return hash_parts("model text", text).hex()


def digest_of(tensor: Tensor) -> str:
    """Return the digest of the dtype, shape and values of a tensor."""
    return hash_parts("tensor", tensor).hex()


def versions(address: str) -> dict[str, str]:
    """Return the versions of the packages that can change the bits of predictions."""
    found = {"sktransfer": __version__}
    for package in (*PACKAGES, address.partition("/")[0]):
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def changed(address: str, saved: Mapping[str, str]) -> str:
    """Describe the packages whose versions differ from the saved ones, with both versions."""
    here = versions(address)
    pairs = {name: (then, here.get(name, "not installed")) for name, then in saved.items()}
    return ", ".join(f"{k} {then}, here {now}" for k, (then, now) in pairs.items() if then != now)
