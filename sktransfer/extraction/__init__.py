"""Frozen stages run over items and give their activations."""

from .prefix import LOGITS, Prefix, Tap, resolve_batch_size, spare_taps
from .run import DECODE_ERRORS, LEFT_OUT, run_frozen, run_rows
from .sinks import Frozen

__all__ = [
    "DECODE_ERRORS",
    "LEFT_OUT",
    "LOGITS",
    "Frozen",
    "Prefix",
    "Tap",
    "resolve_batch_size",
    "run_frozen",
    "run_rows",
    "spare_taps",
]
