"""The training of the student: recipe, losses, and one epoch."""

from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from numerics import Pace, autocast
from source import Source, Views, render
from state import State, copy_weights, descend, warmed_cosine
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
        """Learning rate, by the share of the run that is over."""
        return self.peak * warmed_cosine(progress, self.warmup)


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
class ImageState(State):
    """The same with the generator that orders and flips the images."""

    generator: torch.Generator = field(default_factory=torch.Generator)

    def content(self) -> dict[str, Any]:
        """Return the content of a checkpoint."""
        return super().content() | {"generator": self.generator.get_state()}

    def restore(self, content: dict[str, Any]) -> None:
        """Continue from the content of a checkpoint."""
        super().restore(content)
        self.generator.set_state(content["generator"].cpu())


def make_state(student: Student, recipe: Recipe) -> ImageState:
    """A fresh start: AdamW without decay of gains and biases, the average at the weights."""
    decayed = [weight for weight in student.parameters() if weight.ndim > 1]
    others = [weight for weight in student.parameters() if weight.ndim <= 1]
    groups: list[dict[str, Any]] = [
        {"params": decayed, "weight_decay": recipe.decay},
        {"params": others},
    ]
    optimiser = torch.optim.AdamW(groups, lr=recipe.peak, weight_decay=0.0, fused=True)
    generator = torch.Generator().manual_seed(recipe.seed)
    return ImageState(student, optimiser, copy_weights(student), generator=generator)


@dataclass(frozen=True)
class Losses:
    """The losses of the student, term by term."""

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


def run_epoch(state: ImageState, task: Task, losses: Losses) -> dict[str, float]:
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
        decay = min(recipe.average, 1 - 1 / (state.step + 2))
        descend(state, losses.total(terms), recipe.rate(progress), decay, 5.0)
        seen.append({name: float(term.detach()) for name, term in terms.items()})
    names = seen[0] if seen else ()
    return {name: sum(terms[name] for terms in seen) / len(seen) for name in names}
