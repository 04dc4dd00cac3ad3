"""How the text network learns: recipe, batches, one epoch, and what a kill must not lose."""

import math
import time
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numerics import Pace, autocast
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
        """Learning rate: linear warm-up, then half a cosine down to nothing."""
        if progress < self.warmup:
            return self.peak * (progress / self.warmup + 0.01) / 1.01
        left = (1 - progress) / (1 - self.warmup)
        return self.peak * (1 - math.cos(math.pi * max(left, 0.0))) / 2


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
    """What is learned, and on which device."""

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


@dataclass
class State:
    """What a resumed run continues from."""

    student: nn.Sequential
    optimiser: torch.optim.Optimizer
    average: dict[str, Tensor]
    epoch: int = 0
    step: int = 0
    born: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        """Seconds spent in this run, those before a kill included."""
        return time.monotonic() - self.born

    def progress(self, task: Task) -> float:
        """Share of the run that is over, by the clock or by epochs; 1 or more at its end."""
        if self.step == 0:
            return 0.0
        if task.recipe.hours:
            return self.seconds / 3600 / task.recipe.hours
        return self.step / (task.recipe.epochs * task.steps)

    def save(self, path: Path) -> None:
        """Write a checkpoint to ``path``, replaced in one move."""
        partial = path.with_suffix(".partial")
        tensors = {
            "student": self.student.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "average": self.average,
            "counters": (self.epoch, self.step, self.seconds),
        }
        torch.save(tensors, partial)
        partial.replace(path)

    def load(self, path: Path, device: torch.device) -> None:
        """Continue from the checkpoint at ``path``."""
        tensors = torch.load(path, map_location=device, weights_only=True)
        self.student.load_state_dict(tensors["student"])
        self.optimiser.load_state_dict(tensors["optimiser"])
        self.average = tensors["average"]
        self.epoch, self.step, seconds = tensors["counters"]
        self.born = time.monotonic() - seconds


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
    average = {name: value.detach().clone() for name, value in student.state_dict().items()}
    return State(student, optimiser, average)


def averaged_tokens(x: Tensor) -> Tensor:
    """The averages ``(n, d)`` of the output ``(n, l, d + 1)`` of a stage, as the pooling does."""
    x = x.float()
    mask = x[..., -1:]
    return (x[..., :-1] * mask).sum(1) / mask.sum(1).clamp(min=1)


def descend(state: State, loss: Tensor, rate: float, decay: float) -> None:
    """Move the student down the gradient of the loss, and its average after it."""
    for group in state.optimiser.param_groups:
        group["lr"] = rate * group["times"]
    state.optimiser.zero_grad(set_to_none=True)
    torch.autograd.backward(loss)
    nn.utils.clip_grad_norm_(state.student.parameters(), 1.0)
    state.optimiser.step()
    state.step += 1
    with torch.no_grad():
        for name, value in state.student.state_dict().items():
            state.average[name].lerp_(value, 1 - decay)


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
        descend(state, loss, recipe.rate(progress), decay)
        seen.append(float(loss.detach()))
    return sum(seen) / max(len(seen), 1)
