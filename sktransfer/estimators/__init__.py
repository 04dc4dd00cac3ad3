"""The estimators of scikit-learn's kind, and the search for a learning rate."""

from .classifier import FineTuneClassifier
from .feature_extractor import PretrainedFeatureExtractor
from .lr_finder import LRCurve, find_lr

__all__ = ["FineTuneClassifier", "LRCurve", "PretrainedFeatureExtractor", "find_lr"]
