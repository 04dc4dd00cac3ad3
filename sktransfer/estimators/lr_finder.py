"""The learning-rate range test, for any number of trainable stages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import clone

from .._support.validation import check_int, check_range
from ..display import LRFinderDisplay
from ..training import remove_noise, run_range_test, suggest
from ._base import FineTuneEstimator


@dataclass(frozen=True, eq=False)
class LRCurve:
    """The result of a learning-rate range test; :func:`find_lr` returns one.

    Parameters
    ----------
    rates : ndarray of shape (n_steps,)
        Base learning rate of each step, in ascending order.  The learning rates of the
        stages are lower, by ``layer_decay``.
    losses : ndarray of shape (n_steps,)
        Training loss in each step, without the differences among batches: the change of the loss
        of the batch since the initial weights, added to the mean loss of the initial weights.
    """

    rates: np.ndarray
    losses: np.ndarray

    @property
    def smoothed(self) -> np.ndarray:
        """The losses without noise, (n_steps,): the running mean of their running median."""
        return remove_noise(self.rates, self.losses)

    @property
    def suggestion(self) -> float:
        """The suggested learning rate; see :func:`sktransfer.find_lr`."""
        return suggest(self.rates, self.losses)

    def plot(self, ax: Any = None) -> LRFinderDisplay:
        """Plot the loss over the learning rate, and the suggestion.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Axes to draw on.  None creates a new figure.

        Returns
        -------
        LRFinderDisplay
        """
        return LRFinderDisplay.from_curve(self, ax=ax)


def find_lr(
    estimator: FineTuneEstimator,
    X: Any,
    y: Any,
    *,
    low: float = 1e-6,
    high: float = 1.0,
    n_steps: int = 60,
    **fit_params: Any,
) -> LRCurve:
    """Run the learning-rate range test: train while the learning rate grows from step to step.

    The test [1]_ trains a clone of the estimator, which stays unchanged.  The head of the clone
    starts as in ``fit``; its ``skorch_callbacks`` are left out.  The learning rate is the
    base rate of the last phase: ``fine_tune_lr``, or ``lr`` if ``unfreeze=0``.

    Each step also computes the loss of the initial weights on the same batch.  So the curve shows
    the effect of training, and not that one batch is easier than another.

    Parameters
    ----------
    estimator : FineTuneClassifier or FineTuneRegressor
        Its parameters determine the stages that train, the augmentation and the batches.
    X, y : as for ``fit``
    low : float, default=1e-06
        Learning rate of the first step, above 0.
    high : float, default=1.0
        Learning rate of the last step, above ``low``.  The test stops earlier if the smoothed loss
        diverges: if it is more than four times its minimum, and higher than at the start.
    n_steps : int, default=60
        Maximum number of steps, each with one batch; at least 5.
    **fit_params : dict
        Further arguments of ``fit``, such as ``sample_weight``.

    Returns
    -------
    LRCurve
        ``suggestion`` is the learning rate at which nine tenths of the fall of the smoothed loss
        are done.  If the loss does not fall by more than its noise, it is a tenth of the learning
        rate at which the loss starts to grow.  ``plot()`` draws the losses.

    Raises
    ------
    TypeError, ValueError
        If a parameter is invalid, nothing trains, or no loss is finite.

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
    if not isinstance(estimator, FineTuneEstimator):
        raise TypeError(
            "estimator must be a FineTuneClassifier or FineTuneRegressor; got "
            f"{type(estimator).__name__}. If it is a pipeline, pass its last step, and the output "
            "of the other steps as X."
        )
    check_range("low", low, "(0, inf)")
    check_range("high", high, "(0, inf)")
    if low >= high:
        raise ValueError(f"low must be less than high, {high!r}; got {low!r}.")
    check_int("n_steps", n_steps, 5)
    _, request = clone(estimator).set_params(checkpoint=None)._request(X, y, **fit_params)
    with estimator._plan(request) as plan:
        if not plan.phases:
            raise ValueError(
                "max_epochs must be at least 1 to find a learning rate; got 0, so nothing trains."
            )
        return LRCurve(*run_range_test(plan.tail, plan.phases[-1], plan.run, low, high, n_steps))
