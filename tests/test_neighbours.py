"""A row has the same bits among any number of other rows, on any processor.

The checks run in child processes, because the vector instructions that oneDNN and torch use are
chosen when a process starts.
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.tiny import coloured_photos
from PIL import Image

from sktransfer import FineTuneClassifier, PretrainedFeatureExtractor

N_ITEMS = 47
# Parts of a batch of 16, one and two of them, and a row less or more
SIZES = (1, 2, 3, 7, 8, 15, 16, 17, 31, 32, 33)

EXTRACTORS = {
    "builtin/mini": {},
    "torchvision/mobilenet_v2": {"weights": None},
}
# a classifier for photos that keeps the whole network frozen, one with a trained stage, and one
# for float64 tables, which computes in double precision
CLASSIFIERS = {
    "head": {"unfreeze": 0},
    "stage": {"unfreeze": 1, "augment": None},
    "mlp": {"unfreeze": 0, "head": "mlp"},
}


def items_of(kind, folder):
    """Return the same images as items of one kind."""
    pixels = coloured_photos(n_each=16)[0][:N_ITEMS]
    images = [Image.fromarray(image) for image in pixels]
    if kind == "array":
        return pixels
    if kind == "PIL image":
        return images
    if kind in ("float32 table", "float64 table"):
        small = pixels[:, ::4, ::4] / 255
        return small.reshape(N_ITEMS, -1).astype(kind.split()[0])
    paths = [folder / f"{index}.png" for index in range(N_ITEMS)]
    for path, image in zip(paths, images, strict=True):
        image.save(path)
    return [path.read_bytes() for path in paths] if kind == "bytes" else list(map(str, paths))


KINDS = ["path", "bytes", "PIL image", "array", "float32 table", "float64 table"]


def differing(run, X, among_all):
    """Return the numbers of rows among which some row has other bits than among all."""
    wrong = []
    for n in SIZES:
        start = 7 * n % (N_ITEMS - n + 1)
        if not np.array_equal(run(X[start : start + n]), among_all[start : start + n]):
            wrong.append(n)
    return wrong


def check_all(folder):
    """Check every estimator, kind of item and number of rows, with and without a cache."""
    for kind in KINDS:
        (folder / kind).mkdir()
        X = items_of(kind, folder / kind)
        y = np.arange(N_ITEMS) % 3
        models = {
            name: PretrainedFeatureExtractor(name, image_size=32, verbose=0, **how).fit(X)
            for name, how in EXTRACTORS.items()
            if name == "builtin/mini" or kind == "array"
        }
        for name, how in CLASSIFIERS.items():
            if kind in ("array", "float64 table"):
                model = FineTuneClassifier(
                    image_size=32, max_epochs=1, random_state=0, verbose=0, **how
                )
                models[name] = model.fit(X, y)
        for name, model in models.items():
            run = getattr(model, "decision_function", model.transform)
            among_all = run(X)
            # a new cache is filled by these calls, from one row on
            for cache in (None, folder / kind / name.replace("/", "-")):
                model.set_params(cache=cache)
                wrong = differing(run, X, among_all)
                assert not wrong, f"{name}, {kind}, cache={cache}: other bits among {wrong} rows"


@pytest.mark.parametrize(
    ("isa", "n_threads"),
    [
        ("SSE41", 1),
        ("ALL", 2),
        pytest.param("SSE41", 2, marks=pytest.mark.slow),
        pytest.param("ALL", 1, marks=pytest.mark.slow),
    ],
)
def test_a_row_is_the_same_among_any_number_of_rows(isa, n_threads, tmp_path):
    torch_isa = {"ATEN_CPU_CAPABILITY": "default"} if isa == "SSE41" else {}
    path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, __file__, str(n_threads), str(tmp_path)],
        env=os.environ
        | torch_isa
        | {"ONEDNN_MAX_CPU_ISA": isa, "OMP_WAIT_POLICY": "PASSIVE", "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_the_batch_size_of_predictions_may_be_set_after_fit(tmp_path):
    X, y = coloured_photos(n_each=3)
    model = FineTuneClassifier(image_size=32, unfreeze=0, max_epochs=0, random_state=0).fit(X, y)
    extractor = PretrainedFeatureExtractor(image_size=32).fit(X)
    for estimator, name, method in (
        (model, "inference_batch_size", "decision_function"),
        (extractor, "batch_size", "transform"),
    ):
        before = getattr(estimator, method)(X)
        estimator.set_params(**{name: 1})
        after = getattr(estimator, method)(X)
        np.testing.assert_allclose(after, before, rtol=1e-3, atol=1e-4)
        one_by_one = [getattr(estimator, method)(X[[index]])[0] for index in range(len(X))]
        np.testing.assert_array_equal(one_by_one, after)


@pytest.mark.parametrize("value", [0, 1.5, "all", None])
def test_a_wrong_batch_size_is_named(value):
    X, y = coloured_photos(n_each=2)
    with pytest.raises(ValueError, match="inference_batch_size must be an integer of at least 1"):
        FineTuneClassifier(image_size=32, inference_batch_size=value).fit(X, y)


if __name__ == "__main__":
    torch.set_num_threads(int(sys.argv[1]))
    check_all(Path(sys.argv[2]))
