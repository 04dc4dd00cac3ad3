"""Plot data, fits and searches with matplotlib."""

from .augmentation import AugmentationDisplay
from .lr_finder import LRFinderDisplay
from .points import PointsDisplay
from .top_losses import TopLossesDisplay
from .training_curves import LearningRatesDisplay, TrainingCurvesDisplay
from .unfreeze_depth import UnfreezeDepthDisplay

__all__ = [
    "AugmentationDisplay",
    "LRFinderDisplay",
    "LearningRatesDisplay",
    "PointsDisplay",
    "TopLossesDisplay",
    "TrainingCurvesDisplay",
    "UnfreezeDepthDisplay",
]
