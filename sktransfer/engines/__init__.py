"""Libraries that run frozen stages in place of torch."""

from .base import Engine, EngineError, Graph, described
from .choice import ENGINES, NAMES, check_engine, find_engine

__all__ = [
    "ENGINES",
    "NAMES",
    "Engine",
    "EngineError",
    "Graph",
    "check_engine",
    "described",
    "find_engine",
]
