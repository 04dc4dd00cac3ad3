"""The loop of the learning-rate range test: the rate grows from step to step until the loss does.

L. N. Smith, "Cyclical Learning Rates for Training Neural Networks", WACV 2017,
https://arxiv.org/abs/1506.01186
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from typing import Any

import numpy as np
from skorch.callbacks import Callback

from ..exceptions import TrainingDivergedError
from .net import StopPhase
from .parameters import is_auto
from .phase import Phase, Run, run_phase
from .records import Audit
from .tail import Tail

# The test ends where the smoothed loss is so many times its least value, and more than at first.
DIVERGED = 4.0

# Of the running mean of the losses.
MOMENTUM = 0.8

# A loss so many times the first one grows.
GROWN = 1.1

# A suggestion is never taken from the first steps, whose running mean is of few losses.
SKIPPED = 3

# The range test of lr="auto".
AUTO_LOW, AUTO_HIGH, AUTO_STEPS = 1e-6, 1.0, 60


class _GrowingRate(Callback):
    """Multiply every rate by the same factor, which grows geometrically; note the losses."""

    def __init__(self, low: float, high: float, n_steps: int):
        self.low = low
        self.high = high
        self.n_steps = n_steps
        self.rates_: list[float] = []
        self.losses_: list[float] = []

    def on_batch_begin(self, net: Any, training: bool = False, **_: Any) -> None:
        if training:
            share = len(self.losses_) / (self.n_steps - 1)
            rate = self.low * (self.high / self.low) ** share
            for group in net.optimizer_.param_groups:
                group["lr"] = group["initial_lr"] * rate
            self.rates_.append(rate)

    def on_batch_end(self, net: Any, training: bool = False, **step: Any) -> None:  # noqa: ARG002
        if training:
            self.losses_.append(float(step["loss"]))
            smoothed = smooth(self.losses_)
            limit = max(DIVERGED * min(smoothed), smoothed[0])
            if len(self.losses_) == self.n_steps or smoothed[-1] > limit:
                raise StopPhase


def range_test(
    tail: Tail, phase: Phase, run: Run, low: float, high: float, n_steps: int
) -> tuple[np.ndarray, np.ndarray]:
    """Rates of the head, and the loss at each; a copy of ``tail`` is trained.

    Parameters
    ----------
    tail : Tail
    phase : Phase
        Its samples, its cut and its layer decay are what the test uses.
    run : Run
    low, high : float
        The first rate, and the last.
    n_steps : int
        Steps from one to the other, at least 2.
    """
    growing = _GrowingRate(low, high, n_steps)
    trial = replace(
        phase, lr=1.0, valid=None, n_epochs=n_steps, callbacks=[("growing_rate", growing)]
    )
    try:
        # a callback that stops, or asks for what is validated, has nothing to say here
        settings = replace(run.settings, skorch_callbacks=None)
        quiet = replace(run, settings=settings, step=lambda _: False)
        if run_phase(deepcopy(tail), trial, quiet, audit=Audit()).interrupted_:
            raise KeyboardInterrupt
    except TrainingDivergedError:
        if not growing.losses_:
            raise
        growing.rates_.pop()  # the step that gave no loss
    return np.array(growing.rates_), np.array(growing.losses_)


def smooth(losses: Any) -> np.ndarray:
    """The running mean of losses, each as if there had been none before the first."""
    mean, smoothed = 0.0, []
    for n, loss in enumerate(losses, start=1):
        mean = MOMENTUM * mean + (1 - MOMENTUM) * float(loss)
        smoothed.append(mean / (1 - MOMENTUM**n))
    return np.array(smoothed)


def smooth_both_ways(losses: Any) -> np.ndarray:
    """The mean of the running means from the left and from the right: it does not lag."""
    forward, backward = smooth(losses), smooth(np.asarray(losses)[::-1])[::-1]
    both: np.ndarray = (forward + backward) / 2
    return both


def suggest(rates: np.ndarray, losses: np.ndarray) -> float:
    """The rate at which the smoothed loss falls fastest, before it is least.

    Where it never falls, as from a head that is the exact solution already: a tenth of the rate
    from which it grows.
    """
    smoothed = smooth_both_ways(np.minimum(losses, 2 * losses[0]))
    least = int(smoothed.argmin())
    if least <= SKIPPED:
        grown = np.flatnonzero(smoothed > GROWN * smoothed[0])
        return float(rates[grown[0] if len(grown) else -1]) / 10
    slope = np.gradient(smoothed[: least + 1], np.log(rates[: least + 1]))
    return float(rates[SKIPPED + int(slope[SKIPPED:].argmin())])


def with_rate(phase: Phase, tail: Tail, run: Run) -> Phase:
    """The phase with a rate, which the range test finds where it is "auto"."""
    if not is_auto(phase.lr):
        return phase
    rates, losses = range_test(tail, phase, run, AUTO_LOW, AUTO_HIGH, AUTO_STEPS)
    return replace(phase, lr=suggest(rates, losses))
