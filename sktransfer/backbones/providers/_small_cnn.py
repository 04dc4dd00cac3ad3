"""A small CNN to train from scratch as a baseline: four convolutions, each with pooling.

F. Chollet, "Building powerful image classification models using very little data", 2016,
https://blog.keras.io/building-powerful-image-classification-models-using-very-little-data.html,
as in "Deep Learning with Python", section 5.2: 32, 64, 128 and 128 channels at 150 pixels.
"""

from __future__ import annotations

from torch import nn

from ...data import ImagePreset, ImageSizes

CHANNELS = (32, 64, 128, 128)

# Pixels are in [0, 1], as in the book.  An image below 46 pixels is too small for the last pooling.
PRESET = ImagePreset(
    size=150, crop=1.0, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), sizes=ImageSizes(minimum=46)
)


def small_cnn_stages() -> dict[str, nn.Module]:
    """Build the four stages; an image of 150 pixels gives a map of 7 x 7, 128 channels."""
    stages: dict[str, nn.Module] = {}
    inputs = 3
    for index, outputs in enumerate(CHANNELS, start=1):
        layer = nn.Conv2d(inputs, outputs, 3)
        nn.init.xavier_uniform_(layer.weight)  # as in Keras
        nn.init.zeros_(layer.bias)  # type: ignore[arg-type]  # it is not None
        stages[f"block{index}"] = nn.Sequential(layer, nn.ReLU(), nn.MaxPool2d(2))
        inputs = outputs
    return stages
