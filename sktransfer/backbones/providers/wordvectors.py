"""Word vectors, as a chain of one stage: a table of words."""

from __future__ import annotations

import hashlib
from os import PathLike
from pathlib import Path

import torch
from torch import nn

from ..._support.text import printable
from ..._support.validation import did_you_mean
from ...data import TextPreset, WordTokenizer
from ..backbone import Backbone
from ..filling import fill
from ..weights import is_path, read_weights, weights_info
from . import _vector_files as vector_files
from ._model_folder import models
from ._text import TokenTable

# A mean over more words takes little time.
MAX_LENGTH = 512


def names() -> list[str]:
    """List the files in the directory of the variable SKTRANSFER_MODELS."""
    return sorted(
        path.name
        for top in models()
        if top.is_dir()
        for path in top.iterdir()
        if path.suffix.lower() in vector_files.SUFFIXES and path.is_file()
    )


def accepts(name: str) -> bool:
    """Return True if ``name`` may be the path of a file, which :func:`names` need not list."""
    return bool(name)


def load(name: str, weights: str | PathLike[str] | None = "default") -> Backbone:
    """Read a file of word vectors.

    Parameters
    ----------
    name : str
        The path of a file of GloVe, word2vec, fastText or safetensors, or its name in the directory
        of the environment variable SKTRANSFER_MODELS.
    weights : str, path-like or None, default="default"
        ``"default"`` for the vectors in the file, the path of tuned weights for the same words, or
        None for random vectors.

    Returns
    -------
    Backbone

    Raises
    ------
    FileNotFoundError
        If the file does not exist.
    ValueError
        If it does not contain word vectors.
    """
    path = _find(name)
    words, vectors = vector_files.read(path)
    preset = TextPreset(WordTokenizer(words), max_length=MAX_LENGTH)
    table = TokenTable(len(vectors), vectors.shape[1], torch.from_numpy(vectors))
    if weights is None:
        table.words.weight.data.normal_(std=vectors.shape[1] ** -0.5)
        info = weights_info(None, "random", None, None, preset)
    elif weights == "default":
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        info = weights_info(None, printable(path.name), digest, "not stated", preset)
    elif is_path(weights):
        tuned = read_weights(weights)
        fill(nn.ModuleDict({"table": table}), tuned.state, str(weights))
        info = tuned.info(preset)
    else:
        raise ValueError(
            f"weights of wordvectors/{name} must be 'default', None, or the path of a "
            f".safetensors, .pth or .pt file; got {weights!r}."
        )
    return Backbone({"table": table}, preset, layout="NLM", weights_info=info)


def _find(name: str) -> Path:
    places = [Path(name).expanduser(), *(top / name for top in models())]
    for place in places:
        if place.is_file():
            return place
    folder = places[0].parent
    beside = [str(folder / path.name) for path in folder.iterdir()] if folder.is_dir() else []
    near = did_you_mean(name, [*beside, *names()])
    looked = " and ".join(repr(str(place.absolute())) for place in places)
    raise FileNotFoundError(
        f"wordvectors/{name} must be a file of word vectors; there is none at {looked}.{near} "
        "Files are not downloaded."
    )
