"""Tasks: kinds of targets, with their loss, their decision and their heads."""

from .base import Placing, Task
from .classification import Classification, MultiLabel
from .columns import Columns, find_classification
from .heads import HEADS, LinearHead, MLPHead, build_head, check_head, set_linear
from .language_model import NO_TARGET, LanguageModel
from .points import Points, find_points
from .regression import LOSSES, Regression, find_regression
from .targets import Targets, make_targets

__all__ = [
    "HEADS",
    "LOSSES",
    "NO_TARGET",
    "Classification",
    "Columns",
    "LanguageModel",
    "LinearHead",
    "MLPHead",
    "MultiLabel",
    "Placing",
    "Points",
    "Regression",
    "Targets",
    "Task",
    "build_head",
    "check_head",
    "find_classification",
    "find_points",
    "find_regression",
    "make_targets",
    "set_linear",
]
