"""Claim: on builtin/mini's features a linear classifier of photos is right in 74 % or more.

    python benchmarks/mini_quality.py [--quick] [DATA] [WEIGHTS]

``DATA`` holds hymenoptera, dogs_vs_cats, flowers5 and dtd10, each a folder of class folders or a
zip of one (default: ../shared/data beside the repository); ``WEIGHTS`` is a state dict of
torchvision's mobilenet_v2 (default: ../shared/weights/mobilenet_v2_imagenet.safetensors).  What is
not there is left out.  Accuracies are means over five stratified folds; "digits" has ten labels a
class, and means over twenty draws.  The claim covers digits, where features must beat raw pixels,
and speed: photos must take no longer than through MobileNetV2 at 96 pixels.
"""

import json
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
from _common import QUICK, median_ratio, seconds, write_photos
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_score, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sktransfer import ImagePreset, PretrainedFeatureExtractor

BAR = 0.74
SHARED = Path(__file__).resolve().parents[2] / "shared"
GIVEN = [Path(argument) for argument in sys.argv[1:] if argument != "--quick"]
DEFAULTS = [SHARED / "data", SHARED / "weights" / "mobilenet_v2_imagenet.safetensors"]
DATA, WEIGHTS = [*GIVEN, *DEFAULTS[len(GIVEN) :]]
SETS = ("hymenoptera", "dogs_vs_cats", "flowers5", "dtd10")
N_DRAWS, N_TIMED, N_REPEATS = (2, 8, 1) if QUICK else (20, 192, 7)


def extractor(address="builtin/mini", **params):
    """A silent extractor."""
    return PretrainedFeatureExtractor(address, verbose=0, **params)


def raw_pixels(paths):
    """The photos at 32 x 32 pixels, as they are."""
    preset = ImagePreset(size=32, crop=1.0)
    return np.stack([preset(path).numpy().ravel() / 255 for path in paths])


def contenders():
    """Name -> what turns paths into features."""
    found = {
        "mini": extractor().fit_transform,
        "mini, random": extractor(weights=None).fit_transform,
        "raw pixels, 32 px": raw_pixels,
    }
    if WEIGHTS.exists() and not QUICK:
        for size in (64, 96, 224):
            model = extractor("torchvision/mobilenet_v2", weights=WEIGHTS, image_size=size)
            found[f"mobilenet_v2, {size} px"] = model.fit_transform
    return found


def photo_set(name, folder):
    """Paths and classes of a photo set; a zip is unpacked into ``folder``."""
    root = DATA / name
    if not root.is_dir():
        with zipfile.ZipFile(DATA / f"{name}.zip") as archive:
            archive.extractall(folder)
        root = Path(folder) / name
    if name == "dogs_vs_cats":
        root /= "train"
    paths = sorted(root.rglob("*.jpg"))
    return paths, [path.parent.name for path in paths]


def photo_sets(folder):
    """Name -> paths and classes of each set that is there; generated ones to prove that it runs."""
    if QUICK:
        return {"generated": (write_photos(folder, 20), ["a", "b"] * 10)}
    there = [name for name in SETS if (DATA / name).is_dir() or (DATA / f"{name}.zip").exists()]
    return {name: photo_set(name, folder) for name in there}


def probe(features, labels):
    """Mean accuracy of five folds."""
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=1000))
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    return cross_val_score(model, features, labels, cv=folds).mean()


def table(sets):
    """Accuracy of each contender on each set, and its mean."""
    rows = {}
    for name, features in contenders().items() if sets else ():
        row = {key: probe(features(paths), labels) for key, (paths, labels) in sets.items()}
        rows[name] = {key: round(value, 3) for key, value in row.items()}
        rows[name]["mean"] = round(np.mean(list(row.values())), 4)
    return rows


def digits():
    """Mean accuracy with ten labels a class, on features and on raw pixels."""
    X, y = load_digits(return_X_y=True)
    X = X / 16
    features, scores = {"mini": extractor().fit_transform(X), "raw pixels": X}, {}
    for name, rows in features.items():
        draws = []
        for seed in range(N_DRAWS):
            parts = train_test_split(rows, y, train_size=100, stratify=y, random_state=seed)
            model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=1000))
            draws.append(model.fit(parts[0], parts[2]).score(parts[1], parts[3]))
        scores[name] = round(np.mean(draws), 4)
    return scores


def speed(folder):
    """Photos a second of both networks, and the median of the ratios of runs in turns."""
    paths = write_photos(Path(folder) / "timed", N_TIMED)
    mini = extractor().fit(paths)
    other = extractor("torchvision/mobilenet_v2", weights=None, image_size=96).fit(paths)
    ratio = median_ratio(lambda: other.transform(paths), lambda: mini.transform(paths), N_REPEATS)
    rates = {
        name: round(N_TIMED / min(seconds(lambda: model.transform(paths))[1] for _ in range(3)))  # noqa: B023 - called at once
        for name, model in {"mini": mini, "mobilenet_v2, 96 px": other}.items()
    }
    return {"photos/s": rates, "ratio": ratio}


with tempfile.TemporaryDirectory() as name:
    result = {"accuracy": table(photo_sets(name)), "digits": digits(), "speed": speed(name)}

print(json.dumps(result, indent=2))
means = [row["mean"] for name, row in result["accuracy"].items() if name == "mini"]
better = result["digits"]["mini"] > result["digits"]["raw pixels"]
fast = result["speed"]["ratio"] >= 1
assert QUICK or (all(mean >= BAR for mean in means) and better and fast), "mini must keep its claim"
