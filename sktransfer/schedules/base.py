"""The base class of schedules.

A schedule maps progress in [0, 1] to a factor of a base value, such as the learning rate.
Progress is 0 at the first optimiser step of a phase and 1 at its last one, so a schedule does not
depend on the number of steps.  A schedule that counts in epochs is bound to their number by
:meth:`Schedule.over`.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, floor, pi


@dataclass(frozen=True)
class Schedule:
    """Map progress in [0, 1] to a factor of the base value.

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
        """Return the factor at ``progress`` in [0, 1]."""
        raise NotImplementedError(f"{type(self).__name__} must define __call__.")

    def over(self, n_epochs: float) -> Schedule:  # noqa: ARG002 - few count in epochs
        """Return the schedule bound to a phase of ``n_epochs`` epochs."""
        return self

    def ends(self, n_epochs: int) -> list[int]:
        """Return the number of epochs done at the end of each cycle, in ascending order.

        Cycles that end inside an epoch are rounded to the nearest one.  The last entry is always
        ``n_epochs``.
        """
        rounded = {floor(time + 0.5) for time in self._ends(n_epochs)}
        return sorted((rounded - {0}) | {n_epochs})

    def _ends(self, n_epochs: float) -> list[float]:
        """Return the times, in epochs, at which a cycle ends."""
        return [n_epochs]

    @property
    def companions(self) -> dict[str, Schedule]:
        """Schedules of other settings that belong to this one, by setting."""
        return {}


def half_cosine(first: float, last: float, progress: float) -> float:
    """Return a value between ``first`` and ``last``, on half a cosine, at ``progress``."""
    return last + (first - last) * (1 + cos(pi * progress)) / 2


def find_peak(schedule: Schedule, n_steps: int) -> float:
    """Return the largest factor of a schedule at the steps of a phase.

    Parameters
    ----------
    schedule : Schedule
        Bound to the number of epochs of the phase.
    n_steps : int
        The number of optimiser steps of the phase.

    Returns
    -------
    float
        The maximum of ``schedule(progress)``; progress is 0 at the first step and 1 at the last.

    Examples
    --------
    >>> from sktransfer.schedules import SlantedTriangular
    >>> from sktransfer.schedules.base import find_peak
    >>> find_peak(SlantedTriangular(peak=0.5), n_steps=3)
    1.0
    """
    return max(schedule(step / max(1, n_steps - 1)) for step in range(n_steps))
