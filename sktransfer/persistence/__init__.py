"""Fitted estimators saved to files that run no code."""

from .save_load import load, save

__all__ = ["load", "save"]
