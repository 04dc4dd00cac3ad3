"""Plot a ranking of backbones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ._axes import BLUE, MUTED, add_legend, as_text, check_numbers, get_axes, style_axes


class RankingDisplay:
    """Plot the score of each backbone over the seconds that it takes for an item.

    Parameters
    ----------
    names : list of str
        Names of the candidates.
    scores, seconds : array-like of shape (n_candidates,)
        Score of each candidate, and seconds for one item, above 0.  A candidate with NaN is not
        plotted.
    is_random : array-like of bool of shape (n_candidates,) or None, default=None
        Candidates with random weights, which are grey.  None stands for no candidate.
    name : str, default="score"
        Name of the score.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes with the scores.
    figure_ : matplotlib Figure
        Figure of the axes.

    See Also
    --------
    sktransfer.rank_backbones : Computes the scores.

    Examples
    --------
    >>> from sktransfer.display import RankingDisplay
    >>> names, seconds = ["builtin/mini", "torchvision/resnet18"], [0.001, 0.02]
    >>> display = RankingDisplay(names, [0.4, 0.9], seconds).plot()
    >>> [text.get_text() for text in display.ax_.texts]
    ['builtin/mini', 'torchvision/resnet18']
    """

    def __init__(
        self,
        names: Sequence[str],
        scores: Any,
        seconds: Any,
        is_random: Any = None,
        name: str = "score",
    ):
        self.names = names
        self.scores = scores
        self.seconds = seconds
        self.is_random = is_random
        self.name = name

    @classmethod
    def from_ranking(cls, ranking: Any, *, name: str = "score", ax: Any = None) -> RankingDisplay:
        """Plot the result of :func:`sktransfer.rank_backbones`.

        Parameters
        ----------
        ranking : Ranking
        name : str, default="score"
            Name of the score.
        ax : matplotlib Axes or None, default=None
            Axes to draw into.  None makes a new figure.

        Returns
        -------
        RankingDisplay
        """
        names = [_describe(row) for row in ranking]
        scores, seconds = ([row[k] for row in ranking] for k in ("score", "seconds_per_item"))
        is_random = [row["weights"] == "random" for row in ranking]
        return cls(names, scores, seconds, is_random, name).plot(ax)

    def plot(self, ax: Any = None) -> RankingDisplay:
        """Plot the scores.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Axes to draw into.  None makes a new figure.

        Returns
        -------
        self
        """
        n = len(self.names)
        scores = check_numbers("scores", self.scores, n, "names")
        seconds = check_numbers("seconds", self.seconds, n, "names")
        given = self.is_random
        random = np.zeros(n, bool) if given is None else np.asarray(given, bool)
        shown = np.isfinite(scores) & (seconds > 0)
        if not shown.any():
            raise ValueError("scores must hold a number with seconds above 0; got none.")
        ax = self.ax_ = get_axes(ax)
        self.figure_ = ax.figure
        style_axes(ax, "seconds for an item", as_text(self.name))
        ax.set_xscale("log")
        for part, colour, label in (
            (~random, BLUE, "pretrained"),
            (random, MUTED, "random weights"),
        ):
            rows = shown & part
            if rows.any():
                ax.plot(seconds[rows], scores[rows], "o", ms=8, color=colour, label=label)
        for at in np.flatnonzero(shown).tolist():
            where = {"xytext": (6, 4), "textcoords": "offset points", "fontsize": 8}
            ax.annotate(as_text(self.names[at]), (seconds[at], scores[at]), **where)
        ax.margins(x=0.25)
        if random.any():
            add_legend(ax)
        return self


def _describe(row: Any) -> str:
    """Return the name of a candidate in a plot: its address, layer and image size."""
    parts = [str(row["backbone"]), *(str(row[k]) for k in ("layer", "image_size") if row[k])]
    return " ".join(part for part in parts if part != "last")
