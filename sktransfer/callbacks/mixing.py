"""Batches whose items are mixed with each other.

These are skorch callbacks, as those of :mod:`sktransfer.callbacks`, which says what they ask of a
net.
"""

from __future__ import annotations

from math import sqrt
from typing import Any

import torch
from skorch.callbacks import Callback
from torch import Tensor

from .._support.validation import check_range


class MixUp(Callback):
    """Train on mixtures: each item of a batch, and its target, with a bit of another one.

    All items of a batch are mixed in one ratio, drawn from Beta(alpha, alpha).  ``X["x"]`` may be
    images, feature maps or rows.  A mixture weighs what its parts weigh, and its target is
    theirs, each as much as it weighs.  The batch is a dict with soft targets, as
    ``FineTuneClassifier`` has it, and the net has ``rng``.

    Parameters
    ----------
    alpha : float, default=0.2
        Above 0: near 0, mixtures are mostly one item; at 1, all ratios are equally likely.

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
        """Mix the batch."""
        if not training:
            return
        X, x = batch[0], batch[0]["x"]
        if not isinstance(x, Tensor) or not x.is_floating_point():
            kind = getattr(x, "dtype", type(x).__name__)
            raise TypeError(f"MixUp needs X['x'] to be a tensor of floats; got {kind}.")
        rng = net.rng("mixup", net.step_)
        share = float(rng.beta(self.alpha, self.alpha))
        order = torch.from_numpy(rng.permutation(len(x)))
        X["x"] = share * x + (1 - share) * x[order.to(x.device)]
        _mix_targets(X, order, share)


class CutMix(Callback):
    """Train on collages: each item of a batch with a box of another one, and both targets.

    The area of the box is drawn from Beta(alpha, alpha), its middle uniformly; the targets are
    mixed as the areas are.  All items of a batch have the same box.  ``X["x"]`` is images or
    feature maps; the head phase of ``FineTuneClassifier``, which trains on pooled features, goes
    without.  A collage weighs what its parts weigh, and its target is theirs, each as much as it
    weighs.  The batch is a dict with soft targets, as ``FineTuneClassifier`` has it, and the net
    has ``rng``.

    Parameters
    ----------
    alpha : float, default=1.0
        Above 0: near 0, collages are mostly one item; at 1, all areas are equally likely.

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
        """Paste the box."""
        if not training or getattr(net, "phase", None) == "head":
            return
        X, x = batch[0], batch[0]["x"]
        if not isinstance(x, Tensor):
            raise TypeError(f"CutMix needs X['x'] to be a tensor; got {type(x).__name__}.")
        if x.ndim != 4:
            raise ValueError(
                "CutMix needs images or feature maps, X['x'] of four axes; "
                f"got the shape {tuple(x.shape)}. MixUp takes any."
            )
        rng = net.rng("cutmix", net.step_)
        side = sqrt(1 - rng.beta(self.alpha, self.alpha))
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
    """The axes of height and width in what enters the module: images have their channels first."""
    layout = getattr(getattr(net.module_, "backbone", None), "layout", "NCHW")
    start = getattr(net, "starts_", (getattr(net.module_, "start", 0),))[0]
    return (1, 2) if layout == "NHWC" and start else (2, 3)


def _mix_targets(X: dict[str, Tensor], order: Tensor, share: float) -> None:
    """Mix targets and weights such that the loss is that of the parts, each with its weight."""
    target, weight = X["target"], X["weight"]
    order = order.to(target.device)
    own, other = share * weight, (1 - share) * weight[order]
    # where neither part counts, neither does the target
    part = torch.where(own + other > 0, own / (own + other), share)
    part = part.to(target.dtype).reshape(-1, *[1] * (target.ndim - 1))  # (b, 1)
    X["target"] = part * target + (1 - part) * target[order]
    X["weight"] = own + other
