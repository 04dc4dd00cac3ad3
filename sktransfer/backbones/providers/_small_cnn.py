"""The from-scratch baseline of the classic lecture: four convolutions, each with its pooling.

F. Chollet, "Building powerful image classification models using very little data", 2016,
https://blog.keras.io/building-powerful-image-classification-models-using-very-little-data.html,
in the form of "Deep Learning with Python", section 5.2: 32, 64, 128 and 128 channels at 150 pixels.
"""

from __future__ import annotations

from torch import nn

from ...data import ImagePreset, ImageSizes

CHANNELS = (32, 64, 128, 128)

# Pixels in [0, 1], as the lecture has them; below 46 nothing is left for the last pooling.
PRESET = ImagePreset(
    size=150, crop=1.0, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), sizes=ImageSizes(minimum=46)
)


def small_cnn_stages() -> dict[str, nn.Module]:
    """Four stages; an image of 150 pixels ends as a map of 7 x 7, 128 channels."""
    stages: dict[str, nn.Module] = {}
    inputs = 3
    for index, outputs in enumerate(CHANNELS, start=1):
        look = nn.Conv2d(inputs, outputs, 3)
        nn.init.xavier_uniform_(look.weight)  # as in Keras
        nn.init.zeros_(look.bias)  # type: ignore[arg-type]  # there is one
        stages[f"block{index}"] = nn.Sequential(look, nn.ReLU(), nn.MaxPool2d(2))
        inputs = outputs
    return stages
