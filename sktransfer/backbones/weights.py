"""Weights: reading files of tensors, and recording their origin."""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .._support.files import RACY_SECONDS
from .._support.random import released_globals
from .._support.text import printable
from .._support.validation import first_ten
from .._support.warn import warn_user
from ..data import input_info
from . import tensor_files
from .download import LARGEST, download

SUFFIXES = (".safetensors", ".pth", ".pt")

# The keys under which checkpoints store their state dict.  Averaged weights come first: reported
# scores are usually theirs.
WRAPPERS = ("model_ema", "state_dict_ema", "state_dict", "model_state_dict", "model")
# Prefixes that wrappers of networks add to the name of every tensor.
PREFIXES = ("module.", "_orig_mod.", "model.", "backbone.", "net.")


# The key of the hash of the content, in the metadata of files that fetch wrote.
DIGEST = "sktransfer_digest"

# The key of the description of a model, in the metadata of files that sktransfer.save wrote.
SAVED_MODEL = "sktransfer"

# The sha256 of files by device, inode, size and times of change.
_hashes: dict[tuple[int, ...], str] = {}

_recorded: ContextVar[list[WeightsFile] | None] = ContextVar("recorded", default=None)


class DamagedWeightsError(ValueError):
    """A file of weights does not have the hash that it had when it was written."""


@dataclass(frozen=True, eq=False)
class WeightsFile:
    """The content of a file of weights.

    Parameters
    ----------
    state : dict of str to Tensor
        The tensors by name, on the CPU, without the wrappers of checkpoints and networks.
    metadata : dict of str to str
        The metadata of a safetensors file; empty for other files.
    sha256 : str
        The hash of the file's bytes, 64 hexadecimal digits.
    path : Path
    """

    state: dict[str, Tensor]
    metadata: dict[str, str]
    sha256: str
    path: Path

    @property
    def licence(self) -> str:
        """The licence in the file's metadata, or "not stated"."""
        return self.metadata.get("licence", self.metadata.get("license", "not stated"))

    def info(self, preset: Any, left_out: Sequence[str] = ()) -> dict[str, Any]:
        """Describe these weights for a backbone to record; see :func:`weights_info`."""
        tag, name = self.metadata.get("tag"), printable(self.path.name)  # metadata are UTF-8
        source = self.metadata.get("source", name)
        return weights_info(tag, source, self.sha256, self.licence, preset, left_out)


def is_path(weights: object) -> bool:
    """Return True if ``weights`` is path-like, or a string with the suffix of a file of weights."""
    if isinstance(weights, str):
        return weights.lower().endswith(SUFFIXES)
    return isinstance(weights, os.PathLike)


def weights_info(
    tag: str | None,
    source: str | None,
    sha256: str | None,
    licence: str | None,
    preset: Any,
    left_out: Sequence[str] = (),
) -> dict[str, Any]:
    """Describe the origin of weights and the input they need, for a backbone to record.

    Parameters
    ----------
    tag, source, sha256, licence : str or None
        The provider's name of the weights, the address or name of their file, the hash of its
        bytes, and the licence.
    preset : Preset
        The preset, whose size, mean and std are recorded.
    left_out : sequence of str, default=()
        The classifier's tensors that the file did not contain, as ``fill`` returns them.

    Returns
    -------
    dict
        The keys are tag, source, sha256, licence, input_size, mean and std.  If tensors of the
        classifier were left out, the key "classifier" describes them.
    """
    info = {
        "tag": tag,
        "source": source,
        "sha256": sha256,
        "licence": licence,
        **input_info(preset),
    }
    if left_out:
        info["classifier"] = f"left out; {left_out[0]}"
    return info


@released_globals()
def read_weights(path: str | os.PathLike[str], sha256_prefix: str | None = None) -> WeightsFile:
    """Read the tensors and the metadata of a file, without running code from it.

    Parameters
    ----------
    path : str or path-like
        A .safetensors file, or one that ``torch.save`` wrote: a state dict, alone or in a
        checkpoint under "state_dict", "model" or the like.
    sha256_prefix : str or None, default=None
        The first hexadecimal digits of the hash that the file must have.  None compares no hash,
        except that of a file that :func:`sktransfer.backbones.fetch` wrote, which contains it.

    Returns
    -------
    WeightsFile

    Raises
    ------
    OSError
        If the file does not exist.
    ValueError
        If the file is damaged, has another hash, is too large, or contains more than tensors.

    Examples
    --------
    >>> import os, tempfile, torch
    >>> from sktransfer.backbones import read_weights
    >>> path = os.path.join(tempfile.mkdtemp(), "mine.pth")
    >>> torch.save({"state_dict": {"module.bias": torch.zeros(2)}, "epoch": 3}, path)
    >>> read_weights(path).state
    {'bias': tensor([0., 0.])}
    """
    path = Path(path).expanduser()
    _check_file(path)
    with path.open("rb") as opened:  # once, so that the hash is that of the tensors
        digest = _hash_file(opened, is_compared=bool(sha256_prefix))
        if not digest.startswith((sha256_prefix or "").lower()):
            cause = f"its sha256 must begin with {sha256_prefix}; got {digest}"
            raise DamagedWeightsError(_damaged(path, cause))
        opened.seek(0)
        loaded, metadata = tensor_files.read(opened, path)
    if SAVED_MODEL in metadata:
        raise ValueError(
            f"weights must be those of a network; {str(path)!r} is a fitted model. Load it with "
            f"sktransfer.load({str(path)!r})."
        )
    if DIGEST in metadata and metadata[DIGEST] != hash_content(loaded, metadata):
        raise DamagedWeightsError(_damaged(path, "its content has changed since fetch wrote it"))
    file = WeightsFile(bare(_state(loaded, path)), metadata, digest, path)
    recorder = _recorded.get()
    if recorder is not None:
        recorder.append(file)
    return file


def _damaged(path: Path, cause: str) -> str:
    return (
        f"weights must be a complete file; {str(path)!r} is damaged: {cause}. Use another copy of "
        "the file."
    )


def read_download(fetch: Callable[[bool], tuple[Path, str | None]]) -> WeightsFile:
    """Read a file of weights that was downloaded; if it is damaged, download it again.

    Parameters
    ----------
    fetch : callable
        Returns the path of the file, which it downloads if needed, and the first digits of its
        sha256, or None.  Its argument is True if the file is damaged and must be replaced.

    Raises
    ------
    OSError
        If the file cannot be downloaded.
    ValueError
        If the file cannot be read.
    """
    with released_globals():
        path, sha256_prefix = fetch(False)
        try:
            return read_weights(path, sha256_prefix)
        except DamagedWeightsError:
            path, sha256_prefix = fetch(True)
            message = f"weights in {str(path)!r} were damaged, and have been downloaded again."
            warn_user(message)
        return read_weights(path, sha256_prefix)


def download_checkpoint(
    url: str, again: bool, *, address: str, tag: str | None = None
) -> tuple[Path, str | None]:
    """Download a file of weights to the folder of torch, unless it is there, as torch.hub does.

    Parameters
    ----------
    url : str
    again, address, tag
        See :func:`download`.

    Returns
    -------
    path : Path
    sha256_prefix : str or None
        The first hexadecimal digits of its hash, which may be in its name.
    """
    filename = url.rpartition("/")[2]
    prefix = re.search(r"-([0-9a-f]+)\.", filename)  # as torch.hub reads it
    sha256_prefix = prefix[1] if prefix else None
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    how: dict[str, Any] = {"address": address, "tag": tag, "again": again}
    return download(url, folder, filename, sha256_prefix=sha256_prefix, **how), sha256_prefix


def hash_content(state: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    """Return a hash of tensors and metadata, which fetch writes into its files."""
    words = sorted((name, text) for name, text in metadata.items() if name != DIGEST)
    forms = [(name, str(state[name].dtype), list(state[name].shape)) for name in sorted(state)]
    digest = hashlib.sha256(json.dumps([words, forms]).encode())  # the fastest on most processors
    for name in sorted(state):
        digest.update(state[name].reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


@contextmanager
def recorded() -> Iterator[list[WeightsFile]]:
    """Record the files that :func:`read_weights` reads, in a list."""
    files: list[WeightsFile] = []
    token = _recorded.set(files)
    try:
        yield files
    finally:
        _recorded.reset(token)


def _hash_file(file: BufferedReader, is_compared: bool) -> str:
    """Return the sha256 of an open file, which is kept as long as the file does not change.

    It is computed again if it is to be compared.  That of a file which has just been written is not
    kept, because the file could change without another time stamp.
    """
    stat = os.fstat(file.fileno())
    changed = stat.st_mtime_ns, stat.st_ctime_ns
    key = stat.st_dev, stat.st_ino, stat.st_size, *changed
    if is_compared or key not in _hashes:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        if time.time_ns() - max(changed) < RACY_SECONDS * 10**9:
            return digest
        _hashes[key] = digest
    return _hashes[key]


def _check_file(path: Path) -> None:
    if not path.exists():
        raise FileNotFoundError(
            f"weights must be a file; {str(path)!r} does not exist. "
            f"Relative paths start from {str(Path.cwd())!r}."
        )
    if not path.is_file():
        raise OSError(f"weights must be a file; {str(path)!r} is not one.")
    size = path.stat().st_size
    if size > LARGEST:
        raise ValueError(
            f"weights must be a file of at most {LARGEST} bytes; {str(path)!r} has {size}."
        )


def _state(loaded: Any, path: Path) -> dict[str, Tensor]:
    """Return the state dict in ``loaded``, which can be a checkpoint around it."""
    if isinstance(loaded, Mapping):
        inner = (loaded[name] for name in WRAPPERS if isinstance(loaded.get(name), Mapping))
        loaded = next(inner, loaded)
    if not isinstance(loaded, Mapping):
        raise ValueError(  # noqa: TRY004 - the content of a file is a value
            f"weights must be tensors by name; {str(path)!r} contains a {type(loaded).__name__}."
        )
    # torch's AveragedModel adds a counter to the tensors
    state = {name: value for name, value in loaded.items() if name != "n_averaged"}
    if not state:
        raise ValueError(f"weights must be tensors by name; {str(path)!r} contains no tensor.")
    wrong = [
        f"{name!r}: {_kind(value)}"
        for name, value in state.items()
        if not isinstance(name, str) or not _is_dense(value)
    ]
    if wrong:
        listed = ", ".join(map(repr, WRAPPERS))
        raise ValueError(
            f"weights must be dense tensors by name, at the top level or under one of {listed}; "
            f"{str(path)!r} also contains\n{first_ten(wrong)}"
        )
    return {name: value.detach() for name, value in state.items()}


def _is_dense(value: object) -> bool:
    return (
        isinstance(value, Tensor)
        and value.layout == torch.strided
        and value.device.type == "cpu"
        and not value.is_quantized
    )


def _kind(value: object) -> str:
    if not isinstance(value, Tensor):
        return type(value).__name__
    return f"{value.dtype}, {value.layout}, on {value.device}"


def bare(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Remove the prefixes that all names share."""
    state = dict(state)
    while state:
        shared = [prefix for prefix in PREFIXES if all(name.startswith(prefix) for name in state)]
        if not shared:
            break
        state = {name.removeprefix(shared[0]): tensor for name, tensor in state.items()}
    return state
