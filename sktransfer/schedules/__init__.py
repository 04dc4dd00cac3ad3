"""Schedules: functions from the progress of training to a factor of a base value."""

from .base import Schedule, find_peak
from .cycles import SGDR, Cyclic, OneCycle, OneCycleMomentum
from .named import Constant, Cosine, Custom, SlantedTriangular, Warmup, resolve_schedule

__all__ = [
    "SGDR",
    "Constant",
    "Cosine",
    "Custom",
    "Cyclic",
    "OneCycle",
    "OneCycleMomentum",
    "Schedule",
    "SlantedTriangular",
    "Warmup",
    "find_peak",
    "resolve_schedule",
]
