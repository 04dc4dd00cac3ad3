"""Describe a fitted estimator in plain values, and collect its tensors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import is_dataclass
from typing import Any

import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from .._support.plain import NotPlainError
from ..backbones import Backbone
from ..training import DenseTail, History, LanguageTail, MapLayout, Tail
from . import file_format
from .base import find_base, original_of
from .codec import NOT_SAVED, pack, parts_of
from .schema import CLASSES
from .structure import backbone_of, describe_head, structure

JOBLIB = "joblib.dump(model, path) can save it as a pickle."


def describe(
    model: Any, frozen: str = "whole"
) -> tuple[dict[str, Any], dict[str, Tensor], Backbone | None]:
    """Describe a fitted estimator in plain values.

    Everything but the parameters is read from the result of the fit: the parameters may have been
    changed since.

    Parameters
    ----------
    model : estimator
    frozen : {"whole", "fingerprint"}, default="whole"
        With "fingerprint", tensors that the original weights contain are left out.

    Returns
    -------
    described : dict
    tensors : dict of str to Tensor
    base : Backbone or None
        The network with the original weights, if tensors were left out.

    Raises
    ------
    TypeError
        If the estimator is of another class, or prediction needs code.
    ValueError
        If tensors are to be left out, and the original weights cannot be loaded again.
    """
    if type(model) not in CLASSES.values():
        raise TypeError(
            f"model must be a {' or a '.join(CLASSES)}; got {type(model).__name__}. {JOBLIB}"
        )
    check_is_fitted(model)
    parameters, left_out = _parameters(model)
    parts, module = model._parts()
    recorded = _find_unsaved(parts.get("history", ()))
    if recorded:
        rows = parts["history"]
        rows = [{key: row[key] for key in row if key not in recorded} for row in rows]
        parts["history"] = History(rows)
        left_out += [f"{name!r} of history_" for name in recorded]
    address = parts["origin"][0]
    if not isinstance(address, str):
        raise TypeError(
            "backbone must be an address, 'provider/model', to be saved without code; got the "
            f"factory {address!r}. register_provider gives a factory an address; {JOBLIB}"
        )
    tensors = _tensors(module)
    base, origin = find_base(model) if frozen == "fingerprint" else (None, None)
    if base is not None:
        tensors = original_of(base, module).leave_out(tensors)
    described = {
        "format": file_format.FORMAT,
        "class": type(model).__name__,
        "versions": file_format.versions(address),
        "backbone": _describe_backbone(address, backbone_of(module), base),
        "base": origin,
        "tail": _describe_tail(module) if isinstance(module, Tail) else None,
        "parameters": parameters,
        "parts": pack(parts),
        "left out": left_out,
        "tensors": {name: file_format.digest_of(tensor) for name, tensor in tensors.items()},
    }
    return described, tensors, base


def _parameters(model: Any) -> tuple[dict[str, Any], list[str]]:
    """Return the parameters in plain values, and the names of those that are not plain."""
    packed, left_out = {}, []
    for name, value in model.get_params(deep=False).items():
        if name in NOT_SAVED:
            continue
        try:
            packed[name] = pack(value)
        except NotPlainError:
            left_out.append(name)
    # predictions use the current values of both
    if "augment" in left_out and getattr(model, "tta", False):
        raise TypeError(_code("augment", model.augment))
    return packed, left_out


def _find_unsaved(history: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the names of values that callbacks recorded and that cannot be saved."""
    names = set()
    for row in history:
        for name, value in row.items():
            try:
                pack({name: value})
            except NotPlainError:
                names.add(name)
    return sorted(names)


def _code(name: str, value: Any) -> str:
    """Return the message about a part of a model that is code."""
    return (
        f"{name} must be one of the library's own, a name or an object, to be saved without "
        f"code; got {value!r}. {JOBLIB}"
    )


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    """Return copies of the tensors by name."""
    return {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in module.state_dict().items()
    }


def _describe_backbone(address: str, backbone: Backbone, base: Backbone | None) -> dict[str, Any]:
    """Describe a network; what the original network ``base`` has, too, need not be described."""
    preset, described = backbone.preset, None
    if is_dataclass(preset):
        fields = parts_of(preset)
        if base is not None and type(preset) is type(base.preset):
            known = parts_of(base.preset)
            fields = {name: value for name, value in fields.items() if value != known[name]}
        with suppress(NotPlainError):
            described = {"class": type(preset).__name__, "fields": pack(fields)}
    return {
        "address": address,
        "stages": len(backbone.names),
        "classifier": backbone.classifier is not None,
        "preset": described,  # None stands for the preset of the provider
        "structure": structure(backbone) if base is None else None,
        "fingerprint": backbone.weights_fingerprint(),
    }


def _describe_tail(tail: Tail) -> dict[str, Any]:
    if isinstance(tail, LanguageTail):
        return {"pooling": tail.pooling, "cut": tail.cut, "head": structure(tail.head)}
    head = describe_head(tail.head)
    if head is None:
        raise TypeError(_code("head", tail.head))
    if isinstance(tail, DenseTail):
        place: dict[str, Any] = {"layout": _describe_layout(tail.layout)}
    else:
        place = {"pooling": tail.pooling}
    return place | {
        "dropout": tail.dropout.p,
        "freeze_bn": tail.freeze_bn,
        "cut": tail.cut,
        "head": pack(head),
    }


def _describe_layout(layout: MapLayout) -> dict[str, Any]:
    """Return the maps of a head, and the shapes of the outputs of all stages, in plain values."""
    return {
        "maps": [[each.name, each.cut, each.n_channels, *each.size] for each in layout.maps],
        "rows": [list(layout.row_shapes[cut]) for cut in sorted(layout.row_shapes)],
        "size": layout.size,
    }
