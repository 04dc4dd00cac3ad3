"""Tasks: what a target is, and what a network learns of it."""

from .base import Task
from .classification import Classification, MultiLabel, find_classification
from .heads import HEADS, LinearHead, MLPHead, build_head, set_linear
from .targets import Targets, hold_out, weighted

__all__ = [
    "HEADS",
    "Classification",
    "LinearHead",
    "MLPHead",
    "MultiLabel",
    "Targets",
    "Task",
    "build_head",
    "find_classification",
    "hold_out",
    "set_linear",
    "weighted",
]
