"""The training of the text network: recipe, batches, and one epoch."""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numerics import Pace, autocast
from state import State, copy_weights, descend, warmed_cosine
from torch import Tensor, nn


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the outcome; kept in the weight file as JSON."""

    seed: int = 0
    hours: float = 0.0
    epochs: int = 12
    passages: int = 0  # 0: all
    mixed: int = 400_000
    n_tokens: int = 16_000
    gloss_weight: int = 4
    taps: tuple[int, ...] = (0, 4, 6)
    positions: int = 2_048
    peak: float = 3e-3
    table_rate: float = 40.0
    warmup: float = 0.02
    decay: float = 0.01
    average: float = 0.9995
    word_dropout: float = 0.02

    def rate(self, progress: float) -> float:
        """Learning rate, by the share of the run that is over."""
        return self.peak * warmed_cosine(progress, self.warmup)


@dataclass(frozen=True)
class Passages:
    """The ids of all passages one after the other, and the place at which each begins."""

    ids: np.ndarray
    starts: np.ndarray

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def lengths(self) -> np.ndarray:
        """The number of tokens of each passage."""
        return np.diff(self.starts)

    def batch(self, rows: np.ndarray) -> Tensor:
        """Ids ``(n, length)`` of some passages, as long as the longest; -1 is no token."""
        lengths = self.lengths[rows]
        steps = np.arange(max(lengths.max(), 1))
        places = np.minimum(self.starts[rows][:, None] + steps, len(self.ids) - 1)
        ids = np.where(steps < lengths[:, None], self.ids[places].astype(np.int64), -1)
        return torch.from_numpy(ids)

    def batches(self, positions: int, draw: np.random.Generator) -> Iterator[np.ndarray]:
        """All passages in random order, in batches of passages of similar lengths."""
        order = draw.permutation(len(self))
        lengths, found = self.lengths, []
        for window in np.array_split(order, max(len(order) // 8_192, 1)):
            ordered = window[np.argsort(lengths[window], kind="stable")]
            start = 0
            while start < len(ordered):
                stop = start + 1
                while stop < len(ordered):
                    if (stop + 1 - start) * max(lengths[ordered[stop]], 1) > positions:
                        break
                    stop += 1
                found.append(ordered[start:stop])
                start = stop
        for index in draw.permutation(len(found)):
            yield found[index]


@dataclass(frozen=True)
class Goal:
    """The vector that the student's average must equal: a fixed view of the teacher's averages.

    The averages are standardised, reduced to the student's width by their principal components,
    and rotated at random, so that the variance is spread evenly: a classifier that standardises
    the features must not amplify the smallest components.
    """

    mean: Tensor
    matrix: Tensor

    @classmethod
    def fit(cls, targets: np.ndarray, width: int, seed: int) -> "Goal":
        """The view for averages ``(n, taps, d)``."""
        sample = torch.from_numpy(targets[:60_000].reshape(len(targets[:60_000]), -1)).float()
        mean, deviation = sample.mean(0), sample.std(0).clamp_min(1e-4)
        scaled = (sample - mean) / deviation
        _, axes = torch.linalg.eigh(scaled.T @ scaled)
        generator = torch.Generator().manual_seed(seed)
        rotation, _ = torch.linalg.qr(torch.randn(width, width, generator=generator))
        matrix = (axes[:, -width:] @ rotation) / deviation[:, None]
        size = ((sample - mean) @ matrix).std()
        return cls(mean, matrix / size)

    def to(self, device: torch.device) -> "Goal":
        """The same on a device."""
        return Goal(self.mean.to(device), self.matrix.to(device))

    def __call__(self, targets: Tensor) -> Tensor:
        """Vectors ``(n, width)`` for averages ``(n, taps, d)``."""
        return (targets.flatten(1).float() - self.mean) @ self.matrix


@dataclass(frozen=True)
class Task:
    """The data, the goal and the device of the training."""

    passages: Passages
    targets: np.ndarray
    goal: Goal
    recipe: Recipe
    device: torch.device
    pace: Pace | None = None

    @property
    def steps(self) -> int:
        """About as many batches as an epoch has."""
        return max(int(self.passages.lengths.sum()) // self.recipe.positions, 1)


def make_state(stages: dict[str, nn.Module], recipe: Recipe, device: torch.device) -> State:
    """A fresh start: AdamW with a higher rate for the table, the average at the weights."""
    student = nn.Sequential(OrderedDict(stages)).to(device)
    nn.init.normal_(stages["embed"].words.weight, std=0.3)
    weights = dict(student.named_parameters())
    table = [weight for name, weight in weights.items() if name.startswith("embed.")]
    matrices = [w for n, w in weights.items() if not n.startswith("embed.") and w.ndim > 1]
    others = [w for n, w in weights.items() if not n.startswith("embed.") and w.ndim <= 1]
    groups = [
        {"params": table, "weight_decay": 0.0, "times": recipe.table_rate},
        {"params": matrices, "weight_decay": recipe.decay, "times": 1.0},
        {"params": others, "weight_decay": 0.0, "times": 1.0},
    ]
    optimiser = torch.optim.AdamW(groups, lr=recipe.peak, betas=(0.9, 0.98), fused=True)
    return State(student, optimiser, copy_weights(student))


def averaged_tokens(x: Tensor) -> Tensor:
    """The averages ``(n, d)`` of the output ``(n, l, d + 1)`` of a stage, as the pooling does."""
    x = x.float()
    mask = x[..., -1:]
    return (x[..., :-1] * mask).sum(1) / mask.sum(1).clamp(min=1)


def run_epoch(state: State, task: Task) -> float:
    """Mean squared error of an epoch, or of the part of it that the run's hours allow."""
    recipe = task.recipe
    draw = np.random.default_rng((recipe.seed, state.epoch))
    generator = torch.Generator().manual_seed(recipe.seed * 100_003 + state.epoch)
    seen: list[float] = []
    state.student.train()
    for rows in task.passages.batches(recipe.positions, draw):
        progress = state.progress(task)
        if progress >= 1:
            break
        if task.pace:
            task.pace.adjust()
        ids = task.passages.batch(rows)
        dropped = torch.rand(ids.shape, generator=generator) < recipe.word_dropout
        ids = torch.where(dropped & (ids > 0), 0, ids)  # 0 is the unknown token
        targets = torch.from_numpy(task.targets[rows]).to(task.device)
        with autocast(task.device):
            output = state.student(ids.to(task.device))
        loss = nn.functional.mse_loss(averaged_tokens(output), task.goal(targets))
        decay = min(recipe.average, 1 - 1 / (state.step + 1))
        descend(state, loss, recipe.rate(progress), decay, 1.0)
        seen.append(float(loss.detach()))
    return sum(seen) / max(len(seen), 1)
