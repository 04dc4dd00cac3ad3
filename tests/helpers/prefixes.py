"""Frozen stages of the tiny backbone, and their rows."""

import numpy as np
import torch

from sktransfer.extraction.prefix import Prefix
from sktransfer.extraction.run import run_frozen
from sktransfer.extraction.taps import Tap


def made(backbone, *taps, batch_size=4, dtype=torch.float32):
    """Return a prefix on the CPU; by default, of all stages."""
    return Prefix(backbone, taps or [Tap(3, "avg")], torch.device("cpu"), dtype, batch_size)


def rows(prefix, items, **kwargs):
    """Return the rows at the first tap."""
    return np.asarray(run_frozen(prefix, items, **kwargs).rows[0])


def plain(backbone, images):
    """Return the pooled output of a backbone as it is, without a prefix."""
    batch = backbone.preset.collate([backbone.preset(image) for image in images], len(images))
    with torch.no_grad():
        return backbone(batch).mean((2, 3)).numpy()
