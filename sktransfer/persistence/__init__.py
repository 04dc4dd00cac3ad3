"""Save fitted estimators to files that run no code when they are loaded."""

from .file_format import target
from .save_load import load, save

__all__ = ["load", "save", "target"]
