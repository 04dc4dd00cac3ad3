"""What the parameters of a fine-tuning mean for the network and the data at hand."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.utils.validation import has_fit_parameter

from .._support.device import PRECISIONS, resolve_device, resolve_precision
from .._support.validation import check_choice, check_int, check_range
from ..backbones import Backbone, check_pooling
from ..cache import check_cache
from ..data import Items, Views, check_augment, default_augment
from ..extraction import DECODE_ERRORS
from ..schedules import resolve_schedule
from ..tasks import HEADS, LinearHead
from .optim import check_optimizer

FREEZE_BN = ("auto", "frozen", "all")
HEAD_INITS = ("auto", "logistic", "prior")

# Of the exact head: strong, for a few hundred photos have more features than items.
EXACT_C = 0.01


@dataclass(frozen=True)
class Recipe:
    """A recipe without "auto".

    Parameters
    ----------
    cut : int
        Stages before it never train.
    tunes : bool
        Whether any stage trains.
    freeze_bn : bool
        Whether batch norm stays in evaluation mode after the cut, too.
    augment : None, str, Views or callable
    head_init : estimator or None
        A linear classifier whose coefficients the head starts from; None says the prior.
    freeze_epochs : int
    layer_decay : float
    standardise : bool
        Whether the head sees features of mean 0 and deviation 1, as the frozen network gives them.
    batch_size : int
    device : torch.device
    precision : torch.dtype
        Of the forward pass.
    dtype : torch.dtype
        Of the weights that train.
    """

    cut: int
    tunes: bool
    freeze_bn: bool
    augment: Any
    head_init: Any
    freeze_epochs: int
    layer_decay: float
    standardise: bool
    batch_size: int
    device: torch.device
    precision: torch.dtype
    dtype: torch.dtype

    @property
    def numpy_dtype(self) -> Any:
        """NumPy's name of ``dtype``."""
        return torch.zeros((), dtype=self.dtype).numpy().dtype


def cut_of(backbone: Backbone, unfreeze: Any) -> int:
    """The cut that leaves ``unfreeze`` stages to train.

    Parameters
    ----------
    backbone : Backbone
    unfreeze : int, "all" or str
        How many stages, from the last; all; or the name of the first that trains.

    Raises
    ------
    ValueError
        If the backbone has not so many stages, or none of that name.
    """
    names = backbone.names
    if isinstance(unfreeze, str):
        choices = ["all", *names]
        return max(0, choices.index(check_choice("unfreeze", unfreeze, choices)) - 1)
    depth = check_int("unfreeze", unfreeze, 0, also=("all",))
    if depth > len(names):
        raise ValueError(
            f"unfreeze must be at most {len(names)}, the number of stages: {', '.join(names)}; "
            f"got {unfreeze!r}."
        )
    return len(names) - int(depth)


def resolve(params: Any, backbone: Backbone, items: Items) -> Recipe:
    """The recipe of an estimator's parameters, for a network and its items.

    Parameters
    ----------
    params : FineTuneClassifier
        Its parameters are read, nothing else.
    backbone : Backbone
    items : Items
        As the preset's ``check`` returned them.
    """
    is_table = items.kind == "table"
    pretrained = params.weights is not None and is_pretrained(backbone)
    unfreeze = params.unfreeze
    if is_auto(unfreeze):
        unfreeze = 1 if is_table and pretrained else "all"
    cut = cut_of(backbone, unfreeze)
    device = resolve_device(params.device)
    augment = params.augment
    if is_auto(augment):
        tunes = cut < len(backbone.names)
        augment = default_augment(backbone.preset, items) if tunes else None
    exact = _exact_head(params, pretrained)
    freeze_epochs = params.freeze_epochs
    if is_auto(freeze_epochs):
        freeze_epochs = 0 if exact is not None or not pretrained else 3
    decay = params.layer_decay
    wide = is_table and device.type == "cpu" and np.asarray(items[0]).dtype == np.float64
    wide = wide and params.precision != "bfloat16"
    precision = resolve_precision(params.precision, device)
    return Recipe(
        cut=cut,
        tunes=cut < len(backbone.names),
        freeze_bn=params.freeze_bn == "all" or (is_auto(params.freeze_bn) and pretrained),
        augment=augment,
        head_init=exact,
        freeze_epochs=int(freeze_epochs),
        layer_decay=(0.6 if pretrained else 1.0) if is_auto(decay) else float(decay),
        standardise=pretrained,
        batch_size=32 if is_auto(params.batch_size) else int(params.batch_size),
        device=device,
        precision=torch.float64 if wide else precision,
        dtype=torch.float64 if wide else torch.float32,
    )


def is_pretrained(backbone: Backbone) -> bool:
    """Whether the weights came from somewhere: random ones have neither a tag nor a hash."""
    info = backbone.weights_info
    return not info or any(info.get(key) is not None for key in ("tag", "sha256"))


def _exact_head(params: Any, pretrained: bool) -> Any:
    """The classifier that the head starts from; None for the prior."""
    init = params.head_init
    if is_auto(init):
        init = "logistic" if pretrained and _is_linear(params.head) else "prior"
    if isinstance(init, str):
        return (
            LogisticRegression(C=EXACT_C, max_iter=1000, tol=1e-6) if init == "logistic" else None
        )
    return init


def _is_linear(head: Any) -> bool:
    return isinstance(head, LinearHead) or (isinstance(head, str) and head == "linear")


def is_auto(value: Any) -> bool:
    """Whether ``value`` is the word "auto"."""
    return isinstance(value, str) and value == "auto"


def tta_views(augment: Any, n: int) -> Views:
    """The views whose scores a prediction averages."""
    if isinstance(augment, Views):
        augment = augment.augment
    return Views("light" if augment is None or is_auto(augment) else augment, n)


def check_parameters(params: Any) -> None:
    """Raise for the first parameter of a FineTuneClassifier that is not what it must be."""
    if isinstance(params.head, str):
        check_choice("head", params.head, list(HEADS))
    check_pooling(params.pooling)
    check_choice("freeze_bn", params.freeze_bn, FREEZE_BN)
    check_augment(params.augment)
    check_int("tta", params.tta, 0)
    _check_head_init(params)
    check_int("freeze_epochs", params.freeze_epochs, 0, also=("auto",))
    check_int("max_epochs", params.max_epochs, 0)
    check_int("unfreeze_every", params.unfreeze_every, 1, also=(None,))
    check_range("lr", params.lr, "(0, inf)", also=("auto",))
    check_range("fine_tune_lr", params.fine_tune_lr, "(0, inf)", also=("auto",))
    check_range("layer_decay", params.layer_decay, "(0, 1]", also=("auto",))
    resolve_schedule(params.lr_schedule)
    check_range("weight_decay", params.weight_decay, "[0, inf)")
    check_range("dropout", params.dropout, "[0, 1)")
    check_range("label_smoothing", params.label_smoothing, "[0, 1)")
    check_choice("early_stopping", params.early_stopping, (False, True))
    check_range("validation_fraction", params.validation_fraction, "(0, 1)")
    check_int("n_iter_no_change", params.n_iter_no_change, 1)
    check_range("tol", params.tol, "[0, inf)")
    check_int("batch_size", params.batch_size, 1, also=("auto",))
    check_int("image_size", params.image_size, 1, also=(None,))
    check_choice("precision", params.precision, PRECISIONS)
    check_optimizer(params.optimizer)
    _check_callbacks(params.skorch_callbacks)
    _check_checkpoint(params.checkpoint)
    check_how(params)


def check_how(params: Any) -> None:
    """Raise for the first of the parameters that prediction reads, too."""
    check_choice("decode_error", params.decode_error, DECODE_ERRORS)
    check_int("inference_batch_size", params.inference_batch_size, 1, also=("auto",))
    check_int("n_jobs", params.n_jobs, 1, also=(None, -1))
    check_int("verbose", params.verbose, 0, also=(True, False))
    check_cache(params.cache)


def _check_callbacks(callbacks: Any) -> None:
    wrong = [callbacks]
    if isinstance(callbacks, (list, tuple)):
        alone = [each[-1] if isinstance(each, tuple) and each else each for each in callbacks]
        wrong = [each for each in alone if not hasattr(each, "on_train_begin")]
    if callbacks is not None and wrong:
        raise TypeError(
            f"skorch_callbacks must be a list of skorch's callbacks, or None; got {wrong[0]!r}."
        )


def _check_checkpoint(checkpoint: Any) -> None:
    if not (checkpoint is None or (isinstance(checkpoint, (str, PathLike)) and str(checkpoint))):
        raise TypeError(f"checkpoint must be the path of a folder, or None; got {checkpoint!r}.")


def _check_head_init(params: Any) -> None:
    init = params.head_init
    if isinstance(init, str):
        check_choice("head_init", init, HEAD_INITS)
    elif not isinstance(init, BaseEstimator) or isinstance(init, type):
        raise TypeError(
            "head_init must be 'auto', 'logistic', 'prior', or a linear classifier of "
            f"scikit-learn; got {init!r}."
        )
    elif not has_fit_parameter(init, "sample_weight"):
        raise TypeError(f"head_init must be a classifier that takes sample_weight; got {init!r}.")
    if init not in ("auto", "prior") and not _is_linear(params.head):
        raise ValueError(
            f"head_init must be 'prior' where head is not 'linear'; got {init!r}: there is no "
            "exact solution for it."
        )
