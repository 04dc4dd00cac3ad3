"""Fitted estimators in one file of tensors and plain values: to load it runs none of its code.

The file is safetensors (:mod:`sktransfer.persistence.file_format`); a JSON text in its
metadata says everything but the numbers.  The network is built by its address, as for random
weights, compared with what the text says, and filled.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from copy import deepcopy
from dataclasses import is_dataclass, replace
from pathlib import Path
from typing import Any

import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from .._support.validation import first_ten
from ..backbones import Backbone, get_backbone
from ..cache import cache_here
from ..data import ImagePreset
from ..estimators import FineTuneClassifier, PretrainedFeatureExtractor
from ..tasks import build_head
from ..training import Recipe, Served, Tail
from . import file_format
from .codec import NotPlainError, pack, parts_of, unpack

CLASSES: dict[str, Any] = {
    kind.__name__: kind for kind in (FineTuneClassifier, PretrainedFeatureExtractor)
}


JOBLIB = "joblib.dump(model, path) keeps it, as a pickle."


class _OtherNetworkError(Exception):
    """The parts of a network that are not as they were."""


def save(model: Any, path: str | os.PathLike[str]) -> None:
    """Write a fitted estimator to a file that :func:`load` reads without running code.

    Parameters
    ----------
    model : FineTuneClassifier or PretrainedFeatureExtractor
        Fitted, its ``backbone`` an address and its ``head`` one of the library's own.  Parameters
        that prediction does not need and that are not plain, such as callbacks, are left out.
    path : str or path-like
        The file; it is there whole or not at all.  The usual ending is ``.safetensors``.

    Raises
    ------
    TypeError
        If the estimator, or a parameter that prediction needs, is code; the message names it.
    ValueError
        If the address alone would give another network than the one that was fitted.

    Warns
    -----
    UserWarning
        Naming the parameters that were left out; a loaded model has their defaults.

    Examples
    --------
    >>> import os, tempfile
    >>> from sklearn.datasets import load_digits
    >>> from sktransfer import PretrainedFeatureExtractor, load, save
    >>> X, _ = load_digits(return_X_y=True)
    >>> features = PretrainedFeatureExtractor(image_size=32).fit(X)
    >>> path = os.path.join(tempfile.mkdtemp(), "features.safetensors")
    >>> save(features, path)
    >>> bool((load(path).transform(X[:4]) == features.transform(X[:4])).all())
    True
    """
    path = file_format.target(path)
    told, tensors = _told(model)
    text = json.dumps(told, allow_nan=False)
    _verify(model, text, tensors)
    left_out = told["left out"]
    if left_out:
        warnings.warn(
            f"Parameters that are not plain values are left out of {str(path)!r}: "
            f"{', '.join(left_out)}. Predictions do not need them; a model that is loaded has "
            f"their defaults. {JOBLIB}",
            UserWarning,
            stacklevel=2,
        )
    file_format.write(path, text, tensors)


def load(path: str | os.PathLike[str]) -> Any:
    """The estimator that :func:`save` wrote; no code of the file runs.

    Parameters
    ----------
    path : str or path-like

    Returns
    -------
    FineTuneClassifier or PretrainedFeatureExtractor
        Its predictions have the bits that they had, where the libraries, the precision and the
        kind of device are the same.  A device or a cache folder that is not here is not missed.

    Raises
    ------
    OSError
        If there is no such file.
    ValueError
        If it is damaged, of a newer format or none of :func:`save`'s, or if its network is
        another one here; the message names what differs.

    Warns
    -----
    UserWarning
        If a library has another version than when the model was saved; naming both.

    Examples
    --------
    >>> import os, tempfile
    >>> from sklearn.datasets import load_digits
    >>> from sktransfer import FineTuneClassifier, load, save
    >>> X, y = load_digits(n_class=2, return_X_y=True)
    >>> model = FineTuneClassifier(image_size=32, unfreeze=0, max_epochs=0).fit(X[:40], y[:40])
    >>> path = os.path.join(tempfile.mkdtemp(), "digits.safetensors")
    >>> save(model, path)
    >>> bool((load(path).predict(X) == model.predict(X)).all())
    True
    """
    path = Path(path).expanduser()
    told, tensors = file_format.read(path)
    try:
        if told["class"] not in CLASSES:
            cause = f"its class is {told['class']!r}, none of {', '.join(CLASSES)}"
            raise ValueError(file_format.not_ours(path, cause))
        changed = file_format.changed(told["backbone"]["address"], told["versions"])
        if changed:
            warnings.warn(
                f"{str(path)!r} was saved with other versions: {changed}. The last bits of its "
                "predictions may differ.",
                UserWarning,
                stacklevel=2,
            )
        return _restored(told, tensors)
    except _OtherNetworkError as error:
        versions = f"Versions differ: {changed}." if changed else "The versions are the same."
        raise ValueError(
            f"{str(path)!r} must hold the network that {told['backbone']['address']!r} is here; "
            f"these parts differ:\n{error}\n{versions} Load it where it was saved."
        ) from error
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        cause = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
        raise ValueError(file_format.not_ours(path, cause)) from error


# What a file says


def _told(model: Any) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Everything about ``model`` in plain values, and its tensors by name."""
    if type(model) not in CLASSES.values():
        raise TypeError(
            f"model must be a {' or a '.join(CLASSES)}; got {type(model).__name__}. {JOBLIB}"
        )
    check_is_fitted(model, "backbone_")
    state, left_out = _state(model)
    modules = _modules(model)
    tensors = _tensors(modules)
    told = {
        "format": file_format.FORMAT,
        "class": type(model).__name__,
        "versions": file_format.versions(model._origin[0]),
        "backbone": _backbone_told(model._origin[0], _backbone_in(modules[0])),
        "members": len(modules),
        "state": state,
        "left out": left_out,
        "tensors": {name: file_format.digest_of(tensor) for name, tensor in tensors.items()},
    }
    if isinstance(model, FineTuneClassifier):
        told |= _tail_told(model)
    return told, tensors


def _state(model: Any) -> tuple[dict[str, Any], list[str]]:
    """What a pickle would hold, in plain values, without the network; and what is none."""
    made_again = ("_served", "backbone_", "_slim")
    state = {k: v for k, v in model.__getstate__().items() if k not in made_again}
    packed, left_out = {}, []
    for name, value in state.items():
        try:
            packed[name] = pack(value)
        except NotPlainError:
            left_out.append(name)
    needed = {"head": True, "augment": getattr(model, "tta", 0)}
    for name in [name for name in left_out if needed.get(name)]:
        raise TypeError(
            f"{name} must be one of the library's own, by name or as an object, to be saved "
            f"without code; got {getattr(model, name)!r}. {JOBLIB}"
        )
    address = model._origin[0]
    if not isinstance(address, str):
        raise TypeError(
            "backbone must be an address, 'provider/model', to be saved without code; got the "
            f"factory {address!r}. register_provider gives it an address; {JOBLIB}"
        )
    return packed, left_out


def _modules(model: Any) -> list[nn.Module]:
    """What holds the tensors: the backbone, or a tail for each member of an ensemble."""
    if isinstance(model, FineTuneClassifier):
        return [served.tail for served in model._served]
    return [model.backbone_]


def _tensors(modules: Sequence[nn.Module]) -> dict[str, Tensor]:
    """Copies of the tensors by name; of later modules, those that differ from the first's."""
    first = modules[0].state_dict()
    return {
        f"{index}/{name}": tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for index, module in enumerate(modules)
        for name, tensor in module.state_dict().items()
        if index == 0 or not torch.equal(tensor, first[name])
    }


def _backbone_in(module: Any) -> Any:
    return module.backbone if isinstance(module, Tail) else module


def _backbone_told(address: str, backbone: Backbone) -> dict[str, Any]:
    preset, told = backbone.preset, None
    if is_dataclass(preset):
        with suppress(NotPlainError):
            told = {"class": type(preset).__name__, "fields": pack(parts_of(preset))}
    return {
        "address": address,
        "stages": len(backbone.names),
        "classifier": backbone.classifier is not None,
        "preset": told,  # without one, that of the provider
        "structure": _structure(backbone),
        "fingerprint": backbone.weights_fingerprint(),
    }


def _structure(backbone: Backbone) -> dict[str, str]:
    """Path of a module -> what it is."""
    return {
        path: f"{type(part).__module__}.{type(part).__qualname__}({part.extra_repr()})"
        for path, part in backbone.named_modules()
    }


def _tail_told(model: Any) -> dict[str, Any]:
    tail, recipe = model._served[0].tail, parts_of(model._served[0].recipe)
    for name in ("augment", "head_init"):  # which made the model, and are not asked again
        try:
            pack(recipe[name])
        except NotPlainError:
            recipe[name] = None
    return {
        "recipe": pack(recipe),
        "tail": {
            "pooling": tail.pooling,
            "dropout": tail.dropout.p,
            "freeze_bn": tail.freeze_bn,
            "start": tail.start,
        },
    }


def _verify(model: Any, text: str, tensors: dict[str, Tensor]) -> None:
    """Raise before anything is written, where the file would not give the model back."""
    most = file_format.MOST_BYTES // 2
    if len(text) > most:
        raise ValueError(
            f"model must be told in at most {most} characters; its labels, history and the like "
            f"take {len(text)}. {JOBLIB}"
        )
    try:
        again = _restored(json.loads(text), tensors)
    except _OtherNetworkError as error:
        raise ValueError(_not_given_again(model, str(error))) from error
    preset, given = model.backbone_.preset, again.backbone_.preset
    if preset.fingerprint() != given.fingerprint():
        raise ValueError(_not_given_again(model, f"  preset: {preset!r}, given {given!r}"))


def _not_given_again(model: Any, lines: str) -> str:
    return (
        f"model must be what its address, {model._origin[0]!r}, and its parameters give again, to "
        f"be saved without code; these parts differ:\n{lines}\n{JOBLIB}"
    )


# From a file


def _restored(told: dict[str, Any], tensors: dict[str, Tensor]) -> Any:
    """The estimator of a text and its tensors."""
    model = CLASSES[told["class"]]()
    state = model.get_params(deep=False)  # what was left out
    state |= {name: unpack(value) for name, value in told["state"].items()}
    state["cache"] = cache_here(state["cache"])
    backbone = _backbone(told)
    parts = [_part(tensors, index) for index in range(told["members"])]
    if "recipe" in told:
        recipe = Recipe(**unpack(told["recipe"]))
        tail = _blank_tail(told["tail"], backbone, recipe, parts[0], state)
        tails = [_filled(deepcopy(tail), parts[0] | part) for part in parts]
        state["_served"] = [Served(tail, recipe) for tail in tails]
        backbone = tails[0].backbone
    else:
        state["backbone_"] = backbone = _filled(backbone, parts[0])
    _compare(  # what a module holds that is neither a tensor nor printed
        {"fingerprint": told["backbone"]["fingerprint"]},
        {"fingerprint": backbone.weights_fingerprint()},
    )
    model.__setstate__(state)
    return model


def _part(tensors: Mapping[str, Tensor], index: int) -> dict[str, Tensor]:
    start = f"{index}/"
    return {name.removeprefix(start): t for name, t in tensors.items() if name.startswith(start)}


def _backbone(told: Mapping[str, Any]) -> Backbone:
    """The network of the address, compared with that of the text, its numbers still random."""
    wanted = told["backbone"]
    backbone = get_backbone(wanted["address"], None)
    if not wanted["classifier"]:
        backbone.truncate(wanted["stages"])
    if wanted["preset"] is not None:
        backbone.preset = _preset(wanted["preset"], backbone.preset)
    _compare(wanted["structure"], _structure(backbone))
    return backbone


def _preset(told: Mapping[str, Any], own: Any) -> Any:
    """The preset of the text; its class is ours, or that of the provider's."""
    kinds = {"ImagePreset": ImagePreset(), type(own).__name__: own}
    if told["class"] not in kinds:
        _compare({"preset": told["class"]}, {"preset": type(own).__name__})
    return replace(kinds[told["class"]], **unpack(told["fields"]))


def _blank_tail(
    told: Mapping[str, Any],
    backbone: Backbone,
    recipe: Recipe,
    tensors: Mapping[str, Tensor],
    state: Mapping[str, Any],
) -> Tail:
    """A tail whose head has a form and takes no memory."""
    mean, scale = tensors["mean"].numpy(), tensors["scale"].numpy()
    with torch.device("meta"):
        head = build_head(state["head"], len(mean), len(state["classes_"]))
    return Tail(backbone, head, mean=mean, scale=scale, **told).to(recipe.dtype)


def _filled(module: Any, tensors: Mapping[str, Tensor]) -> Any:
    """``module`` with the tensors, frozen; all must fit."""
    _compare(_forms(tensors), _forms(module.state_dict()))
    module.load_state_dict(dict(tensors), assign=True)
    backbone = _backbone_in(module)
    backbone.freeze_to(len(backbone.names))
    return module.eval()


def _forms(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    return {name: f"{tensor.dtype} {tuple(tensor.shape)}" for name, tensor in tensors.items()}


def _compare(saved: Mapping[str, str], here: Mapping[str, str]) -> None:
    """Raise where a part is missing, or not what it was."""
    lines = [
        f"{name or 'the whole'}: was {saved.get(name, 'none')}, is {here.get(name, 'none')}"
        for name in {**saved, **here}
        if saved.get(name) != here.get(name)
    ]
    if lines:
        raise _OtherNetworkError(first_ten(lines))
