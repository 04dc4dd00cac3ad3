"""The function of a fitted estimator as one module, from pixels or ids to predictions."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from ..backbones import with_statistics
from ..data import ImagePreset, TextPreset
from ..estimators import (
    FineTuneClassifier,
    FineTuneMultiTask,
    FineTuneRegressor,
    FineTuneSegmenter,
    PretrainedFeatureExtractor,
)
from ..extraction import reduce_output


class Graph(nn.Module):
    """The function from the input of a graph to the predictions of an estimator.

    Parameters
    ----------
    network : Module
        Computes outputs from a batch as the preset makes it.
    preset : ImagePreset or TextPreset
    finish : callable
        Turns the outputs into predictions.
    """

    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(self, network: nn.Module, preset: Any, finish: Callable[[Tensor], Tensor]):
        super().__init__()
        self.network = network
        self.preset = preset
        self.finish = finish
        self.is_image = isinstance(preset, ImagePreset)
        if self.is_image:
            # With the name "mean", an old onnxscript gives a mean over positions the same name.
            self.register_buffer("pixel_mean", torch.tensor(preset.mean))
            self.register_buffer("pixel_std", torch.tensor(preset.std))

    def forward(self, x: Tensor) -> Tensor:
        """Return the predictions for pixels (n, h, w, 3), uint8, or ids (n, l), int64."""
        if self.is_image:
            x = ((x.to(torch.float32) / 255 - self.pixel_mean) / self.pixel_std).permute(0, 3, 1, 2)
        return self.finish(self.network(x))

    def reference(self, x: Tensor) -> Tensor:
        """Return the same by the preset of the estimator."""
        batch = self.preset.collate(list(x), len(x)) if self.is_image else x
        return self.finish(self.network(batch))

    def draw(self, n: int) -> Tensor:
        """Return a random input for ``n`` items."""
        if not self.is_image:
            drawn: Tensor = self.preset.example(n)
            return drawn
        generator = torch.Generator().manual_seed(n)
        size = (n, self.preset.size, self.preset.size, 3)
        return torch.randint(256, size, dtype=torch.uint8, generator=generator)


class Features(nn.Module):
    """The features of an extractor, computed from a batch as its preset makes it.

    Parameters
    ----------
    extraction : Extraction
    """

    def __init__(self, extraction: Any):
        super().__init__()
        statistics = extraction.statistics
        stored, prefix = deepcopy(extraction.prefix.backbone), extraction.prefix
        own = [with_statistics(stored, each) for each in statistics.values()]
        self.backbones = nn.ModuleList(
            [stored, *own] if extraction.n_runs == 2 else own or [stored]
        )
        self.taps = prefix.taps

    def forward(self, x: Tensor) -> Tensor:
        """Return the features, (n, n_features)."""
        return torch.cat([part for net in self.backbones for part in self._each(net, x)], 1)

    def _each(self, backbone: Any, x: Tensor) -> list[Tensor]:
        leaving = {}
        for done, stage in enumerate(backbone.stages.values(), start=1):
            x = stage(x)
            for tap in self.taps:
                if tap.cut == done:
                    leaving[tap] = reduce_output(x, tap.reduce, backbone, backbone.classifier)
        return [leaving[tap] for tap in self.taps]


# The name of the output of the graph of an estimator
OUTPUTS = {
    FineTuneClassifier: "probabilities",
    FineTuneMultiTask: "predictions",
    FineTuneRegressor: "numbers",
    FineTuneSegmenter: "probabilities",
}


def _finish_maps(finish: Callable[[Tensor], Tensor], size: int, outputs: Tensor) -> Tensor:
    """Return the predictions at each pixel of the input for maps of outputs."""
    return finish(interpolate(outputs, size=(size, size), mode="bilinear", align_corners=False))


def make_graph(model: Any) -> tuple[Graph, str]:
    """Return the graph of an estimator, and the name of its output."""
    preset = model.backbone_.preset
    if not isinstance(preset, (ImagePreset, TextPreset)):
        raise TypeError(
            "model must have a network for images or texts to be exported; its preset is a "
            f"{type(preset).__name__}."
        )
    network: nn.Module
    finish: Callable[[Tensor], Tensor]
    if isinstance(model, PretrainedFeatureExtractor):
        if len(model.statistics_) > 1:
            raise ValueError(
                "model must have one domain to be exported; its statistics are those of "
                f"{len(model.statistics_)}. Fit an extractor for each domain."
            )
        network, finish, kind = Features(model._fitted), nn.Identity(), "features"
    else:
        network, finish, kind = model.module_, model.task_.finish, OUTPUTS[type(model)]
    if isinstance(model, FineTuneSegmenter) and isinstance(preset, ImagePreset):
        finish = partial(_finish_maps, finish, preset.size)
    graph = Graph(network, preset, finish).float().eval()
    return graph.requires_grad_(False), kind
