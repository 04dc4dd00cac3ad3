"""Export fitted estimators as graphs of ONNX and torch.export, which run without this package."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from .._support.files import explaining, temporary_folder
from .._support.paths import GRAPH_SUFFIXES, check_folder_of, check_path
from .._support.validation import require
from ..backbones import tracing_alone
from ..data import ImagePreset, TextPreset, input_info
from ..engines import to_onnx
from ..estimators import FineTuneMultiTask, PretrainedFeatureExtractor
from . import file_format
from .graph import OUTPUTS, Graph, make_graph

KINDS = (*OUTPUTS, PretrainedFeatureExtractor)

# The key of the description in the metadata of a graph, and its name in a .pt2 file.
KEY, EXTRA = "sktransfer", "sktransfer.json"

# Numbers of items for which a graph is compared with the estimator; the first is the one with which
# it is traced.
TRIED = (2, 1, 3)

# The maximum number of items of a graph; torch 2.6 needs one that is less than that of an integer.
MOST = 2**31 - 1

# The maximum difference of the values of an item, as a share of their norm, or of 1 if that is
# larger.  The values at a pixel count as an item.
TOLERANCE = 1e-5


def export(model: Any, path: str | os.PathLike[str]) -> None:
    """Write the network of a fitted estimator as a graph that runs without this package.

    The input of the graph is what :func:`pixels_of` or :func:`ids_of` returns, for any number of
    items; the normalisation of pixels is part of the graph.  Its output is what the estimator
    predicts:

    - probabilities, (n, n_classes), for a :class:`FineTuneClassifier`; those of all columns side
      by side if y has several;
    - numbers in the units of y, (n, n_outputs), for a :class:`FineTuneRegressor`; points are in
      pixels of the input;
    - numbers and probabilities of all columns side by side, for a :class:`FineTuneMultiTask`;
    - probabilities at each pixel of the input, (n, n_classes, size, size), for a
      :class:`FineTuneSegmenter`;
    - features, (n, n_features), for a :class:`PretrainedFeatureExtractor`.

    Parameters
    ----------
    model : PretrainedFeatureExtractor, or a FineTune estimator
        A fitted estimator.
    path : str or path-like
        The file to write.  The suffix names its format: ``.onnx`` for ONNX, for example for ONNX
        Runtime, or ``.pt2`` for :func:`torch.export.load`.

    Raises
    ------
    TypeError
        If the estimator is of another class, or its items are of another kind.
    ValueError
        If the suffix is another one, the network cannot be exported, or the graph computes other
        values.
    ModuleNotFoundError
        If the packages ``onnx``, ``onnxscript`` or ``onnxruntime``, which ONNX needs, are not
        installed.
    OSError
        If the file cannot be written.

    See Also
    --------
    save : Write a file from which the estimator can be loaded again.

    Notes
    -----
    Before the file gets its name, the graph runs on one, two and three random items, and its
    values must differ from those of the network in torch by less than 1e-5 of their norm.
    Both compute in float32, so an estimator with precision="bfloat16" predicts other last digits.
    Test-time augmentation is not part of the graph.

    The metadata of the file, under the key ``sktransfer`` (``sktransfer.json`` in a ``.pt2`` file),
    are a JSON text with the class of the estimator, the name and meaning of input and output, a
    list of the labels of each column of y, the preprocessing, the address, origin and licence of
    the weights, and the versions of the libraries.

    Examples
    --------
    >>> import os, tempfile
    >>> import torch
    >>> from sktransfer import FineTuneClassifier, export, load_textures, pixels_of
    >>> photos = load_textures(n_per_class=2)
    >>> model = FineTuneClassifier(image_size=32, unfreeze=0, max_epochs=0)
    >>> model = model.fit(photos.data, photos.labels)
    >>> path = os.path.join(tempfile.mkdtemp(), "textures.pt2")
    >>> export(model, path)
    >>> graph = torch.export.load(path).module()
    >>> pixels = pixels_of(model, photos.data[:3])
    >>> graph(torch.from_numpy(pixels)).shape
    torch.Size([3, 10])
    """
    if not isinstance(model, KINDS):
        names = " or ".join(kind.__name__ for kind in KINDS)
        raise TypeError(f"model must be a fitted {names}; got {type(model).__name__}.")
    check_is_fitted(model)
    path = _check_path(path)
    if path.suffix.lower() == ".onnx":
        require("onnx", "onnx")
        require("onnxscript", "onnx")
        require("onnxruntime", "onnx")
    graph, kind = make_graph(model)
    described = _describe(model, graph, kind)
    write = _write_onnx if path.suffix.lower() == ".onnx" else _write_program
    with (
        explaining("path must be a file that can be written", path),
        temporary_folder(path.parent) as folder,
        tracing_alone(),
    ):
        file = folder / path.name
        run = write(graph, described, file)
        _compare(run, graph, path)
        file.replace(path)


def pixels_of(model: Any, X: Any) -> np.ndarray:
    """Return the input of an exported graph for images.

    Parameters
    ----------
    model : estimator
        The fitted estimator, or one that :func:`load` returned.
    X : sequence of n_items paths, images, arrays or bytes, or a table of images

    Returns
    -------
    ndarray of shape (n_items, size, size, 3), uint8
        Decoded, upright, resized and cropped, but not normalised.  Pixels of more than eight bits
        are rounded.

    Raises
    ------
    TypeError
        If the items of the estimator are not images.
    DecodeError
        If an item cannot be decoded.

    Examples
    --------
    >>> import numpy as np
    >>> from sktransfer import PretrainedFeatureExtractor, pixels_of
    >>> images = np.zeros((2, 40, 60, 3), np.uint8)
    >>> extractor = PretrainedFeatureExtractor(image_size=32).fit(images)
    >>> pixels_of(extractor, images).shape
    (2, 32, 32, 3)
    """
    preset = _preset_of(model, ImagePreset, "images")
    rows = [preset(item) for item in preset.check(X)]
    eight_bits = [
        row if row.dtype == torch.uint8 else (row * 255).round().clamp(0, 255) for row in rows
    ]
    return np.stack([row.to(torch.uint8).numpy() for row in eight_bits])


def ids_of(model: Any, X: Any) -> np.ndarray:
    """Return the input of an exported graph for texts.

    Parameters
    ----------
    model : estimator
        The fitted estimator, or one that :func:`load` returned.
    X : sequence of n_items str

    Returns
    -------
    ndarray of shape (n_items, length), int64
        The ids of the tokens, and -1 after the end of a text, as many as the longest text needs.

    Raises
    ------
    TypeError
        If the items of the estimator are not texts.

    Examples
    --------
    >>> from sktransfer import PretrainedFeatureExtractor, ids_of
    >>> extractor = PretrainedFeatureExtractor("transformers/all-MiniLM-L6-v2")  # doctest: +SKIP
    >>> ids_of(extractor.fit(["a film"]), ["a film", "a lovely film"]).shape  # doctest: +SKIP
    (2, 8)
    """
    preset = _preset_of(model, TextPreset, "texts")
    rows = [preset(item) for item in preset.check(X)]
    ids: np.ndarray = preset.collate(rows, len(rows)).numpy()
    return ids


# The function for a model whose items are of the other kind
OTHER_INPUT = {TextPreset: " Use ids_of.", ImagePreset: " Use pixels_of."}


def _preset_of(model: Any, kind: type, items: str) -> Any:
    check_is_fitted(model)
    preset = model.backbone_.preset
    if not isinstance(preset, kind):
        raise TypeError(
            f"model must have a network for {items}; its preset is a {type(preset).__name__}."
            f"{OTHER_INPUT.get(type(preset), '')}"
        )
    return preset


def _check_path(path: str | os.PathLike[str]) -> Path:
    found = check_path(path)
    if found.suffix.lower() not in GRAPH_SUFFIXES:
        raise ValueError(
            f"path must end in {' or '.join(map(repr, GRAPH_SUFFIXES))}, which names the format; "
            f"got {str(path)!r}. sktransfer.save writes a file from which the estimator can be "
            "loaded."
        )
    check_folder_of(found)
    return found


def _describe(model: Any, graph: Graph, kind: str) -> dict[str, Any]:
    """Describe a graph in plain values."""
    preset, info = graph.preset, model.weights_info_
    address = model.backbone if isinstance(model.backbone, str) else "of a factory"
    described: dict[str, Any] = {
        "class": type(model).__name__,
        "input": "pixels" if graph.is_image else "ids",
        "output": kind,
        "address": address,
        "weights": {key: info.get(key) for key in ("tag", "source", "sha256", "licence")},
        "preset": {"text": preset.fingerprint(), **input_info(preset)},
        "versions": file_format.versions(address),
    }
    classes: Any = getattr(model, "classes_", [])
    columns = classes if isinstance(classes, list) else [classes]
    names = list(getattr(getattr(model, "task_", None), "names", ()))
    if names:
        described["columns"] = names
    if isinstance(model, FineTuneMultiTask):
        columns = [classes.get(name, []) for name in names]
    described["labels"] = [np.asarray(column).tolist() for column in columns]
    return described


# --- the formats ---------------------------------------------------------------------------------


def _program(graph: Graph) -> Any:
    """Trace a graph for any number of items, and for any length of texts."""
    drawn = graph.draw(TRIED[0])
    axes = {0: torch.export.Dim("n", max=MOST)}
    if not graph.is_image:
        axes[1] = torch.export.Dim("length", max=graph.preset.lengths[-1])
    with _converting("torch.export can trace"):
        return torch.export.export(graph, (drawn,), dynamic_shapes=(axes,), strict=False)


@contextmanager
def _converting(can: str) -> Iterator[None]:
    """Raise one kind of error if torch cannot convert a network; a context manager."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns of its own code
            yield
    except Exception as error:  # torch raises errors of many kinds
        raise ValueError(
            f"model must have a network that {can}; it cannot: {str(error).strip().splitlines()[0]}"
        ) from error


def _write_program(graph: Graph, described: dict[str, Any], path: Path) -> Callable[..., Any]:
    """Write a .pt2 file, and return a function that runs it."""
    torch.export.save(_program(graph), path, extra_files={EXTRA: json.dumps(described)})
    with _converting("torch.export can load"):
        loaded = torch.export.load(path).module()
    return lambda x: loaded(x).numpy()


def _write_onnx(graph: Graph, described: dict[str, Any], path: Path) -> Callable[..., Any]:
    """Write an .onnx file, and return a function that runs it."""
    from onnxruntime import InferenceSession

    axes = {0: "n"} if graph.is_image else {0: "n", 1: "length"}
    program = _program(graph)
    with _converting("torch can convert to ONNX"):
        made = to_onnx(program, described["input"], described["output"], axes)
    made.model.metadata_props[KEY] = json.dumps(described)
    made.save(path)
    session = InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda x: session.run(None, {described["input"]: x.numpy()})[0]


def _compare(run: Callable[[Tensor], np.ndarray], graph: Graph, path: Path) -> None:
    """Raise an error if a graph computes other values than the estimator."""
    for n in TRIED:
        drawn = graph.draw(n)
        with torch.inference_mode():
            expected = graph.reference(drawn).numpy()
        difference = _largest_norm(run(drawn) - expected)
        most = TOLERANCE * max(1.0, _largest_norm(expected))
        if not difference <= most:
            raise ValueError(
                f"model must have a network whose graph computes the same values; for {n} items, "
                f"those of {path.name} differ by up to {difference:.1e}, and at most {most:.1e} is "
                "allowed. Nothing was written."
            )


def _largest_norm(values: np.ndarray) -> float:
    """Return the largest norm of the values (n, d) of an item, or (n, d, ...) at a pixel."""
    return float(np.linalg.norm(values, axis=1).max())
