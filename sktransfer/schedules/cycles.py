"""Schedules that go up and down: one cycle, warm restarts, triangles."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import isclose

from .._support.validation import check_int, check_range
from .base import Schedule, half_cosine


@dataclass(frozen=True)
class OneCycle(Schedule):
    """Up to the peak, factor 1, and down below the start, in two half cosines.

    Momentum, its companion, goes the other way: see :class:`OneCycleMomentum`.  Equal to torch's
    ``OneCycleLR``, with the base value as its ``max_lr`` and the base momentum as its
    ``max_momentum``.

    Parameters
    ----------
    warmup : float, default=0.25
        The progress at the peak, in (0, 1).
    div : float, default=25.0
        The first factor is ``1 / div``; at least 1.
    final_div : float, default=10000.0
        The last factor is ``1 / (div * final_div)``; at least 1.
    momentum_dip : float or None, default=0.8947368421052632
        The factor of the base momentum at the peak, in (0, 1]: fastai goes from 0.95 to 0.85.
        None leaves momentum as it is.

    References
    ----------
    .. [1] L. N. Smith and N. Topin, "Super-Convergence: Very Fast Training of Neural Networks
       Using Large Learning Rates", 2018, https://arxiv.org/abs/1708.07120

    Examples
    --------
    >>> from sktransfer.schedules import OneCycle
    >>> schedule = OneCycle(warmup=0.25, div=10)
    >>> round(schedule(0), 3), round(schedule(0.25), 3), round(schedule(1), 3)
    (0.1, 1.0, 0.0)
    >>> list(schedule.companions)
    ['momentum']
    """

    warmup: float = 0.25
    div: float = 25.0
    final_div: float = 1e4
    momentum_dip: float | None = 0.85 / 0.95

    def __post_init__(self) -> None:
        check_range("warmup", self.warmup, "(0, 1)")
        check_range("div", self.div, "[1, inf)")
        check_range("final_div", self.final_div, "[1, inf)")
        if self.momentum_dip is not None:
            check_range("momentum_dip", self.momentum_dip, "(0, 1]")

    def __call__(self, progress: float) -> float:
        """The factor at ``progress`` in [0, 1]."""
        first, last = 1 / self.div, 1 / self.div / self.final_div
        if progress < self.warmup:
            return half_cosine(first, 1, progress / self.warmup)
        return half_cosine(1, last, (progress - self.warmup) / (1 - self.warmup))

    @property
    def companions(self) -> dict[str, Schedule]:
        """Momentum goes down while the value goes up, and back."""
        if self.momentum_dip is None:
            return {}
        return {"momentum": OneCycleMomentum(self.warmup, self.momentum_dip)}


@dataclass(frozen=True)
class OneCycleMomentum(Schedule):
    """From 1 down to ``dip`` while ``OneCycle`` rises, and back to 1 while it falls.

    Parameters
    ----------
    warmup : float, default=0.25
        The progress at the dip, in (0, 1).
    dip : float, default=0.8947368421052632
        The factor there, in (0, 1].

    Examples
    --------
    >>> from sktransfer.schedules import OneCycleMomentum
    >>> [round(0.95 * OneCycleMomentum()(progress), 2) for progress in (0, 0.25, 1)]
    [0.95, 0.85, 0.95]
    """

    warmup: float = 0.25
    dip: float = 0.85 / 0.95

    def __post_init__(self) -> None:
        check_range("warmup", self.warmup, "(0, 1)")
        check_range("dip", self.dip, "(0, 1]")

    def __call__(self, progress: float) -> float:
        """The factor at ``progress`` in [0, 1]."""
        if progress < self.warmup:
            return half_cosine(1, self.dip, progress / self.warmup)
        return half_cosine(self.dip, 1, (progress - self.warmup) / (1 - self.warmup))


@dataclass(frozen=True)
class SGDR(Schedule):
    """Half a cosine from 1 down to ``final``, again and again: warm restarts.

    Cycles are counted in epochs, so the schedule has to be bound to its phase by ``over`` before
    it is called.  The last cycle is cut short where the phase ends.

    Parameters
    ----------
    cycle_length : float, default=1
        The epochs of the first cycle, at least 0.01.
    multiplier : float, default=2
        How much longer each cycle is than the one before, at least 1.
    final : float, default=0.0
        The last factor of a cycle, in [0, 1].
    n_epochs : float or None, default=None
        The epochs of the phase, which ``over`` sets.

    References
    ----------
    .. [1] I. Loshchilov and F. Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts",
       ICLR 2017, https://arxiv.org/abs/1608.03983

    Examples
    --------
    >>> from sktransfer.schedules import SGDR
    >>> SGDR(cycle_length=1, multiplier=2).ends(7)
    [1, 3, 7]
    >>> schedule = SGDR(cycle_length=2, multiplier=1).over(4)
    >>> [schedule(epoch / 4) for epoch in range(5)]
    [1.0, 0.5, 1.0, 0.5, 0.0]
    """

    cycle_length: float = 1
    multiplier: float = 2
    final: float = 0.0
    n_epochs: float | None = None

    def __post_init__(self) -> None:
        check_range("cycle_length", self.cycle_length, "[0.01, inf)")
        check_range("multiplier", self.multiplier, "[1, inf)")
        check_range("final", self.final, "[0, 1]")
        if self.n_epochs is not None:
            check_range("n_epochs", self.n_epochs, "(0, inf)")

    def __call__(self, progress: float) -> float:
        """The factor at ``progress`` in [0, 1] of the phase."""
        if self.n_epochs is None:
            raise ValueError("SGDR counts its cycles in epochs; call over(n_epochs) first.")
        time, length = progress * self.n_epochs, self.cycle_length
        # the phase ends with a cycle's last factor, never with the first of another
        while time >= length and not (progress >= 1 and isclose(time, length)):
            time, length = time - length, length * self.multiplier
        return half_cosine(1, self.final, min(1, time / length))

    def over(self, n_epochs: float) -> SGDR:
        """The schedule, bound to a phase of ``n_epochs``."""
        return replace(self, n_epochs=n_epochs)

    def _ends(self, n_epochs: float) -> list[float]:
        times: list[float] = []
        end, length = self.cycle_length, self.cycle_length
        while end < n_epochs:
            times.append(end)
            length *= self.multiplier
            end += length
        return [*times, n_epochs]


@dataclass(frozen=True)
class Cyclic(Schedule):
    """From ``low`` up to 1 and back in straight lines, ``n_cycles`` times.

    Parameters
    ----------
    n_cycles : int, default=3
        Cycles in a phase, at least 1.
    low : float, default=0.1
        The first and last factor of each cycle, in [0, 1].

    References
    ----------
    .. [1] L. N. Smith, "Cyclical Learning Rates for Training Neural Networks", WACV 2017,
       https://arxiv.org/abs/1506.01186

    Examples
    --------
    >>> from sktransfer.schedules import Cyclic
    >>> [Cyclic(n_cycles=2, low=0.5)(quarter / 4) for quarter in range(5)]
    [0.5, 1.0, 0.5, 1.0, 0.5]
    """

    n_cycles: int = 3
    low: float = 0.1

    def __post_init__(self) -> None:
        check_int("n_cycles", self.n_cycles, 1)
        check_range("low", self.low, "[0, 1]")

    def __call__(self, progress: float) -> float:
        """The factor at ``progress`` in [0, 1]."""
        within = progress * self.n_cycles % 1
        return self.low + (1 - self.low) * (1 - abs(2 * within - 1))

    def _ends(self, n_epochs: float) -> list[float]:
        return [n_epochs * cycle / self.n_cycles for cycle in range(1, self.n_cycles + 1)]
