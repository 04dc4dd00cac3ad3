"""Targets for distillation: what a larger ImageNet network sees in the same views."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numerics import Pace, autocast
from safetensors.torch import load_file
from source import Source, Views, render
from torch import Tensor, nn
from torch.fx.experimental.optimization import fuse
from torchvision.models import mobilenet_v2


@dataclass(frozen=True)
class Teacher:
    """A frozen MobileNetV2: feature maps, and the linear classifier of their average."""

    features: nn.Module
    weight: Tensor
    bias: Tensor

    @classmethod
    def load(cls, path: Path, device: torch.device) -> "Teacher":
        """The network of a torchvision ``mobilenet_v2`` state dict, batch norm folded."""
        state = load_file(path)
        network = mobilenet_v2(num_classes=len(state["classifier.1.bias"]))
        network.load_state_dict(state)
        features = fuse(network.eval().features).to(device).to(memory_format=torch.channels_last)
        classifier = network.classifier[1].to(device).requires_grad_(False)
        return cls(features, classifier.weight, classifier.bias)

    @torch.inference_mode()
    def embed(self, pixels: Tensor) -> Tensor:
        """Average-pooled features ``(n, 1280)``."""
        with autocast(pixels.device):
            maps: Tensor = self.features(pixels)
        return maps.float().mean(dim=(2, 3))

    def logits(self, embedding: Tensor) -> Tensor:
        """Class scores ``(n, classes)`` of embeddings."""
        return nn.functional.linear(embedding, self.weight, self.bias)


def view_targets(
    teacher: Teacher,
    source: Source,
    views: Views,
    size: int,
    stored: Path,
    pace: Pace | None = None,
    batch: int = 128,
) -> np.ndarray:
    """Embeddings ``(n, 1280)`` float16 of one view of every image, computed once into a file."""
    if not stored.exists():
        stored.parent.mkdir(parents=True, exist_ok=True)
        partial = stored.with_suffix(".partial")
        shape = (len(source), teacher.weight.shape[1])
        rows = np.lib.format.open_memmap(partial, mode="w+", dtype=np.float16, shape=shape)
        for start in range(0, len(source), batch):
            if pace:
                pace.adjust()
            part = slice(start, start + batch)
            images = torch.from_numpy(source.images[part]).to(teacher.weight.device)
            pixels = render(images, views.table[part].to(images.device), size)
            rows[part] = teacher.embed(pixels).half().cpu().numpy()
        rows.flush()
        partial.rename(stored)
    targets: np.ndarray = np.load(stored, mmap_mode="c")
    return targets
