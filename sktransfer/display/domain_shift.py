"""Plot a test for a shift between two domains."""

from __future__ import annotations

from typing import Any

import numpy as np

from ._axes import BLUE, ORANGE, add_legend, get_axes, style_axes


class DomainShiftDisplay:
    """Plot how much the items of two domains look like those of the target.

    Parameters
    ----------
    source_scores, target_scores : array-like of shape (n_items,)
        Scores of the items of each domain; the larger, the more like the target.  NaN is left out.
    auc : float
        Area under the ROC curve of the scores.
    p_value : float
        The p-value of the test.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes with the histograms.
    figure_ : matplotlib Figure
        Figure of the axes.

    See Also
    --------
    sktransfer.domain_shift : Computes the scores.

    Examples
    --------
    >>> from sktransfer.display import DomainShiftDisplay
    >>> display = DomainShiftDisplay([0.1, 0.3], [0.6, 0.9], auc=1.0, p_value=0.02).plot()
    >>> display.ax_.get_title()
    'AUC 1.00, p = 0.02'
    """

    def __init__(self, source_scores: Any, target_scores: Any, auc: float, p_value: float):
        self.source_scores = source_scores
        self.target_scores = target_scores
        self.auc = auc
        self.p_value = p_value

    @classmethod
    def from_shift(cls, shift: Any, *, ax: Any = None) -> DomainShiftDisplay:
        """Plot the result of :func:`sktransfer.domain_shift`.

        Parameters
        ----------
        shift : DomainShift
        ax : matplotlib Axes or None, default=None
            Axes to draw into.  None makes a new figure.

        Returns
        -------
        DomainShiftDisplay
        """
        return cls(shift.source_scores, shift.target_scores, shift.auc, shift.p_value).plot(ax)

    def plot(self, ax: Any = None) -> DomainShiftDisplay:
        """Plot a histogram of the scores of each domain.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Axes to draw into.  None makes a new figure.

        Returns
        -------
        self
        """
        parts = [np.asarray(part, float) for part in (self.source_scores, self.target_scores)]
        parts = [part[np.isfinite(part)] for part in parts]
        if not all(map(len, parts)):
            raise ValueError("source_scores and target_scores must hold a finite number; got none.")
        ax = self.ax_ = get_axes(ax)
        self.figure_ = ax.figure
        style_axes(ax, "score: the larger, the more like the target", "items")
        bins = np.histogram_bin_edges(np.concatenate(parts), bins=30)
        for part, colour, label in zip(parts, (BLUE, ORANGE), ("source", "target"), strict=True):
            ax.hist(part, bins=bins, color=colour, alpha=0.6, label=label)
        ax.set_title(f"AUC {self.auc:.2f}, p = {self.p_value:.2g}", fontsize=10)
        add_legend(ax)
        return self
