"""The settings of a fit: the parameters of an estimator, resolved for one network and its data.

:func:`resolve` turns a mapping of parameters into :class:`FitSettings`, which contains no "auto".
The exceptions are the learning rates, which the range test finds when a phase begins, the number
of rows of a batch of the frozen stages, which depends on the length of the items, and the engine,
which depends on the work of the stages.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from numbers import Integral
from typing import Any

import numpy as np
import torch

from .._support.device import resolve_device, resolve_precision
from ..backbones import Backbone, find_cut, is_pretrained, resolve_pooling
from ..cache import ActivationCache, check_cache
from ..data import ImagePreset, Items, default_augment
from ..schedules import Schedule, resolve_schedule
from .parameters import PARAMETERS, Facts, is_auto
from .tuned_weights import find_tuner, starting_weights

# With fewer texts, there are too few steps for a head that starts from a stronger penalty.
MANY_TEXTS = 128


@dataclass(frozen=True, kw_only=True)
class Numerics:
    """The device and the types in which a network computes.

    Parameters
    ----------
    device : torch.device
    precision : torch.dtype
        The type of the forward pass.
    dtype : torch.dtype
        The type of the weights that are trained.
    """

    device: torch.device
    precision: torch.dtype
    dtype: torch.dtype

    @property
    def numpy_dtype(self) -> Any:
        """The NumPy dtype that corresponds to ``dtype``."""
        return torch.zeros((), dtype=self.dtype).numpy().dtype

    @property
    def frozen_precision(self) -> torch.dtype:
        """The type in which the frozen stages compute: float32 if ``precision`` is float64."""
        return torch.float32 if self.precision == torch.float64 else self.precision


@dataclass(frozen=True, kw_only=True)
class FitSettings:
    """The settings of a fit, for one network and its items.

    Settings without a description have the meaning of the parameter of the same name of
    :class:`FineTuneClassifier`.

    Parameters
    ----------
    cut : int
        The number of stages that never train.
    tunes : bool
        True if at least one stage trains.
    pooling : str
    head : str or callable
    head_init : estimator or None
        The linear model whose coefficients are the initial head.  None starts from the priors.
    dropout : float
    standardise : bool
        If True, the features are scaled to mean 0 and standard deviation 1 before the head.
    freeze_bn : bool
        If True, batch norm after the cut stays in evaluation mode, too.
    own_statistics : bool
        If True, batch norm after the cut has the statistics of the training items.
    augment : None, str, Views or callable
    freeze_epochs, max_epochs : int
    unfreeze_every : int or None
    weight_interpolation : float
    lr, fine_tune_lr : float or "auto"
    layer_decay : float
    lr_schedule : Schedule
    optimizer : str, class or callable
    weight_decay, label_smoothing : float
    class_weight : dict, "balanced" or None
    batch_size : int
    inference_batch_size : int or "auto"
        "auto" depends on the length of the items, too.
    early_stopping : bool
    validation_fraction : float
    n_iter_no_change : int
    tol : float
    numerics : Numerics
    engine : str
    cache : ActivationCache or None
    n_jobs : int or None
    decode_error : str
    skorch_callbacks : list or None
    verbose : int
    """

    cut: int
    tunes: bool
    pooling: str
    head: Any
    head_init: Any
    dropout: float
    standardise: bool
    freeze_bn: bool
    own_statistics: bool
    augment: Any
    freeze_epochs: int
    max_epochs: int
    unfreeze_every: int | None
    weight_interpolation: float
    lr: Any
    fine_tune_lr: Any
    layer_decay: float
    lr_schedule: Schedule
    optimizer: Any
    weight_decay: float
    label_smoothing: float
    class_weight: Any
    batch_size: int
    inference_batch_size: Any
    early_stopping: bool
    validation_fraction: float
    n_iter_no_change: int
    tol: float
    numerics: Numerics
    engine: str
    cache: ActivationCache | None
    n_jobs: int | None
    decode_error: str
    skorch_callbacks: Any
    verbose: int


def resolve(
    given: Mapping[str, Any],
    backbone: Backbone,
    items: Items,
    exact_model: Callable[[bool], Any] = lambda _: None,
    augments: bool = True,
) -> FitSettings:
    """Resolve the parameters of an estimator for a network and its items.

    Parameters
    ----------
    given : mapping of str to object
        The checked parameters.  ``label_smoothing`` and ``class_weight`` may be missing.
    backbone : Backbone
    items : Items
    exact_model : callable, default=lambda _: None
        Takes ``gentle``, which is True for many texts whose stages train.  Returns the linear model
        whose coefficients are the initial head, if the user did not pass one.
    augments : bool, default=True
        False if the targets may depend on the position of pixels: then ``augment="auto"`` is None.
    """
    check_tta(given.get("tta", 0), backbone.preset)
    device = resolve_device(given["device"])
    facts = Facts(
        pretrained=starts_pretrained(given, backbone) or find_tuner(given["weights"]) is not None,
        is_table=items.kind == "table",
        augment=default_augment(backbone.preset, items) if augments else None,
        n_stages=len(backbone.names),
        n_items=len(items),
    )
    known: dict[str, Any] = {"label_smoothing": 0.0, "class_weight": None}
    for name, parameter in PARAMETERS.items():
        if name in given:
            auto = parameter.auto if is_auto(given[name]) else None
            value = given[name] if auto is None else auto(facts, known)
            known[name] = value.item() if isinstance(value, np.generic) else value
        if name == "unfreeze":
            known["cut"] = find_cut(backbone, known["unfreeze"])
    known["pooling"] = resolve_pooling(known["pooling"], backbone)
    init = known["head_init"]
    if isinstance(init, str):
        trains = known["cut"] < facts.n_stages and known["max_epochs"] > 0
        has_many_texts = items.kind == "text" and len(items) >= MANY_TEXTS
        gentle = has_many_texts and trains and is_auto(given["head_init"])
        init = None if init == "prior" else exact_model(gentle)
    is_double = facts.is_table and getattr(items.values, "dtype", None) == np.float64
    derived: dict[str, Any] = {
        "tunes": known["cut"] < facts.n_stages,
        "head_init": init,
        "standardise": facts.pretrained,
        "freeze_bn": known["freeze_bn"] in ("all", "own"),
        "own_statistics": known["freeze_bn"] == "own",
        "layer_decay": float(known["layer_decay"]),
        "lr_schedule": resolve_schedule(known["lr_schedule"]),
        "numerics": _resolve_numerics(given["precision"], device, is_double),
        "cache": check_cache(known["cache"]),
    }
    # The others equal the parameter of the same name, or the meaning of its "auto".
    names = (each.name for each in fields(FitSettings))
    return FitSettings(**{name: known[name] for name in names if name not in derived}, **derived)


def check_tta(tta: int, preset: Any) -> None:
    """Raise a ValueError if items that are not images should get test-time augmentation."""
    if tta and not isinstance(preset, ImagePreset):
        raise ValueError(
            f"tta must be 0 for items that are not images; got {tta}. Call model.set_params(tta=0)."
        )


def _resolve_numerics(precision: str, device: torch.device, is_double: bool) -> Numerics:
    """Choose the types; float64 items (``is_double``) are trained on in float64 on a CPU."""
    if is_double and device.type == "cpu" and precision != "bfloat16":
        resolve_precision(precision, device)  # raises an error if the name is invalid
        return Numerics(device=device, precision=torch.float64, dtype=torch.float64)
    computed = resolve_precision(precision, device)
    return Numerics(device=device, precision=computed, dtype=torch.float32)


def starts_pretrained(given: Mapping[str, Any], backbone: Backbone) -> bool:
    """Return True if a fit with these parameters begins with pretrained weights."""
    return starting_weights(given["weights"]) is not None and is_pretrained(backbone)


def is_seeded(random_state: Any) -> bool:
    """Return True if two fits with this ``random_state`` make the same random draws."""
    return isinstance(random_state, Integral)
