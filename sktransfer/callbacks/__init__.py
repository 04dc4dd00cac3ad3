"""Callbacks of skorch: schedules, gradual unfreezing, mixing and averaging."""

from .averaging import ModelEMA, Snapshots
from .mixing import CutMix, MixUp
from .scheduled import GradualUnfreeze, Scheduled, Steps

__all__ = ["CutMix", "GradualUnfreeze", "MixUp", "ModelEMA", "Scheduled", "Snapshots", "Steps"]
