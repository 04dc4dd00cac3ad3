"""Plots of a fit and of predictions, as PNG files in a folder."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .._support.files import check_folder
from .._support.text import printable
from .._support.validation import require
from .output import check_output, make_folder, print_line, save_figure

# Above this number of classes, the counts in the cells of a confusion matrix cannot be read.
MOST_COUNTS = 25


def check_plots(folder: Path | None) -> None:
    """Make the folder of plots; raise an error if it cannot be used, before long computations."""
    if folder is None:
        return
    require("matplotlib", "plot")
    check_folder("plots", folder)
    make_folder("plots", folder)
    check_output("plots", folder / "training_curves.png")


def plot_fit(folder: Path, model: Any) -> None:
    """Write the plots of the training curves and of the learning rates."""
    from ..display import LearningRatesDisplay, TrainingCurvesDisplay

    if not model.history_:
        print_line("no plots of the training: it has no epoch", error=True)
        return
    _save(folder / "training_curves.png", TrainingCurvesDisplay.from_estimator(model).figure_)
    _save(folder / "learning_rates.png", LearningRatesDisplay.from_estimator(model).figure_)


def plot_predictions(
    folder: Path, model: Any, paths: Sequence[str], labels: Any, probabilities: Any
) -> None:
    """Write the plots of the confusion matrix, and of the images with the largest losses.

    Parameters
    ----------
    folder : Path
    model : FineTuneClassifier
    paths : sequence of n_items str
    labels : ndarray of shape (n_items,)
    probabilities : ndarray of shape (n_items, n_classes)
        Rows of NaN belong to images that cannot be read.
    """
    import numpy as np

    from ..display import TopLossesDisplay

    read = ~np.isnan(probabilities).any(axis=1)
    predicted = model.task_.decide_probabilities(probabilities[read])
    _save(
        folder / "confusion_matrix.png",
        _confusion_matrix(labels[read], predicted, model.classes_),
    )
    worst = TopLossesDisplay.from_predictions(
        labels, probabilities, paths, classes=model.classes_, preset=model.backbone_.preset
    )
    _save(folder / "top_losses.png", worst.figure_)


def plot_numbers(
    folder: Path, model: Any, paths: Sequence[str], numbers: Any, predicted: Any
) -> None:
    """Write the plots of true and predicted numbers, and of the images with the largest errors.

    Parameters
    ----------
    folder : Path
    model : FineTuneRegressor
    paths : sequence of n_items str
    numbers, predicted : ndarray of shape (n_items,)
        NaN is the prediction for an image that cannot be read.
    """
    import numpy as np
    from sklearn.metrics import PredictionErrorDisplay

    from ..display import TopLossesDisplay

    read = ~np.isnan(predicted)
    display = PredictionErrorDisplay.from_predictions(
        numbers[read], predicted[read], kind="actual_vs_predicted"
    )
    _save(folder / "predictions.png", display.figure_)
    preset = model.backbone_.preset
    worst = TopLossesDisplay.from_numbers(numbers, predicted, paths, preset=preset)
    _save(folder / "top_losses.png", worst.figure_)


def plot_points(folder: Path, paths: Sequence[str], points: Any, predicted: Any) -> None:
    """Write a plot of true and predicted points in the first images."""
    from ..display import PointsDisplay

    _save(folder / "points.png", PointsDisplay.from_predictions(points, predicted, paths).figure_)


def plot_masks(folder: Path, model: Any, paths: Sequence[str], masks: Any, predicted: Any) -> None:
    """Write a plot of true and predicted masks over the first images that can be read."""
    import numpy as np

    from ..display import MasksDisplay

    rows = [at for at, mask in enumerate(predicted) if np.ndim(mask) == 2]
    chosen = [[each[at] for at in rows] for each in (masks, predicted, paths)]
    display = MasksDisplay.from_predictions(*chosen, classes=model.classes_)
    _save(folder / "masks.png", display.figure_)


def _confusion_matrix(labels: Any, predicted: Any, classes: Any) -> Any:
    """Return a figure whose size depends on the number of classes."""
    from sklearn.metrics import ConfusionMatrixDisplay

    display = ConfusionMatrixDisplay.from_predictions(
        labels,
        predicted,
        labels=classes,
        display_labels=[printable(name).replace("$", r"\$") for name in classes],
        include_values=len(classes) <= MOST_COUNTS,
        xticks_rotation="vertical",
        cmap="Blues",
        colorbar=len(classes) > MOST_COUNTS,
    )
    side = min(3 + 0.4 * len(classes), 16)
    display.figure_.set_size_inches(side, side)
    display.figure_.set_layout_engine("constrained")
    return display.figure_


def _save(file: Path, figure: Any) -> None:
    save_figure("plots", file, figure, dpi=150)
    print_line(f"plot: {file}")
