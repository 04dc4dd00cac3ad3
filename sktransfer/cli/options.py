"""The arguments and options that commands share, and the values that they stand for."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

from typer import Argument, Option

from .._support.validation import did_you_mean
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
MaxEpochs = Annotated[int, Option(help="Number of epochs in which stages train.")]
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
    return Columns(path, text, tuple(labels or ()), tuple(numbers or ()), masks)


def parameters_of(*, weights: str, unfreeze: str, augment: str, **others: Any) -> dict[str, Any]:
    """Return the parameters of an estimator for the values of options."""
    return {
        "weights": weights_of(weights),
        "unfreeze": int(unfreeze) if unfreeze.isdecimal() else unfreeze,
        "augment": None if augment.lower() == "none" else augment,
        **others,
    }


def weights_of(weights: str) -> str | None:
    """Return the parameter ``weights`` of an estimator for the value of the option."""
    return None if weights.lower() == "none" else weights


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
    if [value.lower() for value in values] == ["none"]:
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
        "balanced" or "none", or the weights of some classes as "LABEL=NUMBER".
    labels : iterable
        The different labels.  A label in ``values`` is compared with their text.
    """
    if not values or [value.lower() for value in values] == ["none"]:
        return None
    if list(values) == ["balanced"]:
        return "balanced"
    known = {str(label): label for label in labels}
    weights = {}
    for value in values:
        name, _, number = value.rpartition("=")
        if name not in known or isinstance(_number(number), str):
            raise ValueError(
                "class_weight must be balanced, none, or a label and a number such as "
                f"{next(iter(known), 'LABEL')}=2; got {value!r}. The labels are {', '.join(known)}."
                f"{did_you_mean(name, known)}"
            )
        weights[known[name]] = _number(number)
    return weights
