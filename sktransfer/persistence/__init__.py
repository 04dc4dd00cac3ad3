"""Save fitted estimators to files that run no code when they are loaded, and export them."""

from .exporting import GRAPH_SUFFIXES, export, ids_of, pixels_of
from .file_format import target
from .save_load import load, save

__all__ = ["GRAPH_SUFFIXES", "export", "ids_of", "load", "pixels_of", "save", "target"]
