"""Features of a pretrained network, as a scikit-learn transformer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from .._support.device import resolve_device, resolve_precision
from .._support.progress import progress_bar
from .._support.validation import check_choice
from ..backbones import Backbone, check_pooling, get_backbone
from ..cache import check_cache
from ..data import adapt, input_info
from ..extraction import LOGITS, Prefix, Tap, resolve_batch_size, run_frozen
from ..training import RUNNING, check_parameters
from ._callbacks import CallbackSupportMixin, fit_task, with_callbacks
from ._columns import check_items, columns_of, replace_columns


@dataclass(frozen=True)
class Extraction:
    """The result of a fit: a frozen network, and where its features are read.

    Parameters
    ----------
    prefix : Prefix
        Its backbone has the stages that the layers need.
    layers : list of str
    widths : list of int
        The number of features of each layer.
    weights_info : dict
    origin : tuple
        The parameters ``backbone`` and ``weights``.
    """

    prefix: Prefix
    layers: list[str]
    widths: list[int]
    weights_info: dict[str, Any]
    origin: tuple[Any, Any]

    @property
    def n_features(self) -> int:
        """The number of features of all layers."""
        return sum(self.widths)

    def parts(self) -> dict[str, Any]:
        """Return everything but the backbone: plain values and small objects, by name."""
        names = ("layers", "widths", "weights_info", "origin")
        prefix = self.prefix
        return {name: getattr(self, name) for name in names} | {
            "taps": prefix.taps,
            "device": prefix.device,
            "dtype": prefix.dtype,
        }

    @classmethod
    def from_parts(cls, backbone: Backbone, parts: Mapping[str, Any]) -> Extraction:
        """Return the result that had these parts."""
        others = dict(parts)
        taps, device, dtype = (others.pop(name) for name in ("taps", "device", "dtype"))
        try:
            device = resolve_device(device)
        except ValueError:  # fitted on a machine with another device
            device = resolve_device("auto")
        prefix = Prefix(backbone, taps, device, dtype, resolve_batch_size("auto", device))
        return cls(prefix=prefix, **others)


class PretrainedFeatureExtractor(
    CallbackSupportMixin, ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator
):
    """Turn raw items into the pooled activations of a pretrained network.

    Parameters
    ----------
    backbone : str or callable, default="builtin/mini"
        Address of the backbone, ``"provider/model"``, or a factory: a callable that returns one.
        :func:`list_backbones` names all.
    weights : str, path-like or None, default="default"
        ``"default"``, a tag of the provider, the path of a .safetensors, .pth or .pt file, or None
        for seeded random weights.  A factory brings its own.
    layer : str or list of str, default="last"
        Stage whose output becomes the features: its name, "last", or, from the network's own
        classifier, "logits" or "probabilities".  The features of several are concatenated.
    pooling : {"avg", "max", "avgmax", "flatten", "cls"}, default="avg"
        How the positions of a feature map become one vector: mean, maximum, both, every position,
        or the class token of a vision transformer.
    image_size : int or None, default=None
        Side, in pixels, of the square that the network sees; None is what its weights ask for.
    image_shape : tuple of int or None, default=None
        (h, w), (h, w, c) or (c, h, w) of the images in a table of flattened rows.  None takes a
        width of 3 * s * s as (s, s, 3), and pads any other with zeros to the next square, one
        channel.
    preset : dict, preset or None, default=None
        Overrides of the preprocessing that came with the weights, such as
        ``{"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}``, or a whole preset.
    cache : str, path-like, ActivationCache or None, default=None
        Folder where features are kept by content: a photo goes through the same network once.
    precision : {"float32", "bfloat16", "auto"}, default="float32"
        In which the network computes; features are float32 always.  "auto" is bfloat16 on a
        device that has units for it.
    batch_size : int or "auto", default="auto"
        Number of items in every forward pass.  A last batch, or a call on a few items, is filled up
        with zeros, so that features do not depend on what else is in the call.  "auto" is 16 on a
        CPU, 32 on mps and 64 on cuda.  Use 1 to transform single items with the lowest latency; it
        may be set after ``fit``.  Features of two batch sizes may differ in the last bits.
    device : str or torch.device, default="auto"
        "cpu", "cuda", "cuda:1", "mps", or "auto": the first of cuda, mps, cpu that is there.
    n_jobs : int or None, default=None
        Threads that decode while the network computes.  None is as many as torch computes with,
        which joblib sets to 1 in its workers; -1 is one for each processor.
    decode_error : {"raise", "warn", "ignore"}, default="raise"
        What an image that cannot be decoded does: an error that names the first ten, or a row of
        NaN, with or without a warning.  A file that is not there is always an error.
    store_weights_in_pickle : bool, default=True
        Whether a pickle holds the weights and needs nothing else, or their fingerprint alone: then
        they are loaded again, from where ``weights`` says, and verified.
    verbose : int, default=1
        0 is silent; otherwise long work shows a progress bar, on terminals only.

    Attributes
    ----------
    backbone_ : Backbone
        The network, frozen, as far as ``layer`` needs it.
    weights_info_ : dict
        Tag, source, sha256, licence, input size, mean and std of the weights.
    n_features_in_ : int
        Width of the table seen in ``fit``; only where X was a table.
    feature_names_in_ : ndarray of str
        Names of its columns; only where X was a DataFrame.

    See Also
    --------
    list_backbones : The addresses of all networks.
    load_image_folder : Paths and labels of a folder of photos.

    Notes
    -----
    Equal items give equal features, bit for bit, whatever else is in the call: batch norm uses the
    stored statistics, and every batch has ``batch_size`` rows.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from sktransfer import PretrainedFeatureExtractor
    >>> X, y = load_digits(n_class=2, return_X_y=True)  # rows of 64 values, images of 8 x 8
    >>> features = PretrainedFeatureExtractor(image_size=32, layer="layer2")
    >>> model = make_pipeline(features, StandardScaler(), LogisticRegression())
    >>> model.fit(X[:40], y[:40]).score(X[40:80], y[40:80])
    1.0
    """

    def __init__(
        self,
        backbone="builtin/mini",
        *,
        weights="default",
        layer="last",
        pooling="avg",
        image_size=None,
        image_shape=None,
        preset=None,
        cache=None,
        precision="float32",
        batch_size="auto",
        device="auto",
        n_jobs=None,
        decode_error="raise",
        store_weights_in_pickle=True,
        verbose=1,
    ):
        self.backbone = backbone
        self.weights = weights
        self.layer = layer
        self.pooling = pooling
        self.image_size = image_size
        self.image_shape = image_shape
        self.preset = preset
        self.cache = cache
        self.precision = precision
        self.batch_size = batch_size
        self.device = device
        self.n_jobs = n_jobs
        self.decode_error = decode_error
        self.store_weights_in_pickle = store_weights_in_pickle
        self.verbose = verbose

    @with_callbacks
    def fit(self, X, y=None):
        """Load the network; nothing is learned from ``X`` but the form of its items.

        Parameters
        ----------
        X : sequence of n_items paths, images, arrays or bytes, or a table of flattened images
        y : ignored

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If a parameter or an item is not what it must be; the message names it.
        """
        twin, fitted, _ = self._load(X)
        with fit_task(self, 0, X, y):
            self._learn(twin, fitted)
        return self

    @with_callbacks
    def fit_transform(self, X, y=None):
        """Load the network, and return the features of ``X``.

        Parameters
        ----------
        X : sequence of n_items paths, images, arrays or bytes, or a table of flattened images
        y : ignored

        Returns
        -------
        ndarray of shape (n_items, n_features), float32
        """
        twin, fitted, items = self._load(X)
        size = fitted.prefix.batch_size
        with fit_task(self, -(-len(items) // size), X, y) as step:
            features = self._features(fitted, items, step)
        self._learn(twin, fitted)
        return features

    def transform(self, X):
        """The features of ``X``.

        Parameters
        ----------
        X : sequence of n_items paths, images, arrays or bytes, or a table of flattened images

        Returns
        -------
        ndarray of shape (n_items, n_features), float32
            A row is NaN where ``decode_error`` let an image pass that cannot be decoded.

        Raises
        ------
        DecodeError
            A ValueError, with ``decode_error="raise"``: names the first ten such images.
        """
        check_is_fitted(self)
        items = check_items(self, self.backbone_.preset, X)
        return self._features(self._fitted, items)

    def get_feature_names_out(self, input_features=None):
        """Names of the features: the layer, and a number.

        Parameters
        ----------
        input_features : array-like of str or None, default=None
            Only checked: its length must be ``n_features_in_`` where X was a table.

        Returns
        -------
        ndarray of str objects of shape (n_features,)
        """
        super().get_feature_names_out(input_features)
        widths = zip(self._fitted.layers, self._fitted.widths, strict=True)
        names = [f"{layer}_{index}" for layer, width in widths for index in range(width)]
        return np.array(names, dtype=object)

    @property
    def backbone_(self):
        """The network, frozen, as far as ``layer`` needs it."""
        return self._fitted.prefix.backbone

    @property
    def weights_info_(self):
        """The origin of the weights."""
        return self._fitted.weights_info

    @property
    def _n_features_out(self):
        check_is_fitted(self)
        return self._fitted.n_features

    def _load(self, X):
        """Return an unfitted twin, which records the columns of ``X``, a result and the items."""
        given = self.get_params(deep=False)
        check_parameters(given)
        twin = object.__new__(type(self))
        twin.__dict__.update(given)
        backbone = get_backbone(self.backbone, self.weights)
        layers = self._check_layers(backbone)
        backbone.preset = adapt(backbone.preset, self.preset, self.image_size, self.image_shape)
        weights_info = backbone.weights_info
        stops = {name: index for index, name in enumerate(backbone.names, start=1)}
        last = len(backbone.names)
        taps = [
            Tap(stops.get(layer, last), layer if layer in LOGITS else self.pooling)
            for layer in layers
        ]
        prefix = self._prefix(backbone, taps)
        widths = self._measure(prefix)
        items = check_items(twin, backbone.preset, X, reset=True)
        origin = (self.backbone, self.weights)
        return twin, Extraction(prefix, layers, widths, weights_info, origin), items

    def _learn(self, twin, fitted):
        """Record the columns of X and the result of the fit."""
        replace_columns(self, columns_of(twin))
        self._fitted = fitted

    def _check_layers(self, backbone):
        """The layers that are asked for, in order."""
        layers = [self.layer] if isinstance(self.layer, str) else self.layer
        if not (
            isinstance(layers, (list, tuple)) and all(isinstance(layer, str) for layer in layers)
        ):
            raise TypeError(f"layer must be a name or a list of names; got {self.layer!r}.")
        layers = list(layers)
        if not layers:
            raise ValueError("layer must name at least one stage; got an empty list.")
        if len(set(layers)) < len(layers):
            raise ValueError(f"layer must name each stage once; got {layers!r}.")
        for layer in layers:
            check_choice("layer", layer, [*backbone.names, "last", *LOGITS])
            if layer in LOGITS and backbone.classifier is None:
                raise ValueError(
                    f"layer must be a stage for a backbone without a classifier; got {layer!r}."
                )
        check_pooling(self.pooling, backbone, self.backbone)
        return layers

    def _prefix(self, backbone, taps):
        """Return the prefix up to the last of ``taps``, without the stages behind it."""
        device = resolve_device(self.device)
        dtype = resolve_precision(self.precision, device)
        batch_size = resolve_batch_size(self.batch_size, device)
        return Prefix(_as_far_as(backbone, taps), taps, device, dtype, batch_size)

    def _measure(self, prefix):
        """Return the number of features of each layer, measured on one blank item."""
        preset = prefix.backbone.preset
        try:
            return [width for (width,) in prefix.measure(preset.collate([], 1))]
        except RuntimeError as error:
            size = input_info(preset)["input_size"]
            if size is None:  # not an image: the size is not to blame
                raise
            raise ValueError(
                f"image_size must be one that {self.backbone!r} can take; it failed on "
                f"{size} pixels: {error}"
            ) from error

    def _features(self, fitted, items, step=lambda: None):
        check_parameters(self.get_params(deep=False), RUNNING)
        size = resolve_batch_size(self.batch_size, fitted.prefix.device)
        with progress_bar(len(items), type(self).__name__, self.verbose) as advance:
            done = 0

            def progress(n_items):
                nonlocal done
                advance(n_items)
                for _ in range(-(-done // size), -(-(done + n_items) // size)):
                    step()
                done += n_items

            frozen = run_frozen(
                fitted.prefix.sized(size),
                items,
                cache=check_cache(self.cache),
                n_jobs=self.n_jobs,
                decode_error=self.decode_error,
                progress=progress,
            )
        if not frozen.failed and len(frozen.rows) == 1:
            return np.asarray(frozen.rows[0], dtype=np.float32)  # (n_items, n_features)
        features = np.full((len(items), fitted.n_features), np.nan, np.float32)
        if len(frozen.kept):
            features[frozen.kept] = np.concatenate([np.asarray(r) for r in frozen.rows], axis=1)
        return features  # (n_items, n_features)

    def _parts(self):
        """Return the parts of a fit that a file keeps, and the module with the tensors."""
        return self._fitted.parts() | {"columns": columns_of(self)}, self.backbone_

    def _set_parts(self, parts, module):
        """Become the estimator that had these parts."""
        parts = dict(parts)
        replace_columns(self, parts.pop("columns"))
        self._fitted = Extraction.from_parts(module, parts)

    def __sklearn_is_fitted__(self):
        return "_fitted" in vars(self)

    def __getstate__(self):
        state = super().__getstate__()
        fitted = state.get("_fitted")
        if fitted is not None:
            backbone = self.backbone_
            if not self.store_weights_in_pickle:
                backbone = (backbone.preset, backbone.weights_fingerprint())
            state = state | {"_fitted": (fitted.parts(), backbone)}
        return state

    def __setstate__(self, state):
        fitted = state.get("_fitted")
        if fitted is not None:
            parts, backbone = fitted
            if isinstance(backbone, tuple):
                backbone = self._reloaded(parts, *backbone)
            state = state | {"_fitted": Extraction.from_parts(backbone, parts)}
        super().__setstate__(state)

    def _reloaded(self, parts, preset, fingerprint):
        """Return the backbone of a pickle without weights, loaded from their origin."""
        source, weights = parts["origin"]
        backbone = _as_far_as(get_backbone(source, weights), parts["taps"])
        if backbone.weights_fingerprint() != fingerprint:
            raise ValueError(
                f"weights must be those that this {type(self).__name__} was fitted with; the ones "
                f"loaded from backbone={source!r}, weights={weights!r} are others."
            )
        backbone.preset = preset
        return backbone

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.input_tags.string = True
        tags.transformer_tags.preserves_dtype = ["float32"]  # always float32
        return tags


def _as_far_as(backbone, taps):
    """Freeze ``backbone`` and drop the stages behind the last of ``taps``."""
    if not any(tap.reduce in LOGITS for tap in taps):
        backbone.truncate(max(tap.stop for tap in taps))
    return backbone.freeze_to(len(backbone.names))
