"""The state of a training run, which a kill must not lose, and one step of it."""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

T = TypeVar("T")


class RunFolder:
    """The places of a run in its folder, ``run``."""

    run: Path

    @property
    def checkpoint(self) -> Path:
        """File that a killed run continues from."""
        return self.run / "checkpoint.pt"

    @property
    def cache(self) -> Path:
        """Folder of decoded sources and targets, shared by runs that lie side by side."""
        return self.run.parent / "cache"


@dataclass
class State:
    """The state from which a resumed run continues."""

    student: Any
    optimiser: torch.optim.Optimizer
    average: dict[str, Tensor]
    epoch: int = 0
    step: int = 0
    born: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        """Seconds spent in this run, those before a kill included."""
        return time.monotonic() - self.born

    def progress(self, task: Any) -> float:
        """Share of the run that is over, by the clock or by steps; 1 or more at its end."""
        if self.step == 0:
            return 0.0
        if task.recipe.hours:
            return self.seconds / 3600 / task.recipe.hours
        share: float = self.step / (task.recipe.epochs * task.steps)
        return share

    def content(self) -> dict[str, Any]:
        """Return the content of a checkpoint."""
        return {
            "student": self.student.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "average": self.average,
            "counters": (self.epoch, self.step, self.seconds),
        }

    def restore(self, content: dict[str, Any]) -> None:
        """Continue from what a checkpoint holds."""
        self.student.load_state_dict(content["student"])
        self.optimiser.load_state_dict(content["optimiser"])
        self.average = content["average"]
        self.epoch, self.step, seconds = content["counters"]
        self.born = time.monotonic() - seconds

    def save(self, path: Path) -> None:
        """Write a checkpoint to ``path``, replaced in one move."""
        partial = path.with_suffix(".partial")
        torch.save(self.content(), partial)
        partial.replace(path)

    def load(self, path: Path, device: torch.device) -> None:
        """Continue from the checkpoint at ``path``."""
        self.restore(torch.load(path, map_location=device, weights_only=True))


def take_fields(kind: type[T], given: Mapping[str, Any]) -> T:
    """An object of a dataclass, of the given values that are its fields."""
    names = {each.name for each in fields(kind)}  # type: ignore[arg-type]  # a dataclass
    return kind(**{name: value for name, value in given.items() if name in names})


def warmed_cosine(progress: float, warmup: float) -> float:
    """The factor of the learning rate: linear warm-up, then half a cosine down to nothing."""
    if progress < warmup:
        return (progress / warmup + 0.01) / 1.01
    left = (1 - progress) / (1 - warmup)
    return (1 - math.cos(math.pi * max(left, 0.0))) / 2


def copy_weights(student: nn.Module) -> dict[str, Tensor]:
    """A copy of the weights, from which their average begins."""
    return {name: value.detach().clone() for name, value in student.state_dict().items()}


def descend(state: State, loss: Tensor, rate: float, decay: float, most: float) -> None:
    """Move the student down the gradient of the loss, and its average after it.

    The rate of a group of weights is multiplied by its ``"times"``; ``decay`` is the share that the
    average keeps, and ``most`` the maximum norm of the gradient.
    """
    for group in state.optimiser.param_groups:
        group["lr"] = rate * group.get("times", 1.0)
    state.optimiser.zero_grad(set_to_none=True)
    torch.autograd.backward(loss)
    nn.utils.clip_grad_norm_(state.student.parameters(), most)
    state.optimiser.step()
    state.step += 1
    follow(state.average, state.student, decay)


@torch.no_grad()
def follow(average: dict[str, Tensor], student: nn.Module, decay: float) -> None:
    """Move the running average a step towards the student, in place."""
    for name, value in student.state_dict().items():
        if value.is_floating_point():
            average[name].lerp_(value, 1 - decay)
