"""Read and write the file of a saved model: one safetensors file with tensors and a JSON text.

The text and each tensor have a digest, so that damage is found when the file is read.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any
from zlib import crc32

import torch
from safetensors.torch import save as to_bytes
from torch import Tensor

from .._support.files import explained, remove_stale, write_file
from .._support.hashing import hash_parts
from .._support.paths import check_model
from .._support.tensors import TensorFile
from .._support.text import printable
from .._support.validation import first_ten
from .._version import __version__
from .codec import unpack
from .schema import check_description

# The version of the format.  It has to be increased when a file has other contents.
FORMAT = 3

# The keys of the text and of its digest in the metadata of the file.
TEXT, DIGEST = "sktransfer", "digest"
MOST_BYTES = 2**25  # the maximum size of the header, which includes the text
MOST_SHOWN = 2000  # the maximum length of the cause in a message

# The packages whose versions can change the last bits of predictions.  The provider's package is
# added to them.
PACKAGES = ("torch", "torchvision", "numpy", "pillow")

# The errors that code raises for a value which it does not expect.
UNEXPECTED = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RuntimeError)


def write(path: Path, text: str, tensors: dict[str, Tensor]) -> None:
    """Write a file atomically, and wait until it is on the disk.

    Raises
    ------
    OSError
        If the file cannot be written.  The message names it and, if known, a remedy.
    """
    remove_stale(path.parent)
    content = to_bytes(tensors, {TEXT: text, DIGEST: digest_of_text(text)})
    try:
        write_file(path, content, durable=True)
    except OSError as error:
        raise explained(error, "path must be a file that can be written", path) from error


def read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return the description of the model and its tensors, after all checks and digests.

    Raises
    ------
    OSError
        If there is no such file.
    ValueError
        If the file is damaged, has another format, or was not written by :func:`write`.
    """
    check_model(path)
    with path.open("rb") as file, refused(path):
        try:
            opened = TensorFile(file, MOST_BYTES)
        except ValueError as error:
            raise ValueError(
                f"{error}. Use joblib.load for files written by joblib.dump"
            ) from error
        description = parse(_text_of(opened.metadata))
        tensors = opened.read()
        _check_digests(tensors, description["tensors"])
    return description, tensors


def parse(text: str) -> dict[str, Any]:
    """Return the description of a model from its text, after a check of all parts.

    Raises
    ------
    ValueError, TypeError, LookupError, RuntimeError
        If the text is not one that this version of the library writes.
    """
    found = json.loads(text, parse_constant=_refuse)
    if not isinstance(found, dict) or type(found.get("format")) is not int:
        raise ValueError("its text describes no model")
    if found["format"] != FORMAT:
        by = found.get("versions", {}).get("sktransfer", "another version")
        remedy = (
            "Upgrade: pip install -U sktransfer"
            if found["format"] > FORMAT
            else "Load it with the version that wrote it, or fit the model again"
        )
        raise ValueError(
            f"it must have format {FORMAT}, which sktransfer {__version__} reads; got format "
            f"{found['format']}, which sktransfer {by} wrote. {remedy}"
        )
    description: dict[str, Any] = unpack(found)
    check_description(description)
    return description


def _refuse(constant: str) -> None:
    raise ValueError(f"its text must be JSON; got {constant}")


@contextmanager
def refused(path: Path) -> Iterator[None]:
    """Turn every error that the contents of a file cause into a ValueError that names the file."""
    try:
        yield
    except UNEXPECTED as error:
        cause = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
        # Texts of the file must not control a terminal, nor fill it.
        shown = "\n".join(map(printable, cause[:MOST_SHOWN].rstrip(".").splitlines()))
        raise ValueError(
            f"{str(path)!r} must be a complete file written by sktransfer.save: {shown}."
        ) from error


def _text_of(metadata: Mapping[str, str]) -> str:
    """Return the text in the metadata of a file, after comparing its digest."""
    if TEXT not in metadata:
        raise ValueError(
            "it contains tensors but no estimator; pass it as weights= of an estimator"
        )
    text = metadata[TEXT]
    if digest_of_text(text) != metadata.get(DIGEST):
        raise ValueError("its text has changed; use another copy of the file")
    return text


def _check_digests(tensors: Mapping[str, Tensor], digests: Mapping[str, str]) -> None:
    lost = digests.keys() - tensors.keys()
    changed = {name for name in tensors if digest_of(tensors[name]) != digests.get(name)}
    wrong = sorted(lost | changed)
    if wrong:
        raise ValueError(
            f"{len(wrong)} of its tensors have changed:\n{first_ten(wrong)}\n"
            "Use another copy of the file"
        )


def digest_of_text(text: str) -> str:
    """Return the digest of the JSON text."""
    return hash_parts("model text", text).hex()


def digest_of(tensor: Tensor) -> str:
    """Return the digest of the dtype, shape and values of a tensor."""
    # A checksum: several times faster than a hash, and no digest in a file proves its origin.
    values: Any = tensor.reshape(-1).contiguous().view(torch.uint8).numpy()
    return f"{crc32(values, crc32(f'{tensor.dtype} {tuple(tensor.shape)}'.encode())):08x}"


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
