"""The commands that fit models and use them."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from typer import Argument, Option

from .._support.validation import did_you_mean, first_ten, require
from .kinds import compute_predictions, find_task, is_regressor, make_estimator, prediction_table
from .options import (
    Augment,
    Backbone,
    Cache,
    ClassWeights,
    DecodeError,
    Device,
    FineTuneLr,
    ImageSize,
    Jobs,
    LabelColumn,
    Lr,
    MaxEpochs,
    MaxLength,
    Model,
    PathColumn,
    Plots,
    Precision,
    RandomState,
    Source,
    Task,
    TextColumn,
    Unfreeze,
    Weights,
    rates_of,
    share_of,
)
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
from .plots import check_plots, plot_fit, plot_numbers, plot_predictions
from .reports import print_errors, print_fit, print_quality, print_skipped, shown


def fit(
    source: Source,
    *,
    output: Annotated[
        Path, Option("--output", "-o", help="File for the model; replaced if it exists.")
    ],
    task: Task = "auto",
    label_column: LabelColumn = "label",
    path_column: PathColumn = "path",
    text_column: TextColumn = None,
    validation: Annotated[
        str | None, Option(help="Stop early on these images: FOLDER_OR_CSV, or a part such as 0.1.")
    ] = None,
    checkpoint: Annotated[
        Path | None, Option(help="Folder of saved epochs, to resume a killed run.")
    ] = None,
    backbone: Backbone = "builtin/mini",
    weights: Weights = "default",
    unfreeze: Unfreeze = "auto",
    lr: Lr = None,
    fine_tune_lr: FineTuneLr = None,
    class_weight: ClassWeights = None,
    augment: Augment = "auto",
    max_epochs: MaxEpochs = 6,
    image_size: ImageSize = None,
    max_length: MaxLength = None,
    cache: Cache = None,
    precision: Precision = "float32",
    device: Device = "auto",
    n_jobs: Jobs = None,
    decode_error: DecodeError = "raise",
    random_state: RandomState = None,
    plots: Plots = None,
) -> None:
    """Fine-tune a network on labelled images or texts and save the model."""
    import numpy as np

    from ..persistence import save, target

    check_output("output", target(output, "output"))
    check_plots(plots)
    columns = (path_column, text_column)
    paths, labels = _labelled(source, columns, label_column)
    kind = find_task(task, labels)
    model = make_estimator(
        kind,
        labels,
        backbone=backbone,
        weights=weights,
        unfreeze=unfreeze,
        **rates_of(lr=lr, fine_tune_lr=fine_tune_lr),
        class_weight=class_weight,
        augment=augment,
        max_epochs=max_epochs,
        image_size=image_size,
        max_length=max_length,
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
        share = share_of(validation)
        if share is not None:
            model.set_params(validation_fraction=share)
        else:
            classes = np.unique(labels) if kind == "classification" else None
            held_out["X_val"], held_out["y_val"] = _labelled_as(
                "validation", Path(validation), columns, label_column, classes
            )
    model.fit(paths, labels, **held_out)
    print_skipped([paths[index] for index in model.skipped_])
    print_fit(model)
    save_output(output, partial(save, model))
    print_line(f"model: {output}")
    if plots is not None:
        plot_fit(plots, model)
        if held_out:
            X, y = held_out["X_val"], held_out["y_val"]
            _plot(plots, model, X, y, compute_predictions(model, X))


def predict(
    model: Model,
    files: Annotated[
        list[Path],
        Argument(metavar="FILES...", help="Images, folders of images or texts, or CSV files."),
    ],
    *,
    output: Annotated[
        Path | None,
        Option(
            "--output", "-o", help="A .csv file, replaced if it exists, or - for CSV on stdout."
        ),
    ] = None,
    path_column: PathColumn = "path",
    text_column: TextColumn = None,
    n_jobs: Jobs = None,
    decode_error: DecodeError = "raise",
) -> None:
    """Predict a label for each image or text, with all probabilities, or a number."""
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
    require("pandas", "cli")
    columns = (path_column, text_column)
    paths = [path for each in files for path in _listed(each, columns)]
    is_text = text_column is not None
    loaded = _loaded(model, n_jobs, decode_error)
    table = prediction_table(loaded, paths, "text" if is_text else "path")
    if output is not None:
        if not is_text:
            table["path"] = as_objects(map(safe_path, paths))
        write_csv(table, output)
    else:
        print_table(list(table), [[shown(cell) for cell in row] for row in table.to_numpy()])


def export(
    model: Model,
    *,
    output: Annotated[
        Path, Option("--output", "-o", help="A .onnx or .pt2 file; replaced if it exists.")
    ],
) -> None:
    """Write a model as a graph of ONNX or torch.export, which runs without this package."""
    from ..persistence import export as write_graph
    from ..persistence import load

    check_output("output", output)
    write_graph(load(model), output)
    print_line(f"{output}: {output.stat().st_size:,} bytes")


def evaluate(
    model: Model,
    source: Source,
    *,
    label_column: LabelColumn = "label",
    path_column: PathColumn = "path",
    text_column: TextColumn = None,
    n_jobs: Jobs = None,
    decode_error: DecodeError = "raise",
    plots: Plots = None,
) -> None:
    """Compare predictions with labels: accuracy and confusion matrix, or R2 of numbers."""
    import numpy as np

    check_plots(plots)
    loaded = _loaded(model, n_jobs, decode_error)
    if loaded.task_.decide(np.zeros((1, loaded.task_.n_outputs))).ndim > 1:
        raise ValueError(
            f"model must predict one label for each item; {str(model)!r} predicts several."
        )
    columns = (path_column, text_column)
    classes = None if is_regressor(loaded) else loaded.classes_
    paths, labels = _labelled_as("source", source, columns, label_column, classes)
    predicted = compute_predictions(loaded, paths)
    bad = np.isnan(predicted.reshape(len(paths), -1)).any(axis=1)
    print_skipped([path for path, is_bad in zip(paths, bad, strict=True) if is_bad])
    if bad.all():
        raise ValueError(
            f"source must contain images that can be read; {str(source)!r} has no such image."
        )
    things = "images" if text_column is None else "texts"
    if classes is None:
        print_errors(labels[~bad], predicted[~bad], things)
    else:
        decided = loaded.task_.decide_probabilities(predicted[~bad])
        print_quality(labels[~bad], decided, classes, things)
    if plots is not None:
        _plot(plots, loaded, paths, labels, predicted)


def find_lr(
    source: Source,
    *,
    plot: Annotated[
        Path | None,
        Option(metavar="FILE", help="File for a plot of the curve; replaced if it exists."),
    ] = None,
    task: Task = "auto",
    label_column: LabelColumn = "label",
    path_column: PathColumn = "path",
    text_column: TextColumn = None,
    backbone: Backbone = "builtin/mini",
    weights: Weights = "default",
    unfreeze: Unfreeze = "auto",
    class_weight: ClassWeights = None,
    augment: Augment = "auto",
    image_size: ImageSize = None,
    max_length: MaxLength = None,
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

    columns = (path_column, text_column)
    paths, labels = _labelled(source, columns, label_column)
    model = make_estimator(
        find_task(task, labels),
        labels,
        backbone=backbone,
        weights=weights,
        unfreeze=unfreeze,
        class_weight=class_weight,
        augment=augment,
        image_size=image_size,
        max_length=max_length,
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

# The names of the columns of paths and of texts; without the second one, items are images.
Columns = tuple[str, str | None]


def _table(source: Path, columns: Columns, classes: Sequence[str] | None = None) -> Any:
    """Return a table of images or texts, which are in its first column, and their labels."""
    from ..data import image_table, text_table

    path_column, text_column = columns
    if text_column is not None:
        return text_table(source, text_column, classes)
    return image_table(source, path_column, classes)


def _labelled(
    source: Path, columns: Columns, label_column: str, classes: Sequence[str] | None = None
) -> tuple[list[str], Any]:
    """Return paths or texts and their labels; ``classes`` allows class folders to be empty."""
    table = _table(source, columns, classes)
    items = table[table.columns[0]]
    column = "label" if source.is_dir() else label_column
    if column not in table:
        others = table.columns[1:]
        has = (
            f"the columns {', '.join(map(repr, others))}" if len(others) else f"only {items.name}s"
        )
        raise ValueError(
            f"source must give the label of each item, by class folders or a column {column!r}; "
            f"{str(source)!r} has {has}.{did_you_mean(column, others)}"
        )
    missing = items[table[column].isna()].tolist()
    if missing:
        raise ValueError(
            f"{str(source)!r} must have a label in each row; the column {column!r} lacks "
            f"{len(missing)} labels, those of\n{first_ten([item[:200] for item in missing])}"
        )
    labels = table[column].to_numpy()
    return items.tolist(), labels.astype(object) if labels.dtype.kind == "T" else labels


def _listed(source: Path, columns: Columns) -> list[str]:
    """Return the items of an argument: a single image, or those of a folder or CSV file."""
    is_table = source.is_dir() or source.suffix.lower() == ".csv"
    if not is_table and columns[1] is None:
        return [str(source)]
    table = _table(source, columns)
    return list(table[table.columns[0]])


def _loaded(path: Path, n_jobs: int | None, decode_error: str) -> Any:
    """Load a model that predicts, and set its parameters for reading images."""
    from sklearn.base import is_classifier

    from ..persistence import load

    model = load(path)
    if not (is_classifier(model) or is_regressor(model)):
        raise ValueError(
            "model must be a classifier or a regressor; "
            f"{str(path)!r} holds a {type(model).__name__}."
        )
    return model.set_params(n_jobs=n_jobs, decode_error=decode_error)


def _labelled_as(
    name: str, source: Path, columns: Columns, label_column: str, classes: Any
) -> tuple[list[str], Any]:
    """Return paths or texts and their labels, each of which must be one of ``classes``.

    A label is compared as text: a CSV file may hold numbers that are names of folders.  Without
    classes, the labels are numbers, and any number is accepted.
    """
    if classes is None:
        paths, labels = _labelled(source, columns, label_column)
        if labels.dtype.kind not in "biuf":
            raise ValueError(
                f"{name} must contain numbers, which the model predicts; it contains\n"
                f"{first_ten(sorted(set(map(str, labels))))}"
            )
        return paths, labels
    known = {str(label): position for position, label in enumerate(classes)}
    paths, labels = _labelled(source, columns, label_column, list(known))
    unknown = sorted({str(label) for label in labels} - set(known))
    if unknown:
        raise ValueError(
            f"{name} must contain only labels that the model knows, {', '.join(known)}; it also "
            f"contains\n{first_ten(unknown)}"
        )
    return paths, classes[[known[str(label)] for label in labels]]


def _plot(folder: Path, model: Any, paths: list[str], labels: Any, predicted: Any) -> None:
    """Write the plots of predicted numbers or probabilities."""
    plot = plot_numbers if is_regressor(model) else plot_predictions
    plot(folder, model, paths, labels, predicted)
