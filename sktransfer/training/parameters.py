"""The parameters of the estimators: each is declared once, with its check and its "auto"."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from os import PathLike
from typing import Any

from sklearn.base import BaseEstimator
from sklearn.utils.validation import has_fit_parameter

from .._support.device import PRECISIONS
from .._support.validation import check_choice, check_int, check_range
from ..backbones import check_pooling
from ..cache import check_cache
from ..data import Views, check_augment
from ..extraction import DECODE_ERRORS
from ..schedules import resolve_schedule
from ..tasks import HEADS, LinearHead
from .optim import check_optimizer

HEAD_INITS = ("auto", "logistic", "prior")


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
        The default augmentation of these items; None if they cannot be augmented.
    n_stages : int
    """

    pretrained: bool
    is_table: bool
    augment: str | None
    n_stages: int


@dataclass(frozen=True)
class Parameter:
    """The declaration of one parameter of an estimator.

    Parameters
    ----------
    check : callable
        Takes name and value; raises if the value is not what it must be.
    auto : callable or None, default=None
        Takes the facts and the parameters that were resolved before; returns what "auto" means.
        None leaves the word as it is.
    """

    check: Callable[[str, Any], object]
    auto: Callable[[Facts, Mapping[str, Any]], Any] | None = None


def is_auto(value: Any) -> bool:
    """Return True if ``value`` is the word "auto"."""
    return isinstance(value, str) and value == "auto"


def _choice(*choices: Any) -> Callable[[str, Any], object]:
    return lambda name, value: check_choice(name, value, choices)


def _integer(low: int, *also: Any) -> Callable[[str, Any], object]:
    return lambda name, value: check_int(name, value, low, also=also)


def _number(span: str, *also: Any) -> Callable[[str, Any], object]:
    return lambda name, value: check_range(name, value, span, also=also)


def _anything(name: str, value: Any) -> object:
    """Accept any value: it is checked by the function that takes it."""


def _check_head(name: str, head: Any) -> None:
    if isinstance(head, str):
        check_choice(name, head, list(HEADS))


def _check_head_init(name: str, init: Any) -> None:
    if isinstance(init, str):
        check_choice(name, init, HEAD_INITS)
    elif not isinstance(init, BaseEstimator) or isinstance(init, type):
        raise TypeError(
            f"{name} must be 'auto', 'logistic', 'prior', or a linear classifier of "
            f"scikit-learn; got {init!r}."
        )
    elif not has_fit_parameter(init, "sample_weight"):
        raise TypeError(f"{name} must be a classifier that takes sample_weight; got {init!r}.")


def _check_callbacks(name: str, callbacks: Any) -> None:
    wrong = [callbacks]
    if isinstance(callbacks, (list, tuple)):
        alone = [each[-1] if isinstance(each, tuple) and each else each for each in callbacks]
        wrong = [each for each in alone if not hasattr(each, "on_train_begin")]
    if callbacks is not None and wrong:
        raise TypeError(f"{name} must be a list of skorch's callbacks, or None; got {wrong[0]!r}.")


def _check_checkpoint(name: str, checkpoint: Any) -> None:
    if not (checkpoint is None or (isinstance(checkpoint, (str, PathLike)) and str(checkpoint))):
        raise TypeError(f"{name} must be the path of a folder, or None; got {checkpoint!r}.")


def _is_linear(head: Any) -> bool:
    return isinstance(head, LinearHead) or (isinstance(head, str) and head == "linear")


# These also hold for a prediction, and for PretrainedFeatureExtractor.
RUNNING: dict[str, Parameter] = {
    "decode_error": Parameter(_choice(*DECODE_ERRORS)),
    "inference_batch_size": Parameter(_integer(1, "auto")),
    "n_jobs": Parameter(_integer(1, None, -1)),
    "verbose": Parameter(_integer(0, True, False)),
    "cache": Parameter(lambda _, cache: check_cache(cache)),
}

# In this order they are checked and resolved: "auto" of a later one may depend on an earlier one.
PARAMETERS: dict[str, Parameter] = {
    "head": Parameter(_check_head),
    "pooling": Parameter(lambda _, pooling: check_pooling(pooling)),
    "unfreeze": Parameter(
        _anything,  # the network decides, which is not loaded yet
        lambda facts, _: 1 if facts.is_table and facts.pretrained else "all",
    ),
    "freeze_bn": Parameter(
        _choice("auto", "frozen", "all"),
        lambda facts, _: "all" if facts.pretrained else "frozen",
    ),
    "augment": Parameter(
        lambda _, augment: check_augment(augment),
        lambda facts, known: facts.augment if known["cut"] < facts.n_stages else None,
    ),
    "tta": Parameter(_integer(0)),
    "head_init": Parameter(
        _check_head_init,
        lambda facts, known: "exact" if facts.pretrained and _is_linear(known["head"]) else "prior",
    ),
    "freeze_epochs": Parameter(
        _integer(0, "auto"),
        lambda facts, known: 3 if facts.pretrained and known["head_init"] == "prior" else 0,
    ),
    "max_epochs": Parameter(_integer(0)),
    "unfreeze_every": Parameter(_integer(1, None)),
    "lr": Parameter(_number("(0, inf)", "auto")),
    "fine_tune_lr": Parameter(_number("(0, inf)", "auto")),
    "layer_decay": Parameter(
        _number("(0, 1]", "auto"), lambda facts, _: 0.6 if facts.pretrained else 1.0
    ),
    "lr_schedule": Parameter(lambda _, schedule: resolve_schedule(schedule)),
    "weight_decay": Parameter(_number("[0, inf)")),
    "dropout": Parameter(_number("[0, 1)")),
    "label_smoothing": Parameter(_number("[0, 1)")),
    "class_weight": Parameter(_anything),
    "early_stopping": Parameter(_choice(False, True)),
    "validation_fraction": Parameter(_number("(0, 1)")),
    "n_iter_no_change": Parameter(_integer(1)),
    "tol": Parameter(_number("[0, inf)")),
    "batch_size": Parameter(_integer(1, "auto"), lambda _, __: 32),
    "image_size": Parameter(_integer(1, None)),
    "precision": Parameter(_choice(*PRECISIONS)),
    "optimizer": Parameter(lambda _, optimizer: check_optimizer(optimizer)),
    "skorch_callbacks": Parameter(_check_callbacks),
    "checkpoint": Parameter(_check_checkpoint),
    "store_weights_in_pickle": Parameter(_choice(True, False)),
    **RUNNING,
}


def check_parameters(given: Mapping[str, Any], declared: Iterable[str] = PARAMETERS) -> None:
    """Raise for the first parameter that is not what it must be.

    Parameters
    ----------
    given : mapping of str to object
        The parameters of an estimator, as ``get_params(deep=False)`` gives them.
    declared : iterable of str, default=PARAMETERS
        The names to check; those that the estimator does not have are skipped.
    """
    for name in declared:
        if name in given:
            PARAMETERS[name].check(name, given[name])
    head, init = given.get("head"), given.get("head_init", "auto")
    if head is not None and init not in ("auto", "prior") and not _is_linear(head):
        raise ValueError(
            f"head_init must be 'prior' if head is not 'linear'; got {init!r}: there is no "
            "exact solution for it."
        )


def tta_views(augment: Any, n: int) -> Views:
    """Return the views whose outputs a prediction averages."""
    if isinstance(augment, Views):
        augment = augment.augment
    return Views("light" if augment is None or is_auto(augment) else augment, n)
