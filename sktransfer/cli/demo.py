"""Compare methods on real images, from raw pixels to a fine-tuned network, and on texts."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from .._support.text import printable
from .._support.validation import first_ten, require
from ..backbones import get_backbone, is_pretrained
from ..data import TEST, TRAIN, ImagePreset, load_docstrings, load_image_folder, load_textures
from ..estimators import FineTuneClassifier, PretrainedFeatureExtractor
from ..tasks import MLPHead
from .output import save_figure

# Side in pixels of the small images whose raw pixels are the features of the first method.
PIXELS = 16

TEST_SHARE = 0.25

# Number of test photos of each texture, and of test texts of each field.
N_TESTED, N_TESTED_TEXTS = 40, 40

# Parameters of fine-tuning on a hundred textures.  The test photos show the surfaces of the
# training photos, so no weight is held back (``weight_interpolation``).
TEXTURE_PARAMETERS = {
    "fine_tune_lr": 0.001,
    "max_epochs": 20,
    "batch_size": 32,
    "weight_interpolation": 1,
}

# A network that starts from random weights needs many epochs; small images make them cheap.
SCRATCH_SIZE, SCRATCH_EPOCHS = 64, 40

# Rows and columns of images in the plot, and the side of each in pixels.
N_ROWS, N_COLUMNS, THUMBNAIL = 4, 6, 160

INK, MUTED, FAINT_INK, FAINT = "#1f2933", "#7b8794", "#b8c0c9", "#edeff2"
RIGHT, WRONG = "#2a7f62", "#c8375b"


@dataclass(frozen=True)
class Split:
    """Training items and test items, with names as labels.

    Parameters
    ----------
    title : str
        A title for the plot.
    X_train, X_test : sequence of items
    y_train, y_test : ndarray of str objects
    """

    title: str
    X_train: Any
    X_test: Any
    y_train: np.ndarray
    y_test: np.ndarray


@dataclass(frozen=True)
class Result:
    """The result of one method on a split.

    Parameters
    ----------
    name : str
    predicted : ndarray of str objects
        The prediction for each test item.
    accuracy : float in [0, 1]
    seconds : float
        Wall-clock time of fitting and predicting.
    """

    name: str
    predicted: np.ndarray
    accuracy: float
    seconds: float


@dataclass(frozen=True)
class Comparison:
    """The results of all methods on one split.

    Parameters
    ----------
    split : Split
    backbone : str
        The address of the pretrained network.
    results : list of Result
        From the simplest method to fine-tuning.
    """

    split: Split
    backbone: str
    results: list[Result]

    @property
    def guess(self) -> float:
        """The accuracy, in [0, 1], of predicting the most common class for each test image."""
        counts = np.unique(self.split.y_test, return_counts=True)[1]
        return float(counts.max() / counts.sum())


def run_demo(
    images: str | os.PathLike[str] | None = None,
    *,
    backbone: str = "builtin/mini",
    weights: str | os.PathLike[str] | None = "default",
    labels_per_class: int = 10,
) -> Comparison:
    """Measure the accuracy and the time of five methods.

    The methods are logistic regression on raw pixels, a network trained from scratch, logistic
    regression on pretrained features, a new head on a frozen network, and a fine-tuned network.

    Parameters
    ----------
    images : str, path-like or None, default=None
        A folder with a subfolder for each class, of which a stratified quarter is the test set; or
        a folder of two such folders, train and val or test.  None stands for the photos of
        :func:`~sktransfer.load_textures`.
    backbone : str, default="builtin/mini"
        Address of the backbone.
    weights : str, path-like or None, default="default"
        The weights, as for :class:`PretrainedFeatureExtractor`.
    labels_per_class : int, default=10
        Number of training photos of each texture.  Folders are used as a whole.

    Raises
    ------
    ValueError
        If the folder has another layout, or a class has too few images to split.
    ModuleNotFoundError
        If scikit-image, which contains the textures, is not installed.

    Examples
    --------
    >>> from sktransfer.cli.demo import run_demo
    >>> [result.name for result in run_demo(labels_per_class=2).results]  # doctest: +SKIP
    ['raw pixels', 'network from scratch', 'pretrained features', 'new head', 'fine-tuned network']
    """
    split = _textures(labels_per_class) if images is None else _photos(Path(images))
    methods = _methods(backbone, weights, TEXTURE_PARAMETERS if images is None else {})
    return Comparison(split, backbone, [_result(name, m, split) for name, m in methods.items()])


def run_text_demo(labels_per_class: int = 10) -> tuple[Split, list[Result]]:
    """Measure words and features of ``builtin/text`` on :func:`~sktransfer.load_docstrings`.

    Both are the input of a logistic regression that names the field of a sentence.

    Parameters
    ----------
    labels_per_class : int, default=10
        Number of training texts of each field.

    Returns
    -------
    split : Split
    results : list of Result

    Examples
    --------
    >>> from sktransfer.cli.demo import run_text_demo
    >>> split, results = run_text_demo()
    >>> [result.name for result in results]
    ['words', 'pretrained features']
    """
    train = load_docstrings("train", source="python", n_per_class=labels_per_class)
    test = load_docstrings("test", source="python", n_per_class=N_TESTED_TEXTS)
    title = f"Five fields of Python's library, {labels_per_class} labels per class"
    split = Split(title, train.data, test.data, train.labels, test.labels)
    methods = {
        "words": make_pipeline(
            TfidfVectorizer(sublinear_tf=True), LogisticRegression(C=10, max_iter=1000)
        ),
        "pretrained features": _linear_on_features("builtin/text", "default"),
    }
    return split, [_result(name, method, split) for name, method in methods.items()]


# Data


def _textures(labels_per_class: int) -> Split:
    train = load_textures("train", n_per_class=labels_per_class)
    test = load_textures("test", n_per_class=N_TESTED)
    title = f"Ten textures, {labels_per_class} labels per class"
    return Split(title, train.data, test.data, train.labels, test.labels)


def _photos(folder: Path) -> Split:
    parts = {part.name.lower(): part for part in folder.glob("*/")}
    train = next((parts[name] for name in TRAIN if name in parts), None)
    test = next((parts[name] for name in TEST if name in parts), None)
    if train and test:
        return _given(folder.name, train, test)
    photos = load_image_folder(folder)
    y = photos.labels
    counts = np.bincount(photos.target)
    few = [f"{photos.target_names[i]!r}: {counts[i]}" for i in np.flatnonzero(counts < 2)]
    if few or len(counts) < 2:
        raise ValueError(
            "images must contain at least two classes with at least two images each; "
            f"{str(folder)!r} has {len(counts)} classes, and these have fewer images:\n"
            f"{first_ten(few)}".rstrip()
        )
    # Both parts need at least one image of each class.
    share = max(TEST_SHARE, len(counts) / len(y))
    return _divided(_titled(folder), photos.data, y, test_size=share)


def _titled(folder: Path) -> str:
    """Return the last two parts of a path, because a name like "train" is not enough."""
    return "/".join(folder.resolve().parts[-2:]).lstrip("/")


def _given(title: str, train: Path, test: Path) -> Split:
    learned = load_image_folder(train)
    tested = load_image_folder(test, classes=learned.target_names)
    return Split(title, learned.data, tested.data, learned.labels, tested.labels)


def _divided(title: str, X: np.ndarray, y: np.ndarray, **sizes: float) -> Split:
    return Split(title, *train_test_split(X, y, stratify=y, random_state=0, **sizes))


# Methods


def _methods(
    backbone: str, weights: str | os.PathLike[str] | None, how: dict[str, Any]
) -> dict[str, Any]:
    """Return the estimators to compare, by name, from the simplest method to fine-tuning."""
    augment = how.get("augment", "auto")
    tuned = partial(FineTuneClassifier, backbone, weights=weights, random_state=0, augment=augment)
    pretrained = is_pretrained(get_backbone(backbone, weights))
    return {
        "raw pixels": make_pipeline(
            FunctionTransformer(_pixels),
            StandardScaler(with_std=False),  # the same optimum, in fewer iterations
            LogisticRegression(max_iter=1000),
        ),
        "network from scratch": FineTuneClassifier(
            "builtin/small_cnn",
            weights=None,
            head=MLPHead((128,), dropout=0.5),
            image_size=SCRATCH_SIZE,
            augment=augment,
            max_epochs=SCRATCH_EPOCHS,
            fine_tune_lr=0.003,
            random_state=0,
        ),
        "pretrained features" if pretrained else "features of random weights": _linear_on_features(
            backbone, weights
        ),
        "new head on a frozen network": tuned(unfreeze=0),
        "fine-tuned network": tuned(**how),
    }


def _linear_on_features(backbone: str, weights: str | os.PathLike[str] | None) -> Any:
    """Return a logistic regression on the features of a frozen network."""
    return make_pipeline(
        PretrainedFeatureExtractor(backbone, weights=weights),
        StandardScaler(),
        LogisticRegression(C=0.01, max_iter=1000),
    )


def _pixels(X: Any) -> np.ndarray:
    """Return raw pixels in [0, 1], (n, PIXELS * PIXELS * 3)."""
    rows = np.stack([_small(item, PIXELS) for item in X]) / 255
    return rows.reshape(len(X), -1).astype(np.float32)


def _small(item: Any, size: int, interpolation: str = "bilinear") -> np.ndarray:
    """Return the centre crop of an image, (size, size, 3)."""
    return ImagePreset(size=size, crop=1.0, interpolation=interpolation)(item).numpy()


def _result(name: str, method: Any, split: Split) -> Result:
    start = perf_counter()
    predicted = method.fit(split.X_train, split.y_train).predict(split.X_test)
    seconds = perf_counter() - start
    return Result(name, predicted, float(np.mean(predicted == split.y_test)), seconds)


# Plot


def draw_demo(comparison: Comparison, file: str | os.PathLike[str]) -> None:
    """Plot test images with the predictions of the last method, and the accuracies of all methods.

    Parameters
    ----------
    comparison : Comparison
    file : str or path-like
        A .png, .svg or .pdf file.

    Raises
    ------
    ModuleNotFoundError
        If matplotlib is not installed; it comes with the extra ``plot``.
    """
    require("matplotlib", "plot")
    from matplotlib.figure import Figure

    split, last = comparison.split, comparison.results[-1]
    figure = Figure(figsize=(13, 7), facecolor="white")
    figure.text(0.03, 0.94, _plain(split.title), size=19, weight="bold", color=INK)
    figure.text(
        0.03, 0.895, f"Test images with the predictions of the {last.name}", size=12, color=MUTED
    )
    figure.text(0.70, 0.895, "Accuracy", size=12, color=MUTED)
    counts = (
        f"{len(split.y_train):,} training images, {len(split.y_test):,} test images; "
        f"backbone {_plain(comparison.backbone)}"
    )
    figure.text(0.03, 0.022, counts, size=10, color=MUTED)
    grid = figure.add_gridspec(
        N_ROWS, N_COLUMNS, left=0.03, right=0.645, bottom=0.085, top=0.875, hspace=0.26, wspace=0.06
    )
    n_shown = min(N_ROWS * N_COLUMNS, len(split.y_test))
    shown = np.random.default_rng(0).permutation(len(split.y_test))[:n_shown]
    for place, index in enumerate(shown):
        axes = figure.add_subplot(grid[divmod(place, N_COLUMNS)])
        _draw_image(axes, split, int(index), last.predicted[index])
    _draw_bars(figure.add_axes((0.70, 0.085, 0.27, 0.79)), comparison)
    save_figure("the picture", Path(file), figure, dpi=120)


def _draw_image(axes: Any, split: Split, index: int, predicted: str) -> None:
    item, truth = split.X_test[index], split.y_test[index]
    interpolation = "nearest" if isinstance(item, np.ndarray) else "bilinear"
    axes.imshow(_small(item, THUMBNAIL, interpolation))
    axes.set(xticks=[], yticks=[])
    color = RIGHT if predicted == truth else WRONG
    axes.spines[:].set(color=color, linewidth=2.5)
    caption = predicted if predicted == truth else f"{predicted}, not {truth}"
    weight = "normal" if predicted == truth else "bold"
    axes.set_xlabel(_short(caption), size=10.5, color=color, weight=weight, labelpad=4)


def _short(caption: str) -> str:
    return _plain(caption if len(caption) <= 20 else f"{caption[:19]}…")


def _plain(text: str) -> str:
    """Return a text without formulas, which matplotlib reads between dollar signs."""
    return printable(text).replace("$", r"\$")


def _draw_bars(axes: Any, comparison: Comparison) -> None:
    """Draw a bar for guessing and for each method, with its name above and its time below."""
    names = ["most common class", *(result.name for result in comparison.results)]
    accuracies = [comparison.guess, *(result.accuracy for result in comparison.results)]
    below = ["", *(f"{result.seconds:.1f} s" for result in comparison.results)]
    colors = [FAINT_INK, *[MUTED] * (len(comparison.results) - 1), RIGHT]
    heights = np.arange(len(names))[::-1]
    half = 0.13
    axes.barh(heights, [1] * len(heights), height=2 * half, color=FAINT)
    axes.barh(heights, accuracies, height=2 * half, color=colors)
    for height, name, accuracy, note in zip(heights, names, accuracies, below, strict=True):
        above = {"y": height + half + 0.05, "va": "bottom", "color": INK}
        axes.text(0, s=name, size=12.5, **above)
        axes.text(1, s=f"{accuracy:.1%}", size=15, weight="bold", ha="right", **above)
        axes.text(0, height - half - 0.05, note, size=10.5, color=MUTED, va="top")
    axes.set(xlim=(0, 1), ylim=(-half - 0.2, len(heights) - 1 + half + 0.3))
    axes.set_axis_off()
