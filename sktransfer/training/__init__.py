"""One fit: its settings, data, phases and records."""

from .data import digests_of
from .fit import prepared, train
from .lr_range import range_test, smooth_both_ways, suggest
from .net import rest, resting_net
from .predictor import Served
from .records import History, Report
from .settings import Recipe, check_how, is_auto, is_pretrained, resolve, tta_views
from .tail import Tail

__all__ = [
    "History",
    "Recipe",
    "Report",
    "Served",
    "Tail",
    "check_how",
    "digests_of",
    "is_auto",
    "is_pretrained",
    "prepared",
    "range_test",
    "resolve",
    "rest",
    "resting_net",
    "smooth_both_ways",
    "suggest",
    "train",
    "tta_views",
]
