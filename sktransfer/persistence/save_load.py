"""Save fitted estimators to one file of tensors and plain values, and load them.

The file has the format safetensors (:mod:`sktransfer.persistence.file_format`).  A JSON text in its
metadata describes everything except the values of the tensors.  :func:`load` builds the network
from its address, as for random weights, compares it with the text, and copies the tensors into it.
So no code of the file runs.
"""

from __future__ import annotations

import json
import os
from typing import Any

from torch import Tensor

from .._support.forks import check_process
from .._support.paths import check_new_model, check_path
from .._support.validation import check_choice
from .._support.warn import warn_user
from ..backbones import Backbone
from ..cache import ActivationCache, check_cache
from . import file_format
from .base import FROZEN, load_base
from .description import JOBLIB, describe
from .rebuild import rebuild
from .structure import OtherNetworkError


def save(model: Any, path: str | os.PathLike[str], *, frozen: str = "whole") -> None:
    """Write a fitted estimator to a file that :func:`load` reads without running code.

    Parameters
    ----------
    model : estimator of this package
        Fitted; no ``SnapshotEnsemble``.  Its ``backbone`` must be an address, and its ``head`` one
        of the library's own.  Parameters that are not plain values, such as callbacks, are left out
        if prediction does not need them, and so are such values that callbacks recorded.
    path : str or path-like
        The file to write, with the suffix ``.safetensors`` or without a suffix.  It is written
        atomically.
    frozen : {"whole", "fingerprint"}, default="whole"
        With "whole", the file contains the whole network.  With "fingerprint", it contains only the
        tensors that differ from the original weights, such as the head and the stages that were
        fine-tuned, and the fingerprint of these weights; :func:`load` then needs them again.  If
        the network is frozen (``unfreeze=0``), such a file has some kilobytes.

    Raises
    ------
    TypeError
        If the estimator is of another class, or prediction needs a parameter that is code.  The
        message names the parameter.
    ValueError
        If the address does not give the network that was fitted, the suffix is another one, or
        ``frozen`` is "fingerprint" and the original weights cannot be loaded again.

    Warns
    -----
    UserWarning
        If values are left out.  A loaded model has the default values of parameters.

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
    if isinstance(model, (str, os.PathLike)):
        raise TypeError(
            f"model must be a fitted estimator; got the path {os.fspath(model)!r}. Pass it second: "
            "save(model, path)."
        )
    path = check_new_model(path)
    check_choice("frozen", frozen, FROZEN)
    described, tensors, base = describe(model, frozen)
    text = json.dumps(described, allow_nan=False)
    _verify(model, text, tensors, base)
    left_out = described["left out"]
    if left_out:
        warn_user(
            f"Values that are not plain are left out of {str(path)!r}: {', '.join(left_out)}. "
            "Predictions do not need them; a loaded model has the default values of parameters. "
            f"{JOBLIB}"
        )
    file_format.write(path, text, tensors)


def load(
    path: str | os.PathLike[str],
    *,
    cache: str | os.PathLike[str] | ActivationCache | None = None,
    weights: str | os.PathLike[str] | None = None,
) -> Any:
    """Load an estimator from a file written by :func:`save`, without running code of the file.

    Parameters
    ----------
    path : str or path-like
        The file to read.
    cache : str, path-like, ActivationCache or None, default=None
        The parameter ``cache`` of the loaded estimator: a folder on this machine for the output
        of frozen stages.  With None, the estimator uses no cache.
    weights : str, path-like or None, default=None
        The original weights of a model that was saved with ``frozen="fingerprint"``: a tag, or the
        path of a file on this machine.  None stands for the tag that the file names.  Must be None
        for other models.

    Returns
    -------
    estimator of this package
        Fitted.  Its predictions have the same bits as before if the versions of the
        libraries, the precision and the kind of device are the same.  The device need not exist on
        this machine.

    Raises
    ------
    OSError
        If the file does not exist.
    ValueError
        If the file is damaged, has another format or was not written by :func:`save`, or if its
        address gives another network on this machine.  The message names the file and the cause.
        If ``weights`` are not those with which the model was fitted.

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
    path = check_path(path)
    check_cache(cache)
    described, tensors = file_format.read(path)
    address = described["backbone"]["address"]
    base = _find_base(described, weights)
    changed = file_format.changed(address, described["versions"])
    if changed:
        warn_user(
            f"{str(path)!r} was saved with other versions: {changed}. The last bits of its "
            "predictions may differ."
        )
    try:
        with file_format.refused(path):
            model = rebuild(described, tensors, base)
    except OtherNetworkError as error:
        versions = f"Versions differ: {changed}." if changed else "The versions are the same."
        raise ValueError(
            f"{str(path)!r} must contain the network that {address!r} gives on this machine; these "
            f"parts differ:\n{error}\n{versions} Load the file in the environment in which it was "
            "saved."
        ) from error
    return model.set_params(cache=cache)


def _find_base(
    described: dict[str, Any], weights: str | os.PathLike[str] | None
) -> Backbone | None:
    """Return the network with the original weights if a file lacks some of them."""
    if described["base"] is not None:
        return load_base(described, weights)
    if weights is not None:
        raise ValueError(
            "weights must be None for a file that contains the whole network; got "
            f"{str(weights)!r}."
        )
    return None


def _verify(model: Any, text: str, tensors: dict[str, Tensor], base: Backbone | None) -> None:
    """Raise an error if :func:`load` would not restore ``model``, before anything is written."""
    most = file_format.MOST_BYTES // 2
    if len(text) > most:
        raise ValueError(
            f"model must have a description of at most {most} characters; its labels, history and "
            f"other values take {len(text)}. {JOBLIB}"
        )
    try:
        restored = rebuild(file_format.parse(text), tensors, base)
    except OtherNetworkError as error:
        raise ValueError(_not_restored(model, str(error))) from error
    except file_format.UNEXPECTED as error:
        raise ValueError(
            "model must have parameters and attributes that load accepts; "
            f"{str(error).rstrip('.')}. {JOBLIB}"
        ) from error
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
