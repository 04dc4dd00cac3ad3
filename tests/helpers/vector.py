"""A network for the rows of a table: it shows that items need not be images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from sklearn.utils.validation import check_array
from torch import Tensor, nn

from sktransfer import Backbone
from sktransfer.backbones.weights import weights_info
from sktransfer.data import Items

WIDTHS = (64, 64, 48, 32)


@dataclass(frozen=True)
class VectorPreset:
    """Rows of a table as vectors of one width.

    Parameters
    ----------
    width : int, default=64
        Inputs of the first stage.  Shorter rows are filled with zeros; of longer ones, column
        ``width + i`` is added to column ``i``.
    """

    width: int = WIDTHS[0]

    def check(self, X: Any) -> Items:
        """Return the rows of ``X``, validated as scikit-learn validates any table."""
        return Items(check_array(X, dtype="numeric", input_name="X"), "table", columns=True)

    def __call__(self, item: Any) -> Tensor:
        """One row, (width,), float32."""
        row = torch.from_numpy(np.asarray(item, np.float32))
        missing = -len(row) % self.width
        return nn.functional.pad(row, (0, missing)).view(-1, self.width).sum(0)

    def collate(self, rows: Sequence[Tensor], size: int) -> Tensor:
        """Rows as one batch (size, width); those that are missing are zero."""
        batch = torch.zeros(size, self.width)
        for index, row in enumerate(rows):
            batch[index] = row
        return batch

    def fingerprint(self) -> str:
        """A text that is equal for two presets only if they give equal inputs."""
        return f"vector 1 {self.width}"


def vector_stages() -> dict[str, nn.Module]:
    """Three dense stages; a row ends as 32 numbers."""
    stages: dict[str, nn.Module] = {}
    for index, (inputs, outputs) in enumerate(pairwise(WIDTHS), start=1):
        layer = nn.Linear(inputs, outputs)
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        stages[f"dense{index}"] = nn.Sequential(layer, nn.ReLU())
    return stages


def names() -> list[str]:
    """Models of this module, taken as a provider."""
    return ["vector"]


def load(name: str, weights: object = "default") -> Backbone:
    """The network, whose weights are seeded random ones."""
    preset = VectorPreset()
    backbone = Backbone(vector_stages(), preset, layout="NC")
    backbone.weights_info = weights_info(None, "random, seeded", None, "BSD-3-Clause", preset)
    return backbone
