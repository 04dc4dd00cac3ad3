"""Points: positions in an image, such as the corners of a mouth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.metrics import r2_score
from torch import Tensor

from .._support.geometry import Place, move
from .._support.validation import find_positions, first_ten, is_missing, list_cells
from .._support.warn import warn_user
from .base import Task
from .heads import fit_linear_numbers
from .labels import check_passed, name_columns
from .regression import LOSSES, ROUNDING, Regression, check_length
from .targets import Targets, make_targets

# Points may be outside of their image by this share of its sides, as annotators place them.
MARGIN = 0.1

# Pairs of points, by their numbers
Pairs = tuple[tuple[int, int], ...]


def find_points(y: Any, n_items: int, estimator_name: str, loss: str, flip_pairs: Any) -> Points:
    """Return the task of points.

    Parameters
    ----------
    y : array-like of shape (n_items, n_points, 2) or (n_items, 2 * n_points)
        Positions (x, y) in pixels, or NaN.
    n_items : int
    estimator_name : str
        The name of the estimator in messages.
    loss : {"squared_error", "absolute_error", "huber"}
    flip_pairs : sequence of pairs of int, or None
        The points that a flip exchanges.  None forbids flips.

    Raises
    ------
    ValueError
        If y has another shape, holds something else, or a point is never visible.
    """
    check_passed(y, estimator_name)
    points, is_table = check_points(y, n_items, "y")
    n_points = points.shape[1]
    blank = np.zeros(2 * n_points)
    pairs = _check_pairs(flip_pairs, n_points)
    return Points(loss, blank, blank + 1, is_table, pairs, names=name_columns(y))


def check_points(y: Any, n_items: int, name: str) -> tuple[np.ndarray, bool]:
    """Check points, and return them as (n, n_points, 2), and if ``y`` is a table."""
    given = y
    try:
        if hasattr(y, "to_numpy"):  # missing values of pandas are NaN
            y = y.to_numpy(np.float64, na_value=np.nan) if hasattr(y, "iloc") else y.to_numpy()
        array = np.array(y, dtype=np.float64)  # a copy, which is changed below
    except (TypeError, ValueError) as error:
        _check_cells(given, name)
        raise ValueError(
            f"{name} must be numbers of shape ({n_items}, n_points, 2), the positions (x, y) of "
            f"points in pixels; got {type(y).__name__}: {error}."
        ) from error
    is_table = array.ndim == 2
    if is_table and array.shape[1] % 2:
        names = [repr(str(column)) for column in getattr(given, "columns", ())]
        raise ValueError(
            f"{name} must have two columns for each point, x and y; got {array.shape[1]}"
            f"{': ' * bool(names)}{', '.join(names)}."
        )
    if is_table:
        array = array.reshape(len(array), -1, 2)
    if array.ndim != 3 or array.shape[2] != 2 or array.shape[1] == 0:
        raise ValueError(
            f"{name} must be of shape ({n_items}, n_points, 2) or ({n_items}, 2 * n_points), the "
            f"positions (x, y) of points; got {np.shape(y)}."
        )
    check_length(array, n_items, name)
    infinite = np.argwhere(np.isinf(array.reshape(len(array), -1) if is_table else array))
    if len(infinite):
        cells = list_cells(given, map(tuple, infinite.tolist()), name)
        raise ValueError(
            f"{name} must be finite positions, or NaN for points that are not visible; got "
            f"infinite ones:\n{first_ten(cells)}"
        )
    # A point without one of its two numbers is not visible.
    array[np.isnan(array).any(2)] = np.nan
    return array, is_table


def _check_cells(y: Any, name: str) -> None:
    """Raise an error if values of a table are neither numbers nor missing."""
    if not hasattr(y, "columns"):
        return
    others = find_positions(np.asarray(y, dtype=object), lambda value: not _is_position(value))
    if others:
        raise ValueError(
            f"{name} must be numbers, the positions (x, y) of points in pixels; {len(others)} "
            f"values are not:\n{first_ten(list_cells(y, others, name))}"
        )


def _is_position(value: Any) -> bool:
    """Return True if a value is missing, a number, or the text of one."""
    try:
        float(value)
    except (TypeError, ValueError):
        return is_missing(value)
    return True


def _check_pairs(flip_pairs: Any, n_points: int) -> Pairs | None:
    if flip_pairs is None:
        return None
    message = (
        f"flip_pairs must be pairs of different numbers of points, from 0 to {n_points - 1}, such "
        f"as [(0, 1)]; got {flip_pairs!r}."
    )
    try:
        pairs = np.asarray(flip_pairs)
    except ValueError as error:
        raise ValueError(message) from error
    if pairs.size == 0:
        return ()
    is_pairs = pairs.dtype.kind in "iu" and pairs.ndim == 2 and pairs.shape[1] == 2
    if not is_pairs or pairs.min() < 0 or pairs.max() >= n_points:
        raise ValueError(message)
    if len(np.unique(pairs)) < pairs.size:
        raise ValueError(message)
    return tuple((left, right) for left, right in pairs.tolist())


@dataclass(frozen=True, eq=False)
class Points(Regression):
    """The task of finding points in images.

    The outputs of the network are standardised positions in pixels of the row: x and y of the
    first point, of the second point and so on.  A position is NaN if the point is not visible.

    Parameters
    ----------
    criterion : {"squared_error", "absolute_error", "huber"}
        The loss of standardised positions.
    mean, scale : ndarray of shape (2 * n_points,)
        An output of 0 means ``mean``, and an output of 1 means ``mean + scale``.
    is_flat : bool
        True if y is a table with a column for each x and each y.
    pairs : tuple of pairs of int, or None
        The points that a flip exchanges.  None forbids flips.

    Examples
    --------
    >>> import numpy as np
    >>> from sktransfer.tasks import Points
    >>> task = Points("squared_error", np.zeros(4), np.ones(4), False, ((0, 1),))
    >>> task.flips
    True
    >>> task.encode([[[3, 4], [np.nan, 1]]], 1)
    array([[[ 3.,  4.],
            [nan, nan]]])
    """

    pairs: Pairs | None = None

    @property
    def n_points(self) -> int:
        """The number of points."""
        return len(self.mean) // 2

    @property
    def flips(self) -> bool:
        """True if it is known which points a flip exchanges."""
        return self.pairs is not None

    def name_point(self, at: int) -> str:
        """Return the number of a point, or the names of its two columns."""
        return f"({', '.join(self.names[2 * at : 2 * at + 2])})" if self.names else str(at)

    def encode(self, y: Any, n_items: int, name: str = "y") -> np.ndarray:
        """Return positions in pixels of the items, (n, n_points, 2)."""
        points, _ = check_points(self.arrange(y, name), n_items, name)
        if points.shape[1] != self.n_points:
            raise ValueError(
                f"{name} must have {self.n_points} points for each item, as y has; got "
                f"{points.shape[1]}."
            )
        return points

    def check_sizes(
        self, values: Any, sizes: Sequence[tuple[int, int]], name: Callable[[int], str]
    ) -> None:
        """Raise an error if points are far outside of their images."""
        sides = np.array(sizes, float).reshape(-1, 1, 2)
        outside = (values < -MARGIN * sides) | (values > (1 + MARGIN) * sides)  # NaN is not
        found = np.argwhere(outside.any(2))
        if len(found):
            lines = [
                f"{name(row)}: point {self.name_point(at)} at {tuple(values[row, at].tolist())}, "
                f"for an image of {sizes[row][0]} x {sizes[row][1]} pixels"
                for row, at in found.tolist()
            ]
            raise ValueError(
                f"y must have positions (x, y) in pixels of the items, counted from the top left; "
                f"these are outside:\n{first_ten(lines)}\nUse NaN for points that are not visible."
            )

    def place(self, values: Any, places: Sequence[Place], size: int = 0) -> np.ndarray:  # noqa: ARG002 - positions do not depend on it
        """Return standardised positions in the rows, (n, 2 * n_points)."""
        matrices = np.array([place.matrix for place in places]).reshape(-1, 3, 3)
        moved = move(matrices, values)
        if self.pairs:
            mirrored = np.flatnonzero([place.is_mirrored for place in places])
            left, right = map(list, zip(*self.pairs, strict=True))
            for one, other in ((left, right), (right, left)):
                moved[np.ix_(mirrored, one)] = move(matrices[mirrored], values[mirrored])[:, other]
        standardised: np.ndarray = (moved.reshape(len(moved), -1) - self.mean) / self.scale
        return standardised

    def find_in_items(self, outputs: np.ndarray, places: Sequence[Place | None]) -> np.ndarray:
        """Return predictions in pixels of the items, in the form of y; NaN without a place."""
        points = (outputs * self.scale + self.mean).reshape(len(outputs), -1, 2)
        nowhere = np.full((3, 3), np.nan)
        back = [nowhere if place is None else np.linalg.inv(place.matrix) for place in places]
        found: np.ndarray = move(np.array(back).reshape(-1, 3, 3), points)
        return found.reshape(len(found), -1) if self.is_flat else found

    def decide(self, outputs: np.ndarray) -> np.ndarray:
        """Return positions in pixels of the rows, in the form of y."""
        found: np.ndarray = outputs * self.scale + self.mean
        return found if self.is_flat else found.reshape(len(found), -1, 2)

    def scaled(self, targets: Targets, train: np.ndarray) -> tuple[Task, Targets]:
        """Scale the positions to mean 0 and standard deviation 1 over the visible points."""
        values, weight = targets.values[train], targets.weight[train]
        seen = np.isfinite(values) * weight[:, None]  # (n, 2 * n_points)
        total = seen.sum(axis=0)
        never = np.flatnonzero(total[::2] == 0)
        if len(never):
            lines = [f"point {self.name_point(at)}" for at in never.tolist()]
            raise ValueError(
                f"y must have each point in at least one training item; these are never visible:\n"
                f"{first_ten(lines)}"
            )
        filled = np.nan_to_num(values)
        mean = (seen * filled).sum(axis=0) / total
        scale = np.sqrt((seen * (filled - mean) ** 2).sum(axis=0) / total)
        scale[scale <= ROUNDING * np.abs(mean)] = 1  # a constant
        units = replace(self, mean=self.mean + mean * self.scale, scale=self.scale * scale)
        return units, replace(targets, values=(targets.values - mean) / scale)

    def strata(self, targets: Targets, n_most: int) -> np.ndarray | None:  # noqa: ARG002 - points have no strata
        """Return None, because points have no strata."""
        return None

    def initial_bias(self, targets: Targets) -> np.ndarray:
        """Return the constant positions with the lowest loss."""
        centre = LOSSES[self.criterion][1]
        bias = np.zeros(self.n_outputs)
        for at, column in enumerate(targets.values.T):
            seen = np.isfinite(column)
            if seen.any():
                bias[at] = centre(column[seen][:, None], targets.weight[seen])[0]
        return bias

    def exact_head(
        self, model: Any, features: np.ndarray, targets: Targets
    ) -> tuple[np.ndarray, np.ndarray]:
        """Fit a linear regressor to the items in which the same points are visible."""
        seen = np.isfinite(targets.values)
        coef = np.zeros((self.n_outputs, features.shape[1]))
        bias = np.zeros(self.n_outputs)
        patterns, which = np.unique(seen.T, axis=0, return_inverse=True)
        for number, rows in enumerate(patterns):
            columns = np.flatnonzero(which.ravel() == number)
            numbers = targets.values[np.ix_(rows, columns)]
            head = fit_linear_numbers(model, features[rows], numbers, targets.weight[rows])
            coef[columns], bias[columns] = head
        return coef, bias

    def loss(self, outputs: Tensor, target: Tensor) -> Tensor:
        """Return the loss of each item, averaged over its visible points."""
        seen = target.isfinite()
        losses = LOSSES[self.criterion][0](outputs, target.nan_to_num(0.0), reduction="none")
        return (losses * seen).sum(1) / seen.sum(1).clamp(min=1)

    def correct(self, outputs: Tensor, target: Tensor) -> Tensor:
        """Return 1 minus the squared error of each item, averaged over its visible points."""
        seen = target.isfinite()
        errors = (outputs - target.nan_to_num(0.0)).square() * seen
        return 1 - errors.sum(1) / seen.sum(1).clamp(min=1)

    def score_columns(self, predicted: np.ndarray, y: Any, sample_weight: Any = None) -> np.ndarray:
        """Return R2 of x and y of each point over the items in which it is visible."""
        n_items = len(predicted)
        true, _ = check_points(self.arrange(y), n_items, "y")
        true, found = true.reshape(n_items, -1), predicted.reshape(n_items, -1)
        if true.shape != found.shape:
            raise ValueError(f"y must be of shape {predicted.shape}; got {np.shape(y)}.")
        self.check_found(found)
        weight = make_targets(true, sample_weight).weight
        scores = np.full(true.shape[1], np.nan)
        for at, column in enumerate(true.T):
            seen = np.isfinite(column)
            if seen.sum() > 1:
                scores[at] = r2_score(column[seen], found[seen, at], sample_weight=weight[seen])
        return scores

    def score(self, predicted: np.ndarray, y: Any, sample_weight: Any = None) -> float:
        """Return R2, the mean over x and y of all points that are visible in two items or more."""
        scores = self.score_columns(predicted, y, sample_weight)
        if np.isnan(scores).all():
            message = "R2 is not defined, because no point is visible in two items."
            warn_user(message, UndefinedMetricWarning)
            return float("nan")
        return float(np.nanmean(scores))
