"""Schedules without cycles, and the names of all schedules."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from .._support.validation import check_choice, check_range, no_choice
from .base import Schedule, half_cosine
from .cycles import SGDR, Cyclic, OneCycle


@dataclass(frozen=True)
class Constant(Schedule):
    """Return the factor 1 at all times.

    Examples
    --------
    >>> from sktransfer.schedules import Constant
    >>> Constant()(0.5)
    1.0
    """

    def __call__(self, progress: float) -> float:  # noqa: ARG002 - a constant
        """Return the factor 1."""
        return 1.0


@dataclass(frozen=True)
class Custom(Schedule):
    """Turn a function of progress into a schedule.

    Parameters
    ----------
    function : callable
        Function from progress in [0, 1] to a factor.

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
        """Return the factor that the function computes at ``progress``."""
        factor = self.function(progress)
        try:
            return float(factor)
        except (TypeError, ValueError):
            raise TypeError(
                "the function of a schedule must return a number for each progress in [0, 1]; got "
                f"{factor!r} at {progress:.3g}. Check the function passed as lr_schedule."
            ) from None


@dataclass(frozen=True)
class Cosine(Schedule):
    """Fall from 1 to ``final`` along half a cosine.

    Parameters
    ----------
    final : float, default=0.0
        Last factor, in [0, 1].

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
        check_range("final", self.final, "[0, 1]")

    def __call__(self, progress: float) -> float:
        """Return the factor at ``progress`` in [0, 1]."""
        return half_cosine(1, self.final, progress)


@dataclass(frozen=True)
class SlantedTriangular(Schedule):
    """Rise linearly from ``1 / ratio`` to 1, then fall back to it over a longer time.

    Parameters
    ----------
    peak : float, default=0.1
        Progress at which the factor reaches 1, in (0, 1); *cut_frac* in the paper.
    ratio : float, default=32
        Ratio of the largest factor to the smallest, at least 1.

    References
    ----------
    .. [1] J. Howard and S. Ruder, "Universal Language Model Fine-tuning for Text Classification",
       ACL 2018, https://arxiv.org/abs/1801.06146

    Examples
    --------
    >>> from sktransfer.schedules import SlantedTriangular
    >>> [SlantedTriangular(peak=0.25, ratio=4)(progress) for progress in (0, 0.25, 1)]
    [0.25, 1.0, 0.25]
    """

    peak: float = 0.1
    ratio: float = 32

    def __post_init__(self) -> None:
        check_range("peak", self.peak, "(0, 1)")
        check_range("ratio", self.ratio, "[1, inf)")

    def __call__(self, progress: float) -> float:
        """Return the factor at ``progress`` in [0, 1]."""
        rising = progress < self.peak
        height = progress / self.peak if rising else (1 - progress) / (1 - self.peak)
        return (1 + height * (self.ratio - 1)) / self.ratio


@dataclass(frozen=True)
class Warmup(Schedule):
    """Rise linearly to the first factor of another schedule, then follow that schedule.

    Parameters
    ----------
    schedule : Schedule
        The schedule after the warm-up.
    share : float, default=0.1
        Share of the phase that the warm-up takes, in (0, 1).
    start : float, default=0.0
        Ratio of the factor at the start to the first factor of ``schedule``, in [0, 1].

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
        check_range("share", self.share, "(0, 1)")
        check_range("start", self.start, "[0, 1]")

    def __call__(self, progress: float) -> float:
        """Return the factor at ``progress`` in [0, 1]."""
        if progress < self.share:
            rise = self.start + (1 - self.start) * progress / self.share
            return rise * self.schedule(0)
        return self.schedule((progress - self.share) / (1 - self.share))

    def over(self, n_epochs: float) -> Warmup:
        """Bind the inner schedule to the epochs that follow the warm-up."""
        return replace(self, schedule=self.schedule.over(n_epochs * (1 - self.share)))

    def _ends(self, n_epochs: float) -> list[float]:
        first = n_epochs * self.share
        return [first + time for time in self.schedule._ends(n_epochs - first)]

    @property
    def companions(self) -> dict[str, Schedule]:
        """Companions of the inner schedule, constant during the warm-up."""
        return {
            setting: Warmup(companion, self.share, start=1.0)
            for setting, companion in self.schedule.companions.items()
        }


# name -> function that makes the schedule with its default parameters
SCHEDULES: dict[str, Callable[[], Schedule]] = {
    "constant": Constant,
    "cosine": Cosine,
    "one_cycle": OneCycle,
    "sgdr": SGDR,
    "cyclic": Cyclic,
    "slanted_triangular": SlantedTriangular,
}


def resolve_schedule(value: Any, name: str = "lr_schedule") -> Schedule:
    """Return a schedule from its name, from a schedule or from a function.

    Parameters
    ----------
    value : str, Schedule or callable
        A name from ``SCHEDULES``, a schedule, or any function of progress in [0, 1].
    name : str, default="lr_schedule"
        Name of the parameter in error messages.

    Returns
    -------
    Schedule
        ``value`` itself if it is one.  A function is wrapped in :class:`Custom`.

    Raises
    ------
    ValueError
        If ``value`` is a string that names no schedule.
    TypeError
        If ``value`` is not a string, a schedule or a callable.

    Examples
    --------
    >>> from sktransfer.schedules import resolve_schedule
    >>> resolve_schedule("cosine")
    Cosine(final=0.0)
    """
    also = "a schedule, or a function of progress in [0, 1]"
    if isinstance(value, str):
        return SCHEDULES[check_choice(name, value, list(SCHEDULES), also)]()
    if isinstance(value, Schedule):
        return value
    if isinstance(value, type) and issubclass(value, Schedule):
        raise TypeError(
            f"{name} must be an instance of a schedule; got the class {value.__name__}. "
            f"Write {value.__name__}(...)."
        )
    if callable(value):
        return Custom(value)
    raise TypeError(no_choice(name, value, list(SCHEDULES), also))
