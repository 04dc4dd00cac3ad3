"""Plot the results of a search over the number of unfrozen stages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from .._support.validation import check_choice
from ._axes import BLUE, MUTED, RED, as_text, check_numbers, get_axes, line_style, style_axes


class UnfreezeDepthDisplay:
    """Plot the test score and the time to fit for each number of unfrozen stages.

    The scores are a line with the standard deviation over the folds, with its axis on the left.
    The times are bars behind it, with their axis on the right.  The best depth is marked.

    Parameters
    ----------
    depths : list of int or str
        Values of ``unfreeze``, in the order in which they are plotted.
    scores, stds, times : array-like of shape (n_depths,)
        Mean test score, its standard deviation, and mean time of a fit in seconds.
    name : str, default="score"
        Name of the score.
    n_candidates : int, default=1
        Maximum number of candidates with the same depth, of which the best one is plotted.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes with the scores.
    time_ax_ : matplotlib Axes
        Axes with the times.
    figure_ : matplotlib Figure
        Figure of both axes.

    Notes
    -----
    If the search varies other parameters too, the score, the standard deviation and the time of a
    depth are those of its best candidate.

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
        """Plot the depths of a fitted search.

        Parameters
        ----------
        search : GridSearchCV or another search
            Fitted search over a parameter ``unfreeze`` or ``<step>__unfreeze``.
        metric : str or None, default=None
            Name of the score to plot, if the search has several.  None uses the one that
            ``refit`` names.
        ax : matplotlib Axes or None, default=None
            Axes to draw into.  None makes a new figure.

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
        """Plot the depths in the results of a search.

        For a search by successive halving, the last iteration with all depths is plotted, because
        its candidates had the same resources.

        Parameters
        ----------
        cv_results : dict or DataFrame
            Results such as ``cv_results_`` of a search.  The entries ``"params"``,
            ``"mean_fit_time"``, ``"mean_test_<metric>"`` and ``"std_test_<metric>"`` are used.
        metric : str, default="score"
            Name of the score to plot.
        stages : list of str or None, default=None
            Names of all stages, in order.  They define the order of depths that are names.
        ax : matplotlib Axes or None, default=None
            Axes to draw into.  None makes a new figure.

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
        ranks = np.where(np.isnan(means), -np.inf, means)  # failed fits come last
        best = [max(rows[depth], key=ranks.__getitem__) for depth in depths]
        stds, times = (
            np.asarray(cv_results[name], float)[best]
            for name in (f"std_test_{metric}", "mean_fit_time")
        )
        most = max(map(len, rows.values()))
        return cls(depths, means[best], stds, times, metric, most).plot(ax)

    def plot(self, ax: Any = None) -> UnfreezeDepthDisplay:
        """Plot the scores and times.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Axes to draw into.  None makes a new figure.

        Returns
        -------
        self
        """
        scores, stds, times = self._checked()
        ax = self.ax_ = get_axes(ax)
        self.figure_ = ax.figure
        of_best = f", best of {self.n_candidates}" if self.n_candidates > 1 else ""
        name = self.name.replace("_", " ")
        style_axes(ax, "stages that train", as_text(f"test {name}{of_best}"))
        ax.grid(visible=False, axis="x")
        places = np.arange(len(scores))
        self._draw_times(places, times)
        bars = {"capsize": 3, "elinewidth": 1.2, "zorder": 3}
        ax.errorbar(
            places,
            scores,
            stds,
            fmt="o-",
            **line_style(BLUE, f"test {name}"),
            **bars,
        )
        ax.yaxis.label.set_color(BLUE)
        if np.isfinite(scores).any():
            best = int(np.nanargmax(scores))
            ring = {"ms": 11, "mfc": "none", "mec": RED, "mew": 1.8, "zorder": 4}
            ax.plot([best], [scores[best]], "o", **ring, label="best")
            offset = {"xytext": (8, 5), "textcoords": "offset points", "zorder": 4}
            ax.annotate("best", (best, scores[best]), **offset, color=RED, fontsize="small")
        ax.set_xticks(places, [as_text(depth) for depth in self.depths])
        ax.set_xlim(-0.6, len(places) - 0.4)
        return self

    def _draw_times(self, places: np.ndarray, times: np.ndarray) -> None:
        """Draw the times as bars in the lower half of the axes, behind the line."""
        right = self.time_ax_ = self.ax_.twinx()
        right.bar(places, times, width=0.55, color="#d9dde2", zorder=0)
        right.set_ylabel("seconds to fit", color=MUTED)
        right.tick_params(colors=MUTED, length=0)
        right.spines[:].set_visible(False)
        right.set_ylim(0, 2 * max(np.nan_to_num(times).max(), 1e-12))
        # The line is drawn over the bars, whose axes are the newer ones.
        self.ax_.set_zorder(right.get_zorder() + 1)
        self.ax_.patch.set_visible(False)

    def _checked(self) -> list[np.ndarray]:
        """Return the scores, standard deviations and times as arrays after checking them."""
        if not len(self.depths):
            raise ValueError("depths must hold at least one value of unfreeze; got an empty list.")
        columns = {"scores": self.scores, "stds": self.stds, "times": self.times}
        n = len(self.depths)
        return [check_numbers(name, values, n, "depths") for name, values in columns.items()]


def _depth_key(params: Sequence[Mapping[str, Any]]) -> str:
    """Return the full name of the parameter ``unfreeze`` among the searched parameters."""
    if not all(isinstance(candidate, Mapping) for candidate in params):
        raise TypeError(
            f"cv_results must hold a dict for each candidate in 'params'; got {params[0]!r}. A "
            "CSV file turns dicts into text. Save cv_results_ with joblib.dump instead."
        )
    names = dict.fromkeys(name for candidate in params for name in candidate)
    found = [name for name in names if name.rpartition("__")[2] == "unfreeze"]
    if len(found) == 1:
        return found[0]
    searched = ", ".join(map(repr, found or names)) or "no parameter"
    raise ValueError(
        "cv_results must hold one parameter named unfreeze, or <step>__unfreeze; got "
        f"{searched}. Search over it, as in GridSearchCV(model, {{'unfreeze': [0, 1, 'all']}})."
    )


def _of_one_iteration(rows: dict[Any, list[int]], iterations: np.ndarray) -> dict[Any, list[int]]:
    """Return the candidates of each depth in the last iteration that has all depths."""
    for last in sorted(set(iterations.tolist()), reverse=True):
        kept = {
            depth: [index for index in indices if iterations[index] == last]
            for depth, indices in rows.items()
        }
        if all(kept.values()):
            return kept
    return rows


def _in_order(depths: Iterable[Any], stages: Sequence[str] | None) -> list[Any]:
    """Sort depths: numbers ascending, then names from the last stage to the first, then "all"."""
    names = list(stages or ())

    def rank(depth: Any) -> tuple[int, int]:
        if isinstance(depth, Integral):
            return 0, int(depth)
        if depth == "all":
            return 3, 0
        return (1, -names.index(depth)) if depth in names else (2, 0)

    return sorted(depths, key=rank)


def _stages_of(search: Any) -> list[str] | None:
    """Return the names of the stages of the refitted model, or None without one."""
    best = getattr(search, "best_estimator_", None)
    if best is None:
        return None
    parts = [best, *best.get_params().values()]
    return next((part.backbone_.names for part in parts if hasattr(part, "backbone_")), None)
