"""skorch callbacks that mix the items of a batch: MixUp and CutMix.

:mod:`sktransfer.callbacks.scheduled` lists the attributes that a net needs.  These callbacks also
need ``net.rng(*words)``, which returns a NumPy generator seeded by the words.
"""

from __future__ import annotations

from math import sqrt
from typing import Any

import torch
from skorch.callbacks import Callback
from torch import Tensor

from .._support.validation import check_range


class MixUp(Callback):
    """Train on weighted averages of pairs of items and of their targets.

    All items of a batch are mixed in the same ratio, drawn from Beta(alpha, alpha).  ``X["x"]``
    may be images, feature maps or feature vectors.  The loss of a mixture is the weighted sum of
    the losses of its two parts, sample weights included.

    The batch has to be a dict with soft targets, and the net needs a method ``rng``.  Both hold
    in ``FineTuneClassifier``.

    Parameters
    ----------
    alpha : float, default=0.2
        Parameter of the Beta distribution, above 0.  With small values most mixtures are close
        to one of their two items; with 1 all ratios are equally likely.

    References
    ----------
    .. [1] H. Zhang, M. Cisse, Y. N. Dauphin and D. Lopez-Paz, "mixup: Beyond Empirical Risk
       Minimization", ICLR 2018, https://arxiv.org/abs/1710.09412

    Examples
    --------
    >>> from sktransfer.callbacks import MixUp
    >>> MixUp(alpha=0.4).initialize().alpha
    0.4
    """

    def __init__(self, alpha: float = 0.2):
        self.alpha = alpha

    def initialize(self) -> MixUp:
        """Check the parameters."""
        check_range("alpha", self.alpha, "(0, inf)")
        return self

    def on_batch_begin(self, net: Any, batch: Any = None, training: bool = False, **_: Any) -> None:
        """Mix the items and targets of a training batch."""
        if not training:
            return
        X, x = batch[0], batch[0]["x"]
        if not isinstance(x, Tensor) or not x.is_floating_point():
            kind = getattr(x, "dtype", type(x).__name__)
            raise TypeError(f"X['x'] must be a tensor of floats for MixUp; got {kind}.")
        rng = net.rng("mixup", net.step_)
        share = float(rng.beta(self.alpha, self.alpha))
        order = torch.from_numpy(rng.permutation(len(x)))
        X["x"] = share * x + (1 - share) * x[order.to(x.device)]
        _mix_targets(X, order, share)


class CutMix(Callback):
    """Train on images into which a box of another image is pasted.

    The relative area of the box is drawn from Beta(alpha, alpha) and its center uniformly.  All
    items of a batch share one box.  Targets are mixed in proportion to the areas: the loss is
    the weighted sum of the losses of the two parts, sample weights included.

    ``X["x"]`` has to be images or feature maps.  The head phase of ``FineTuneClassifier`` trains
    on pooled features and is left unchanged.  The batch has to be a dict with soft targets, and
    the net needs a method ``rng``.  Both hold in ``FineTuneClassifier``.

    Parameters
    ----------
    alpha : float, default=1.0
        Parameter of the Beta distribution, above 0.  With small values most results show almost
        only one item; with 1 all areas are equally likely.

    References
    ----------
    .. [1] S. Yun, D. Han, S. J. Oh, S. Chun, J. Choe and Y. Yoo, "CutMix: Regularization Strategy
       to Train Strong Classifiers with Localizable Features", ICCV 2019,
       https://arxiv.org/abs/1905.04899

    Examples
    --------
    >>> from sktransfer.callbacks import CutMix
    >>> CutMix(alpha=0.5).initialize().alpha
    0.5
    """

    def __init__(self, alpha: float = 1.0):
        self.alpha = alpha

    def initialize(self) -> CutMix:
        """Check the parameters."""
        check_range("alpha", self.alpha, "(0, inf)")
        return self

    def on_batch_begin(self, net: Any, batch: Any = None, training: bool = False, **_: Any) -> None:
        """Paste the box into each image of a training batch, and mix the targets."""
        if not training or getattr(net, "phase", None) == "head":
            return
        X, x = batch[0], batch[0]["x"]
        if not isinstance(x, Tensor):
            raise TypeError(f"X['x'] must be a tensor for CutMix; got {type(x).__name__}.")
        if x.ndim != 4:
            raise ValueError(
                "X['x'] must be images or feature maps, of four axes, for CutMix; "
                f"got shape {tuple(x.shape)}. MixUp accepts any shape."
            )
        rng = net.rng("cutmix", net.step_)
        side = sqrt(1 - rng.beta(self.alpha, self.alpha))
        # The box is clipped at the borders, so its area is measured, not the one that was drawn.
        box, area = [slice(None)] * 4, 1.0
        for axis in _spatial_axes(net):
            size = x.shape[axis]
            middle, half = int(rng.integers(size)), int(size * side) // 2
            box[axis] = slice(max(0, middle - half), min(size, middle + half))
            area *= (box[axis].stop - box[axis].start) / size
        order = torch.from_numpy(rng.permutation(len(x)))
        mixed = x.clone()
        mixed[tuple(box)] = x[order.to(x.device)][tuple(box)]
        X["x"] = mixed
        _mix_targets(X, order, 1 - area)


def _spatial_axes(net: Any) -> tuple[int, int]:
    """Return the axes of height and width of the rows that enter the module.

    Feature maps have the layout of the network; images have their channels first.
    """
    layout = getattr(getattr(net.module_, "backbone", None), "layout", "NCHW")
    is_map = getattr(net, "entry_", getattr(net.module_, "cut", 0)) != 0
    return (1, 2) if layout == "NHWC" and is_map else (2, 3)


def _mix_targets(X: dict[str, Tensor], order: Tensor, share: float) -> None:
    """Mix targets and weights in place, so that the loss is the weighted sum over both parts."""
    target, weight = X["target"], X["weight"]
    order = order.to(target.device)
    own, other = share * weight, (1 - share) * weight[order]
    # If both weights are 0, the target does not matter, but it has to be finite.
    part = torch.where(own + other > 0, own / (own + other), share)
    part = part.to(target.dtype).reshape(-1, *[1] * (target.ndim - 1))  # (b, 1)
    X["target"] = part * target + (1 - part) * target[order]
    X["weight"] = own + other
