"""The cut that a number of trainable stages means, and if weights are pretrained."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import Any

from .._support.validation import did_you_mean
from .backbone import Backbone


def find_cut(backbone: Backbone, unfreeze: Any, also: Sequence[str] = ("auto",)) -> int:
    """Return the cut before the first stage that trains.

    Parameters
    ----------
    backbone : Backbone
    unfreeze : int, "all" or str
        The number of stages that train, counted from the last one; "all"; or the name of the first
        stage that trains.
    also : sequence of str, default=("auto",)
        Other values that the caller accepts, for the message.

    Raises
    ------
    ValueError
        If it is something else, such as a number of stages that the backbone does not have.
    """
    names = backbone.names
    if isinstance(unfreeze, str) and unfreeze in ["all", *names]:
        return 0 if unfreeze == "all" else names.index(unfreeze)
    is_integer = isinstance(unfreeze, Integral) and not isinstance(unfreeze, bool)
    if is_integer and 0 <= unfreeze <= len(names):
        return len(names) - int(unfreeze)
    choices = [*also, "all", *names]
    words = ", ".join(map(repr, [*also, "all"]))
    raise ValueError(
        f"unfreeze must be {words}, the number of the last stages that train, from 0 to "
        f"{len(names)}, or the name of the first stage that trains, one of "
        f"{', '.join(map(repr, names))}; got {unfreeze!r}.{did_you_mean(unfreeze, choices)}"
    )


def is_pretrained(backbone: Backbone) -> bool:
    """Return True if the weights are pretrained.  Random weights have neither a tag nor a hash."""
    info = backbone.weights_info
    return not info or any(info.get(key) is not None for key in ("tag", "sha256"))
