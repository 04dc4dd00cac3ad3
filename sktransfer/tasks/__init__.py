"""Targets and heads: what a network learns to say."""

from .heads import HEADS, LinearHead, MLPHead, build_head
from .targets import Targets, encode, find_counted, hold_out, weigh

__all__ = [
    "HEADS",
    "LinearHead",
    "MLPHead",
    "Targets",
    "build_head",
    "encode",
    "find_counted",
    "hold_out",
    "weigh",
]
