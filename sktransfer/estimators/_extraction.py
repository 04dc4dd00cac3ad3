"""The result of fitting a feature extractor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .._support.device import resolve_or_replace
from ..backbones import Backbone
from ..extraction import Prefix


@dataclass(frozen=True)
class Extraction:
    """The result of a fit: a frozen network, and the layers at which its features are read.

    Parameters
    ----------
    prefix : Prefix
        The stages that the layers need.
    layers : list of str
        The names of the layers, in the order of their features.
    widths : list of int
        The number of features of each layer.
    weights_info : dict
        The origin of the weights.
    origin : tuple
        The parameters ``backbone`` and ``weights``, from which the weights can be loaded again.
    """

    prefix: Prefix
    layers: list[str]
    widths: list[int]
    weights_info: dict[str, Any]
    origin: tuple[Any, Any]

    @property
    def n_features(self) -> int:
        """The total number of features of all layers."""
        return sum(self.widths)

    def parts(self) -> dict[str, Any]:
        """Return all parts of the result except the backbone, by name."""
        names = ("layers", "widths", "weights_info", "origin")
        prefix = self.prefix
        return {name: getattr(self, name) for name in names} | {
            "taps": prefix.taps,
            "device": prefix.device,
            "dtype": prefix.dtype,
        }

    @classmethod
    def from_parts(cls, backbone: Backbone, parts: Mapping[str, Any]) -> Extraction:
        """Rebuild a result from its backbone and its other parts."""
        others = dict(parts)
        taps, device, dtype = (others.pop(name) for name in ("taps", "device", "dtype"))
        prefix = Prefix(backbone, taps, resolve_or_replace(device), dtype, "auto")
        return cls(prefix=prefix, **others)
