"""Everything that a fit does: parameters, data, phases, reports and predictions."""

from .dense import MapFit, measure_layout
from .dense_predictor import DensePredictor
from .dense_tail import DenseTail, MapLayout
from .fit import Fitted, remove_checkpoint, run_fit
from .language import LanguageTail, measure_loss, plan_language_fit
from .lr_range import remove_noise, run_range_test, suggest
from .net import TailNet
from .parameters import (
    LANGUAGE_PARAMETERS,
    MULTI_TASK_PARAMETERS,
    PARAMETERS,
    REGRESSION_PARAMETERS,
    RUNNING,
    SEGMENTATION_PARAMETERS,
    check_parameters,
)
from .plan import FeatureFit, Plan, Request, find_augmentation, plan_fit
from .predictor import Predictor
from .records import History, Report
from .settings import Numerics
from .tail import Tail
from .tuned_weights import find_tuner, starting_weights, tune_weights
from .user_callbacks import check_validation, copy_callbacks

__all__ = [
    "LANGUAGE_PARAMETERS",
    "MULTI_TASK_PARAMETERS",
    "PARAMETERS",
    "REGRESSION_PARAMETERS",
    "RUNNING",
    "SEGMENTATION_PARAMETERS",
    "DensePredictor",
    "DenseTail",
    "FeatureFit",
    "Fitted",
    "History",
    "LanguageTail",
    "MapFit",
    "MapLayout",
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
    "measure_layout",
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
