"""Frozen stages run over items and give their activations."""

from .prefix import Prefix
from .ragged import RowsByLength
from .run import (
    DECODE_ERRORS,
    LEFT_OUT,
    ROWS_NAN,
    first_failed,
    report_failed,
    run_batches,
    run_frozen,
    run_rows,
)
from .sinks import Frozen, decoder
from .statistics import check_batch_norm, estimate_statistics
from .taps import CUTS, LOGITS, Tap, reduce_output, spare_taps

__all__ = [
    "CUTS",
    "DECODE_ERRORS",
    "LEFT_OUT",
    "LOGITS",
    "ROWS_NAN",
    "Frozen",
    "Prefix",
    "RowsByLength",
    "Tap",
    "check_batch_norm",
    "decoder",
    "estimate_statistics",
    "first_failed",
    "reduce_output",
    "report_failed",
    "run_batches",
    "run_frozen",
    "run_rows",
    "spare_taps",
]
