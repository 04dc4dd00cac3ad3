"""Pictures of numbers: the epochs of a fit, the range test, and what each depth of tuning brings.

The displays are scikit-learn's kind: a constructor that takes what is drawn, class methods that
find it and draw at once, and ``plot``, which may be called again for other axes.  matplotlib is
loaded when something is drawn, not before.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from ._check import check_choice, require

# Okabe and Ito's colours, which colour-blind readers tell apart, on greys.
BLUE, ORANGE, GREEN, RED = "#0072B2", "#E69F00", "#009E73", "#D55E00"
INK, MUTED, GRID, BAND = "#24292f", "#6e7781", "#e7e9ec", "#f3f4f6"

# Inches.
SIZE = (6.0, 4.0)

HEAD = "head"

# The rates of a schedule end near zero: below this share of the lowest peak, lines leave the axes.
LEAST_RATE = 0.02


class TrainingCurvesDisplay:
    """Loss, and score where there is validation data, epoch by epoch.

    The phases of the fit are named above; that of the head alone is shaded.  With validation
    scores, they get a panel of their own below the losses.

    Parameters
    ----------
    history : History or list of dict
        One dict an epoch, as ``history_`` of a fitted FineTuneClassifier holds them.
    best_epoch : int or None, default=None
        The epoch whose weights were kept, from 1, 0 for those before the first; None marks none.

    Attributes
    ----------
    ax_ : matplotlib Axes
        With the losses.
    score_ax_ : matplotlib Axes or None
        With the validation scores; None where there are none.
    figure_ : matplotlib Figure
        That holds them.

    See Also
    --------
    LearningRatesDisplay : The rates of each stage in the same epochs.

    Notes
    -----
    The training loss is of augmented photos and smoothed labels, the validation loss of neither:
    where a fit goes well, it may well lie below the other.

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
        """The curves of a fitted estimator, drawn.

        Parameters
        ----------
        estimator : FineTuneClassifier
            Fitted.
        ax : matplotlib Axes or None, default=None
            Where to draw; None makes a figure.

        Returns
        -------
        TrainingCurvesDisplay
        """
        history = fitted_history(estimator)
        return cls(history, getattr(estimator, "best_epoch_", None)).plot(ax)

    def plot(self, ax: Any = None) -> TrainingCurvesDisplay:
        """Draw the curves.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Where to draw; None makes a figure.  With scores, its lower part becomes their panel.

        Returns
        -------
        self
        """
        check_history(self.history, "epoch", "train_loss")
        ax = self.ax_ = new_axes(ax)
        self.figure_, self.score_ax_ = ax.figure, None
        epochs = column(self.history, "epoch")
        losses = column(self.history, "valid_loss")
        scores = column(self.history, "valid_score")
        dress(ax, "epoch", "loss")
        ax.plot(epochs, column(self.history, "train_loss"), "o-", **line(BLUE, "training"))
        if np.isfinite(losses).any():
            ax.plot(epochs, losses, "s-", **line(ORANGE, "validation"))
        if np.isfinite(scores).any():
            below = self.score_ax_ = panel_below(ax)
            dress(below, "epoch", "score")
            below.plot(epochs, scores, "s-", **line(ORANGE, "validation"))
            ax.set_xlabel("")
            ax.tick_params(labelbottom=False)
        self._mark_best(epochs, losses, scores)
        mark_phases(self.history, *filter(None, (ax, self.score_ax_)))
        legend(ax)
        return self

    def _mark_best(self, epochs: np.ndarray, losses: np.ndarray, scores: np.ndarray) -> None:
        best = self.best_epoch
        if best is None:
            return
        label = f"best epoch: {best}" if best else "best: before the first epoch"
        for ax, values in ((self.ax_, losses), (self.score_ax_, scores)):
            if ax is None:
                continue
            ax.axvline(best, color=INK, lw=1.2, ls=(0, (4, 3)), zorder=1.5, label=label)
            here = epochs == best
            ax.margins(y=0.12)  # room for the ring
            ax.plot(epochs[here], values[here], "o", ms=10, mfc="none", mec=INK, mew=1.4)


class LearningRatesDisplay:
    """The learning rate of each stage and of the head at the end of each epoch, on a log scale.

    A line runs where its stage trains: gradual unfreezing shows as lines that begin one after the
    other.  Rates that end near zero, as those of a schedule do, leave the axes below.

    Parameters
    ----------
    history : History or list of dict
        One dict an epoch, as ``history_`` of a fitted FineTuneClassifier holds them.
    stages : list of str or None, default=None
        The names of all stages, in order; None takes those that have a rate.

    Attributes
    ----------
    ax_ : matplotlib Axes
        With a line for each stage that ever trained, and for the head.
    figure_ : matplotlib Figure
        That holds them.

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
        """The rates of a fitted estimator, drawn.

        Parameters
        ----------
        estimator : FineTuneClassifier
            Fitted.
        ax : matplotlib Axes or None, default=None
            Where to draw; None makes a figure.

        Returns
        -------
        LearningRatesDisplay
        """
        history = fitted_history(estimator)
        return cls(history, estimator.backbone_.names).plot(ax)

    def plot(self, ax: Any = None) -> LearningRatesDisplay:
        """Draw the rates.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Where to draw; None makes a figure.

        Returns
        -------
        self
        """
        check_history(self.history, "epoch", "phase", "cut", "lr")
        rates = self._rates()
        ax = self.ax_ = new_axes(ax)
        self.figure_ = ax.figure
        dress(ax, "epoch", "learning rate")
        ax.set_yscale("log")
        epochs = column(self.history, "epoch")
        phases = [row["phase"] for row in self.history]
        widths, colors = _widths(list(rates.values())), self._colors(len(rates))
        for (name, values), color, width in zip(rates.items(), colors, widths, strict=True):
            style = line(color, name) | {"lw": width, "ms": 3 + width}
            ax.plot(*broken(epochs, values, phases), "o-", **style)
        least = min(np.nanmin(values) for values in rates.values())
        peaks = (max(row["lr"].get(name, 0.0) for row in self.history) for name in rates)
        ax.set_ylim(bottom=max(least / 1.5, LEAST_RATE * min(peaks)))
        mark_phases(self.history, ax)
        legend(ax)
        return self

    def _rates(self) -> dict[str, np.ndarray]:
        """The head's rates, then those of the stages, the last first; NaN where one is frozen."""
        named = [name for name in self.history[-1]["lr"] if name != HEAD]
        stages = list(self.stages) if self.stages is not None else named
        place = {name: index for index, name in enumerate(stages)} | {HEAD: len(stages)}
        found = {}
        for name in [HEAD, *reversed(stages)]:
            trains = [row["cut"] <= place[name] for row in self.history]
            values = [row["lr"].get(name, np.nan) for row in self.history]
            kept = np.where(trains, values, np.nan)
            kept[~(kept > 0)] = np.nan  # zero is nowhere on a log scale
            if np.isfinite(kept).any():
                found[name] = kept
        if not found:
            raise ValueError(
                "history must hold a rate above 0 in its 'lr'; got none. Pass history_ of a model "
                "that was fitted."
            )
        return found

    @staticmethod
    def _colors(n: int) -> list[Any]:
        """The head's colour, then light to dark along the stages, the last first."""
        scale = pyplot().get_cmap("viridis")
        return [RED, *(scale(share) for share in np.linspace(0.75, 0, max(n - 1, 0)))][:n]


class LRFinderDisplay:
    """The range test: the loss while the learning rate grows, and the rate that it suggests.

    The axes end a little above the loss at the start: what diverges leaves them.

    Parameters
    ----------
    rates : array-like of shape (n_steps,)
        The learning rate of each step, ascending.
    losses : array-like of shape (n_steps,)
        The loss of each step.
    smoothed : array-like of shape (n_steps,) or None, default=None
        The losses without their noise; None draws the losses alone.
    suggestion : float or None, default=None
        The rate to take; None marks none.

    Attributes
    ----------
    ax_ : matplotlib Axes
        With the losses.
    figure_ : matplotlib Figure
        That holds them.

    See Also
    --------
    TrainingCurvesDisplay : The losses of a whole fit.

    Examples
    --------
    >>> from sktransfer.display import LRFinderDisplay
    >>> rates, losses = [1e-5, 1e-4, 1e-3, 1e-2], [0.7, 0.6, 0.3, 2.0]
    >>> display = LRFinderDisplay(rates, losses, suggestion=1e-3).plot()
    >>> display.ax_.get_legend_handles_labels()[1]
    ['loss', 'suggestion: 0.001']
    """

    def __init__(
        self, rates: Any, losses: Any, smoothed: Any = None, suggestion: float | None = None
    ):
        self.rates = rates
        self.losses = losses
        self.smoothed = smoothed
        self.suggestion = suggestion

    @classmethod
    def from_curve(cls, curve: Any, *, ax: Any = None) -> LRFinderDisplay:
        """The result of a range test, drawn.

        Parameters
        ----------
        curve : LRCurve
            As :func:`sktransfer.find_lr` returns it.
        ax : matplotlib Axes or None, default=None
            Where to draw; None makes a figure.

        Returns
        -------
        LRFinderDisplay
        """
        return cls(curve.rates, curve.losses, curve.smoothed, curve.suggestion).plot(ax)

    def plot(self, ax: Any = None) -> LRFinderDisplay:
        """Draw the losses.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Where to draw; None makes a figure.

        Returns
        -------
        self
        """
        rates, losses, smoothed = self._checked()
        ax = self.ax_ = new_axes(ax)
        self.figure_ = ax.figure
        dress(ax, "learning rate", "loss")
        ax.set_xscale("log")
        curve = losses if smoothed is None else smoothed
        if smoothed is not None:
            ax.plot(rates, losses, lw=1, color=BLUE, alpha=0.3, label="loss")
        label = "loss" if smoothed is None else "smoothed"
        ax.plot(rates, curve, lw=2, color=BLUE, label=label)
        low, high = self._span(losses, curve)
        ax.set_ylim(low, high)
        if self.suggestion is not None:
            rate = float(self.suggestion)
            at = np.interp(np.log(rate), np.log(rates), curve)
            ax.axvline(rate, color=RED, lw=1.2, ls=(0, (4, 3)), zorder=1.5)
            style = {"ms": 9, "color": RED, "mec": "white", "label": f"suggestion: {rate:.2g}"}
            ax.plot([rate], [at], "o", **style)
        legend(ax)
        return self

    @staticmethod
    def _span(losses: np.ndarray, curve: np.ndarray) -> tuple[float, float]:
        """From a little below the least loss to a little above the first."""
        finite = curve[np.isfinite(curve)]
        first, fall = float(finite[0]), float(finite[0] - finite.min())
        low = float(np.nanmin(np.concatenate([losses, finite])))
        high = first + 0.6 * fall if fall > 0 else float(np.max(losses[np.isfinite(losses)]))
        high = max(high, low + 0.05 * abs(low) + 1e-12)
        return low - 0.08 * (high - low), high

    def _checked(self) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        rates = np.asarray(self.rates, float)
        if rates.ndim != 1 or len(rates) < 2 or not (rates > 0).all() or (np.diff(rates) < 0).any():
            raise ValueError(
                "rates must be two or more numbers above 0, ascending; got "
                f"{np.array2string(rates, threshold=6)}."
            )
        losses = numbers("losses", self.losses, len(rates), "rates")
        smoothed = self.smoothed
        if smoothed is not None:
            smoothed = numbers("smoothed", smoothed, len(rates), "rates")
        for name, values in (("losses", losses), ("smoothed", smoothed)):
            if values is not None and not np.isfinite(values).any():
                raise ValueError(f"{name} must hold a finite number; got none.")
        if self.suggestion is not None and not self.suggestion > 0:
            raise ValueError(
                f"suggestion must be a rate above 0, or None; got {self.suggestion!r}."
            )
        return rates, losses, smoothed


class UnfreezeDepthDisplay:
    """What each depth of tuning brings, and what it costs: test score and time to fit.

    The score is a line with its standard deviation over the folds, on the left; the time of a fit
    stands behind it as bars, on the right.  The best depth is marked.

    Parameters
    ----------
    depths : list of int or str
        Values of ``unfreeze``, in the order in which they are drawn.
    scores, stds, times : array-like of shape (n_depths,)
        Mean test score, its standard deviation, and the mean time of a fit in seconds.
    name : str, default="score"
        What the score is called.
    n_candidates : int, default=1
        Most candidates of one depth, of which the best is shown.

    Attributes
    ----------
    ax_ : matplotlib Axes
        With the scores.
    time_ax_ : matplotlib Axes
        With the times.
    figure_ : matplotlib Figure
        That holds both.

    Notes
    -----
    Where other parameters vary too, a depth stands for its best candidate: the score, the deviation
    and the time are that one's.

    Examples
    --------
    >>> from sktransfer.display import UnfreezeDepthDisplay
    >>> display = UnfreezeDepthDisplay([0, 1, "all"], [0.8, 0.9, 0.85], [0.1] * 3, [1, 2, 5]).plot()
    >>> [label.get_text() for label in display.ax_.get_xticklabels()]
    ['0', '1', 'all']
    """

    def __init__(
        self,
        depths: Sequence[Any],
        scores: Any,
        stds: Any,
        times: Any,
        name: str = "score",
        n_candidates: int = 1,
    ):
        self.depths = depths
        self.scores = scores
        self.stds = stds
        self.times = times
        self.name = name
        self.n_candidates = n_candidates

    @classmethod
    def from_search(
        cls, search: Any, *, metric: str | None = None, ax: Any = None
    ) -> UnfreezeDepthDisplay:
        """The depths that a fitted search tried, drawn.

        Parameters
        ----------
        search : GridSearchCV or another search
            Fitted, with a parameter ``unfreeze`` or ``<step>__unfreeze``.
        metric : str or None, default=None
            Which of several scores; None is the one that ``refit`` names.
        ax : matplotlib Axes or None, default=None
            Where to draw; None makes a figure.

        Returns
        -------
        UnfreezeDepthDisplay
        """
        check_is_fitted(search, "cv_results_")
        refit = getattr(search, "refit", None)
        if metric is None and isinstance(refit, str) and getattr(search, "multimetric_", False):
            metric = refit
        return cls.from_cv_results(
            search.cv_results_, metric=metric or "score", stages=_stages_of(search), ax=ax
        )

    @classmethod
    def from_cv_results(
        cls,
        cv_results: Mapping[str, Any],
        *,
        metric: str = "score",
        stages: Sequence[str] | None = None,
        ax: Any = None,
    ) -> UnfreezeDepthDisplay:
        """The depths in the results of a search, drawn.

        Of successive halving, the last iteration in which every depth took part is drawn: there
        all had the same resources.

        Parameters
        ----------
        cv_results : dict or DataFrame
            As ``cv_results_`` of a search: ``"params"``, ``"mean_fit_time"``, and mean and
            deviation of the test score.
        metric : str, default="score"
            The score is ``"mean_test_<metric>"``.
        stages : list of str or None, default=None
            The names of all stages, in order, by which depths that are names are put in order.
        ax : matplotlib Axes or None, default=None
            Where to draw; None makes a figure.

        Returns
        -------
        UnfreezeDepthDisplay
        """
        metrics = [key[10:] for key in cv_results if str(key).startswith("mean_test_")]
        check_choice("metric", metric, metrics)
        params = list(cv_results["params"])
        key = _depth_key(params)
        means = np.asarray(cv_results[f"mean_test_{metric}"], float)
        rows: dict[Any, list[int]] = {}
        for index, candidate in enumerate(params):
            if key in candidate:
                rows.setdefault(candidate[key], []).append(index)
        if "iter" in cv_results:
            rows = _of_one_iteration(rows, np.asarray(cv_results["iter"]))
        depths = _in_order(rows, stages)
        ranks = np.where(np.isnan(means), -np.inf, means)  # a fit that failed is never the best
        best = [max(rows[depth], key=ranks.__getitem__) for depth in depths]
        stds, times = (
            np.asarray(cv_results[name], float)[best]
            for name in (f"std_test_{metric}", "mean_fit_time")
        )
        most = max(map(len, rows.values()))
        return cls(depths, means[best], stds, times, metric, most).plot(ax)

    def plot(self, ax: Any = None) -> UnfreezeDepthDisplay:
        """Draw scores and times.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Where to draw; None makes a figure.

        Returns
        -------
        self
        """
        scores, stds, times = self._checked()
        ax = self.ax_ = new_axes(ax)
        self.figure_ = ax.figure
        of_best = f", best of {self.n_candidates}" if self.n_candidates > 1 else ""
        name = self.name.replace("_", " ")
        dress(ax, "stages that train", f"test {name}{of_best}")
        ax.grid(visible=False, axis="x")
        places = np.arange(len(scores))
        self._draw_times(places, times)
        bars = {"capsize": 3, "elinewidth": 1.2, "zorder": 3}
        ax.errorbar(places, scores, stds, fmt="o-", **line(BLUE, f"test {name}"), **bars)
        ax.yaxis.label.set_color(BLUE)
        if np.isfinite(scores).any():
            best = int(np.nanargmax(scores))
            ring = {"ms": 11, "mfc": "none", "mec": RED, "mew": 1.8, "zorder": 4}
            ax.plot([best], [scores[best]], "o", **ring, label="best")
            beside = {"xytext": (8, 5), "textcoords": "offset points", "zorder": 4}
            ax.annotate("best", (best, scores[best]), **beside, color=RED, fontsize="small")
        ax.set_xticks(places, [str(depth) for depth in self.depths])
        ax.set_xlim(-0.6, len(places) - 0.4)
        return self

    def _draw_times(self, places: np.ndarray, times: np.ndarray) -> None:
        """Bars in the lower half, behind the line."""
        right = self.time_ax_ = self.ax_.twinx()
        right.bar(places, times, width=0.55, color="#d9dde2", zorder=0)
        right.set_ylabel("seconds to fit", color=MUTED)
        right.tick_params(colors=MUTED, length=0)
        right.spines[:].set_visible(False)
        right.set_ylim(0, 2 * max(np.nan_to_num(times).max(), 1e-12))
        self.ax_.set_zorder(right.get_zorder() + 1)
        self.ax_.patch.set_visible(False)

    def _checked(self) -> list[np.ndarray]:
        if not len(self.depths):
            raise ValueError("depths must hold at least one value of unfreeze; got none.")
        columns = {"scores": self.scores, "stds": self.stds, "times": self.times}
        n = len(self.depths)
        return [numbers(name, values, n, "depths") for name, values in columns.items()]


# What the displays share


def pyplot() -> Any:
    """matplotlib's pyplot; where it is missing, an error that says which extra brings it."""
    require("matplotlib", "plot")
    from matplotlib import pyplot as plt

    return plt


def new_axes(ax: Any, size: tuple[float, float] = SIZE) -> Any:
    """``ax``, or those of a new figure of a size in inches."""
    plt = pyplot()
    if ax is None:
        _, ax = plt.subplots(figsize=size, layout="constrained")
    return ax


def dress(ax: Any, x: str, y: str) -> None:
    """A light grid, two spines, and labels."""
    ax.set_axisbelow(True)
    ax.grid(color=GRID, lw=0.8)
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color("#c9ced4")
    ax.tick_params(which="both", color="#c9ced4", labelcolor=INK)
    ax.set_xlabel(x, color=INK)
    ax.set_ylabel(y, color=INK)


def line(color: Any, label: str) -> dict[str, Any]:
    """How a line of few points looks."""
    return {"color": color, "label": label, "lw": 1.8, "ms": 5, "mec": "white", "mew": 0.8}


def legend(ax: Any) -> None:
    """A quiet legend, where it hides least."""
    ax.legend(loc="best", frameon=True, framealpha=0.9, edgecolor="none", fontsize="small")


def panel_below(ax: Any, share: float = 0.4) -> Any:
    """New axes in the lower ``share`` of ``ax``, which shrinks; both have one x axis."""
    spec = ax.get_subplotspec()
    if spec is not None:
        upper, lower = spec.subgridspec(2, 1, height_ratios=(1 - share, share), hspace=0.12)
        ax.set_subplotspec(upper)
        return ax.figure.add_subplot(lower, sharex=ax)
    box = ax.get_position()  # axes that stand in no grid
    height = share * box.height
    ax.set_position([box.x0, box.y0 + height, box.width, box.height - height])
    return ax.figure.add_axes([box.x0, box.y0, box.width, 0.9 * height], sharex=ax)


def mark_phases(history: Sequence[Mapping[str, Any]], *axes: Any) -> None:
    """Name the phases above the first of ``axes``, and shade that of the head in all."""
    from matplotlib.ticker import MaxNLocator

    spans: dict[str, list[float]] = {}
    for row in history:
        if "phase" in row:
            spans.setdefault(row["phase"], [row["epoch"]])[1:] = [row["epoch"]]
    for ax in axes:
        ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        least = min(history[0]["epoch"], ax.dataLim.x0)  # a best epoch 0 stands before the first
        ax.set_xlim(least - 0.5, history[-1]["epoch"] + 0.5)
        if len(spans) > 1 and HEAD in spans:
            first, last = spans[HEAD]
            ax.axvspan(first - 0.5, last + 0.5, color=BAND, lw=0, zorder=0)
    if spans:
        names = axes[0].secondary_xaxis("top")
        names.set_xticks([(first + last) / 2 for first, last in spans.values()], list(spans))
        names.tick_params(length=0, labelcolor=MUTED)
        names.spines[:].set_visible(False)


def _widths(lines: Sequence[np.ndarray]) -> list[float]:
    """The width of each of ``lines``, so that those that lie on it, drawn later, do not hide it."""
    above = (lines[index + 1 :] for index in range(len(lines)))
    return [
        1.8 + 2.4 * sum(bool(np.isclose(low, top, 1e-3, 0).any()) for top in tops)
        for low, tops in zip(lines, above, strict=True)
    ]


def broken(x: np.ndarray, y: np.ndarray, phases: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """``x`` and ``y`` with a gap wherever the phase changes."""
    ends = [index for index, (a, b) in enumerate(pairwise(phases), start=1) if a != b]
    return np.insert(x, ends, np.nan), np.insert(y, ends, np.nan)


def column(history: Sequence[Mapping[str, Any]], key: str) -> np.ndarray:
    """One number an epoch, NaN where there is none: (n_epochs,)."""
    return np.array([row.get(key, np.nan) for row in history], float)


def numbers(name: str, values: Any, n: int, of: str) -> np.ndarray:
    """``values`` as floats, one for each of ``n`` things: (n,)."""
    array = np.asarray(values, float)
    if array.shape != (n,):
        raise ValueError(
            f"{name} must have one number for each of {n} {of}; got shape {array.shape}."
        )
    return array


def check_history(history: Sequence[Mapping[str, Any]], *keys: str) -> None:
    """Raise unless each epoch of ``history`` has ``keys``."""
    if not len(history):
        raise ValueError(
            "history must hold at least one epoch; got none: nothing was trained. Fit with "
            "max_epochs or freeze_epochs above 0."
        )
    for index, row in enumerate(history):
        missing = [key for key in keys if key not in row]
        if missing:
            raise ValueError(
                f"history must hold dicts with {', '.join(map(repr, keys))}; history[{index}] has "
                f"no {missing[0]!r}. Pass history_ of a fitted FineTuneClassifier."
            )


def fitted_history(estimator: Any) -> Any:
    """The epochs of a fitted estimator."""
    if not hasattr(type(estimator), "fit"):
        raise TypeError(
            f"estimator must be a fitted FineTuneClassifier; got {type(estimator).__name__}."
        )
    check_is_fitted(estimator)
    if not hasattr(estimator, "history_"):
        raise TypeError(
            "estimator must be a FineTuneClassifier, which keeps its history_; got "
            f"{type(estimator).__name__}. Of a pipeline, pass that step, as in pipeline[-1]."
        )
    return estimator.history_


# Depths


def _depth_key(params: Sequence[Mapping[str, Any]]) -> str:
    """The name of the parameter ``unfreeze`` among those that were searched."""
    if not all(isinstance(candidate, Mapping) for candidate in params):
        raise TypeError(
            f"cv_results must hold a dict for each candidate in its params; got {params[0]!r}. A "
            "table that was read from text has lost them: keep cv_results_ with joblib.dump."
        )
    names = dict.fromkeys(name for candidate in params for name in candidate)
    found = [name for name in names if name.rpartition("__")[2] == "unfreeze"]
    if len(found) == 1:
        return found[0]
    searched = ", ".join(map(repr, found or names)) or "none"
    raise ValueError(
        "cv_results must hold one parameter named unfreeze, or <step>__unfreeze; got "
        f"{searched}. Search over it, as in GridSearchCV(model, {{'unfreeze': [0, 1, 'all']}})."
    )


def _of_one_iteration(rows: dict[Any, list[int]], iterations: np.ndarray) -> dict[Any, list[int]]:
    """The candidates of each depth in the last iteration that all depths took part in."""
    for last in sorted(set(iterations.tolist()), reverse=True):
        kept = {
            depth: [index for index in indices if iterations[index] == last]
            for depth, indices in rows.items()
        }
        if all(kept.values()):
            return kept
    return rows


def _in_order(depths: Iterable[Any], stages: Sequence[str] | None) -> list[Any]:
    """Numbers ascending, then names from the last stage to the first, then "all"."""
    names = list(stages or ())

    def rank(depth: Any) -> tuple[int, int]:
        if isinstance(depth, Integral):
            return 0, int(depth)
        if depth == "all":
            return 3, 0
        return (1, -names.index(depth)) if depth in names else (2, 0)

    return sorted(depths, key=rank)


def _stages_of(search: Any) -> list[str] | None:
    """The names of the stages of what a search refitted; None where it holds none."""
    best = getattr(search, "best_estimator_", None)
    if best is None:
        return None
    parts = [best, *best.get_params().values()]
    return next((part.backbone_.names for part in parts if hasattr(part, "backbone_")), None)
