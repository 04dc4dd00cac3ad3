"""The commands that fit models and use them, and the options that commands share."""

import sys
from collections.abc import Sequence
from functools import partial
from math import isnan
from pathlib import Path
from typing import Annotated, Any

from typer import Argument, Option

from .._support.validation import did_you_mean, first_ten, require
from .output import (
    as_objects,
    check_output,
    print_line,
    print_table,
    safe_path,
    save_figure,
    save_output,
    write_csv,
)

# Arguments and options of several commands

Source = Annotated[
    Path,
    Argument(metavar="FOLDER_OR_CSV", help="Folder with a subfolder for each class, or CSV file."),
]
Model = Annotated[Path, Argument(metavar="MODEL", help="A file written by `sktransfer fit`.")]
PathColumn = Annotated[str, Option(help="The column of paths in a CSV file.")]
LabelColumn = Annotated[str, Option(help="The column of labels in a CSV file.")]
Backbone = Annotated[str, Option(help="An address; `sktransfer backbones` lists them.")]
Weights = Annotated[str, Option(help="default, a tag, a file, or none for random weights.")]
Unfreeze = Annotated[str, Option(help="Trainable stages: a number, a stage's name, all or auto.")]
Augment = Annotated[str, Option(help="auto, none, light, standard or trivial.")]
MaxEpochs = Annotated[int, Option(help="Number of epochs in which stages train.")]
ImageSize = Annotated[
    int | None, Option(help="Image size in pixels; default: that of the weights.")
]
Cache = Annotated[Path | None, Option(help="Folder of cached activations.")]
Precision = Annotated[str, Option(help="float32, bfloat16 or auto.")]
Device = Annotated[str, Option(help="auto, cpu, cuda, cuda:1 or mps.")]
Jobs = Annotated[int | None, Option(help="Number of threads that decode.")]
DecodeError = Annotated[str, Option(help="raise, or leave out unreadable images: warn or ignore.")]
RandomState = Annotated[int | None, Option(help="A seed; two runs with it give the same model.")]


def fit(
    source: Source,
    *,
    output: Annotated[Path, Option("--output", "-o", help="File for the model.")],
    label_column: LabelColumn = "label",
    path_column: PathColumn = "path",
    validation: Annotated[
        str | None, Option(help="Stop early on these images: FOLDER_OR_CSV, or a part such as 0.1.")
    ] = None,
    checkpoint: Annotated[
        Path | None, Option(help="Folder of saved epochs, to resume a killed run.")
    ] = None,
    backbone: Backbone = "builtin/mini",
    weights: Weights = "default",
    unfreeze: Unfreeze = "auto",
    augment: Augment = "auto",
    max_epochs: MaxEpochs = 6,
    image_size: ImageSize = None,
    cache: Cache = None,
    precision: Precision = "float32",
    device: Device = "auto",
    n_jobs: Jobs = None,
    decode_error: DecodeError = "raise",
    random_state: RandomState = None,
) -> None:
    """Fine-tune a network on labelled images and save the model."""
    import numpy as np

    from ..persistence import save, target

    check_output("output", target(output, "output"))
    paths, labels = _labelled(source, path_column, label_column)
    model = _classifier(
        backbone=backbone,
        weights=weights,
        unfreeze=unfreeze,
        augment=augment,
        max_epochs=max_epochs,
        image_size=image_size,
        cache=cache,
        checkpoint=checkpoint,
        precision=precision,
        device=device,
        n_jobs=n_jobs,
        decode_error=decode_error,
        random_state=random_state,
    )
    held_out = {}
    if validation is not None:
        model.set_params(early_stopping=True)
        share = _share(validation)
        if share is not None:
            model.set_params(validation_fraction=share)
        else:
            held_out["X_val"], held_out["y_val"] = _labelled_as(
                "validation", Path(validation), path_column, label_column, np.unique(labels)
            )
    model.fit(paths, labels, **held_out)
    _print_skipped([paths[index] for index in model.skipped_])
    _print_fit(model)
    save_output(output, partial(save, model))
    print_line(f"model: {output}")


def predict(
    model: Model,
    files: Annotated[
        list[Path], Argument(metavar="FILES...", help="Images, folders of images, or CSV files.")
    ],
    *,
    output: Annotated[
        Path | None, Option("--output", "-o", help="A .csv file, or - for CSV on stdout.")
    ] = None,
    path_column: PathColumn = "path",
    n_jobs: Jobs = None,
    decode_error: DecodeError = "raise",
) -> None:
    """Predict the label of each image, with the probabilities of all classes."""
    if (
        output is not None
        and str(output) != "-"
        and (output.suffix.lower() != ".csv" or not output.parent.is_dir())
    ):
        raise ValueError(
            f"output must be a .csv file in an existing folder, or -; got {str(output)!r}."
        )
    if output is not None and str(output) != "-":
        check_output("output", output)
    pd = require("pandas", "cli")
    paths = [path for each in files for path in _listed(each, path_column)]
    classifier = _loaded(model, n_jobs, decode_error)
    probabilities = classifier.predict_proba(paths)
    table = pd.DataFrame(probabilities, columns=[f"p_{name}" for name in classifier.classes_])
    table.insert(0, "label", as_objects(_labels(classifier, probabilities)))
    table.insert(0, "path", as_objects(paths))
    if output is not None:
        write_csv(table.assign(path=as_objects(map(safe_path, paths))), output)
    else:
        print_table(list(table), [[_shown(cell) for cell in row] for row in table.to_numpy()])


def evaluate(
    model: Model,
    source: Source,
    *,
    label_column: LabelColumn = "label",
    path_column: PathColumn = "path",
    n_jobs: Jobs = None,
    decode_error: DecodeError = "raise",
) -> None:
    """Compare predictions with labels: accuracy, precision, recall and the confusion matrix."""
    import numpy as np

    classifier = _loaded(model, n_jobs, decode_error)
    if classifier.task_.decide(np.zeros((1, len(classifier.classes_)))).ndim > 1:
        raise ValueError(
            f"model must predict one label for each image; {str(model)!r} predicts several."
        )
    paths, labels = _labelled_as("source", source, path_column, label_column, classifier.classes_)
    predicted = classifier.predict(paths)
    kept = [index for index, label in enumerate(predicted) if not _is_nan(label)]
    _print_skipped([path for path, label in zip(paths, predicted, strict=True) if _is_nan(label)])
    if not kept:
        raise ValueError(
            f"source must contain images that can be read; {str(source)!r} has no such image."
        )
    _print_quality(labels[kept], predicted[kept].astype(labels.dtype), classifier.classes_)


def find_lr(
    source: Source,
    *,
    plot: Annotated[
        Path | None, Option(metavar="FILE", help="File for a plot of the curve.")
    ] = None,
    label_column: LabelColumn = "label",
    path_column: PathColumn = "path",
    backbone: Backbone = "builtin/mini",
    weights: Weights = "default",
    unfreeze: Unfreeze = "auto",
    augment: Augment = "auto",
    image_size: ImageSize = None,
    cache: Cache = None,
    precision: Precision = "float32",
    device: Device = "auto",
    n_jobs: Jobs = None,
    decode_error: DecodeError = "raise",
    random_state: RandomState = None,
) -> None:
    """Run the learning-rate range test, and print the losses and the suggestion."""
    if plot is not None and not plot.parent.is_dir():
        raise ValueError(f"plot must be a file in an existing folder; got {str(plot)!r}.")
    if plot is not None:
        require("matplotlib", "plot")
        check_output("plot", plot)
    from ..estimators import find_lr as tested

    paths, labels = _labelled(source, path_column, label_column)
    model = _classifier(
        backbone=backbone,
        weights=weights,
        unfreeze=unfreeze,
        augment=augment,
        image_size=image_size,
        cache=cache,
        precision=precision,
        device=device,
        n_jobs=n_jobs,
        decode_error=decode_error,
        random_state=random_state,
    )
    curve = tested(model, paths, labels)
    if plot is not None:
        save_figure("plot", plot, curve.plot().figure_)
    pairs = zip(curve.rates, curve.losses, strict=True)
    print_table(("learning rate", "loss"), [(f"{rate:.3g}", f"{loss:.4f}") for rate, loss in pairs])
    print(f"suggestion: {curve.suggestion:.3g}")


# From the command line to the estimator


def weights_of(weights: str) -> str | None:
    """Return the parameter ``weights`` of an estimator for the value of the option."""
    return None if weights.lower() == "none" else weights


def _classifier(*, weights: str, unfreeze: str, augment: str, **options: Any) -> Any:
    """Return a classifier with the parameters that the options give."""
    from ..estimators import FineTuneClassifier

    return FineTuneClassifier(  # type: ignore[no-untyped-call]  # estimators have no types
        weights=weights_of(weights),
        unfreeze=int(unfreeze) if unfreeze.isdecimal() else unfreeze,
        augment=None if augment.lower() == "none" else augment,
        **options,
    )


def _share(validation: str) -> float | None:
    try:
        return float(validation)
    except ValueError:
        return None


def _labelled(
    source: Path, path_column: str, label_column: str, classes: Sequence[str] | None = None
) -> tuple[list[str], Any]:
    """Return the paths of images and their labels; ``classes`` allows class folders to be empty."""
    from ..data import image_table

    table = image_table(source, path_column, classes)
    column = "label" if source.is_dir() else label_column
    if column not in table:
        others = table.columns[1:]
        has = f"the columns {', '.join(map(repr, others))}" if len(others) else "only paths"
        raise ValueError(
            f"source must give the label of each image, by class folders or a column {column!r}; "
            f"{str(source)!r} has {has}.{did_you_mean(column, others)}"
        )
    missing = table["path"][table[column].isna()].tolist()
    if missing:
        raise ValueError(
            f"{str(source)!r} must have a label in each row; the column {column!r} lacks "
            f"{len(missing)} labels, those of\n{first_ten(missing)}"
        )
    labels = table[column].to_numpy()
    return table["path"].tolist(), labels.astype(object) if labels.dtype.kind == "T" else labels


def _listed(source: Path, path_column: str) -> list[str]:
    """Return the paths of an argument: a single image, or those of a folder or CSV file."""
    if not source.is_dir() and source.suffix.lower() != ".csv":
        return [str(source)]
    from ..data import image_table

    return list(image_table(source, path_column)["path"])


def _loaded(path: Path, n_jobs: int | None, decode_error: str) -> Any:
    """Load a classifier and set its parameters for reading images."""
    from ..persistence import load

    model = load(path)
    if not hasattr(model, "predict_proba"):
        raise ValueError(
            f"model must be a classifier; {str(path)!r} holds a {type(model).__name__}."
        )
    return model.set_params(n_jobs=n_jobs, decode_error=decode_error)


def _labels(model: Any, probabilities: Any) -> list[str | None]:
    """Return the predicted labels of each row as a text; None for a row of NaN."""
    return [
        None if isnan(row[0]) else " ".join(map(str, model.task_.likely(row)))
        for row in probabilities
    ]


def _labelled_as(
    name: str, source: Path, path_column: str, label_column: str, classes: Any
) -> tuple[list[str], Any]:
    """Return the paths of images and their labels, each of which must be one of ``classes``.

    A label is compared as text: a CSV file may hold numbers that are names of folders.
    """
    known = {str(label): position for position, label in enumerate(classes)}
    paths, labels = _labelled(source, path_column, label_column, list(known))
    unknown = sorted({str(label) for label in labels} - set(known))
    if unknown:
        raise ValueError(
            f"{name} must contain only labels that the model knows, {', '.join(known)}; it also "
            f"contains\n{first_ten(unknown)}"
        )
    return paths, classes[[known[str(label)] for label in labels]]


# Output


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and isnan(value)


def _shown(cell: Any) -> str:
    if isinstance(cell, float):
        return "" if isnan(cell) else f"{cell:.4f}"
    return "" if cell is None else str(cell)


def _print_skipped(paths: Sequence[str]) -> None:
    if paths:
        print(f"cannot be read: {len(paths)}\n{first_ten(paths)}", file=sys.stderr)


def _print_fit(model: Any) -> None:
    """Print the report with a row for each stage, and the number of epochs."""
    columns = ("stage", "frozen", "batch_norm", "lr_min", "lr_max", "moved", "note")
    rows = []
    for row in model.report_:
        numbers = [
            "" if isnan(row[name]) else f"{row[name]:.3g}" for name in ("lr_min", "lr_max", "moved")
        ]
        frozen = "yes" if row["frozen"] else "no"
        rows.append((row["stage"], frozen, row["batch_norm"], *numbers, row["note"]))
    print_table(columns, rows)
    print(f"epochs: {model.n_iter_}")
    if model.best_epoch_ is None:
        return
    if model.best_epoch_ == 0:
        print("kept: the weights before the first epoch; no epoch lowered the validation loss")
        return
    score = model.history_[model.best_epoch_ - 1]["valid_score"]
    print(f"kept: the weights of epoch {model.best_epoch_}, validation score {score:.3f}")


def _print_quality(labels: Any, predicted: Any, classes: Any) -> None:
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

    names = [str(name) for name in classes]
    matrix = confusion_matrix(labels, predicted, labels=classes)
    each = precision_recall_fscore_support(labels, predicted, labels=classes, zero_division=0)
    recall, n = each[1], each[3]
    balanced = recall[n > 0].mean()  # the mean over classes that have images
    measures = [("accuracy", matrix.trace() / n.sum()), ("balanced accuracy", balanced)]
    print_table(("measure", "value"), [(name, f"{value:.3f}") for name, value in measures])
    print()
    rows = zip(names, *each, strict=True)
    print_table(
        ("class", "precision", "recall", "f1", "images"),
        [
            (name, *(f"{value:.3f}" for value in values), str(count))
            for name, *values, count in rows
        ],
    )
    print()
    print_table(
        ("label, predicted", *names),
        [(name, *map(str, row)) for name, row in zip(names, matrix, strict=True)],
    )
