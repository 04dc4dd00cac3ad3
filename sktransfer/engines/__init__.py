"""Libraries that run frozen stages in place of torch."""

from .base import Engine, EngineError, Graph, described
from .choice import ENGINES, NAMES, check_engine, describe_choice, find_engine
from .onnxruntime import to_onnx

__all__ = [
    "ENGINES",
    "NAMES",
    "Engine",
    "EngineError",
    "Graph",
    "check_engine",
    "describe_choice",
    "described",
    "find_engine",
    "to_onnx",
]
