"""Plot data, fits and searches with matplotlib."""

from .augmentation import AugmentationDisplay
from .domain_shift import DomainShiftDisplay
from .lr_finder import LRFinderDisplay
from .masks import MasksDisplay
from .points import PointsDisplay
from .ranking import RankingDisplay
from .top_losses import TopLossesDisplay
from .training_curves import LearningRatesDisplay, TrainingCurvesDisplay
from .unfreeze_depth import UnfreezeDepthDisplay

__all__ = [
    "AugmentationDisplay",
    "DomainShiftDisplay",
    "LRFinderDisplay",
    "LearningRatesDisplay",
    "MasksDisplay",
    "PointsDisplay",
    "RankingDisplay",
    "TopLossesDisplay",
    "TrainingCurvesDisplay",
    "UnfreezeDepthDisplay",
]
