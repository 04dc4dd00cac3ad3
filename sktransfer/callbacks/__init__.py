"""skorch callbacks: schedules, gradual unfreezing, mixing of batches, weight averaging."""

from .averaging import ModelEMA, Snapshots
from .mixing import CutMix, MixUp
from .scheduled import GradualUnfreeze, Scheduled, StepCounter

__all__ = [
    "CutMix",
    "GradualUnfreeze",
    "MixUp",
    "ModelEMA",
    "Scheduled",
    "Snapshots",
    "StepCounter",
]
