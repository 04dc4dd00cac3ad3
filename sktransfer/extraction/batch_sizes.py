"""The number of rows of a batch."""

from __future__ import annotations

import torch

# Rows of a batch by kind of device.  They do not depend on free memory or on the number of items,
# because the number of rows affects the last bits of a float32 convolution.
BATCH_SIZE = {"cpu": 16, "mps": 32, "cuda": 64}

# Positions of a batch of rows that have several lengths, by kind of device.  On a CPU, a network
# with 384 channels was measured to take the same time for each token with 256 to 2048 positions,
# and a call with few texts computes a batch for each of their lengths.
POSITIONS = {"cpu": 256, "mps": 1024, "cuda": 16384}

# Number of batches that are computed at the same time, by kind of device.  While a GPU computes
# one, the next one is joined and copied to it.
AT_ONCE = {"cpu": 1, "mps": 1, "cuda": 2}


def resolve_batch_size(
    batch_size: int | str, device: torch.device, length: int | None = None
) -> int:
    """Return the number of rows in every batch.

    "auto" depends on the kind of device and on the length of the rows alone; ``length`` is None if
    all rows have the same shape.
    """
    if not isinstance(batch_size, str):
        return batch_size
    if length is None:
        return BATCH_SIZE[device.type]
    return max(1, POSITIONS[device.type] // length)
