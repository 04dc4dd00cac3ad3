"""All schedules by name: what changes in time, from progress in [0, 1] to a factor."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from .._support.validation import check_choice, check_range
from .base import Schedule, half_cosine
from .cycles import SGDR, Cyclic, OneCycle


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
        check_range("final", self.final, "[0, 1]")

    def __call__(self, progress: float) -> float:
        """The factor at ``progress`` in [0, 1]."""
        return half_cosine(1, self.final, progress)


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
        check_range("cut", self.cut, "(0, 1)")
        check_range("ratio", self.ratio, "[1, inf)")

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
        check_range("share", self.share, "(0, 1)")
        check_range("start", self.start, "[0, 1]")

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
