"""Tasks: kinds of targets, with their loss, their decision and their heads."""

from .base import Placing, Task
from .classification import Classification
from .columns import Columns, find_classification
from .heads import HEADS, LinearHead, MLPHead, build_head, check_head, set_linear, take_outputs
from .label_sets import LabelSets
from .language_model import NO_TARGET, LanguageModel
from .map_heads import (
    MAP_HEADS,
    FPNHead,
    LinearMapHead,
    LinearMaps,
    PyramidMaps,
    build_map_head,
    check_map_head,
    set_map_bias,
)
from .mixed import Mixed, find_mixed
from .multi_label import MultiLabel
from .points import Points, find_points
from .regression import LOSSES, Regression, find_regression
from .segmentation import Segmentation, check_mask_sizes, find_segmentation
from .targets import Targets, make_targets

__all__ = [
    "HEADS",
    "LOSSES",
    "MAP_HEADS",
    "NO_TARGET",
    "Classification",
    "Columns",
    "FPNHead",
    "LabelSets",
    "LanguageModel",
    "LinearHead",
    "LinearMapHead",
    "LinearMaps",
    "MLPHead",
    "Mixed",
    "MultiLabel",
    "Placing",
    "Points",
    "PyramidMaps",
    "Regression",
    "Segmentation",
    "Targets",
    "Task",
    "build_head",
    "build_map_head",
    "check_head",
    "check_map_head",
    "check_mask_sizes",
    "find_classification",
    "find_mixed",
    "find_points",
    "find_regression",
    "find_segmentation",
    "make_targets",
    "set_linear",
    "set_map_bias",
    "take_outputs",
]
