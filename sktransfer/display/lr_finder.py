"""Plot a learning-rate range test."""

from __future__ import annotations

from typing import Any

import numpy as np

from ._axes import BLUE, RED, add_legend, check_numbers, get_axes, style_axes


class LRFinderDisplay:
    """Plot the loss over the learning rate, and the suggested learning rate.

    The axes end a little above the loss of the first step, so a loss that diverges is cut off.

    Parameters
    ----------
    rates : array-like of shape (n_steps,)
        Learning rate of each step, in ascending order.
    losses : array-like of shape (n_steps,)
        Loss of each step.
    smoothed : array-like of shape (n_steps,) or None, default=None
        Smoothed losses.  None plots only the losses themselves.
    suggestion : float or None, default=None
        Suggested learning rate, above 0.  None marks no point.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes with the losses.
    figure_ : matplotlib Figure
        Figure of the axes.

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
        """Plot the result of a range test.

        Parameters
        ----------
        curve : LRCurve
            Result of :func:`sktransfer.find_lr`.
        ax : matplotlib Axes or None, default=None
            Axes to draw into.  None makes a new figure.

        Returns
        -------
        LRFinderDisplay
        """
        return cls(curve.rates, curve.losses, curve.smoothed, curve.suggestion).plot(ax)

    def plot(self, ax: Any = None) -> LRFinderDisplay:
        """Plot the losses.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Axes to draw into.  None makes a new figure.

        Returns
        -------
        self
        """
        rates, losses, smoothed = self._checked()
        ax = self.ax_ = get_axes(ax)
        self.figure_ = ax.figure
        style_axes(ax, "learning rate", "loss")
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
        add_legend(ax)
        return self

    @staticmethod
    def _span(losses: np.ndarray, curve: np.ndarray) -> tuple[float, float]:
        """Return the limits of the y axis, below the minimum loss and above the first one."""
        finite = curve[np.isfinite(curve)]
        # A loss that never falls is shown up to its maximum.
        first, fall = float(finite[0]), float(finite[0] - finite.min())
        low = float(np.nanmin(np.concatenate([losses, finite])))
        high = first + 0.6 * fall if fall > 0 else float(np.max(losses[np.isfinite(losses)]))
        high = max(high, low + 0.05 * abs(low) + 1e-12)
        return low - 0.08 * (high - low), high

    def _checked(self) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """Return the rates, losses and smoothed losses as arrays after checking them."""
        rates = np.asarray(self.rates, float)
        if rates.ndim != 1 or len(rates) < 2 or not (rates > 0).all() or (np.diff(rates) < 0).any():
            raise ValueError(
                "rates must be at least two numbers above 0 in ascending order; got "
                f"{np.array2string(rates, threshold=6)}."
            )
        losses = check_numbers("losses", self.losses, len(rates), "rates")
        smoothed = self.smoothed
        if smoothed is not None:
            smoothed = check_numbers("smoothed", smoothed, len(rates), "rates")
        for name, values in (("losses", losses), ("smoothed", smoothed)):
            if values is not None and not np.isfinite(values).any():
                raise ValueError(f"{name} must hold a finite number; got only NaN or infinity.")
        if self.suggestion is not None and not self.suggestion > 0:
            raise ValueError(
                f"suggestion must be a learning rate above 0 or None; got {self.suggestion!r}."
            )
        return rates, losses, smoothed
