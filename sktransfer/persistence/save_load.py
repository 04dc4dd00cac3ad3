"""Save fitted estimators to one file of tensors and plain values, and load them.

The file has the format safetensors (:mod:`sktransfer.persistence.file_format`).  A JSON text in its
metadata describes everything except the values of the tensors.  :func:`load` builds the network
from its address, as for random weights, compares it with the text, and copies the tensors into it.
So no code of the file runs.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import is_dataclass, replace
from pathlib import Path
from typing import Any

import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from .._support.forks import check_process
from .._support.plain import NotPlainError
from .._support.validation import first_ten
from ..backbones import Backbone, check_pooling, get_backbone
from ..cache import cache_here
from ..data import ImagePreset
from ..estimators import FineTuneClassifier, PretrainedFeatureExtractor
from ..tasks import build_head
from ..training import Tail
from . import file_format
from .codec import pack, parts_of, unpack

CLASSES: dict[str, Any] = {
    kind.__name__: kind for kind in (FineTuneClassifier, PretrainedFeatureExtractor)
}

JOBLIB = "joblib.dump(model, path) can save it as a pickle."


class _OtherNetworkError(Exception):
    """Parts of a network differ from those that were saved; the message lists them."""


def save(model: Any, path: str | os.PathLike[str]) -> None:
    """Write a fitted estimator to a file that :func:`load` reads without running code.

    Parameters
    ----------
    model : FineTuneClassifier or PretrainedFeatureExtractor
        A fitted estimator.  Its ``backbone`` must be an address, and its ``head`` one of the
        library's own.  Parameters that are not plain values, such as callbacks, are left out if
        prediction does not need them.
    path : str or path-like
        The file to write, usually with the suffix ``.safetensors``.  It is written atomically.

    Raises
    ------
    TypeError
        If the estimator is of another class, or prediction needs a parameter that is code.  The
        message names the parameter.
    ValueError
        If the address does not give the network that was fitted.

    Warns
    -----
    UserWarning
        If parameters are left out.  A loaded model has their default values.

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
    described, tensors = _described(model)
    text = json.dumps(described, allow_nan=False)
    _verify(model, text, tensors)
    left_out = described["left out"]
    if left_out:
        warnings.warn(
            f"Parameters that are not plain values are left out of {str(path)!r}: "
            f"{', '.join(left_out)}. Predictions do not need them; a loaded model has their "
            f"default values. {JOBLIB}",
            UserWarning,
            stacklevel=2,
        )
    file_format.write(path, text, tensors)


def load(path: str | os.PathLike[str]) -> Any:
    """Load an estimator from a file written by :func:`save`, without running code of the file.

    Parameters
    ----------
    path : str or path-like
        The file to read.

    Returns
    -------
    FineTuneClassifier or PretrainedFeatureExtractor
        The fitted estimator.  Its predictions have the same bits as before if the versions of the
        libraries, the precision and the kind of device are the same.  The device and the folder of
        the cache need not exist on this machine.

    Raises
    ------
    OSError
        If the file does not exist.
    ValueError
        If the file is damaged, has a newer format or was not written by :func:`save`, or if its
        address gives another network on this machine.  The message lists the differences.

    Warns
    -----
    UserWarning
        If a library has another version than when the model was saved.

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
    check_process()
    path = Path(path).expanduser()
    described, tensors = file_format.read(path)
    try:
        if described["class"] not in CLASSES:
            cause = f"its class must be {' or '.join(CLASSES)}; got {described['class']!r}"
            raise ValueError(file_format.not_ours(path, cause))
        changed = file_format.changed(described["backbone"]["address"], described["versions"])
        if changed:
            warnings.warn(
                f"{str(path)!r} was saved with other versions: {changed}. The last bits of its "
                "predictions may differ.",
                UserWarning,
                stacklevel=2,
            )
        return _restored(described, tensors)
    except _OtherNetworkError as error:
        versions = f"Versions differ: {changed}." if changed else "The versions are the same."
        raise ValueError(
            f"{str(path)!r} must contain the network that {described['backbone']['address']!r} "
            f"gives on this machine; these parts differ:\n{error}\n{versions} Load the file in the "
            "environment in which it was saved."
        ) from error
    except (KeyError, TypeError, AttributeError, RuntimeError, ArithmeticError) as error:
        cause = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
        raise ValueError(file_format.not_ours(path, cause)) from error


# From an estimator to a file


def _described(model: Any) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return a description of ``model`` in plain values, and its tensors by name."""
    if type(model) not in CLASSES.values():
        raise TypeError(
            f"model must be a {' or a '.join(CLASSES)}; got {type(model).__name__}. {JOBLIB}"
        )
    check_is_fitted(model)
    parameters, left_out = _parameters(model)
    parts, module = model._parts()
    address = parts["origin"][0]
    if not isinstance(address, str):
        raise TypeError(
            "backbone must be an address, 'provider/model', to be saved without code; got the "
            f"factory {address!r}. register_provider gives a factory an address; {JOBLIB}"
        )
    tensors = _tensors(module)
    described = {
        "format": file_format.FORMAT,
        "class": type(model).__name__,
        "versions": file_format.versions(address),
        "backbone": _describe_backbone(address, _backbone_in(module)),
        "tail": _describe_tail(module) if isinstance(module, Tail) else None,
        "parameters": parameters,
        "parts": pack(parts),
        "left out": left_out,
        "tensors": {name: file_format.digest_of(tensor) for name, tensor in tensors.items()},
    }
    return described, tensors


def _parameters(model: Any) -> tuple[dict[str, Any], list[str]]:
    """Return the parameters in plain values, and the names of those that are not plain."""
    packed, left_out = {}, []
    for name, value in model.get_params(deep=False).items():
        try:
            packed[name] = pack(value)
        except NotPlainError:
            left_out.append(name)
    needed = {"head": True, "augment": getattr(model, "tta", 0)}
    for name in [name for name in left_out if needed.get(name)]:
        raise TypeError(
            f"{name} must be one of the library's own, a name or an object, to be saved without "
            f"code; got {getattr(model, name)!r}. {JOBLIB}"
        )
    return packed, left_out


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    """Return copies of the tensors by name."""
    return {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in module.state_dict().items()
    }


def _backbone_in(module: Any) -> Any:
    return module.backbone if isinstance(module, Tail) else module


def _describe_backbone(address: str, backbone: Backbone) -> dict[str, Any]:
    preset, described = backbone.preset, None
    if is_dataclass(preset):
        with suppress(NotPlainError):
            described = {"class": type(preset).__name__, "fields": pack(parts_of(preset))}
    return {
        "address": address,
        "stages": len(backbone.names),
        "classifier": backbone.classifier is not None,
        "preset": described,  # None stands for the preset of the provider
        "structure": _structure(backbone),
        "fingerprint": backbone.weights_fingerprint(),
    }


def _describe_tail(tail: Tail) -> dict[str, Any]:
    return {
        "pooling": tail.pooling,
        "dropout": tail.dropout.p,
        "freeze_bn": tail.freeze_bn,
        "cut": tail.cut,
    }


def _structure(backbone: Backbone) -> dict[str, str]:
    """Return a text for each module of a backbone, by its path: its class and its settings."""
    return {
        path: f"{type(part).__module__}.{type(part).__qualname__}({part.extra_repr()})"
        for path, part in backbone.named_modules()
    }


def _verify(model: Any, text: str, tensors: dict[str, Tensor]) -> None:
    """Raise an error if :func:`load` would not restore ``model``, before anything is written."""
    most = file_format.MOST_BYTES // 2
    if len(text) > most:
        raise ValueError(
            f"model must have a description of at most {most} characters; its labels, history and "
            f"other values take {len(text)}. {JOBLIB}"
        )
    try:
        restored = _restored(json.loads(text), tensors)
    except _OtherNetworkError as error:
        raise ValueError(_not_restored(model, str(error))) from error
    preset, given = model.backbone_.preset, restored.backbone_.preset
    if preset.fingerprint() != given.fingerprint():
        raise ValueError(
            _not_restored(model, f"  preset: {preset!r}, but the address gives {given!r}")
        )


def _not_restored(model: Any, lines: str) -> str:
    return (
        "model must have the network that its address, "
        f"{model._parts()[0]['origin'][0]!r}, and its parameters give, to be saved without code; "
        f"these parts differ:\n{lines}\n{JOBLIB}"
    )


# From a file to an estimator


def _restored(described: dict[str, Any], tensors: dict[str, Tensor]) -> Any:
    """Rebuild an estimator from its description and its tensors."""
    model = CLASSES[described["class"]]()
    parameters = {name: unpack(value) for name, value in described["parameters"].items()}
    parameters["cache"] = cache_here(parameters["cache"])
    unknown = set(parameters) - set(model.get_params(deep=False))
    if unknown:
        raise TypeError(f"{described['class']} has no parameter {min(unknown)!r}")
    model.set_params(**parameters)
    parts = unpack(described["parts"])
    module: Any = _backbone(described)
    if described["tail"] is not None:
        module = _blank_tail(unpack(described["tail"]), module, parts, tensors, parameters["head"])
    module = _filled(module, tensors)
    # The fingerprint also covers what neither the tensors nor the texts of the modules show.
    _compare(
        {"fingerprint": described["backbone"]["fingerprint"]},
        {"fingerprint": _backbone_in(module).weights_fingerprint()},
    )
    model._set_parts(parts, module)
    return model


def _backbone(described: Mapping[str, Any]) -> Backbone:
    """Build the network of the address with random weights, and compare its structure."""
    wanted = described["backbone"]
    backbone = get_backbone(wanted["address"], None)
    if not wanted["classifier"]:
        backbone.truncate(wanted["stages"])
    if wanted["preset"] is not None:
        backbone.preset = _preset(wanted["preset"], backbone.preset)
    _compare(wanted["structure"], _structure(backbone))
    return backbone


def _preset(described: Mapping[str, Any], own: Any) -> Any:
    """Rebuild the preset; its class must be ``ImagePreset`` or the class of the provider's own."""
    kinds = {"ImagePreset": ImagePreset(), type(own).__name__: own}
    if described["class"] not in kinds:
        _compare({"preset": described["class"]}, {"preset": type(own).__name__})
    return replace(kinds[described["class"]], **unpack(described["fields"]))


def _blank_tail(
    described: Mapping[str, Any],
    backbone: Backbone,
    parts: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    head: Any,
) -> Tail:
    """Build a tail whose head is on the meta device, so that a bad file cannot fill the memory."""
    check_pooling(described["pooling"], backbone, "the saved network")
    n_stages = len(backbone.names)
    if not (isinstance(described["cut"], int) and 0 <= described["cut"] <= n_stages):
        raise TypeError(f"its cut must be 0 to {n_stages}; it is {described['cut']!r}")
    mean, scale = tensors["mean"].numpy(), tensors["scale"].numpy()
    with torch.device("meta"):
        blank = build_head(head, len(mean), parts["task"].n_outputs)
    tail = Tail(backbone, blank, mean=mean, scale=scale, **described)
    return tail.to(parts["numerics"].dtype)


def _filled(module: Any, tensors: Mapping[str, Tensor]) -> Any:
    """Copy the tensors into ``module`` and freeze it; names, dtypes and shapes must match."""
    _compare(_forms(tensors), _forms(module.state_dict()))
    module.load_state_dict(dict(tensors), assign=True)
    backbone = _backbone_in(module)
    backbone.freeze_to(len(backbone.names))
    return module.eval()


def _forms(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    return {name: f"{tensor.dtype} {tuple(tensor.shape)}" for name, tensor in tensors.items()}


def _compare(saved: Mapping[str, str], here: Mapping[str, str]) -> None:
    """Raise an error that lists the parts that are missing or differ."""
    lines = [
        f"{name or 'the whole'}: was {saved.get(name, 'missing')}, is {here.get(name, 'missing')}"
        for name in {**saved, **here}
        if saved.get(name) != here.get(name)
    ]
    if lines:
        raise _OtherNetworkError(first_ten(lines))
