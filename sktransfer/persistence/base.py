"""The original weights of a model, whose tensors its file can leave out."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import is_dataclass
from typing import Any

from .._support.hashing import hash_parts
from .._support.plain import NotPlainError
from ..backbones import Backbone, Original, get_backbone, is_path
from ..training import Tail
from .codec import pack, parts_of

# The values of the parameter ``frozen`` of ``save``.
FROZEN = ("whole", "fingerprint")


def find_base(model: Any) -> tuple[Backbone, dict[str, Any]]:
    """Load the network with the original weights of a fitted estimator, and describe them.

    Raises
    ------
    ValueError
        If the weights cannot be loaded again.
    """
    address, weights = model._parts()[0]["origin"]
    if not isinstance(weights, (str, os.PathLike)):
        raise ValueError(  # noqa: TRY004 - None is a value
            "frozen must be 'whole' if the weights are random or those of an estimator, because "
            f"they cannot be loaded again; got 'fingerprint', and weights={weights!r}."
        )
    base = get_backbone(address, weights)
    return base, {
        # A path could make another machine read any of its files, so load asks for it.
        "weights": None if is_path(weights) else weights,
        "fingerprint": base.weights_fingerprint(),
        "preset": digest_of_preset(model.backbone_.preset),
    }


def digest_of_preset(preset: Any) -> str | None:
    """Return a hash of the fields of a preset; None if they are not plain values."""
    if not is_dataclass(preset):
        return None
    try:
        fields = json.dumps(pack(parts_of(preset)))
    except NotPlainError:
        return None
    return hash_parts("preset fields", type(preset).__name__, fields).hex()


def load_base(described: Mapping[str, Any], weights: str | os.PathLike[str] | None) -> Backbone:
    """Load the network with the original weights that a description names, and compare them.

    Parameters
    ----------
    described : mapping
        A description whose ``base`` is not None.
    weights : str, path-like or None
        The weights on this machine; None stands for those that the description names.

    Raises
    ------
    ValueError
        If the weights are not named, or have another fingerprint.
    """
    address, wanted = described["backbone"]["address"], described["base"]
    weights = wanted["weights"] if weights is None else weights
    if weights is None:
        raise ValueError(
            f"weights must be the file of weights of {address} with which the model was fitted, "
            "because the model was saved with frozen='fingerprint'; got None."
        )
    base = get_backbone(address, weights)
    found = base.weights_fingerprint()
    if found != wanted["fingerprint"]:
        raise ValueError(
            f"weights must be those with which the model was fitted, whose fingerprint is "
            f"{wanted['fingerprint']}; {address} with weights={str(weights)!r} has {found}. The "
            "model was saved with frozen='fingerprint', without its frozen stages."
        )
    return base


def original_of(base: Backbone, module: Any) -> Original:
    """Return the tensors of the original network by their names in the module of an estimator."""
    return Original.of(base.state_dict(), "backbone." if isinstance(module, Tail) else "")
