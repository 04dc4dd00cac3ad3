"""One fit: its parameters, data, phases, records and predictions."""

from .fit import Fitted, run_fit
from .lr_range import range_test, smooth_both_ways, suggest
from .net import TailNet
from .parameters import PARAMETERS, RUNNING, check_parameters
from .plan import Plan, Request, augmentation_of, plan_fit
from .predictor import Predictor
from .records import History, Report
from .settings import Numerics, is_pretrained
from .tail import Tail

__all__ = [
    "PARAMETERS",
    "RUNNING",
    "Fitted",
    "History",
    "Numerics",
    "Plan",
    "Predictor",
    "Report",
    "Request",
    "Tail",
    "TailNet",
    "augmentation_of",
    "check_parameters",
    "is_pretrained",
    "plan_fit",
    "range_test",
    "run_fit",
    "smooth_both_ways",
    "suggest",
]
