"""Claim: on builtin/mini's features a linear classifier of photos is right in 80 % or more.

    python benchmarks/mini_quality.py [--quick] [--data DIR] [--weights FILE]

``DIR`` holds hymenoptera, dogs_vs_cats, flowers5 and dtd10, each a folder of class folders or a
zip of one (default: ../shared/data beside the repository); ``FILE`` is a state dict of
torchvision's mobilenet_v2 (default: ../shared/weights/mobilenet_v2_imagenet.safetensors).  What is
not there is left out.  Accuracies are means over five stratified folds; "digits" has ten labels a
class, and means over twenty draws.  The claim covers digits, where features must beat raw pixels,
and speed: photos, of these sets where they are there, must take no longer than through MobileNetV2
at 96 pixels.
"""

import json
import tempfile
from pathlib import Path

import numpy as np
from _common import QUICK, at_least, median_ratio, photo_options, photo_set, seconds, write_photos
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_score, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sktransfer import ImagePreset, PretrainedFeatureExtractor

BAR = 0.8
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
    if given.weights.exists() and not QUICK:
        for size in (64, 96, 224):
            model = extractor("torchvision/mobilenet_v2", weights=given.weights, image_size=size)
            found[f"mobilenet_v2, {size} px"] = model.fit_transform
    return found


def photo_sets(folder):
    """Name -> paths and classes of each set that is there; generated ones to prove that it runs."""
    if QUICK:
        return {"generated": (write_photos(folder, 20), ["a", "b"] * 10)}
    found = {name: photo_set(name, given.data, folder) for name in SETS}
    return {name: own_part(*photos) for name, photos in found.items() if photos is not None}


def own_part(paths, labels):
    """Photos of a set, without those of dogs and cats that are there to test on."""
    kept = [Path(path).parents[1].name != "test" for path in paths]
    return paths[kept], labels[kept]


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


def speed(sets, folder):
    """Photos a second of both networks, and the median of the ratios of runs in turns."""
    paths = [path for photos, _ in sets.values() for path in photos]
    if len(paths) < N_TIMED:
        paths = write_photos(folder / "timed", N_TIMED)
    paths = paths[:: len(paths) // N_TIMED][:N_TIMED]
    mini = extractor().fit(paths)
    other = extractor("torchvision/mobilenet_v2", weights=None, image_size=96).fit(paths)
    ratio = median_ratio(lambda: other.transform(paths), lambda: mini.transform(paths), N_REPEATS)
    rates = {
        name: round(N_TIMED / min(seconds(lambda: model.transform(paths))[1] for _ in range(3)))  # noqa: B023 - called at once
        for name, model in {"mini": mini, "mobilenet_v2, 96 px": other}.items()
    }
    return {"photos/s": rates, "ratio": ratio}


given = photo_options().parse_args()
with tempfile.TemporaryDirectory() as name:
    sets = photo_sets(Path(name))
    result = {"accuracy": table(sets), "digits": digits(), "speed": speed(sets, Path(name))}

means = [row["mean"] for name, row in result["accuracy"].items() if name == "mini"]
digit, pixel = result["digits"]["mini"], result["digits"]["raw pixels"]
rows = [
    at_least(f"`builtin/mini`, share of right answers, mean of {len(sets)} sets", mean, BAR)
    for mean in means
]
rows += [
    at_least("`builtin/mini` on digits, above raw pixels", digit - pixel, 0),
    at_least(
        "`builtin/mini`, against `mobilenet_v2` at 96 pixels",
        result["speed"]["ratio"],
        1,
        "at their best, {mini} and {mobilenet_v2, 96 px} photos/s".format(
            **result["speed"]["photos/s"]
        ),
    ),
]
print(json.dumps({"rows": rows, **result}, indent=2))
assert QUICK or all(row["holds"] for row in rows), "mini must keep its claim"
