"""Estimators with the scikit-learn API, and the learning-rate range test."""

from ._extraction import BATCH_NORMS
from .classifier import FineTuneClassifier
from .feature_extractor import PretrainedFeatureExtractor
from .language_tuner import LanguageModelTuner
from .lr_finder import LRCurve, find_lr
from .multi_task import FineTuneMultiTask
from .ranking import Ranking, rank_backbones
from .regressor import FineTuneRegressor
from .segmenter import FineTuneSegmenter
from .self_training import DomainSelfTrainingClassifier
from .shift import DomainShift, domain_shift
from .snapshots import SnapshotEnsemble

__all__ = [
    "BATCH_NORMS",
    "DomainSelfTrainingClassifier",
    "DomainShift",
    "FineTuneClassifier",
    "FineTuneMultiTask",
    "FineTuneRegressor",
    "FineTuneSegmenter",
    "LRCurve",
    "LanguageModelTuner",
    "PretrainedFeatureExtractor",
    "Ranking",
    "SnapshotEnsemble",
    "domain_shift",
    "find_lr",
    "rank_backbones",
]
