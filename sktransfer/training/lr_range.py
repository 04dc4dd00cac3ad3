"""The learning-rate range test: train with a growing learning rate until the loss diverges.

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

# The test stops if the smoothed loss is more than this multiple of its minimum, and also more than
# the first loss.
DIVERGED = 4.0

# The weight of earlier losses in the running mean.
MOMENTUM = 0.8

# The loss has started to grow if it is more than this multiple of the first loss.
GROWN = 1.1

# Number of first steps that are never suggested, because their running means contain few losses.
SKIPPED = 3

# The arguments of the range test for lr="auto": low, high and n_steps.
AUTO_LOW, AUTO_HIGH, AUTO_STEPS = 1e-6, 1.0, 60


class _GrowingLearningRate(Callback):
    """Multiply all learning rates by a factor that grows geometrically, and record the losses."""

    def __init__(self, low: float, high: float, n_steps: int):
        self.low = low
        self.high = high
        self.n_steps = n_steps
        self.rates_: list[float] = []
        self.losses_: list[float] = []

    def on_batch_begin(self, net: Any, training: bool = False, **_: Any) -> None:
        if training:
            progress = len(self.losses_) / (self.n_steps - 1)
            factor = self.low * (self.high / self.low) ** progress
            # The initial learning rate of the head is 1, so its learning rate is the factor.
            for group in net.optimizer_.param_groups:
                group["lr"] = group["initial_lr"] * factor
            self.rates_.append(factor)

    def on_batch_end(self, net: Any, training: bool = False, **step: Any) -> None:  # noqa: ARG002 - skorch passes it
        if training:
            self.losses_.append(float(step["loss"]))
            smoothed = smooth(self.losses_)
            limit = max(DIVERGED * min(smoothed), smoothed[0])
            if len(self.losses_) == self.n_steps or smoothed[-1] > limit:
                raise StopPhase


def run_range_test(
    tail: Tail, phase: Phase, run: Run, low: float, high: float, n_steps: int
) -> tuple[np.ndarray, np.ndarray]:
    """Train a copy of ``tail``; return the learning rate of the head and the loss of each step.

    Parameters
    ----------
    tail : Tail
    phase : Phase
        The test uses its samples, its cut and its layer-wise learning-rate decay.
    run : Run
    low, high : float
        The learning rates of the first step and of the last step.
    n_steps : int
        Maximum number of steps, at least 2.
    """
    growing = _GrowingLearningRate(low, high, n_steps)
    trial = replace(
        phase, lr=1.0, valid=None, n_epochs=n_steps, callbacks=[("growing_learning_rate", growing)]
    )
    try:
        # Callbacks of the user could stop the test, or read validation data, which it lacks.
        settings = replace(run.settings, skorch_callbacks=None, verbose=0)
        quiet = Run(settings, run.task, run.seed)
        if run_phase(deepcopy(tail), trial, quiet, audit=Audit()).interrupted_:
            raise KeyboardInterrupt
    except TrainingDivergedError:
        if not growing.losses_:
            raise
        growing.rates_.pop()  # the last step has no finite loss
    return np.array(growing.rates_), np.array(growing.losses_)


def smooth(losses: Any) -> np.ndarray:
    """Return the running mean of losses, corrected for the start at 0 as in Adam."""
    mean, smoothed = 0.0, []
    for n, loss in enumerate(losses, start=1):
        mean = MOMENTUM * mean + (1 - MOMENTUM) * float(loss)
        smoothed.append(mean / (1 - MOMENTUM**n))
    return np.array(smoothed)


def smooth_both_ways(losses: Any) -> np.ndarray:
    """Return the mean of the running means from both ends, which does not lag behind the losses."""
    forward, backward = smooth(losses), smooth(np.asarray(losses)[::-1])[::-1]
    both: np.ndarray = (forward + backward) / 2
    return both


def suggest(rates: np.ndarray, losses: np.ndarray) -> float:
    """Return the learning rate at which the smoothed loss falls fastest, before its minimum.

    If the loss never falls, for example because the head is already the exact solution, return a
    tenth of the learning rate at which the loss starts to grow.
    """
    # Losses are clipped, because a single huge one would dominate the mean from the right.
    smoothed = smooth_both_ways(np.minimum(losses, 2 * losses[0]))
    lowest = int(smoothed.argmin())
    if lowest <= SKIPPED:
        grown = np.flatnonzero(smoothed > GROWN * smoothed[0])
        return float(rates[grown[0] if len(grown) else -1]) / 10
    slope = np.gradient(smoothed[: lowest + 1], np.log(rates[: lowest + 1]))
    return float(rates[SKIPPED + int(slope[SKIPPED:].argmin())])


def resolve_learning_rate(phase: Phase, tail: Tail, run: Run) -> Phase:
    """Return the phase with a number as learning rate; the range test finds it if it is "auto"."""
    if not is_auto(phase.lr):
        return phase
    rates, losses = run_range_test(tail, phase, run, AUTO_LOW, AUTO_HIGH, AUTO_STEPS)
    return replace(phase, lr=suggest(rates, losses))
