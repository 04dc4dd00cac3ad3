"""What a schedule is: progress in [0, 1] to a factor of the base value.

Progress is 0 at the first optimiser step of a phase and 1 at its last one, so a schedule needs no
number of steps.  One that counts in epochs learns them from :meth:`Schedule.over`.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, floor, pi


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


def half_cosine(first: float, last: float, progress: float) -> float:
    """Half a cosine from ``first`` to ``last``."""
    return last + (first - last) * (1 + cos(pi * progress)) / 2
