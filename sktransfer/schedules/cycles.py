"""Schedules with cycles: one cycle, warm restarts, triangles."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import isclose

from .._support.validation import check_int, check_range
from .base import Schedule, half_cosine


@dataclass(frozen=True)
class OneCycle(Schedule):
    """Rise to the factor 1, then fall below the first factor, along two half cosines.

    Its companion, :class:`OneCycleMomentum`, lowers the momentum while the learning rate rises.
    The two equal torch's ``OneCycleLR`` with the base value as ``max_lr`` and the base momentum
    as ``max_momentum``.

    Parameters
    ----------
    warmup : float, default=0.25
        Progress at which the factor reaches 1, in (0, 1).
    div : float, default=25.0
        The first factor is ``1 / div``; at least 1.
    final_div : float, default=10000.0
        The last factor is ``1 / (div * final_div)``; at least 1.
    momentum_dip : float or None, default=0.8947368421052632
        Factor of the base momentum at the peak, in (0, 1].  The default is the ratio that fastai
        uses, 0.85 to 0.95.  None leaves the momentum constant.

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
        """Return the factor at ``progress`` in [0, 1]."""
        first, last = 1 / self.div, 1 / self.div / self.final_div
        if progress < self.warmup:
            return half_cosine(first, 1, progress / self.warmup)
        return half_cosine(1, last, (progress - self.warmup) / (1 - self.warmup))

    @property
    def companions(self) -> dict[str, Schedule]:
        """The schedule of the momentum, which falls while the learning rate rises."""
        if self.momentum_dip is None:
            return {}
        return {"momentum": OneCycleMomentum(self.warmup, self.momentum_dip)}


@dataclass(frozen=True)
class OneCycleMomentum(Schedule):
    """Fall from 1 to ``dip`` while ``OneCycle`` rises, and return to 1 while it falls.

    Parameters
    ----------
    warmup : float, default=0.25
        Progress at which the factor reaches ``dip``, in (0, 1).
    dip : float, default=0.8947368421052632
        Smallest factor, in (0, 1].

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
        """Return the factor at ``progress`` in [0, 1]."""
        if progress < self.warmup:
            return half_cosine(1, self.dip, progress / self.warmup)
        return half_cosine(self.dip, 1, (progress - self.warmup) / (1 - self.warmup))


@dataclass(frozen=True)
class SGDR(Schedule):
    """Fall from 1 to ``final`` along half a cosine, then restart at 1, in every cycle.

    Cycles are counted in epochs.  Call ``over`` to set the number of epochs before the schedule
    is evaluated; ``Scheduled`` does so.  The last cycle is shorter if the phase ends before it.

    Parameters
    ----------
    cycle_length : float, default=1
        Number of epochs of the first cycle, at least 0.01.
    multiplier : float, default=2
        Ratio of the length of a cycle to that of the previous one, at least 1.
    final : float, default=0.0
        Last factor of a cycle, in [0, 1].
    n_epochs : float or None, default=None
        Number of epochs of the phase; set by ``over``.

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
        """Return the factor at ``progress`` in [0, 1] of the phase."""
        if self.n_epochs is None:
            raise ValueError(
                "n_epochs must be set before SGDR is called; got None. Call over(n_epochs) first."
            )
        time, length = progress * self.n_epochs, self.cycle_length
        # A cycle that ends with the phase keeps its last factor instead of restarting.
        while time >= length and not (progress >= 1 and isclose(time, length)):
            time, length = time - length, length * self.multiplier
        return half_cosine(1, self.final, min(1, time / length))

    def over(self, n_epochs: float) -> SGDR:
        """Return the schedule bound to a phase of ``n_epochs`` epochs."""
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
    """Rise linearly from ``low`` to 1 and fall back, ``n_cycles`` times.

    Parameters
    ----------
    n_cycles : int, default=3
        Number of cycles in a phase, at least 1.
    low : float, default=0.1
        First and last factor of each cycle, in [0, 1].

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
        """Return the factor at ``progress`` in [0, 1]."""
        within = progress * self.n_cycles % 1
        return self.low + (1 - self.low) * (1 - abs(2 * within - 1))

    def _ends(self, n_epochs: float) -> list[float]:
        return [n_epochs * cycle / self.n_cycles for cycle in range(1, self.n_cycles + 1)]
