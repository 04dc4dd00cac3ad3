"""How the student learns: recipe, losses, one epoch, and the state that a kill must not lose."""

import math
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from numerics import Pace, autocast
from source import Source, Views, render
from teacher import Teacher, view_targets
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, kl_div, log_softmax, mse_loss, softmax


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the outcome; kept in the weight file as JSON."""

    seed: int = 0
    hours: float = 0.0
    epochs: int = 40
    views: int = 4
    teacher_size: int = 128
    sizes: tuple[tuple[float, int], ...] = ((0.0, 48), (0.35, 64), (0.88, 80))
    batch: int = 256
    peak: float = 3e-3
    warmup: float = 0.03
    decay: float = 0.05
    average: float = 0.998
    embedding_weight: float = 4.0
    logits_weight: float = 1.0
    temperature: float = 1.0
    label_weight: float = 0.2

    def size(self, progress: float) -> int:
        """Input size of the student, by the share of the run that is over."""
        return [size for start, size in self.sizes if progress >= start][-1]

    def rate(self, progress: float) -> float:
        """Learning rate: linear warm-up, then half a cosine down to nothing."""
        if progress < self.warmup:
            return self.peak * (progress / self.warmup + 0.01) / 1.01
        left = (1 - progress) / (1 - self.warmup)
        return self.peak * (1 - math.cos(math.pi * max(left, 0.0))) / 2


class Student(nn.Module):
    """The network with the heads that are dropped after training."""

    def __init__(self, stages: dict[str, nn.Module], classes: int, teacher: Teacher | None):
        super().__init__()
        self.trunk = nn.Sequential(OrderedDict(stages))
        with torch.no_grad():
            width = self.trunk.eval()(torch.zeros(1, 3, 64, 64)).shape[1]
        self.labels = nn.Linear(width, classes)
        self.embedding: nn.Module = nn.Identity()
        self.logits: nn.Module = nn.Identity()
        if teacher is not None:
            outputs, inputs = teacher.weight.shape
            self.embedding = nn.Linear(width, inputs)
            self.logits = nn.Linear(width, outputs)
        self.train()


@dataclass(frozen=True)
class Task:
    """The source on the training device, and the teacher's view of it."""

    source: Source
    images: Tensor
    labels: Tensor
    teacher: Teacher | None
    cache: Path
    recipe: Recipe
    pace: Pace | None = None

    @property
    def steps(self) -> int:
        """Batches an epoch; what does not fill one is left out."""
        return max(len(self.source) // self.recipe.batch, 1)

    def view(self, epoch: int) -> tuple[Tensor, Tensor | None]:
        """Parameters of the views of one epoch, and the teacher's embeddings of them."""
        recipe, count = self.recipe, len(self.source)
        number = recipe.seed * 1000 + epoch % recipe.views
        views = Views.draw(count, number)
        if self.teacher is None:
            return views.table, None
        stored = self.cache / f"targets-{count}-{number}-{recipe.teacher_size}.npy"
        rows = view_targets(
            self.teacher, self.source, views, recipe.teacher_size, stored, self.pace
        )
        return views.table, torch.from_numpy(rows)

    def spread(self) -> tuple[Tensor, Tensor] | None:
        """Mean and deviation of each of the teacher's features; None without a teacher."""
        _, targets = self.view(0)
        if targets is None:
            return None
        sample = targets[::4].float()  # all classes: rows are sorted by class
        mean, deviation = sample.mean(0), sample.std(0).clamp_min(1e-3)
        return mean.to(self.labels.device), deviation.to(self.labels.device)


@dataclass
class State:
    """What a resumed run continues from."""

    student: Student
    optimiser: torch.optim.Optimizer
    average: dict[str, Tensor]
    generator: torch.Generator
    epoch: int = 0
    step: int = 0
    born: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        """Seconds spent in this run, those before a kill included."""
        return time.monotonic() - self.born

    def progress(self, task: Task) -> float:
        """Share of the run that is over, by the clock or by steps; 1 or more at its end."""
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
            "generator": self.generator.get_state(),
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
        self.generator.set_state(tensors["generator"].cpu())
        self.epoch, self.step, seconds = tensors["counters"]
        self.born = time.monotonic() - seconds


def make_state(student: Student, recipe: Recipe) -> State:
    """A fresh start: AdamW without decay of gains and biases, the average at the weights."""
    decayed = [weight for weight in student.parameters() if weight.ndim > 1]
    others = [weight for weight in student.parameters() if weight.ndim <= 1]
    groups: list[dict[str, Any]] = [
        {"params": decayed, "weight_decay": recipe.decay},
        {"params": others},
    ]
    optimiser = torch.optim.AdamW(groups, lr=recipe.peak, weight_decay=0.0, fused=True)
    average = {name: value.detach().clone() for name, value in student.state_dict().items()}
    return State(student, optimiser, average, torch.Generator().manual_seed(recipe.seed))


@torch.no_grad()
def follow(average: dict[str, Tensor], student: nn.Module, decay: float) -> None:
    """Move the running average a step towards the student, in place."""
    for name, value in student.state_dict().items():
        if value.is_floating_point():
            average[name].lerp_(value, 1 - decay)


@dataclass(frozen=True)
class Losses:
    """What the student must minimise, term by term."""

    teacher: Teacher | None
    spread: tuple[Tensor, Tensor] | None
    recipe: Recipe

    def __call__(
        self, student: Student, pixels: Tensor, labels: Tensor, target: Tensor | None
    ) -> dict[str, Tensor]:
        recipe = self.recipe
        with autocast(pixels.device):
            maps = student.trunk(pixels)
        features = maps.float().mean(dim=(2, 3))  # (n, width)
        terms = {"label": cross_entropy(student.labels(features), labels, label_smoothing=0.1)}
        if target is None or self.teacher is None or self.spread is None:
            return terms
        wanted = softmax(self.teacher.logits(target) / recipe.temperature, dim=1)
        given = log_softmax(student.logits(features) / recipe.temperature, dim=1)
        terms["logits"] = kl_div(given, wanted, reduction="batchmean") * recipe.temperature**2
        mean, deviation = self.spread
        terms["embedding"] = mse_loss(student.embedding(features), (target - mean) / deviation)
        return terms

    def total(self, terms: dict[str, Tensor]) -> Tensor:
        """The weighted sum of the terms; labels alone count in full."""
        if self.teacher is None:
            return terms["label"]
        recipe = self.recipe
        return (
            recipe.label_weight * terms["label"]
            + recipe.logits_weight * terms["logits"]
            + recipe.embedding_weight * terms["embedding"]
        )


def descend(state: State, loss: Tensor, rate: float, decay: float) -> None:
    """Move the student down the gradient of the loss, and its average after it."""
    for group in state.optimiser.param_groups:
        group["lr"] = rate
    state.optimiser.zero_grad(set_to_none=True)
    torch.autograd.backward(loss)
    nn.utils.clip_grad_norm_(state.student.parameters(), 5.0)
    state.optimiser.step()
    state.step += 1
    follow(state.average, state.student, min(decay, 1 - 1 / (state.step + 1)))


def run_epoch(state: State, task: Task, losses: Losses) -> dict[str, float]:
    """Mean loss terms of an epoch, or of the part of it that the run's hours allow."""
    recipe, device = task.recipe, task.images.device
    views, targets = task.view(state.epoch)
    count = len(task.source)
    order = torch.randperm(count, generator=state.generator)
    flips = (torch.rand(count, generator=state.generator) < 0.5).float() * 2 - 1
    seen: list[dict[str, float]] = []
    state.student.train()
    for rows in order[: task.steps * recipe.batch].chunk(task.steps):
        progress = state.progress(task)
        if progress >= 1:
            break
        if task.pace:
            task.pace.adjust()
        table = views[rows].clone()
        table[:, 4] *= flips[rows]
        place = rows.to(device)
        pixels = render(task.images[place], table.to(device), recipe.size(progress))
        target = None if targets is None else targets[rows].to(device).float()
        terms = losses(state.student, pixels, task.labels[place], target)
        descend(state, losses.total(terms), recipe.rate(progress), recipe.average)
        seen.append({name: float(term.detach()) for name, term in terms.items()})
    names = seen[0] if seen else ()
    return {name: sum(terms[name] for terms in seen) / len(seen) for name in names}
