"""Estimators with the scikit-learn API, and the learning-rate range test."""

from ._extraction import BATCH_NORMS
from .classifier import FineTuneClassifier
from .feature_extractor import PretrainedFeatureExtractor
from .language_tuner import LanguageModelTuner
from .lr_finder import LRCurve, find_lr
from .regressor import FineTuneRegressor
from .self_training import DomainSelfTrainingClassifier
from .snapshots import SnapshotEnsemble

__all__ = [
    "BATCH_NORMS",
    "DomainSelfTrainingClassifier",
    "FineTuneClassifier",
    "FineTuneRegressor",
    "LRCurve",
    "LanguageModelTuner",
    "PretrainedFeatureExtractor",
    "SnapshotEnsemble",
    "find_lr",
]
