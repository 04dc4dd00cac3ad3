"""The commands that fit models and test learning rates."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from typer import Exit, Option

from .._support.paths import check_new_model
from .._support.validation import require
from .kind import Kind, Parameters
from .kinds import KINDS, check_options, find_kind, named_kind, read_known
from .messages import name_rows
from .options import (
    Augment,
    Backbone,
    BatchSize,
    Cache,
    ClassWeights,
    Crop,
    DecodeError,
    Device,
    Engine,
    FineTuneLr,
    FlipPairs,
    FreezeBn,
    Head,
    IgnoreLabels,
    ImageSize,
    Jobs,
    LabelColumns,
    Loss,
    Lr,
    MaskFolder,
    MaxEpochs,
    MaxLength,
    NumberColumns,
    PathColumn,
    Plots,
    Pooling,
    Precision,
    RandomState,
    Source,
    Task,
    TaskWeights,
    TextColumn,
    Unfreeze,
    ValidationMasks,
    Weights,
    columns_of,
    parameters_of,
    rates_of,
    share_of,
    unless_none,
)
from .output import check_output, print_line, print_table, save_figure, save_output
from .plots import check_plots, plot_fit
from .reports import print_fit, print_skipped
from .sources import Columns

# The exit status of a fit that Ctrl-C ended early, as of any program that SIGINT ends: a script
# does not go on.
INTERRUPTED = 130


def fit(
    source: Source,
    *,
    output: Annotated[
        Path, Option("--output", "-o", help="File for the model; replaced if it exists.")
    ],
    task: Task = "auto",
    label_column: LabelColumns = None,
    number_column: NumberColumns = None,
    masks: MaskFolder = None,
    ignore_label: IgnoreLabels = None,
    path_column: PathColumn = "path",
    text_column: TextColumn = None,
    validation: Annotated[
        str | None, Option(help="Stop early on these images: FOLDER_OR_CSV, or a part such as 0.1.")
    ] = None,
    validation_masks: ValidationMasks = None,
    checkpoint: Annotated[
        Path | None, Option(help="Folder of saved epochs, to resume a killed run.")
    ] = None,
    backbone: Backbone = "builtin/mini",
    weights: Weights = "default",
    unfreeze: Unfreeze = "auto",
    head: Head = None,
    pooling: Pooling = "auto",
    freeze_bn: FreezeBn = "auto",
    lr: Lr = None,
    fine_tune_lr: FineTuneLr = None,
    loss: Loss = None,
    class_weight: ClassWeights = None,
    task_weights: TaskWeights = None,
    augment: Augment = "auto",
    flip_pairs: FlipPairs = None,
    batch_size: BatchSize = None,
    max_epochs: MaxEpochs = None,
    image_size: ImageSize = None,
    crop: Crop = None,
    max_length: MaxLength = None,
    cache: Cache = None,
    precision: Precision = "float32",
    engine: Engine = "auto",
    device: Device = "auto",
    n_jobs: Jobs = None,
    decode_error: DecodeError = "raise",
    random_state: RandomState = None,
    plots: Plots = None,
) -> None:
    """Fine-tune a network on labelled images or texts and save the model."""
    check_output("output", check_new_model(output, "output"))
    check_plots(plots)
    columns = columns_of(path_column, text_column, label_column, number_column, masks)
    columns.check(source)
    _check_held_out(validation, validation_masks)
    from ..persistence import save

    kind, items, table = _read(task, source, columns)
    parameters = _parameters(
        kind,
        class_weight=class_weight,
        flip_pairs=flip_pairs,
        ignore_label=ignore_label,
        loss=loss,
        max_length=max_length,
        pooling=pooling,
        task_weights=task_weights,
        **rates_of(lr=lr, fine_tune_lr=fine_tune_lr),
        backbone=backbone,
        weights=weights,
        unfreeze=unfreeze,
        head=head,
        freeze_bn=freeze_bn,
        augment=augment,
        batch_size=batch_size,
        max_epochs=max_epochs,
        image_size=image_size,
        crop=crop,
        cache=cache,
        checkpoint=checkpoint,
        precision=precision,
        engine=engine,
        device=device,
        n_jobs=n_jobs,
        decode_error=decode_error,
        random_state=random_state,
    )
    model = kind.estimator(table, parameters)
    held_out = _hold_out(model, validation, validation_masks, columns, kind, table)
    model.fit(items, kind.targets(table), **held_out)
    print_skipped([items[index] for index in model.skipped_])
    print_fit(model)
    save_output(output, partial(save, model))
    print_line(f"model: {output}")
    if plots is not None:
        plot_fit(plots, model)
        if held_out:
            X, y = held_out["X_val"], held_out["y_val"]
            kind.plot(plots, model, X, y, kind.predict(model, X))
    if model.net_ is not None and model.net_.interrupted_:
        raise Exit(INTERRUPTED)


def find_lr(
    source: Source,
    *,
    plot: Annotated[
        Path | None,
        Option(metavar="FILE", help="File for a plot of the curve; replaced if it exists."),
    ] = None,
    task: Task = "auto",
    label_column: LabelColumns = None,
    number_column: NumberColumns = None,
    masks: MaskFolder = None,
    ignore_label: IgnoreLabels = None,
    path_column: PathColumn = "path",
    text_column: TextColumn = None,
    backbone: Backbone = "builtin/mini",
    weights: Weights = "default",
    unfreeze: Unfreeze = "auto",
    head: Head = None,
    pooling: Pooling = "auto",
    freeze_bn: FreezeBn = "auto",
    loss: Loss = None,
    class_weight: ClassWeights = None,
    task_weights: TaskWeights = None,
    augment: Augment = "auto",
    flip_pairs: FlipPairs = None,
    batch_size: BatchSize = None,
    image_size: ImageSize = None,
    crop: Crop = None,
    max_length: MaxLength = None,
    cache: Cache = None,
    precision: Precision = "float32",
    engine: Engine = "auto",
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
    columns = columns_of(path_column, text_column, label_column, number_column, masks)
    columns.check(source)
    from ..estimators import find_lr as tested

    kind, items, table = _read(task, source, columns)
    parameters = _parameters(
        kind,
        class_weight=class_weight,
        flip_pairs=flip_pairs,
        ignore_label=ignore_label,
        loss=loss,
        max_length=max_length,
        pooling=pooling,
        task_weights=task_weights,
        backbone=backbone,
        weights=weights,
        unfreeze=unfreeze,
        head=head,
        freeze_bn=freeze_bn,
        augment=augment,
        batch_size=batch_size,
        image_size=image_size,
        crop=crop,
        cache=cache,
        precision=precision,
        engine=engine,
        device=device,
        n_jobs=n_jobs,
        decode_error=decode_error,
        random_state=random_state,
    )
    model = kind.estimator(table, parameters)
    curve = tested(model, items, kind.targets(table))
    if plot is not None:
        save_figure("plot", plot, curve.plot().figure_)
    pairs = zip(curve.rates, curve.losses, strict=True)
    print_table(("learning rate", "loss"), [(f"{rate:.3g}", f"{loss:.4f}") for rate, loss in pairs])
    print(f"suggestion: {curve.suggestion:.3g}")


def _check_held_out(validation: str | None, masks: Path | None) -> None:
    """Raise an error unless validation data can be read, or are a part of the training data."""
    is_path = validation is not None and share_of(validation) is None
    if is_path:
        Columns(masks=masks).check(Path(str(validation)))
    elif masks is not None:
        raise ValueError(
            "validation_masks must be left out without a folder or a CSV file of validation data; "
            f"got {str(masks)!r}."
        )


def _hold_out(
    model: Any,
    validation: str | None,
    masks: Path | None,
    columns: Columns,
    kind: Kind,
    table: Any,
) -> Parameters:
    """Set early stopping, and return the validation data as parameters of ``fit``."""
    if validation is None:
        return {}
    model.set_params(early_stopping=True)
    share = share_of(validation)
    if share is not None:
        model.set_params(validation_fraction=share)
        return {}
    if masks is not None:
        columns = replace(columns, masks=masks)
    source = Path(validation)
    items, found = read_known("validation", source, columns, kind, kind.known(table))
    name_rows(X_val=items, y_val=kind.rows(items, found))
    return {"X_val": items, "y_val": kind.targets(found)}


def _read(task: str, source: Path, columns: Columns) -> tuple[Kind, list[str], Any]:
    """Return the kind of the targets, the items, and the table of their targets."""
    named = named_kind(task, columns)
    chosen = [*columns.labels, *columns.numbers]
    if chosen and source.is_dir():
        name = "label_column" if columns.labels else "number_column"
        raise ValueError(
            f"{name} must be left out for a folder, which has no columns; got {chosen[0]!r}. Pass "
            "a CSV file."
        )
    wanted = KINDS["classification"].wanted if named is None else named.wanted
    items, table = columns.targets(source, wanted=wanted)
    kind = find_kind(table) if named is None else named
    table = kind.prepare(source, items, table)
    name_rows(X=items, y=kind.rows(items, table))
    return kind, items, table


def _parameters(
    kind: Kind, *, class_weight: Sequence[str] | None, pooling: str, **options: Any
) -> Parameters:
    """Check the options that only some targets have, and return the parameters of the estimator."""
    given = {
        "class_weight": unless_none(class_weight),
        "pooling": None if pooling == "auto" else pooling,
        **options,
    }
    check_options(kind, given)
    return parameters_of(**given)
