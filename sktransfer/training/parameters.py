"""Declarations of the parameters: each with its check and the meaning of "auto"."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from os import PathLike
from typing import Any

from sklearn.base import BaseEstimator, is_regressor
from sklearn.utils import check_random_state
from sklearn.utils.validation import has_fit_parameter
from skorch.callbacks import LRScheduler

from .._support.device import PRECISIONS
from .._support.files import check_folder
from .._support.validation import check_choice, check_int, check_range, no_choice
from ..backbones import POOLINGS
from ..cache import check_cache
from ..data import check_augment
from ..engines import check_engine
from ..extraction import DECODE_ERRORS
from ..schedules import Constant, resolve_schedule
from ..tasks import LOSSES, LinearHead, check_head, check_map_head
from .optim import check_optimizer
from .user_callbacks import check_callbacks, contains

HEAD_INITS = ("auto", "logistic", "prior")
MULTI_TASK_HEAD_INITS = ("auto", "exact", "prior")
REGRESSION_HEAD_INITS = ("auto", "ridge", "prior")
# Fewer images than this are few.
FEW = 256


@dataclass(frozen=True)
class Facts:
    """The facts about a fit that "auto" depends on.

    Parameters
    ----------
    pretrained : bool
        True if the weights of the network are not random.
    is_table : bool
        True if the items are rows of a table.
    augment : str or None
        The default augmentation of these items; None for items that are not augmented by default.
    n_stages : int
        The number of stages of the network.
    n_items : int
        The number of items.
    """

    pretrained: bool
    is_table: bool
    augment: str | None
    n_stages: int
    n_items: int


@dataclass(frozen=True)
class Parameter:
    """The declaration of one parameter of an estimator.

    Parameters
    ----------
    check : callable
        Takes the name and the value of the parameter, and raises an error if the value is invalid.
    auto : callable or None, default=None
        Takes the facts and the parameters that are already resolved, and returns the value that
        "auto" stands for.  With None, "auto" is not replaced.
    """

    check: Callable[[str, Any], object]
    auto: Callable[[Facts, Mapping[str, Any]], Any] | None = None


def is_auto(value: Any) -> bool:
    """Return True if ``value`` is "auto"."""
    return isinstance(value, str) and value == "auto"


def _check_choice(*choices: Any) -> Callable[[str, Any], object]:
    """Return a check that a value is one of ``choices``."""
    return lambda name, value: check_choice(name, value, choices)


def _check_integer(minimum: int, *also: Any) -> Callable[[str, Any], object]:
    """Return a check that a value is an integer of at least ``minimum``, or one of ``also``."""
    return lambda name, value: check_int(name, value, minimum, also=also)


def _check_number(interval: str, *also: Any) -> Callable[[str, Any], object]:
    """Return a check that a value is a number in ``interval``, or one of ``also``."""
    return lambda name, value: check_range(name, value, interval, also=also)


def _check_later(name: str, value: Any) -> object:
    """Accept any value, which is checked by the function that uses it."""


def _check_head_init(
    kind: str, names: Collection[str], is_kind: Callable[[Any], bool] = lambda _: True
) -> Callable[[str, Any], object]:
    """Return a check that a value is one of ``names``, or an unfitted linear model of a kind.

    A fit finds if the model is linear, and if a classifier is one.
    """

    def check(name: str, init: Any) -> None:
        also = f"or an unfitted linear {kind} of scikit-learn"
        if isinstance(init, str):
            check_choice(name, init, names, also)
        elif not isinstance(init, BaseEstimator) or isinstance(init, type):
            raise TypeError(no_choice(name, init, names, also))
        elif not is_kind(init) or not has_fit_parameter(init, "sample_weight"):
            raise TypeError(
                f"{name} must be a {kind} whose fit accepts sample_weight; got {init!r}."
            )

    return check


def _find_head_init(facts: Facts, known: Mapping[str, Any]) -> str:
    """Return "exact", which stands for the linear model of the task, or "prior"."""
    return "exact" if facts.pretrained and _is_linear(known["head"]) else "prior"


def _for_few_images(few: Any, otherwise: Any) -> Callable[[Facts, Mapping[str, Any]], Any]:
    """Return a value of "auto" that is different for few images and a head with an exact start."""

    def choose(facts: Facts, known: Mapping[str, Any]) -> Any:
        starts_exact = facts.pretrained and known["head_init"] != "prior"
        is_few = facts.augment is not None and facts.n_items < FEW
        return few if starts_exact and is_few else otherwise

    return choose


def _check_random_state(name: str, random_state: Any) -> None:
    try:
        check_random_state(random_state)
    except ValueError:
        raise ValueError(
            f"{name} must be an integer in [0, 2**32), a numpy.random.RandomState, or None; got "
            f"{random_state!r}."
        ) from None


def _check_checkpoint(name: str, checkpoint: Any) -> None:
    if not (checkpoint is None or (isinstance(checkpoint, (str, PathLike)) and str(checkpoint))):
        raise TypeError(f"{name} must be the path of a folder, or None; got {checkpoint!r}.")
    if checkpoint is not None:
        check_folder(name, checkpoint)


def _is_linear(head: Any) -> bool:
    return isinstance(head, LinearHead) or (isinstance(head, str) and head == "linear")


# Parameters that predictions and PretrainedFeatureExtractor use, too.
RUNNING: dict[str, Parameter] = {
    "decode_error": Parameter(_check_choice(*DECODE_ERRORS)),
    "inference_batch_size": Parameter(_check_integer(1, "auto")),
    "engine": Parameter(check_engine),
    "n_jobs": Parameter(_check_integer(1, None, -1)),
    "verbose": Parameter(_check_integer(0, True, False)),
    "cache": Parameter(lambda _, cache: check_cache(cache)),
}

# Parameters are checked and resolved in this order, because "auto" of a later one may depend on an
# earlier one.
PARAMETERS: dict[str, Parameter] = {
    "head": Parameter(check_head),
    "pooling": Parameter(_check_choice("auto", *POOLINGS)),
    "unfreeze": Parameter(
        _check_later,  # it depends on the network, which is not loaded yet
        lambda facts, _: 1 if facts.is_table and facts.pretrained else "all",
    ),
    "freeze_bn": Parameter(
        _check_choice("auto", "frozen", "all", "own"),
        lambda facts, _: "all" if facts.pretrained else "frozen",
    ),
    "augment": Parameter(
        lambda _, augment: check_augment(augment),
        lambda facts, known: facts.augment if known["cut"] < facts.n_stages else None,
    ),
    "tta": Parameter(_check_integer(0)),
    "head_init": Parameter(_check_head_init("classifier", HEAD_INITS), _find_head_init),
    "freeze_epochs": Parameter(
        _check_integer(0, "auto"),
        lambda facts, known: 3 if facts.pretrained and known["head_init"] == "prior" else 0,
    ),
    "max_epochs": Parameter(_check_integer(0, "auto"), _for_few_images(10, 6)),
    "unfreeze_every": Parameter(_check_integer(1, None)),
    "weight_interpolation": Parameter(_check_number("[0, 1]", "auto"), _for_few_images(0.5, 1.0)),
    "lr": Parameter(_check_number("(0, inf)", "auto")),
    "fine_tune_lr": Parameter(_check_number("(0, inf)", "auto")),
    "layer_decay": Parameter(
        _check_number("(0, 1]", "auto"), lambda facts, _: 0.6 if facts.pretrained else 1.0
    ),
    "lr_schedule": Parameter(lambda _, schedule: resolve_schedule(schedule)),
    "weight_decay": Parameter(_check_number("[0, inf)")),
    "dropout": Parameter(_check_number("[0, 1)")),
    "label_smoothing": Parameter(_check_number("[0, 1)")),
    "class_weight": Parameter(_check_later),
    "early_stopping": Parameter(_check_choice(False, True)),
    "validation_fraction": Parameter(_check_number("(0, 1)")),
    "n_iter_no_change": Parameter(_check_integer(1)),
    "tol": Parameter(_check_number("[0, inf)")),
    "batch_size": Parameter(_check_integer(1, "auto"), _for_few_images(8, 32)),
    "image_size": Parameter(_check_integer(1, None)),
    "max_length": Parameter(_check_integer(1, None)),
    "window": Parameter(_check_integer(8)),
    "precision": Parameter(_check_choice(*PRECISIONS)),
    "optimizer": Parameter(lambda _, optimizer: check_optimizer(optimizer)),
    "skorch_callbacks": Parameter(check_callbacks),
    "checkpoint": Parameter(_check_checkpoint),
    "random_state": Parameter(_check_random_state),
    **RUNNING,
}

# The parameters of FineTuneRegressor.
REGRESSION_PARAMETERS: dict[str, Parameter] = PARAMETERS | {
    "head_init": Parameter(
        _check_head_init("regressor", REGRESSION_HEAD_INITS, is_regressor), _find_head_init
    ),
    "loss": Parameter(_check_choice(*LOSSES)),
    "points": Parameter(_check_choice(False, True)),
    "flip_pairs": Parameter(_check_later),
}

# The parameters of FineTuneSegmenter.
SEGMENTATION_PARAMETERS: dict[str, Parameter] = PARAMETERS | {
    "head": Parameter(check_map_head),
    "stages": Parameter(_check_later),
    "ignore_label": Parameter(_check_later),
}

# The parameters of FineTuneMultiTask.
MULTI_TASK_PARAMETERS: dict[str, Parameter] = PARAMETERS | {
    "head_init": Parameter(_check_choice(*MULTI_TASK_HEAD_INITS), _find_head_init),
    "loss": Parameter(_check_choice(*LOSSES)),
    "tasks": Parameter(_check_later),
    "task_weights": Parameter(_check_later),
}

# The parameters of LanguageModelTuner.
LANGUAGE_PARAMETERS: dict[str, Parameter] = PARAMETERS | {
    "max_epochs": Parameter(_check_integer(0)),
}


def check_parameters(
    given: Mapping[str, Any], declared: Mapping[str, Parameter] = PARAMETERS
) -> None:
    """Raise an error for the first invalid parameter.

    Parameters
    ----------
    given : mapping of str to object
        The parameters of an estimator, as ``get_params(deep=False)`` returns them.
    declared : mapping of str to Parameter, default=PARAMETERS
        The parameters to check.  Those that the estimator does not have are skipped.
    """
    for name, parameter in declared.items():
        if name in given:
            parameter.check(name, given[name])
    head, init = given.get("head"), given.get("head_init", "auto")
    if head is not None and init not in ("auto", "prior") and not _is_linear(head):
        raise ValueError(
            f"head_init must be 'prior' if head is not 'linear'; got {init!r}. Only a linear head "
            "can have the coefficients of a linear model."
        )
    schedule = resolve_schedule(given.get("lr_schedule", "constant"))
    if contains(given.get("skorch_callbacks"), LRScheduler) and not isinstance(schedule, Constant):
        raise ValueError(
            "lr_schedule must be 'constant' if skorch_callbacks contains LRScheduler; got "
            f"{given['lr_schedule']!r}. Otherwise both set the learning rates."
        )
