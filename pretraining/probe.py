"""Linear probes: how well the frozen features of a network separate photos it never saw."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

SETS = ("hymenoptera", "dogs_vs_cats", "flowers5", "dtd10")


def list_photos(root: Path, name: str) -> tuple[list[Path], np.ndarray]:
    """Paths and class names of one photo set; ``dogs_vs_cats`` is its train part alone."""
    folder = root / name / "train" if name == "dogs_vs_cats" else root / name
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in {".jpg", ".png"})
    return paths, np.array([path.parent.name for path in paths])


def read_square(path: Path, size: int, crop: float = 1.0) -> np.ndarray:
    """The centre of a photo, ``(size, size, 3)`` uint8; ``crop`` is its share of the short side."""
    with Image.open(path) as photo:
        rgb = photo.convert("RGB")
    side = round(min(rgb.size) * crop)
    left, top = (rgb.width - side) // 2, (rgb.height - side) // 2
    box = (left, top, left + side, top + side)
    return np.asarray(rgb.resize((size, size), Image.Resampling.BICUBIC, box=box))


def load_set(root: Path, name: str, size: int, cache: Path) -> tuple[np.ndarray, np.ndarray]:
    """Photos ``(n, size, size, 3)`` uint8 and class names of one set, kept decoded in ``cache``."""
    stored = cache / f"{name}-{size}.npz"
    if stored.exists():
        with np.load(stored) as arrays:
            return arrays["photos"], arrays["labels"]
    paths, labels = list_photos(root, name)
    photos = np.stack([read_square(path, size) for path in paths])
    cache.mkdir(parents=True, exist_ok=True)
    np.savez(stored, photos=photos, labels=labels)
    return photos, labels


@torch.inference_mode()
def embed(network: Callable[[Tensor], Tensor], photos: np.ndarray, batch: int = 64) -> np.ndarray:
    """Globally average-pooled feature maps ``(n, d)`` of photos scaled to ``[-1, 1]``."""
    rows = []
    for start in range(0, len(photos), batch):
        pixels = torch.from_numpy(photos[start : start + batch]).permute(0, 3, 1, 2)
        maps = network(pixels.float().div_(127.5).sub_(1.0))  # channels last, as stored
        rows.append(maps.mean(dim=(2, 3)))
    return torch.cat(rows).numpy()


def probe_accuracy(features: np.ndarray, labels: np.ndarray) -> float:
    """Mean accuracy over five stratified folds of standardised logistic regression."""
    classifier = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=1000))
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    return float(cross_val_score(classifier, features, labels, cv=folds).mean())


def probe_photos(
    network: nn.Module, root: Path, size: int, cache: Path, sets: tuple[str, ...] = SETS
) -> Mapping[str, float]:
    """Accuracy per photo set at one input size, and their ``"mean"``."""
    scores = {}
    for name in sets:
        photos, labels = load_set(root, name, size, cache)
        scores[name] = probe_accuracy(embed(network, photos), labels)
    return scores | {"mean": float(np.mean(list(scores.values())))}
