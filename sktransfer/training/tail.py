"""The tail behind the cut: what is trained."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..backbones import Backbone, pool


class Tail(nn.Module):
    """What is trained: the stages after the cut, pooling, standardisation, dropout and the head.

    Parameters
    ----------
    backbone : Backbone
    head : Module
        (b, n_features) to (b, n_outputs).
    pooling : str
    mean, scale : ndarray of shape (n_features,)
        The head sees ``(features - mean) / scale``.
    dropout : float
    freeze_bn : bool
        Whether batch norm stays in evaluation mode after the cut, too.
    start : int
        How many stages, the first ones, stay frozen for good: their output may have been computed
        before training began, so that gradual unfreezing stops here.
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
        start: int = 0,
    ):
        super().__init__()
        self.backbone = backbone
        self.pooling = pooling
        self.register_buffer("mean", torch.as_tensor(mean))
        self.register_buffer("scale", torch.as_tensor(scale))
        self.dropout = nn.Dropout(dropout)
        self.head = head
        self.freeze_bn = freeze_bn
        self.start = start

    def train(self, mode: bool = True) -> Tail:
        """Set the mode; what is frozen stays in evaluation mode."""
        super().train(mode)
        if self.freeze_bn:
            for module in self.backbone.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self

    def set_head_training(self, mode: bool) -> None:
        """Set the mode of what stands behind the stages."""
        self.dropout.train(mode)
        self.head.train(mode)

    def features(self, x: Tensor, start: int | None = 0) -> Tensor:
        """Pooled features (b, n_features) of rows that enter at stage ``start``; None: they are."""
        if start is None:
            return x
        maps = self.backbone(x, start=start)
        dtype = torch.promote_types(maps.dtype, torch.float32)
        backbone = self.backbone
        return pool(maps.to(dtype), self.pooling, backbone.layout, backbone.n_prefix_tokens)

    def logits(self, features: Tensor) -> Tensor:
        """Scores (b, n_outputs) of pooled features."""
        logits: Tensor = self.head(self.dropout((features - self.mean) / self.scale))
        return logits

    def forward(self, x: Tensor, start: int | None = 0) -> Tensor:
        """Scores (b, n_outputs) of rows that enter at stage ``start``."""
        return self.logits(self.features(x, start))
