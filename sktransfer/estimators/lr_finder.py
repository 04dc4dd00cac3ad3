"""The learning-rate range test, for any unfreeze depth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import clone

from .._support.validation import check_int, check_range
from ..display import LRFinderDisplay
from ..training import plan_fit, range_test, smooth_both_ways, suggest
from .classifier import FineTuneClassifier


@dataclass(frozen=True, eq=False)
class LRCurve:
    """What a range test saw.

    Parameters
    ----------
    rates : ndarray of shape (n_steps,)
        Of the head, growing; what lies below it has ``layer_decay`` of them a stage.
    losses : ndarray of shape (n_steps,)
        The training loss of the batch at each rate.
    """

    rates: np.ndarray
    losses: np.ndarray

    @property
    def smoothed(self) -> np.ndarray:
        """The losses without their noise, (n_steps,): a running mean that does not lag."""
        return smooth_both_ways(self.losses)

    @property
    def suggestion(self) -> float:
        """The rate at which the smoothed loss falls fastest; see :func:`sktransfer.find_lr`."""
        return suggest(self.rates, self.losses)

    def plot(self, ax: Any = None) -> LRFinderDisplay:
        """Draw the loss over the rate, and the suggestion.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            None makes a new figure.

        Returns
        -------
        LRFinderDisplay
        """
        return LRFinderDisplay.from_curve(self, ax=ax)


def find_lr(
    estimator: FineTuneClassifier,
    X: Any,
    y: Any,
    *,
    low: float = 1e-6,
    high: float = 1.0,
    n_steps: int = 60,
    **fit_params: Any,
) -> LRCurve:
    """Losses while the learning rate grows from step to step: the range test.

    The test [1]_ trains a clone, whose head starts as in ``fit`` and whose ``skorch_callbacks`` are
    left out; the estimator stays as it is.  The rate is that of the head in the last phase:
    ``fine_tune_lr``, or ``lr`` with ``unfreeze=0``.

    Parameters
    ----------
    estimator : FineTuneClassifier
        What its parameters say of unfreezing, augmentation and batches holds for the test.
    X, y : as for ``fit``
    low : float, default=1e-06
        The first rate.
    high : float, default=1.0
        The last one; the test ends earlier where the smoothed loss grows to more than four times
        its least value and more than its first.
    n_steps : int, default=60
        Batches to train on.
    **fit_params : dict
        What else ``fit`` takes, such as ``sample_weight``.

    Returns
    -------
    LRCurve
        With ``plot()`` and ``suggestion``: the rate at which the smoothed loss falls fastest; or,
        where it never falls, as from a head that is the exact solution, a tenth of the rate from
        which it grows.

    Raises
    ------
    TypeError, ValueError
        If there is nothing to train, a parameter is not what it must be, or no loss is finite.

    References
    ----------
    .. [1] L. N. Smith, "Cyclical Learning Rates for Training Neural Networks", WACV 2017,
       https://arxiv.org/abs/1506.01186

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sktransfer import FineTuneClassifier, find_lr
    >>> X, y = load_digits(n_class=3, return_X_y=True)
    >>> model = FineTuneClassifier(image_size=32, head_init="prior", random_state=0)
    >>> curve = find_lr(model, X[:96], y[:96], n_steps=40)
    >>> bool(1e-6 < curve.suggestion < 1)
    True
    """
    if not isinstance(estimator, FineTuneClassifier):
        raise TypeError(
            f"estimator must be a FineTuneClassifier; got {type(estimator).__name__}. Of a "
            "pipeline, pass the last step."
        )
    check_range("low", low, "(0, inf)")
    check_range("high", high, "(0, inf)")
    if low >= high:
        raise ValueError(f"low must be less than high, {high!r}; got {low!r}.")
    check_int("n_steps", n_steps, 5)
    _, request = clone(estimator)._request(X, y, **fit_params)
    with plan_fit(request) as plan:
        if not plan.phases:
            raise ValueError("max_epochs must be at least 1: there is no phase to find a rate for.")
        return LRCurve(*range_test(plan.tail, plan.phases[-1], plan.run, low, high, n_steps))
