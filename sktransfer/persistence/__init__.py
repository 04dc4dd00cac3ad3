"""Save fitted estimators to files that run no code when they are loaded, and export them."""

from .exporting import export, ids_of, pixels_of
from .save_load import load, save

__all__ = ["export", "ids_of", "load", "pixels_of", "save"]
