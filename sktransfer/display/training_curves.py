"""Plot the losses, scores and learning rates of a fit over its epochs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from ._axes import (
    BAND,
    BLUE,
    INK,
    MUTED,
    ORANGE,
    RED,
    add_legend,
    as_text,
    get_axes,
    import_pyplot,
    line_style,
    style_axes,
)

HEAD = "head"

# The share of the height of two panels that the lower one has.
BELOW = 0.4

# Schedules end near zero.  Learning rates below this share of the lowest peak are not shown.
LEAST_RATE = 0.02


class TrainingCurvesDisplay:
    """Plot the losses and the validation score of each epoch.

    The phases of the fit are named above the axes, and the phase that trains only the head is
    shaded.  If there are validation scores, they are plotted in a panel below the losses.

    Parameters
    ----------
    history : History or list of dict
        One dict for each epoch, such as ``history_`` of a fitted FineTuneClassifier.
    best_epoch : int or None, default=None
        The epoch whose weights were kept, counted from 1.  0 means the weights before the first
        epoch.  None marks no epoch.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes with the losses.
    score_ax_ : matplotlib Axes or None
        Axes with the validation scores, None without scores.
    figure_ : matplotlib Figure
        Figure of the axes.

    See Also
    --------
    LearningRatesDisplay : The learning rates of each stage in the same epochs.

    Notes
    -----
    The training loss is computed with augmented images and smoothed labels, the validation loss
    with neither.  The validation loss of a good fit can therefore be below the training loss.

    Examples
    --------
    >>> from sktransfer.display import TrainingCurvesDisplay
    >>> history = [
    ...     {"phase": "head", "epoch": 1, "train_loss": 0.9, "valid_loss": 0.7},
    ...     {"phase": "fine-tune", "epoch": 2, "train_loss": 0.6, "valid_loss": 0.5},
    ... ]
    >>> display = TrainingCurvesDisplay(history, best_epoch=2).plot()
    >>> display.ax_.get_ylabel()
    'loss'
    """

    def __init__(self, history: Sequence[Mapping[str, Any]], best_epoch: int | None = None):
        self.history = history
        self.best_epoch = best_epoch

    @classmethod
    def from_estimator(cls, estimator: Any, *, ax: Any = None) -> TrainingCurvesDisplay:
        """Plot the losses and scores of a fitted estimator.

        Parameters
        ----------
        estimator : FineTuneClassifier
            Fitted estimator.
        ax : matplotlib Axes or None, default=None
            Axes to draw into.  None makes a new figure.

        Returns
        -------
        TrainingCurvesDisplay
        """
        history = fitted_history(estimator)
        return cls(history, getattr(estimator, "best_epoch_", None)).plot(ax)

    def plot(self, ax: Any = None) -> TrainingCurvesDisplay:
        """Plot the losses and scores.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Axes to draw into.  None makes a new figure.  If there are scores, the lower part of
            the axes becomes their panel.

        Returns
        -------
        self
        """
        check_history(self.history, "epoch", "train_loss")
        ax = self.ax_ = get_axes(ax)
        self.figure_, self.score_ax_ = ax.figure, None
        epochs = column(self.history, "epoch")
        losses = column(self.history, "valid_loss")
        scores = column(self.history, "valid_score")
        style_axes(ax, "epoch", "loss")
        ax.plot(epochs, column(self.history, "train_loss"), "o-", **line_style(BLUE, "training"))
        if np.isfinite(losses).any():
            ax.plot(epochs, losses, "s-", **line_style(ORANGE, "validation"))
        if np.isfinite(scores).any():
            below = self.score_ax_ = panel_below(ax)
            style_axes(below, "epoch", "score")
            below.plot(epochs, scores, "s-", **line_style(ORANGE, "validation"))
            ax.set_xlabel("")
            ax.tick_params(labelbottom=False)
        self._mark_best(epochs, losses, scores)
        mark_phases(self.history, *filter(None, (ax, self.score_ax_)))
        add_legend(ax)
        return self

    def _mark_best(self, epochs: np.ndarray, losses: np.ndarray, scores: np.ndarray) -> None:
        """Mark the best epoch with a vertical line and a ring, in both panels."""
        best = self.best_epoch
        if best is None:
            return
        label = f"best epoch: {best}" if best else "best: before the first epoch"
        for ax, values in ((self.ax_, losses), (self.score_ax_, scores)):
            if ax is None:
                continue
            ax.axvline(best, color=INK, lw=1.2, ls=(0, (4, 3)), zorder=1.5, label=label)
            here = epochs == best
            ax.margins(y=0.12)  # keeps the ring inside the axes
            ax.plot(epochs[here], values[here], "o", ms=10, mfc="none", mec=INK, mew=1.4)


class LearningRatesDisplay:
    """Plot the learning rate of each stage and of the head at the end of each epoch.

    A stage has a line only in the epochs in which it trains, so gradual unfreezing shows as lines
    that begin one after the other.  The scale is logarithmic, and rates near zero, with which
    many schedules end, are below the axes.

    Parameters
    ----------
    history : History or list of dict
        One dict for each epoch, such as ``history_`` of a fitted FineTuneClassifier.
    stages : list of str or None, default=None
        Names of all stages, in order.  None uses the stages that have a learning rate in
        ``history``.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes with a line for each stage that trained, and for the head.
    figure_ : matplotlib Figure
        Figure of the axes.

    See Also
    --------
    TrainingCurvesDisplay : The losses of the same epochs.

    Examples
    --------
    >>> from sktransfer.display import LearningRatesDisplay
    >>> rates = {"stem": 0.0001, "layer1": 0.0004, "head": 0.001}
    >>> history = [{"phase": "fine-tune", "epoch": 1, "cut": 1, "lr": rates}]
    >>> display = LearningRatesDisplay(history).plot()
    >>> [line.get_label() for line in display.ax_.lines]
    ['head', 'layer1']
    """

    def __init__(self, history: Sequence[Mapping[str, Any]], stages: Sequence[str] | None = None):
        self.history = history
        self.stages = stages

    @classmethod
    def from_estimator(cls, estimator: Any, *, ax: Any = None) -> LearningRatesDisplay:
        """Plot the learning rates of a fitted estimator.

        Parameters
        ----------
        estimator : FineTuneClassifier
            Fitted estimator.
        ax : matplotlib Axes or None, default=None
            Axes to draw into.  None makes a new figure.

        Returns
        -------
        LearningRatesDisplay
        """
        history = fitted_history(estimator)
        return cls(history, estimator.backbone_.names).plot(ax)

    def plot(self, ax: Any = None) -> LearningRatesDisplay:
        """Plot the learning rates.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Axes to draw into.  None makes a new figure.

        Returns
        -------
        self
        """
        check_history(self.history, "epoch", "phase", "cut", "lr")
        rates = self._rates()
        ax = self.ax_ = get_axes(ax)
        self.figure_ = ax.figure
        style_axes(ax, "epoch", "learning rate")
        ax.set_yscale("log")
        epochs = column(self.history, "epoch")
        phases = [row["phase"] for row in self.history]
        widths, colors = _widths(list(rates.values())), self._colors(len(rates))
        for (name, values), color, width in zip(rates.items(), colors, widths, strict=True):
            style = line_style(color, name) | {"lw": width, "ms": 3 + width}
            ax.plot(*with_gaps(epochs, values, phases), "o-", **style)
        least = min(np.nanmin(values) for values in rates.values())
        head = rates.get(HEAD, np.full(len(self.history), np.nan))
        peaks = (self._peak(values, head) for values in rates.values())
        ax.set_ylim(bottom=max(least / 1.5, LEAST_RATE * min(peaks)))
        mark_phases(self.history, ax)
        add_legend(ax)
        return self

    def _peak(self, values: np.ndarray, head: np.ndarray) -> float:
        """Return the maximum rate that a stage has, or would have if it trained in all epochs.

        The rates of all groups follow one schedule in a phase, so the head has the maximum at the
        same time.
        """
        drawn = np.isfinite(values) & np.isfinite(head)
        if not drawn.any():
            return float(np.nanmax(values))
        phases = {row["phase"] for row, here in zip(self.history, drawn, strict=True) if here}
        among = np.array([row["phase"] in phases for row in self.history])
        return float(np.nanmax(head[among]) * np.nanmax(values[drawn] / head[drawn]))

    def _rates(self) -> dict[str, np.ndarray]:
        """Return the rates of the head and of the stages, from the last stage to the first.

        Each is an array of shape (n_epochs,), with NaN for epochs in which a stage is frozen.
        """
        named = [name for name in self.history[-1]["lr"] if name != HEAD]
        stages = list(self.stages) if self.stages is not None else named
        place = {name: index for index, name in enumerate(stages)} | {HEAD: len(stages)}
        found = {}
        for name in [HEAD, *reversed(stages)]:
            trains = [row["cut"] <= place[name] for row in self.history]
            values = [row["lr"].get(name, np.nan) for row in self.history]
            kept = np.where(trains, values, np.nan)
            kept[~(kept > 0)] = np.nan  # a logarithmic scale has no zero
            if np.isfinite(kept).any():
                found[name] = kept
        if not found:
            raise ValueError(
                "history must hold a learning rate above 0 in 'lr'; got only zeros. Pass history_ "
                "of a fitted model."
            )
        return found

    @staticmethod
    def _colors(n: int) -> list[Any]:
        """Return the colour of the head, then colours from light to dark for the stages."""
        scale = import_pyplot().get_cmap("viridis")
        return [RED, *(scale(share) for share in np.linspace(0.75, 0, max(n - 1, 0)))][:n]


def panel_below(ax: Any) -> Any:
    """Shrink ``ax``, and add axes with the same x axis in the space below it."""
    spec = ax.get_subplotspec()
    if spec is not None:
        upper, lower = spec.subgridspec(2, 1, height_ratios=(1 - BELOW, BELOW), hspace=0.12)
        ax.set_subplotspec(upper)
        return ax.figure.add_subplot(lower, sharex=ax)
    box = ax.get_position()  # these axes do not belong to a grid
    height = BELOW * box.height
    ax.set_position([box.x0, box.y0 + height, box.width, box.height - height])
    return ax.figure.add_axes([box.x0, box.y0, box.width, 0.9 * height], sharex=ax)


def mark_phases(history: Sequence[Mapping[str, Any]], *axes: Any) -> None:
    """Name the phases above the first of ``axes``, and shade the phase of the head in all."""
    from matplotlib.ticker import MaxNLocator

    spans: dict[str, list[float]] = {}
    for row in history:
        if "phase" in row:
            spans.setdefault(row["phase"], [row["epoch"]])[1:] = [row["epoch"]]
    for ax in axes:
        ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        least = min(history[0]["epoch"], ax.dataLim.x0)  # the best epoch may be 0
        ax.set_xlim(least - 0.5, history[-1]["epoch"] + 0.5)
        if len(spans) > 1 and HEAD in spans:
            first, last = spans[HEAD]
            ax.axvspan(first - 0.5, last + 0.5, color=BAND, lw=0, zorder=0)
    if spans:
        names = axes[0].secondary_xaxis("top")
        names.set_xticks(
            [(first + last) / 2 for first, last in spans.values()], [*map(as_text, spans)]
        )
        names.tick_params(length=0, labelcolor=MUTED)
        names.spines[:].set_visible(False)


def _widths(lines: Sequence[np.ndarray]) -> list[float]:
    """Return a width for each line that keeps it visible below later lines of equal values."""
    above = (lines[index + 1 :] for index in range(len(lines)))
    return [
        1.8 + 2.4 * sum(bool(np.isclose(low, top, 1e-3, 0).any()) for top in tops)
        for low, tops in zip(lines, above, strict=True)
    ]


def with_gaps(x: np.ndarray, y: np.ndarray, phases: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Insert a gap into ``x`` and ``y`` at each change of the phase."""
    ends = [index for index, (a, b) in enumerate(pairwise(phases), start=1) if a != b]
    return np.insert(x, ends, np.nan), np.insert(y, ends, np.nan)


def column(history: Sequence[Mapping[str, Any]], key: str) -> np.ndarray:
    """Return one number for each epoch, NaN if an epoch has no ``key``: (n_epochs,)."""
    return np.array([row.get(key, np.nan) for row in history], float)


def check_history(history: Sequence[Mapping[str, Any]], *keys: str) -> None:
    """Raise an error if an epoch of ``history`` lacks one of ``keys``."""
    if not len(history):
        raise ValueError(
            "history must hold at least one epoch; got an empty history. Fit with max_epochs or "
            "freeze_epochs above 0."
        )
    for index, row in enumerate(history):
        missing = [key for key in keys if key not in row]
        if missing:
            raise ValueError(
                f"history must hold dicts with {', '.join(map(repr, keys))}; history[{index}] has "
                f"no {missing[0]!r}. Pass history_ of a fitted FineTuneClassifier."
            )


def fitted_history(estimator: Any) -> Any:
    """Return ``history_`` of a fitted estimator, or raise an error that names the reason."""
    if not hasattr(type(estimator), "fit"):
        raise TypeError(
            f"estimator must be a fitted FineTuneClassifier; got {type(estimator).__name__}."
        )
    check_is_fitted(estimator)
    if not hasattr(estimator, "history_"):
        raise TypeError(
            "estimator must be a FineTuneClassifier, which has a history_; got "
            f"{type(estimator).__name__}. If it is a pipeline, pass the step with the model, such "
            "as pipeline[-1]."
        )
    return estimator.history_
