"""The estimators of scikit-learn's kind, and the search for a learning rate."""

from .classifier import FineTuneClassifier
from .feature_extractor import PretrainedFeatureExtractor
from .lr_finder import LRCurve, find_lr
from .snapshots import SnapshotEnsemble

__all__ = [
    "FineTuneClassifier",
    "LRCurve",
    "PretrainedFeatureExtractor",
    "SnapshotEnsemble",
    "find_lr",
]
