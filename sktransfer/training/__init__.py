"""Everything that a fit does: parameters, data, phases, reports and predictions."""

from .fit import Fitted, remove_checkpoint, run_fit
from .language import LanguageTail, measure_loss, plan_language_fit
from .lr_range import remove_noise, run_range_test, suggest
from .net import TailNet
from .parameters import PARAMETERS, REGRESSION_PARAMETERS, RUNNING, check_parameters
from .plan import Plan, Request, find_augmentation, plan_fit
from .predictor import Predictor
from .records import History, Report
from .settings import Numerics
from .tail import Tail
from .tuned_weights import find_tuner, starting_weights, tune_weights
from .user_callbacks import check_validation, copy_callbacks

__all__ = [
    "PARAMETERS",
    "REGRESSION_PARAMETERS",
    "RUNNING",
    "Fitted",
    "History",
    "LanguageTail",
    "Numerics",
    "Plan",
    "Predictor",
    "Report",
    "Request",
    "Tail",
    "TailNet",
    "check_parameters",
    "check_validation",
    "copy_callbacks",
    "find_augmentation",
    "find_tuner",
    "measure_loss",
    "plan_fit",
    "plan_language_fit",
    "remove_checkpoint",
    "remove_noise",
    "run_fit",
    "run_range_test",
    "starting_weights",
    "suggest",
    "tune_weights",
]
