"""Targets for distillation: the averaged activations of MiniLM for each passage."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numerics import Pace, autocast
from torch import Tensor, nn

from sktransfer.backbones.providers.transformers import load
from sktransfer.data import Text, TextPreset, WordPiece

WORD = re.compile("[a-z]{2,}")

# Passages of one file, and the maximum number of positions of a batch.
BLOCK, POSITIONS = 16_384, 4_096


@dataclass(frozen=True)
class Teacher:
    """A frozen encoder, of which the averages after some stages are wanted."""

    stages: nn.ModuleDict
    preset: TextPreset
    taps: tuple[int, ...]

    @classmethod
    def load(cls, folder: Path, taps: Sequence[int], device: torch.device) -> "Teacher":
        """The encoder in a folder; tap 0 is its embedding."""
        backbone = load(str(folder)).eval().requires_grad_(False)
        return cls(backbone.stages.to(device), backbone.preset, tuple(taps))

    @property
    def words(self) -> list[str]:
        """The whole words of its vocabulary, which begins with the most frequent ones."""
        tokenizer = self.preset.tokenizer
        assert isinstance(tokenizer, WordPiece)
        return [token for token in tokenizer.vocabulary if WORD.fullmatch(token)]

    @property
    def device(self) -> torch.device:
        """Where the encoder computes."""
        return next(self.stages.parameters()).device

    def embed(self, texts: Sequence[str], pace: Pace | None = None) -> np.ndarray:
        """Averages ``(n, taps, width)`` float16 over the tokens of each text."""
        rows = [self.preset(Text(text)) for text in texts]
        counts = [int((row >= 0).sum()) for row in rows]
        order = sorted(range(len(rows)), key=counts.__getitem__)
        found: list[np.ndarray] = [np.empty(0)] * len(rows)
        while order:
            size = 1
            while size < len(order) and (size + 1) * max(counts[order[size]], 1) <= POSITIONS:
                size += 1
            part, order = order[:size], order[size:]
            if pace:
                pace.adjust()
            length = max(counts[part[-1]], 1)
            ids = torch.full((size, length), -1)
            for place, index in enumerate(part):
                ids[place, : counts[index]] = rows[index][: counts[index]]
            for index, row in zip(part, self._averages(ids).numpy(), strict=True):
                found[index] = row
        return np.stack(found)

    @torch.inference_mode()
    def _averages(self, ids: Tensor) -> Tensor:
        x, averages = ids.to(self.device), []
        with autocast(self.device):
            for number, stage in enumerate(self.stages.values()):
                x = stage(x)
                if number in self.taps:
                    mask = x[..., -1:].float()
                    total = (x[..., :-1].float() * mask).sum(1)
                    averages.append(total / mask.sum(1).clamp(min=1))
                if number == max(self.taps):
                    break
        return torch.stack(averages, 1).half().cpu()


def load_targets(
    teacher: Teacher, passages: Sequence[str], folder: Path, pace: Pace | None = None
) -> np.ndarray:
    """Averages ``(n, taps, width)`` of all passages; blocks that exist are not computed again."""
    folder.mkdir(parents=True, exist_ok=True)
    targets = np.empty((0, 0, 0), np.float16)
    for start in range(0, len(passages), BLOCK):
        part = passages[start : start + BLOCK]
        stored = folder / f"{start:08d}-{len(part)}.npy"
        if not stored.exists():
            rows = teacher.embed(part, pace)
            partial = stored.with_suffix(".partial")
            with partial.open("wb") as file:
                np.save(file, rows)
            partial.replace(stored)
            print(f"targets of {start + len(part):,} of {len(passages):,} passages", flush=True)
        rows = np.load(stored)
        if start == 0:
            targets = np.empty((len(passages), *rows.shape[1:]), rows.dtype)
        targets[start : start + len(part)] = rows
    return targets
