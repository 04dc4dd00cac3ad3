"""The results of a run: the weight file, the log and its curves."""

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from learning import Recipe
from safetensors.torch import save_file
from state import State
from torch import Tensor

LICENCE = (
    "BSD-3-Clause; trained on Tiny ImageNet, whose images ImageNet gives for non-commercial "
    "research and education, with a teacher under Apache-2.0"
)
COLUMNS = (
    *("epoch", "minutes", "rate", "loss_label", "loss_logits", "loss_embedding"),
    *("val_top1", "probe_hymenoptera", "probe_dogs_vs_cats", "probe_flowers5", "probe_dtd10"),
    "probe_mean",
)


def trunk_weights(state: State) -> dict[str, Tensor]:
    """Averaged tensors of the stages, ``stem.*`` to ``layer4.*``, as float32 on the CPU."""
    kept = {}
    for name, value in state.average.items():
        if name.startswith("trunk.") and not name.endswith("num_batches_tracked"):
            kept[name.removeprefix("trunk.")] = value.float().cpu().contiguous()
    return kept


def write_weights(
    path: Path, state: State, recipe: Recipe, row: Mapping[str, float], size: int
) -> None:
    """The weight file: float16 tensors, and what a reader must know as string metadata."""
    metadata = {
        "mean": "0.5,0.5,0.5",
        "std": "0.5,0.5,0.5",
        "image_size": str(size),
        "crop": "1.0",
        "interpolation": "bicubic",
        "licence": LICENCE,
        "tag": f"seed {recipe.seed}",
        "source": "sktransfer's own pretraining/pretrain.py",
        "recipe": json.dumps(asdict(recipe) | {"epochs_done": state.epoch, "steps": state.step}),
    }
    metadata |= {name: f"{row[name]:.4f}" for name in row if name.startswith(("val_", "probe_"))}
    partial = path.with_suffix(".partial")
    save_file({k: v.half() for k, v in trunk_weights(state).items()}, partial, metadata)
    partial.replace(path)


def draw_curves(table: Path, picture: Path) -> None:
    """A picture of every column of the log over the epochs."""
    import matplotlib.pyplot as plt  # only a run with curves needs it
    from matplotlib.ticker import MaxNLocator

    with table.open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    names = [name for name in rows[0] if name not in ("epoch", "minutes")]
    figure, axes = plt.subplots(-(-len(names) // 4), 4, figsize=(14, 6), layout="constrained")
    for axis, name in zip(axes.flat, names, strict=False):
        seen = [(int(row["epoch"]), float(row[name])) for row in rows if row[name]]
        axis.plot([epoch for epoch, _ in seen], [value for _, value in seen])
        axis.set_title(name)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    for axis in axes.flat[len(names) :]:
        axis.set_axis_off()
    figure.savefig(picture, dpi=80)
    plt.close(figure)


def log_row(table: Path, row: Mapping[str, float], columns: Sequence[str] = COLUMNS) -> None:
    """The log with one more line; lines of epochs that a resumed run repeats go."""
    kept: list[dict[str, str]] = []
    if table.exists():
        with table.open(newline="") as lines:
            kept = [old for old in csv.DictReader(lines) if int(old["epoch"]) < row["epoch"]]
    text = {name: f"{value:.6g}" for name, value in row.items()}
    with table.open("w", newline="") as lines:
        writer = csv.DictWriter(lines, columns)
        writer.writeheader()
        writer.writerows([*kept, text])
