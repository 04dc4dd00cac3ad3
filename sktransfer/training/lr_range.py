"""The learning-rate range test: train with a growing learning rate until the loss diverges.

L. N. Smith, "Cyclical Learning Rates for Training Neural Networks", WACV 2017,
https://arxiv.org/abs/1506.01186
"""

from __future__ import annotations

from collections.abc import Callable
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

# Losses are smoothed over the steps whose learning rates differ by at most this factor.
SPAN = 10.0

# The loss falls or grows only if it changes by more than this multiple of its noise.  Of curves of
# pure noise, less than 2 % do with 10 steps, and less than 0.1 % with 60.
SIGNIFICANT = 4.0

# The suggestion is the learning rate at which this share of the fall has happened.  The minimum
# itself is where the loss is about to grow.
FALLEN = 0.9

# The loss has started to grow if it is more than this multiple of the first loss.
GROWN = 1.1

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
        self.first_losses_: list[float] = []

    @property
    def cleaned_(self) -> np.ndarray:
        """The losses without the differences among batches.

        The loss of a step is its change since the first weights, on the same batch and with the
        same dropout, added to the mean loss of the first weights.
        """
        first = np.array(self.first_losses_)
        cleaned: np.ndarray = np.array(self.losses_) - first + first.mean()
        return cleaned

    def on_train_begin(self, net: Any, **_: Any) -> None:
        self.first_ = deepcopy(net.module_).train()

    def on_batch_begin(self, net: Any, training: bool = False, **_: Any) -> None:
        if training:
            progress = len(self.losses_) / (self.n_steps - 1)
            factor = self.low * (self.high / self.low) ** progress
            # The base learning rate of the phase is 1, so the factor is the base rate of the step.
            for group in net.optimizer_.param_groups:
                group["lr"] = group["initial_lr"] * factor
            self.rates_.append(factor)

    def on_batch_end(
        self, net: Any, batch: Any = None, training: bool = False, loss: Any = None, **_: Any
    ) -> None:
        if training:
            self.losses_.append(float(loss))
            self.first_losses_.append(net.compute_loss_again(batch, self.first_))
            smoothed = smooth(self.cleaned_)
            limit = max(DIVERGED * min(smoothed), smoothed[0])
            if len(self.losses_) == self.n_steps or smoothed[-1] > limit:
                raise StopPhase


def run_range_test(
    tail: Tail, phase: Phase, run: Run, low: float, high: float, n_steps: int
) -> tuple[np.ndarray, np.ndarray]:
    """Train a copy of ``tail``; return the base learning rate and the loss of each step.

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
    return np.array(growing.rates_), growing.cleaned_


def smooth(losses: Any) -> np.ndarray:
    """Return the running mean of losses, corrected for the start at 0 as in Adam."""
    mean, smoothed = 0.0, []
    for n, loss in enumerate(losses, start=1):
        mean = MOMENTUM * mean + (1 - MOMENTUM) * float(loss)
        smoothed.append(mean / (1 - MOMENTUM**n))
    return np.array(smoothed)


def remove_noise(rates: np.ndarray, losses: np.ndarray) -> np.ndarray:
    """Return the running mean of the running median of losses, which does not lag behind them.

    The median ignores single losses that are huge, and does not move the place of a rise.
    """
    half = max(1, int((np.asarray(rates) < SPAN * rates[0]).sum()) // 2)
    return _run(np.mean, _run(np.median, np.asarray(losses), half), half)


def _run(statistic: Callable[..., Any], values: np.ndarray, half: int) -> np.ndarray:
    """Return a statistic of the neighbours of each value: of ``half`` values on each side."""
    around = [values[max(0, i - half) : i + half + 1] for i in range(len(values))]
    return np.array([statistic(part) for part in around])


def _estimate_noise(losses: np.ndarray) -> float:
    """Return the standard deviation of the noise, estimated from second differences.

    They do not depend on the level or the slope of the losses.
    """
    if len(losses) < 3:
        return 0.0
    # 1.4826 times the median absolute deviation is the standard deviation of normal noise, and 6
    # the variance of a second difference if that of a loss is 1.
    return float(1.4826 * np.median(np.abs(np.diff(losses, 2))) / np.sqrt(6))


def suggest(rates: np.ndarray, losses: np.ndarray) -> float:
    """Return the learning rate at which nine tenths of the fall of the smoothed loss are done.

    If the loss does not fall by more than its noise, for example because the head is already the
    best one, return a tenth of the learning rate at which the loss starts to grow.
    """
    smoothed = remove_noise(rates, losses)
    lowest = int(smoothed.argmin())
    first, fall = smoothed[0], smoothed[0] - smoothed[lowest]
    # Later losses are left out: their steep growth would count as noise.
    noise = _estimate_noise(losses[: max(lowest + 1, len(losses) // 3)])
    if fall <= SIGNIFICANT * noise:
        grown = smoothed > max(GROWN * first, first + SIGNIFICANT * noise)
        return float(rates[grown.argmax() if grown.any() else -1]) / 10
    above = np.flatnonzero(smoothed[: lowest + 1] > first - FALLEN * fall)
    return float(rates[above[-1]])


def resolve_learning_rate(phase: Phase, tail: Tail, run: Run) -> Phase:
    """Return the phase with a number as learning rate; the range test finds it if it is "auto"."""
    if not is_auto(phase.lr):
        return phase
    rates, losses = run_range_test(tail, phase, run, AUTO_LOW, AUTO_HIGH, AUTO_STEPS)
    return replace(phase, lr=suggest(rates, losses))
