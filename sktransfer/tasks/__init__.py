"""Tasks: kinds of targets, with their loss, their decision and their heads."""

from .base import Task
from .classification import Classification, MultiLabel, find_classification
from .heads import HEADS, LinearHead, MLPHead, build_head, check_head, set_linear
from .targets import Targets, make_targets

__all__ = [
    "HEADS",
    "Classification",
    "LinearHead",
    "MLPHead",
    "MultiLabel",
    "Targets",
    "Task",
    "build_head",
    "check_head",
    "find_classification",
    "make_targets",
    "set_linear",
]
