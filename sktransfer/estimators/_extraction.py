"""The result of fitting a feature extractor."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from .._support.device import resolve_device, resolve_or_replace, resolve_precision
from .._support.validation import check_choice, no_choice
from ..backbones import Backbone, Statistics, check_pooling, resolve_pooling, with_statistics
from ..cache import check_cache
from ..data import Items, input_info
from ..extraction import LOGITS, Frozen, Prefix, Tap, check_batch_norm, run_frozen
from ..training import starting_weights, tune_weights
from ._domains import Domains, names_at

BATCH_NORMS = ("stored", "data", "both")


@dataclass(frozen=True)
class Extraction:
    """The result of a fit: a frozen network, and the layers at which its features are read.

    Parameters
    ----------
    prefix : Prefix
        The stages that the layers need, with stored statistics.
    layers : list of str
        The names of the layers, in the order of their features.
    widths : list of int
        The number of features of each layer.
    weights_info : dict
        The origin of the weights.
    origin : tuple
        The parameters ``backbone`` and ``weights``, from which the weights can be loaded again.
    batch_norm : {"stored", "data", "both"}, default="stored"
        The statistics that batch norm uses.
    statistics : dict, default={}
        The statistics of each domain, unless only stored ones are used.
    """

    prefix: Prefix
    layers: list[str]
    widths: list[int]
    weights_info: dict[str, Any]
    origin: tuple[Any, Any]
    batch_norm: str = "stored"
    statistics: dict[Any, Statistics] = field(default_factory=dict)

    @property
    def n_features(self) -> int:
        """The total number of features of all layers."""
        return sum(self.widths) * self.n_runs

    @property
    def n_runs(self) -> int:
        """The number of times that an item passes the network."""
        return 2 if self.batch_norm == "both" else 1

    @property
    def names(self) -> list[str]:
        """The names of the features."""
        widths = list(zip(self.layers, self.widths, strict=True))
        names = [f"{layer}_{index}" for layer, width in widths for index in range(width)]
        if self.batch_norm == "both":
            return [f"{kind}_{name}" for kind in ("stored", "data") for name in names]
        return names

    @cached_property
    def own(self) -> dict[Any, Prefix]:
        """The prefix of each domain, with the statistics of its items."""
        return {
            domain: self.prefix.of_backbone(with_statistics(self.prefix.backbone, statistics))
            for domain, statistics in self.statistics.items()
        }

    def features(
        self, items: Items, domains: Domains, batch_size: int | str, engine: str, **how: Any
    ) -> np.ndarray:
        """Return the features of items, (n_items, n_features); NaN for items not decoded.

        Parameters
        ----------
        items : Items
        domains : Domains
        batch_size : int or "auto"
        engine : str
            The engine that runs the stages.
        **how : dict
            Keyword arguments of :func:`run_frozen`.
        """
        parts = []
        for positions, prefixes in self._runs(domains):
            sized = [each.sized(batch_size).run_by(engine, how["cache"]) for each in prefixes]
            parts.append((positions, self._run_each(sized, items, positions, how)))
        if len(parts) == 1:
            return parts[0][1]
        features = np.empty((len(items), self.n_features), np.float32)
        for positions, part in parts:
            features[positions] = part
        return features

    def _runs(self, domains: Domains) -> Iterator[tuple[np.ndarray, list[Prefix]]]:
        """Yield the positions of items, with the prefixes that compute their features."""
        if self.batch_norm == "stored":
            yield np.arange(len(domains.codes)), [self.prefix]
            return
        domains.check_known(self.own)
        for domain, positions in domains.parts():
            stored = [self.prefix] if self.batch_norm == "both" else []
            yield positions, [*stored, self.own[domain]]

    def _run_each(
        self,
        prefixes: list[Prefix],
        items: Items,
        positions: np.ndarray,
        how: Mapping[str, Any],
    ) -> np.ndarray:
        """Return the features of the items at some positions, by each of the prefixes."""
        part = items if len(positions) == len(items) else items.take(positions)
        # The first run warns of items that cannot be decoded, or raises an error.
        again = {"decode_error": "ignore"} if how["decode_error"] == "warn" else {}
        blocks = []
        for prefix in prefixes:
            frozen = run_frozen(prefix, part, name=names_at(positions), **how)
            blocks.append(_complete(frozen, len(part), sum(self.widths)))
            how = {**how, **again}
        return blocks[0] if len(blocks) == 1 else np.concatenate(blocks, axis=1)

    def parts(self) -> tuple[dict[str, Any], Backbone]:
        """Return all parts of the result except the backbone, by name, and the backbone."""
        names = ("layers", "widths", "weights_info", "origin", "batch_norm", "statistics")
        prefix = self.prefix
        parts = {name: getattr(self, name) for name in names} | {
            "taps": prefix.taps,
            "device": prefix.device,
            "dtype": prefix.dtype,
        }
        return parts, prefix.backbone

    @classmethod
    def from_parts(cls, parts: Mapping[str, Any], backbone: Backbone) -> Extraction:
        """Rebuild a result from its backbone and its other parts."""
        others = dict(parts)
        taps, device, dtype = (others.pop(name) for name in ("taps", "device", "dtype"))
        prefix = Prefix(backbone, taps, resolve_or_replace(device), dtype, "auto")
        fitted = cls(prefix=prefix, **others)
        if (fitted.batch_norm == "stored") != (not fitted.own):
            raise ValueError("statistics must be those of batch_norm='data' or 'both'")
        return fitted

    def __reduce__(self) -> tuple[Any, ...]:
        # A pickle contains the stages, and not the prefix, whose copies of them are made again.
        return Extraction.from_parts, self.parts()


def _complete(frozen: Frozen, n_items: int, n_features: int) -> np.ndarray:
    """Return the rows of all taps side by side, with NaN for items that could not be decoded."""
    if not frozen.failed and len(frozen.rows) == 1:
        return np.asarray(frozen.rows[0], dtype=np.float32)  # (n_items, n_features)
    features = np.full((n_items, n_features), np.nan, np.float32)
    if len(frozen.kept):
        features[frozen.kept] = np.concatenate([np.asarray(r) for r in frozen.rows], axis=1)
    return features  # (n_items, n_features)


def tune(backbone: Backbone, given: Mapping[str, Any], items: Items) -> None:
    """Tune the stages of a network to items, as the parameter ``weights`` asks.

    Parameters
    ----------
    backbone : Backbone
    given : mapping of str to object
        The parameters of the feature extractor.
    items : Items
    """
    name, cache = given["backbone"], check_cache(given["cache"])
    tune_weights(given["weights"], backbone, name, items, 0, cache)


def check_layers(given: Mapping[str, Any], backbone: Backbone) -> list[str]:
    """Return the parameter ``layer`` as a list; raise an error if one of them is invalid."""
    layer = given["layer"]
    layers = [layer] if isinstance(layer, str) else layer
    names = [*backbone.names, "last", *LOGITS]
    if not (isinstance(layers, (list, tuple)) and all(isinstance(each, str) for each in layers)):
        raise TypeError(no_choice("layer", layer, names, "or a list of them"))
    if not layers:
        raise ValueError("layer must name at least one stage; got an empty list.")
    if len(set(layers)) < len(layers):
        raise ValueError(f"layer must name each stage once; got {list(layers)!r}.")
    for each in layers:
        check_choice("layer", each, names, "or a list of them")
        if each in LOGITS and backbone.classifier is None:
            raise ValueError(
                f"layer must be a stage if the backbone has no classifier; got {each!r}."
            )
    check_pooling(resolve_pooling(given["pooling"], backbone), backbone, given["backbone"])
    return list(layers)


def build_extraction(given: Mapping[str, Any], backbone: Backbone, layers: list[str]) -> Extraction:
    """Return the result of a fit, still without statistics of the data.

    Parameters
    ----------
    given : mapping of str to object
        The checked parameters of the extractor.
    backbone : Backbone
        The loaded network with its preset.  It is truncated.
    layers : list of str
        As :func:`check_layers` returns them.
    """
    weights_info = backbone.weights_info
    stops = {name: index for index, name in enumerate(backbone.names, start=1)}
    last = len(backbone.names)
    pooling = resolve_pooling(given["pooling"], backbone)
    taps = [Tap(stops.get(each, last), each if each in LOGITS else pooling) for each in layers]
    device = resolve_device(given["device"])
    dtype = resolve_precision(given["precision"], device)
    prefix = Prefix(truncate(backbone, taps), taps, device, dtype, given["batch_size"])
    if given["batch_norm"] != "stored":
        check_batch_norm(prefix)
    widths = _measure_widths(prefix, given["backbone"])
    origin = (given["backbone"], starting_weights(given["weights"]))
    return Extraction(prefix, layers, widths, weights_info, origin, given["batch_norm"])


def _measure_widths(prefix: Prefix, address: Any) -> list[int]:
    """Run one blank item through the network, and return the number of features by layer."""
    preset = prefix.backbone.preset
    try:
        return [width for (width,) in prefix.measure(preset.collate([], 1))]
    except RuntimeError as error:
        size = input_info(preset)["input_size"]
        if size is None:  # not an image, so the size is not the cause
            raise
        raise ValueError(
            f"image_size must be a size that {address!r} can process; got {size} pixels, which "
            f"failed: {error}"
        ) from error


def truncate(backbone: Backbone, taps: Sequence[Tap]) -> Backbone:
    """Freeze a network, and drop the stages after the last of some taps."""
    if not any(tap.reduce in LOGITS for tap in taps):
        backbone.truncate(max(tap.cut for tap in taps))
    backbone.language_head = None
    return backbone.freeze_to(len(backbone.names))
