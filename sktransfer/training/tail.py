"""The tail of a network: the part after the cut, which is trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .._support.device import at_least_float32
from ..backbones import Backbone, freeze_batch_norm, pool


@dataclass(frozen=True)
class Pooled:
    """The entry of rows that are already pooled features, and enter the head."""


# The place where rows enter a tail: the stage with this index, or the head.
Entry = int | Pooled


class Tail(nn.Module):
    """The stages after the cut, pooling, standardisation, dropout and the head.

    Parameters
    ----------
    backbone : Backbone
        All stages.  Rows that enter at the cut pass only the later ones.
    head : Module
        Maps (b, n_features) to (b, n_outputs).
    pooling : str
        How the positions of the last feature map become one vector.
    mean, scale : ndarray of shape (n_features,)
        The input of the head is ``(features - mean) / scale``.
    dropout : float in [0, 1)
        Probability with which a feature is set to zero in training.
    freeze_bn : bool
        If True, batch norm after the cut stays in evaluation mode, too.
    cut : int, default=0
        The number of stages that are never unfrozen, because their output may have been computed
        before training.
    """

    mean: Tensor
    scale: Tensor
    head: Any
    backbone: Backbone

    def __init__(
        self,
        backbone: Backbone,
        head: nn.Module,
        *,
        pooling: str,
        mean: np.ndarray,
        scale: np.ndarray,
        dropout: float,
        freeze_bn: bool,
        cut: int = 0,
    ):
        super().__init__()
        self.backbone = backbone
        self.pooling = pooling
        self.register_buffer("mean", torch.as_tensor(mean))
        self.register_buffer("scale", torch.as_tensor(scale))
        self.dropout = nn.Dropout(dropout)
        self.head = head
        self.freeze_bn = freeze_bn
        self.cut = cut

    def train(self, mode: bool = True) -> Tail:
        """Set training or evaluation mode; frozen parts stay in evaluation mode."""
        super().train(mode)
        if self.freeze_bn:
            freeze_batch_norm(self.backbone)
        return self

    def set_head_training(self, mode: bool) -> None:
        """Set training or evaluation mode of dropout and the head only."""
        self.dropout.train(mode)
        self.head.train(mode)

    def features(self, x: Tensor, entry: Entry = 0) -> Tensor:
        """Return the pooled features of rows that enter at ``entry``, (b, n_features)."""
        if isinstance(entry, Pooled):
            return x
        backbone = self.backbone
        maps = at_least_float32(backbone(x, start=entry))
        return pool(maps, self.pooling, backbone.layout, backbone.n_prefix_tokens)

    def probe(self, x: Tensor, entry: Entry = 0) -> Tensor:
        """Return a tensor that contains all features, to compare two ways to compute them."""
        return self.features(x, entry)

    def outputs(self, features: Tensor) -> Tensor:
        """Return the outputs of the head for pooled features, (b, n_outputs)."""
        outputs: Tensor = self.head(self.dropout((features - self.mean) / self.scale))
        return outputs

    def forward(self, x: Tensor, entry: Entry = 0) -> Tensor:
        """Return the outputs for rows that enter at ``entry``, (b, n_outputs)."""
        if x.is_floating_point():
            x = x.to(self.mean.dtype)
        return self.outputs(self.features(x, entry))
