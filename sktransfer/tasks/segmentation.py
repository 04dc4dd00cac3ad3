"""Segmentation: a class for each pixel of an image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from scipy.special import softmax
from torch import Tensor
from torch.nn.functional import cross_entropy, interpolate

from .._support.geometry import Place
from .._support.validation import first_ten
from .._support.warn import warn_user
from .base import Task
from .labels import check_class_weight
from .targets import Targets, make_targets


def find_segmentation(masks: Any, ignored: tuple[int, ...], class_weight: Any) -> Segmentation:
    """Return the task of masks.

    Parameters
    ----------
    masks : Masks
    ignored : tuple of int
        The values of pixels that have no class.
    class_weight : dict, "balanced" or None

    Raises
    ------
    ValueError
        If there are fewer than two classes, or class_weight is invalid.
    """
    values = {value for _, counts in masks.summaries for value in counts}
    classes = np.array(sorted(values - set(ignored)), int)
    if len(classes) and classes[0] < 0:
        raise ValueError(
            f"y must have masks of classes of at least 0; got {classes[0]}. If pixels of this "
            f"value have no class, pass ignore_label={[*sorted(ignored), int(classes[0])]}."
        )
    if len(classes) < 2:
        lines = [f"y[{at}]: {sorted(counts)}" for at, (_, counts) in enumerate(masks.summaries)]
        raise ValueError(
            f"y must have masks of at least 2 classes; got {classes.tolist()}, besides the ignored "
            f"{sorted(ignored)}. The masks have pixels of these values:\n{first_ten(lines)}"
            f"{_advise(values & set(ignored), ignored)}"
        )
    weights = _find_weights(class_weight, classes, masks.counts(classes.tolist()).sum(axis=0))
    names = () if masks.column is None else (masks.column,)
    return Segmentation(classes, ignored, weights, names=names)


def check_mask_sizes(
    masks: Any, sizes: Sequence[tuple[int, int] | None], name: Callable[[int], str]
) -> None:
    """Raise an error if masks have other sizes than their items, of which None is not known."""
    lines = [
        f"{name(at)} has {mask_size[0]} x {mask_size[1]} pixels, and its item {size[0]} x {size[1]}"
        for at, ((mask_size, _), size) in enumerate(zip(masks.summaries, sizes, strict=True))
        if size is not None and tuple(mask_size) != tuple(size)
    ]
    if lines:
        raise ValueError(
            "y must have masks of the sizes of their items, as Pillow opens them, without the EXIF "
            f"orientation; {len(lines)} have others:\n{first_ten(lines)}"
        )


def _advise(found: set[int], ignored: tuple[int, ...]) -> str:
    """Suggest another ``ignore_label``, in a line, if it may help."""
    if not found:
        return ""
    others = sorted(set(ignored) - found) or None
    values = " and ".join(map(str, sorted(found)))
    return f"\nIf pixels of {values} have a class, pass ignore_label={others}."


def _find_weights(class_weight: Any, classes: np.ndarray, counts: np.ndarray) -> np.ndarray:
    check_class_weight(class_weight, classes)
    if isinstance(class_weight, dict):
        weights = np.array([class_weight.get(each, 1.0) for each in classes.tolist()], float)
        if not weights.any():
            raise ValueError(f"class_weight must have a weight above 0; got {class_weight!r}.")
        return weights
    if class_weight is None:
        return np.ones(len(classes))
    balanced: np.ndarray = counts.sum() / (len(classes) * counts)
    return balanced


def _join_small(sizes: np.ndarray, n_most: int) -> np.ndarray:
    """Return the number of the stratum of each class; the smallest ones join their neighbours."""
    groups, totals = [[at] for at in range(len(sizes))], sizes.tolist()
    while len(groups) > max(n_most, 1) or (min(totals) < 2 and len(groups) > 1):
        smallest = totals.index(min(totals))
        neighbour = smallest + 1 if smallest + 1 < len(groups) else smallest - 1
        groups[neighbour] += groups[smallest]
        totals[neighbour] += totals[smallest]
        del groups[smallest], totals[smallest]
    strata = np.zeros(len(sizes), int)
    for number, group in enumerate(groups):
        strata[group] = number
    return strata


@dataclass(frozen=True, eq=False)
class Segmentation:
    """The task of predicting a class for each pixel.

    The outputs of the network are maps of logits, (b, n_classes, h, w), which are resized to the
    row.

    Parameters
    ----------
    classes : ndarray of int of shape (n_classes,)
        The sorted values of the classes in masks.
    ignored : tuple of int
        The values of pixels that have no class.
    weights : ndarray of shape (n_classes,)
        The weights of the classes in the loss.
    names : tuple of str, default=()
        The name of y, if it has one.

    Examples
    --------
    >>> import numpy as np
    >>> from sktransfer.tasks import Segmentation
    >>> task = Segmentation(np.array([0, 7]), (255,), np.ones(2))
    >>> true = [np.array([[0, 7, 255]])]
    >>> task.score([np.array([[0, 0, 0]])], true)  # IoU of 0 is 1/2, that of 7 is 0
    0.25
    """

    classes: np.ndarray
    ignored: tuple[int, ...]
    weights: np.ndarray
    names: tuple[str, ...] = field(default=(), kw_only=True)

    @property
    def n_outputs(self) -> int:
        """The number of classes."""
        return len(self.classes)

    @property
    def flips(self) -> bool:
        """True: masks are flipped with their images."""
        return True

    def encode(self, y: Any, n_items: int, name: str = "y") -> Any:
        """Return the masks, in pixels of the items, after a check of their values."""
        if len(y) != n_items:
            raise ValueError(f"{name} must have a mask for each of {n_items} items; got {len(y)}.")
        known = {*self.classes.tolist(), *self.ignored}
        unknown = [
            f"{name}[{at}]: {sorted(counts.keys() - known)[:10]}"
            for at, (_, counts) in enumerate(y.summaries)
            if counts.keys() - known
        ]
        if unknown:
            raise ValueError(
                f"{name} must have masks of known classes, {sorted(known)}; these have others:\n"
                f"{first_ten(unknown)}"
            )
        return y

    def decode(self, values: Any) -> Any:
        """Return encoded masks in pixels of the rows, which hold numbers of classes."""
        return values

    def check_sizes(
        self, values: Any, sizes: Sequence[tuple[int, int]], name: Callable[[int], str]
    ) -> None:
        """Raise an error if masks have other sizes than their items."""
        check_mask_sizes(values, sizes, name)

    def place(self, values: Any, places: Sequence[Place], size: int) -> Any:
        """Return masks in pixels of their rows, with numbers of classes."""
        return values.placed(places, size, self.classes)

    def weigh(self, targets: Targets, class_weight: Any) -> Targets:  # noqa: ARG002 - pixels have class weights
        """Return the targets unchanged, because the weights of classes count for pixels."""
        return targets

    def narrow(self, targets: Targets, name: str = "y") -> tuple[Task, Targets]:
        """Remove classes that only masks of weight 0 have; their pixels are ignored."""
        weighted = targets.values[targets.weight > 0]
        present = weighted.counts(self.classes.tolist()).any(axis=0)
        classes = self.classes[present]
        if len(classes) < 2:
            raise ValueError(
                f"{name} must have masks of at least 2 classes, of items with a positive weight; "
                f"got {classes.tolist()}. The items with a positive weight are\n"
                f"{first_ten([f'{name}[{at}]' for at in np.flatnonzero(targets.weight > 0)])}"
            )
        return replace(self, classes=classes, weights=self.weights[present]), targets

    def scaled(self, targets: Targets, train: np.ndarray) -> tuple[Task, Targets]:  # noqa: ARG002 - masks have no units
        """Return the task and the targets unchanged."""
        return self, targets

    def strata(self, targets: Targets, n_most: int) -> np.ndarray | None:
        """Return the rarest class of each item, which the fewest items have.

        Strata join their neighbours until each has two items, and there are at most ``n_most``.
        """
        present = targets.values.counts(self.classes.tolist()) > 0  # (n, n_classes)
        order = np.argsort(present.sum(axis=0), kind="stable")
        rarest = present[:, order].argmax(axis=1)
        strata = _join_small(np.bincount(rarest, minlength=len(order)), n_most)[rarest]
        return strata if strata.any() else None

    def initial_bias(self, targets: Targets) -> np.ndarray:
        """Return the logarithms of the shares of the classes, times their weights."""
        counts = targets.weight @ targets.values.masks.counts(self.classes.tolist())
        shares = (counts + 1) * np.maximum(self.weights, 1e-6)
        bias: np.ndarray = np.log(shares / shares.sum())
        return bias

    def exact_model(self, gentle: bool) -> Any:  # noqa: ARG002 - the same for all items
        """Return None: there are too many pixels for an exact solution."""
        return None

    def exact_head(
        self, model: Any, features: np.ndarray, targets: Targets
    ) -> tuple[np.ndarray, np.ndarray]:
        """Raise an error, because no head is exact."""
        raise NotImplementedError("a head of maps must start from the shares of the classes.")

    def smooth(self, target: Tensor, amount: float) -> Tensor:  # noqa: ARG002 - masks are not smoothed
        """Return the targets unchanged."""
        return target

    def loss(self, outputs: Tensor, target: Tensor) -> Tensor:
        """Return the weighted mean cross-entropy of the pixels of each item; 0 without pixels."""
        logits, numbers = self._at_pixels(outputs, target), target.long()
        weights = torch.as_tensor(self.weights, dtype=logits.dtype, device=logits.device)
        losses = cross_entropy(logits, numbers, weights, ignore_index=-1, reduction="none")
        total = (weights[numbers.clamp(min=0)] * (numbers >= 0)).sum((1, 2))
        return losses.sum((1, 2)) / total.clamp(min=1e-9)

    def correct(self, outputs: Tensor, target: Tensor) -> Tensor:
        """Return the share of the pixels of each item whose class has the largest output."""
        numbers = target.long()
        right = (self._at_pixels(outputs, target).argmax(1) == numbers).sum((1, 2))
        return right.to(target.dtype) / (numbers >= 0).sum((1, 2)).clamp(min=1)

    def _at_pixels(self, outputs: Tensor, target: Tensor) -> Tensor:
        """Return logits resized to the pixels of the row, (b, n_classes, size, size)."""
        return interpolate(outputs, target.shape[-2:], mode="bilinear", align_corners=False)

    def finish(self, outputs: Tensor) -> Tensor:
        """Return the probabilities of the classes at the positions of the outputs."""
        return outputs.softmax(1)

    def decide(self, outputs: np.ndarray) -> np.ndarray:
        """Return the class with the largest output, (n, h, w)."""
        labels: np.ndarray = self.classes[outputs.argmax(axis=1)]
        return labels

    @property
    def pixel_values(self) -> np.ndarray:
        """The classes in the type of predicted masks: uint8 if they fit, otherwise int64."""
        fits = self.classes.max() < 256
        return self.classes.astype(np.uint8 if fits else np.int64)

    def probabilities(self, outputs: np.ndarray) -> np.ndarray:
        """Return the probability of each class, (n, n_classes, h, w)."""
        found: np.ndarray = softmax(outputs, axis=1)
        return found

    def confusion(
        self, predicted: Sequence[Any], y: Any, sample_weight: Any = None
    ) -> tuple[np.ndarray, list[int]]:
        """Return the number of pixels of each true class (row) and predicted class (column).

        Parameters
        ----------
        predicted : sequence of n_items masks of shape (h, w)
        y : sequence of n_items masks
            Pixels of ignored values do not count.  A warning names unknown classes.
        sample_weight : array-like of shape (n_items,) or None, default=None

        Returns
        -------
        table : ndarray of shape (n_classes + 1, n_classes)
            The last row is that of pixels of unknown classes.
        unknown : list of int
            The sorted values of unknown classes.

        Raises
        ------
        ValueError
            If a prediction has another size than its mask, no pixel has a known class, or a weight
            is missing, negative or not finite.
        """
        k = self.n_outputs
        weight = make_targets(predicted, sample_weight).weight
        total, occurs = np.zeros((k + 1, k)), np.zeros(k, bool)
        unknown: set[int] = set()
        skipped: set[int] = set()
        for at, (found, true) in enumerate(zip(predicted, y, strict=True)):
            if np.shape(found) != true.shape:
                raise ValueError(
                    f"y must have masks of the sizes of their items; y[{at}] is of shape "
                    f"{true.shape}, and its prediction of shape {np.shape(found)}."
                )
            if not weight[at]:
                continue
            numbers = np.searchsorted(self.classes, true).clip(max=k - 1)
            known, ignored = self.classes[numbers] == true, np.isin(true, self.ignored)
            skipped |= set(np.unique(true[ignored]).tolist())
            unknown |= set(np.unique(true[~known & ~ignored]).tolist())
            rows = np.where(known, numbers, k)[~ignored]
            columns = np.searchsorted(self.classes, np.asarray(found)[~ignored])
            pairs = np.bincount(rows * k + columns, minlength=(k + 1) * k).reshape(k + 1, k)
            occurs |= pairs[:k].any(axis=1)
            total += weight[at] * pairs
        self._check_scored(self.classes[occurs].tolist(), sorted(unknown), sorted(skipped))
        return total, sorted(unknown)

    def _check_scored(self, occurring: list[int], unknown: list[int], skipped: list[int]) -> None:
        """Raise an error if masks have no known class; warn if they have unknown ones, or one.

        Parameters
        ----------
        occurring : list of int
            The known classes of pixels that count.
        unknown : list of int
            The other values of these pixels.
        skipped : list of int
            The values of pixels that are ignored.
        """
        classes, n_more = self.classes.tolist(), len(unknown) - 10
        listed = f"{unknown[:10]}{f' and {n_more} more' if n_more > 0 else ''}"
        if not occurring:
            got = f"got {listed}" if unknown else "all pixels are ignored"
            raise ValueError(
                f"y must have masks of classes that the model knows, {classes}; {got}."
            )
        if unknown:
            warn_user(
                "y has classes that the model does not know, and their pixels count as wrong: "
                f"{listed}. It knows {classes}. In cross-validation, a class may be missing from "
                "the training part."
            )
        elif len(occurring) == 1 and skipped:
            warn_user(
                f"y has pixels of one class, {occurring[0]}, besides the ignored "
                f"{skipped}, which do not count. If they have a class, give them its "
                f"number, one of {classes}."
            )

    def score(self, predicted: Any, y: Any, sample_weight: Any = None) -> float:
        """Return the mean of :meth:`score_columns` over the classes that occur.

        That of an unknown class is 0.
        """
        shares, n_unknown = self._find_shares(predicted, y, sample_weight)
        return float(np.nansum(shares) / ((~np.isnan(shares)).sum() + n_unknown))

    def score_columns(self, predicted: Any, y: Any, sample_weight: Any = None) -> np.ndarray:
        """Return the intersection over union of each class; NaN if it does not occur."""
        return self._find_shares(predicted, y, sample_weight)[0]

    def _find_shares(self, predicted: Any, y: Any, sample_weight: Any) -> tuple[np.ndarray, int]:
        """Return the result of :meth:`score_columns`, and the number of unknown classes."""
        table, unknown = self.confusion(predicted, y, sample_weight)
        both = np.diag(table)
        either = table.sum(axis=0) + table[:-1].sum(axis=1) - both
        shares: np.ndarray = np.full(len(both), np.nan)
        np.divide(both, either, out=shares, where=either > 0)
        return shares, len(unknown)
