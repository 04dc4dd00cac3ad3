"""Make the weight file of the embedded network: a folder of images in, ``mini.safetensors`` out.

A small student learns to see, in fixed random views of the images, what a larger ImageNet
network sees there: its embedding (standardised, mean squared error) and its class probabilities
(Kullback-Leibler divergence), besides the labels of the images (cross-entropy). The heads that
the losses need are dropped. See README.md beside this file.
"""

import argparse
import json
import os
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from learning import ImageState, Losses, Recipe, Student, Task, make_state, run_epoch
from numerics import Pace, quicken
from probe import probe_photos
from report import draw_curves, log_row, trunk_weights, write_weights
from safetensors.torch import load_file
from source import WHOLE, Source, load_source, render
from state import RunFolder, State, take_fields
from teacher import Teacher
from torch import Tensor, nn

# the one definition of the architecture
from sktransfer.backbones.providers._mini import mini_stages

Stages = Callable[[], dict[str, nn.Module]]


@dataclass(frozen=True)
class Places(RunFolder):
    """Where a run reads and writes."""

    data: Path
    run: Path
    out: Path
    teacher: Path | None = None
    photos: Path | None = None
    start: Path | None = None
    image_size: int = 128
    probe_every: int = 4
    threads: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))


def averaged(state: State, stages: Stages) -> nn.Sequential:
    """The network that the weight file holds, float16 rounding included, ready to evaluate."""
    network = nn.Sequential(OrderedDict(stages()))
    network.load_state_dict({k: v.half().float() for k, v in trunk_weights(state).items()})
    return network.eval().to(memory_format=torch.channels_last)


@torch.inference_mode()
def top1(network: nn.Module, average: dict[str, Tensor], held_out: Source) -> float:
    """Share of held-out images, uncropped, whose label the label head names."""
    weight, bias = average["labels.weight"].cpu(), average["labels.bias"].cpu()
    side, hits = held_out.images.shape[1], 0
    for start in range(0, len(held_out), 250):
        part = slice(start, start + 250)
        images, labels = torch.from_numpy(held_out.images[part]), held_out.labels[part]
        pixels = render(images, WHOLE.expand(len(images), -1), side)
        named = (network(pixels).mean(dim=(2, 3)) @ weight.T + bias).argmax(1)
        hits += int((named == torch.from_numpy(labels)).sum())
    return hits / len(held_out)


def evaluate(
    state: State, network: nn.Module, places: Places, held_out: Source, last: bool
) -> dict[str, float]:
    """Held-out accuracy and linear probes of the averaged weights, every few epochs."""
    if not last and state.epoch % places.probe_every:
        return {}
    row = {"val_top1": top1(network, state.average, held_out)}
    if places.photos:
        scores = probe_photos(network, places.photos, places.image_size, places.cache / "photos")
        row |= {f"probe_{name}": score for name, score in scores.items()}
    return row


def prepare(recipe: Recipe, places: Places) -> tuple[Task, Source]:
    """The training task, and the held-out images."""
    source = load_source(places.data / "train", places.cache)
    held_out = load_source(places.data / "val", places.cache)
    teacher = Teacher.load(places.teacher, places.device) if places.teacher else None
    images, labels = torch.from_numpy(source.images), torch.from_numpy(source.labels)
    if places.device.type == "cuda":
        images = images.to(places.device)
    pace = Pace(places.threads) if recipe.hours else None  # a run of epochs promises equal bits
    task = Task(source, images, labels.to(places.device), teacher, places.cache, recipe, pace)
    return task, held_out


def begin(task: Task, places: Places, stages: Stages) -> ImageState:
    """The state that a run starts from: fresh, from a weight file, or where a kill left it."""
    torch.manual_seed(task.recipe.seed)
    student = Student(stages(), len(task.source.classes), task.teacher)
    if places.start:
        student.trunk.load_state_dict({k: v.float() for k, v in load_file(places.start).items()})
    student.to(places.device).to(memory_format=torch.channels_last)
    quicken(student, places.device)
    state = make_state(student, task.recipe)
    if places.checkpoint.exists():
        state.load(places.checkpoint, places.device)
    return state


def record(state: State, task: Task, places: Places, row: dict[str, float]) -> None:
    """Write all that an epoch leaves behind; the checkpoint comes last."""
    print(json.dumps({name: round(value, 4) for name, value in row.items()}), flush=True)
    log_row(places.run / "log.csv", row)
    draw_curves(places.run / "log.csv", places.run / "curves.png")
    write_weights(places.out, state, task.recipe, row, places.image_size)
    state.save(places.checkpoint)


def train(recipe: Recipe, places: Places, stages: Stages = mini_stages) -> Path:
    """The weight file of a run; a run that was killed continues from its last epoch."""
    places.run.mkdir(parents=True, exist_ok=True)
    task, held_out = prepare(recipe, places)
    losses = Losses(task.teacher, task.spread(), recipe)
    state = begin(task, places, stages)
    while state.progress(task) < 1:
        terms = run_epoch(state, task, losses)
        state.epoch += 1
        rate = state.optimiser.param_groups[0]["lr"]
        row = {"epoch": state.epoch, "minutes": state.seconds / 60, "rate": rate}
        row |= {f"loss_{name}": value for name, value in terms.items()}
        last = state.progress(task) >= 1
        row |= evaluate(state, averaged(state, stages), places, held_out, last)
        record(state, task, places, row)
    return places.out


def parse(arguments: list[str] | None) -> tuple[Recipe, Places]:
    """Recipe and places of a command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("data", type=Path, help="folder with train/CLASS/* and val/CLASS/*")
    add("out", type=Path, help="weight file to write, a .safetensors")
    add("--run", type=Path, default=Path("run"), help="folder of checkpoint, log and curves")
    add("--teacher", type=Path, help="state dict of an ImageNet mobilenet_v2")
    add("--photos", type=Path, help="folder with the four photo sets to probe")
    add("--start", type=Path, help="weight file to start from")
    add("--hours", type=float, default=0.0, help="length of the run; wins over --epochs")
    add("--epochs", type=int, default=Recipe.epochs)
    add("--seed", type=int, default=Recipe.seed)
    add("--views", type=int, default=Recipe.views, help="fixed views of each image")
    add("--teacher-size", type=int, default=Recipe.teacher_size)
    add("--batch", type=int, default=Recipe.batch)
    add("--peak", type=float, default=Recipe.peak, help="highest learning rate")
    add("--average", type=float, default=Recipe.average, help="share kept by the average a step")
    add(
        "--sizes",
        default="0:48,0.35:64,0.88:80",
        help="input sizes, each after the progress it starts at",
    )
    add("--image-size", type=int, default=Places.image_size, help="size probed and recommended")
    add("--probe-every", type=int, default=Places.probe_every, help="epochs between probes")
    add("--threads", type=int, default=os.cpu_count())
    add("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    given = vars(parser.parse_args(arguments))
    torch.set_num_threads(given["threads"])
    pairs = (pair.split(":") for pair in given.pop("sizes").split(","))
    given["sizes"] = tuple((float(start), int(size)) for start, size in pairs)
    given["device"] = torch.device(given["device"])
    return take_fields(Recipe, given), take_fields(Places, given)


if __name__ == "__main__":
    print(train(*parse(None)))
