"""What changes in time: frozen schedules, progress in [0, 1] -> factor of the base value.

Progress is 0 at the first optimiser step of a phase and 1 at its last one, so a schedule needs no
number of steps.  One that counts in epochs learns them from :meth:`Schedule.over`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import cos, floor, isclose, pi
from typing import Any

from ._check import check_choice, check_int, check_span


def _cosine(first: float, last: float, progress: float) -> float:
    """Half a cosine from ``first`` to ``last``."""
    return last + (first - last) * (1 + cos(pi * progress)) / 2


@dataclass(frozen=True)
class Schedule:
    """A function of progress in [0, 1] that gives a factor of the base value.

    Subclasses are frozen dataclasses that define ``__call__``.

    Examples
    --------
    >>> from dataclasses import dataclass
    >>> from sktransfer.schedules import Schedule
    >>> @dataclass(frozen=True)
    ... class Linear(Schedule):
    ...     def __call__(self, progress):
    ...         return 1 - progress
    >>> Linear()(0.25)
    0.75
    """

    def __call__(self, progress: float) -> float:
        """The factor at ``progress`` in [0, 1]."""
        raise NotImplementedError(f"{type(self).__name__} must define __call__.")

    def over(self, n_epochs: float) -> Schedule:  # noqa: ARG002 - few count in epochs
        """The schedule, bound to a phase of ``n_epochs``."""
        return self

    def ends(self, n_epochs: int) -> list[int]:
        """How many epochs are done when each cycle ends, rounded; the last ends the phase."""
        rounded = {floor(time + 0.5) for time in self._ends(n_epochs)}
        return sorted((rounded - {0}) | {n_epochs})

    def _ends(self, n_epochs: float) -> list[float]:
        """The times, in epochs, at which a cycle ends."""
        return [n_epochs]

    @property
    def companions(self) -> dict[str, Schedule]:
        """Schedules of other settings that go with this one, by setting."""
        return {}


@dataclass(frozen=True)
class Constant(Schedule):
    """The factor 1 throughout.

    Examples
    --------
    >>> from sktransfer.schedules import Constant
    >>> Constant()(0.5)
    1.0
    """

    def __call__(self, progress: float) -> float:  # noqa: ARG002 - a constant
        """The factor 1."""
        return 1.0


@dataclass(frozen=True)
class Custom(Schedule):
    """Any function of progress, as a schedule.

    Parameters
    ----------
    function : callable
        Takes progress in [0, 1], gives a factor.

    Examples
    --------
    >>> from sktransfer.schedules import Custom
    >>> Custom(lambda progress: 1 - progress)(0.25)
    0.75
    """

    function: Callable[[float], float]

    def __post_init__(self) -> None:
        if not callable(self.function):
            raise TypeError(f"function must be callable; got {self.function!r}.")

    def __call__(self, progress: float) -> float:
        """The function's factor at ``progress``."""
        return self.function(progress)


@dataclass(frozen=True)
class Cosine(Schedule):
    """Half a cosine from 1 down to ``final``.

    Parameters
    ----------
    final : float, default=0.0
        The last factor, in [0, 1].

    References
    ----------
    .. [1] I. Loshchilov and F. Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts",
       ICLR 2017, https://arxiv.org/abs/1608.03983

    Examples
    --------
    >>> from sktransfer.schedules import Cosine
    >>> [Cosine()(progress) for progress in (0, 0.5, 1)]
    [1.0, 0.5, 0.0]
    """

    final: float = 0.0

    def __post_init__(self) -> None:
        check_span("final", self.final, "[0, 1]")

    def __call__(self, progress: float) -> float:
        """The factor at ``progress`` in [0, 1]."""
        return _cosine(1, self.final, progress)


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
        check_span("warmup", self.warmup, "(0, 1)")
        check_span("div", self.div, "[1, inf)")
        check_span("final_div", self.final_div, "[1, inf)")
        if self.momentum_dip is not None:
            check_span("momentum_dip", self.momentum_dip, "(0, 1]")

    def __call__(self, progress: float) -> float:
        """The factor at ``progress`` in [0, 1]."""
        first, last = 1 / self.div, 1 / self.div / self.final_div
        if progress < self.warmup:
            return _cosine(first, 1, progress / self.warmup)
        return _cosine(1, last, (progress - self.warmup) / (1 - self.warmup))

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
        check_span("warmup", self.warmup, "(0, 1)")
        check_span("dip", self.dip, "(0, 1]")

    def __call__(self, progress: float) -> float:
        """The factor at ``progress`` in [0, 1]."""
        if progress < self.warmup:
            return _cosine(1, self.dip, progress / self.warmup)
        return _cosine(self.dip, 1, (progress - self.warmup) / (1 - self.warmup))


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
        check_span("cycle_length", self.cycle_length, "[0.01, inf)")
        check_span("multiplier", self.multiplier, "[1, inf)")
        check_span("final", self.final, "[0, 1]")
        if self.n_epochs is not None:
            check_span("n_epochs", self.n_epochs, "(0, inf)")

    def __call__(self, progress: float) -> float:
        """The factor at ``progress`` in [0, 1] of the phase."""
        if self.n_epochs is None:
            raise ValueError("SGDR counts its cycles in epochs; call over(n_epochs) first.")
        time, length = progress * self.n_epochs, self.cycle_length
        # the phase ends with a cycle's last factor, never with the first of another
        while time >= length and not (progress >= 1 and isclose(time, length)):
            time, length = time - length, length * self.multiplier
        return _cosine(1, self.final, min(1, time / length))

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
        check_span("low", self.low, "[0, 1]")

    def __call__(self, progress: float) -> float:
        """The factor at ``progress`` in [0, 1]."""
        within = progress * self.n_cycles % 1
        return self.low + (1 - self.low) * (1 - abs(2 * within - 1))

    def _ends(self, n_epochs: float) -> list[float]:
        return [n_epochs * cycle / self.n_cycles for cycle in range(1, self.n_cycles + 1)]


@dataclass(frozen=True)
class SlantedTriangular(Schedule):
    """A short straight line from ``1 / ratio`` up to 1, and a long one back.

    Parameters
    ----------
    cut : float, default=0.1
        The progress at the peak, in (0, 1): the paper's *cut_frac*.
    ratio : float, default=32
        How much smaller the least factor is than the peak, at least 1.

    References
    ----------
    .. [1] J. Howard and S. Ruder, "Universal Language Model Fine-tuning for Text Classification",
       ACL 2018, https://arxiv.org/abs/1801.06146

    Examples
    --------
    >>> from sktransfer.schedules import SlantedTriangular
    >>> [SlantedTriangular(cut=0.25, ratio=4)(progress) for progress in (0, 0.25, 1)]
    [0.25, 1.0, 0.25]
    """

    cut: float = 0.1
    ratio: float = 32

    def __post_init__(self) -> None:
        check_span("cut", self.cut, "(0, 1)")
        check_span("ratio", self.ratio, "[1, inf)")

    def __call__(self, progress: float) -> float:
        """The factor at ``progress`` in [0, 1]."""
        rising = progress < self.cut
        height = progress / self.cut if rising else (1 - progress) / (1 - self.cut)
        return (1 + height * (self.ratio - 1)) / self.ratio


@dataclass(frozen=True)
class Warmup(Schedule):
    """A straight line up to the first factor of another schedule, which has the rest.

    Parameters
    ----------
    schedule : Schedule
        What follows the warm-up.
    share : float, default=0.1
        The part of the phase that warms up, in (0, 1).
    start : float, default=0.0
        Where the line starts, as a part of the first factor of ``schedule``, in [0, 1].

    References
    ----------
    .. [1] P. Goyal et al., "Accurate, Large Minibatch SGD: Training ImageNet in 1 Hour", 2017,
       https://arxiv.org/abs/1706.02677

    Examples
    --------
    >>> from sktransfer.schedules import Cosine, Warmup
    >>> schedule = Warmup(Cosine(), share=0.5)
    >>> [schedule(progress) for progress in (0, 0.25, 0.5, 0.75, 1)]
    [0.0, 0.5, 1.0, 0.5, 0.0]
    """

    schedule: Schedule
    share: float = 0.1
    start: float = 0.0

    def __post_init__(self) -> None:
        if not isinstance(self.schedule, Schedule):
            raise TypeError(f"schedule must be a Schedule; got {self.schedule!r}.")
        check_span("share", self.share, "(0, 1)")
        check_span("start", self.start, "[0, 1]")

    def __call__(self, progress: float) -> float:
        """The factor at ``progress`` in [0, 1]."""
        if progress < self.share:
            rise = self.start + (1 - self.start) * progress / self.share
            return rise * self.schedule(0)
        return self.schedule((progress - self.share) / (1 - self.share))

    def over(self, n_epochs: float) -> Warmup:
        """The schedule, with the inner one bound to the epochs that follow the warm-up."""
        return replace(self, schedule=self.schedule.over(n_epochs * (1 - self.share)))

    def _ends(self, n_epochs: float) -> list[float]:
        first = n_epochs * self.share
        return [first + time for time in self.schedule._ends(n_epochs - first)]

    @property
    def companions(self) -> dict[str, Schedule]:
        """Those of the inner schedule, held at their first factor during the warm-up."""
        return {
            setting: Warmup(companion, self.share, start=1.0)
            for setting, companion in self.schedule.companions.items()
        }


# name -> its schedule, with the defaults
SCHEDULES: dict[str, Callable[[], Schedule]] = {
    "constant": Constant,
    "cosine": Cosine,
    "one_cycle": OneCycle,
    "sgdr": SGDR,
    "cyclic": Cyclic,
    "slanted_triangular": SlantedTriangular,
}


def resolve_schedule(value: Any, name: str = "lr_schedule") -> Schedule:
    """The schedule that ``value`` names, is, or computes.

    Parameters
    ----------
    value : str, Schedule or callable
        A name from ``SCHEDULES``, a schedule, or any function of progress in [0, 1].
    name : str, default="lr_schedule"
        What the user calls the parameter.

    Returns
    -------
    Schedule
        A function that is no :class:`Schedule` comes back as :class:`Custom`.

    Raises
    ------
    ValueError
        If no schedule has that name.
    TypeError
        If ``value`` is no schedule.

    Examples
    --------
    >>> from sktransfer.schedules import resolve_schedule
    >>> resolve_schedule("cosine")
    Cosine(final=0.0)
    """
    if isinstance(value, str):
        return SCHEDULES[check_choice(name, value, list(SCHEDULES))]()
    if isinstance(value, Schedule):
        return value
    if isinstance(value, type) and issubclass(value, Schedule):
        raise TypeError(f"{name} must be a schedule, not its class: {value.__name__}(...).")
    if callable(value):
        return Custom(value)
    raise TypeError(
        f"{name} must be a name, a schedule or a function of progress in [0, 1]; got {value!r}."
    )
