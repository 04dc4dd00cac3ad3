"""The arguments and options that commands share, and the values that they stand for."""

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

from typer import Argument, Option

from .._support.validation import check_range, did_you_mean
from .sources import Columns


def _complete(*values: str) -> Callable[[str], list[str]]:
    """Return a function that completes the beginning of one of ``values`` in a shell."""
    return lambda incomplete: [value for value in values if value.startswith(incomplete)]


Source = Annotated[
    Path,
    Argument(metavar="FOLDER_OR_CSV", help="Folder with a subfolder for each class, or CSV file."),
]
Model = Annotated[Path, Argument(metavar="MODEL", help="A file written by `sktransfer fit`.")]
PathColumn = Annotated[str, Option(help="The column of paths in a CSV file.")]
TextColumn = Annotated[
    str | None,
    Option(
        help="The column of texts in a CSV file, for a network that takes texts. Texts in folders "
        "are .txt files: pass text."
    ),
]
MaxLength = Annotated[
    int | None, Option(help="Maximum number of tokens of a text; default: that of the weights.")
]
Task = Annotated[
    str,
    Option(
        help="classification, regression, mixed (numbers and labels, some missing), points, "
        "segmentation, or auto: regression for numbers with fractions.",
        autocompletion=_complete(
            "auto", "classification", "regression", "mixed", "points", "segmentation"
        ),
    ),
]
LabelColumn = Annotated[str, Option(help="The column of labels in a CSV file.")]
LabelColumns = Annotated[
    list[str] | None,
    Option(
        "--label-column",
        help="A column of labels, numbers or paths of masks in a CSV file, label by default; can "
        "be repeated. Points have a column for each x and each y.",
    ),
]
NumberColumns = Annotated[
    list[str] | None,
    Option(
        "--number-column",
        help="A column that holds numbers, even if all of them are whole; can be repeated.",
    ),
]
MaskFolder = Annotated[
    Path | None,
    Option(
        "--masks",
        metavar="DIR",
        help="A folder with a mask for each image, of the same name and with the suffix of an "
        "image, for segmentation.",
    ),
]
ValidationMasks = Annotated[
    Path | None,
    Option(
        metavar="DIR",
        help="A folder with a mask for each image of --validation; default: that of --masks.",
    ),
]
IgnoreLabels = Annotated[
    list[str] | None,
    Option(
        "--ignore-label",
        metavar="VALUE",
        help="The value of pixels of masks without a class, 255 by default, or none; can be "
        "repeated.",
        autocompletion=_complete("none"),
    ),
]
Backbone = Annotated[str, Option(help="An address; `sktransfer backbones` lists them.")]
Weights = Annotated[
    str,
    Option(
        help="default, a tag, a file, or none for random weights.",
        autocompletion=_complete("default", "none"),
    ),
]
Unfreeze = Annotated[
    str,
    Option(
        help="Trainable stages: a number, a stage's name, all or auto.",
        autocompletion=_complete("all", "auto"),
    ),
]
Pooling = Annotated[
    str,
    Option(
        help="auto (flatten for points), avg, max, avgmax, flatten, cls, last or concat.",
        autocompletion=_complete(
            "auto", "avg", "max", "avgmax", "flatten", "cls", "last", "concat"
        ),
    ),
]
Head = Annotated[
    str | None,
    Option(
        help="linear or mlp, linear by default; for masks linear or fpn, fpn by default.",
        autocompletion=_complete("linear", "mlp", "fpn"),
    ),
]
Loss = Annotated[
    str | None,
    Option(
        help="The loss of numbers and points: squared_error (default), absolute_error or huber.",
        autocompletion=_complete("squared_error", "absolute_error", "huber"),
    ),
]
FlipPairs = Annotated[
    list[str] | None,
    Option(
        "--flip-pair",
        metavar="PAIR",
        help="Two points that a flip exchanges, such as 0,1 for the first and the second; can be "
        "repeated; none if it exchanges no points. Without it, no image with points is flipped.",
        autocompletion=_complete("none"),
    ),
]
TaskWeights = Annotated[
    list[str] | None,
    Option(
        "--task-weight",
        metavar="WEIGHT",
        help="The weight of a column of mixed columns, such as age=2; can be repeated.",
    ),
]
Crop = Annotated[
    str | None,
    Option(
        metavar="SHARE",
        help="The share of the short side that the network sees, such as 0.9, or none for the "
        "whole image; default: that of the weights, and none for points and masks.",
        autocompletion=_complete("none"),
    ),
]
BatchSize = Annotated[
    int | None, Option(help="Items in a training step; default: 32, 8 for few images, 4 for masks.")
]
FreezeBn = Annotated[
    str,
    Option(
        help="Batch norm in evaluation mode: frozen, all, own (with the statistics of these "
        "images), or auto.",
        autocompletion=_complete("auto", "frozen", "all", "own"),
    ),
]
Augment = Annotated[
    str,
    Option(
        help="auto, none, light, standard or trivial.",
        autocompletion=_complete("auto", "none", "light", "standard", "trivial"),
    ),
]
MaxEpochs = Annotated[
    int | None,
    Option(help="Number of epochs in which stages train; default: 6, 10 for few images."),
]
ImageSize = Annotated[
    int | None, Option(help="Image size in pixels; default: that of the weights.")
]
Cache = Annotated[Path | None, Option(help="Folder of cached activations.")]
Precision = Annotated[
    str,
    Option(
        help="float32, bfloat16 or auto.", autocompletion=_complete("float32", "bfloat16", "auto")
    ),
]
Engine = Annotated[
    str,
    Option(
        help="auto, torch, openvino, onnxruntime or compile.",
        autocompletion=_complete("auto", "torch", "openvino", "onnxruntime", "compile"),
    ),
]
Device = Annotated[
    str,
    Option(
        help="auto, cpu, cuda, cuda:1 or mps.",
        autocompletion=_complete("auto", "cpu", "cuda", "mps"),
    ),
]
Jobs = Annotated[int | None, Option(help="Number of threads that decode.")]
DecodeError = Annotated[
    str,
    Option(
        help="raise, or leave out unreadable images: warn or ignore.",
        autocompletion=_complete("raise", "warn", "ignore"),
    ),
]
RandomState = Annotated[int | None, Option(help="A seed; two runs with it give the same model.")]
ClassWeights = Annotated[
    list[str] | None,
    Option(
        metavar="WEIGHT",
        help="balanced, none, or the weight of a class such as ants=2; can be repeated.",
        autocompletion=_complete("balanced", "none"),
    ),
]
Lr = Annotated[
    str | None,
    Option(
        metavar="RATE",
        help="Learning rate of the head while it trains alone: a number or auto.",
        autocompletion=_complete("auto"),
    ),
]
FineTuneLr = Annotated[
    str | None,
    Option(
        metavar="RATE",
        help="Learning rate while stages train: a number or auto.",
        autocompletion=_complete("auto"),
    ),
]
Plots = Annotated[
    Path | None,
    Option(metavar="DIR", help="Folder for plots as PNG files, which are replaced if they exist."),
]


def columns_of(
    path: str,
    text: str | None = None,
    labels: Sequence[str] | None = None,
    numbers: Sequence[str] | None = None,
    masks: Path | None = None,
) -> Columns:
    """Return the columns that options name."""
    for name, columns in (
        ("label_column", labels),
        ("number_column", numbers),
        ("text_column", text),
    ):
        if masks is not None and columns:
            raise ValueError(f"{name} must be left out if masks are in a folder; got {columns!r}.")
    named = [*(labels or ()), *(numbers or ())]
    twice = next((column for column in named if named.count(column) > 1), None)
    if twice is not None:
        name = "number_column" if twice in (numbers or ()) else "label_column"
        raise ValueError(f"{name} must name a column once; got {twice!r} more than once.")
    return Columns(path, text, tuple(labels or ()), tuple(numbers or ()), masks)


def parameters_of(
    *,
    weights: str,
    unfreeze: str,
    augment: str,
    crop: str | None,
    flip_pairs: Sequence[str] | None,
    ignore_label: Sequence[str] | None,
    **others: Any,
) -> dict[str, Any]:
    """Return the parameters of an estimator for the values of options.

    Those that are not given are left out.  Weights of classes and columns stay as they are, because
    their names are those of the targets.
    """
    given = {"preset": crop_of(crop), "flip_pairs": flip_pairs_of(flip_pairs), **others}
    parameters = {name: value for name, value in given.items() if value is not None}
    if ignore_label:
        parameters["ignore_label"] = ignore_label_of(ignore_label)
    return {
        "weights": weights_of(weights),
        "unfreeze": int(unfreeze) if unfreeze.isdecimal() else unfreeze,
        "augment": None if augment.lower() == "none" else augment,
        **parameters,
    }


def weights_of(weights: str) -> str | None:
    """Return the parameter ``weights`` of an estimator for the value of the option."""
    return None if weights.lower() == "none" else weights


def crop_of(crop: str | None) -> dict[str, Any] | None:
    """Return the parameter ``preset`` for the value of ``--crop``."""
    if crop is None:
        return None
    share = None if crop.lower() == "none" else _number(crop)
    if share is not None:
        check_range("crop", share, "(0, 1]", also=("none",))
    return {"crop": share}


def _is_none(values: Sequence[str]) -> bool:
    """Return True if the only value of an option is "none"."""
    return [value.lower() for value in values] == ["none"]


def unless_none(values: Sequence[str] | None) -> Sequence[str] | None:
    """Return the values of an option; None if the only one is "none"."""
    return None if not values or _is_none(values) else values


def flip_pairs_of(values: Sequence[str] | None) -> list[tuple[int, ...]] | None:
    """Return the parameter ``flip_pairs`` for the values of the option."""
    if not values or _is_none(values):
        return [] if values else None
    for value in values:
        if not re.fullmatch(r"\d+,\d+", value):
            raise ValueError(
                f"flip_pairs must be two numbers of points such as 0,1, or none; got {value!r}."
            )
    return [tuple(map(int, value.split(","))) for value in values]


def share_of(validation: str) -> float | None:
    """Return the value of ``--validation`` as a number; None if it is a path."""
    try:
        return float(validation)
    except ValueError:
        return None


def rates_of(**options: str | None) -> dict[str, Any]:
    """Return the learning rates that options give, without those that are not given."""
    return {name: _number(value) for name, value in options.items() if value is not None}


def _number(value: str) -> float | str:
    try:
        return float(value)
    except ValueError:
        return value  # "auto", or an error of the estimator


def ignore_label_of(values: Sequence[str]) -> list[int] | None:
    """Return the parameter ``ignore_label`` for the values of the option."""
    if _is_none(values):
        return None
    for value in values:
        if not value.removeprefix("-").isdecimal():
            raise ValueError(f"ignore_label must be integers, or none; got {value!r}.")
    return [int(value) for value in values]


def class_weight_of(values: Sequence[str] | None, labels: Iterable[Any]) -> Any:
    """Return the parameter ``class_weight`` for the values of the option.

    Parameters
    ----------
    values : sequence of str or None
        "balanced", or the weights of some classes as "LABEL=NUMBER".
    labels : iterable
        The different labels.  A label in ``values`` is compared with their text.
    """
    if not values:
        return None
    if list(values) == ["balanced"]:
        return "balanced"
    return weights_by_name("class_weight", values, labels, "balanced, none, or a label", "labels")


def weights_by_name(
    parameter: str, values: Sequence[str], names: Iterable[Any], wanted: str, things: str
) -> dict[Any, Any]:
    """Return the weights of some names, for values such as "NAME=NUMBER".

    Parameters
    ----------
    parameter : str
        The name of the parameter in messages.
    values : sequence of str
    names : iterable
        All names.  A name in ``values`` is compared with their text.
    wanted, things : str
        The form of a value, and the names, in messages.
    """
    known = {str(name): name for name in names}
    weights = {}
    for value in values:
        name, _, number = value.rpartition("=")
        if name not in known or isinstance(_number(number), str):
            raise ValueError(
                f"{parameter} must be {wanted} and a number such as "
                f"{next(iter(known), 'NAME')}=2; got {value!r}. The {things} are "
                f"{', '.join(known)}.{'' if name in known else did_you_mean(name, known)}"
            )
        weights[known[name]] = _number(number)
    return weights
