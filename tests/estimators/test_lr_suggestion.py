"""With its default head, a classifier gets a learning rate that is as good as the best of a grid.

The head starts from the exact solution, so the loss falls little before it grows.  The good rates
of a grid reach from the first one with at least half of the greatest fall of the training loss, to
the last one whose accuracy on the test images is at most 0.05, about one standard error, below the
greatest.
"""

from zipfile import ZipFile

import pytest
from sklearn.model_selection import train_test_split

from sktransfer import FineTuneClassifier, find_lr, load_image_folder, load_textures

GRID = (1e-5, 1e-4, 3e-4, 1e-3, 3e-3)


def find_good_rates(train, test, **parameters):
    """Return the first and the last good learning rate of the grid, from one fit for each."""
    losses, scores = [], []
    for rate in GRID:
        model = FineTuneClassifier(fine_tune_lr=rate, random_state=0, **parameters).fit(*train)
        losses.append(model.history_[-1]["train_loss"])
        scores.append(model.score(*test))
    half = (losses[0] + min(losses)) / 2
    first = next(rate for rate, loss in zip(GRID, losses, strict=True) if loss <= half)
    good = [rate for rate, score in zip(GRID, scores, strict=True) if score >= max(scores) - 0.05]
    return first, max(good)


def check_suggestions(train, test, seeds, max_epochs, **parameters):
    first, last = find_good_rates(train, test, max_epochs=max_epochs, **parameters)
    for seed in seeds:
        model = FineTuneClassifier(random_state=seed, **parameters)
        assert first / 3 < find_lr(model, *train).suggestion < 3 * last


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_the_suggestion_for_textures_is_near_the_best_learning_rates(seed):
    train = load_textures("train", n_per_class=10)
    test = load_textures("test", n_per_class=8)
    check_suggestions(
        (train.data, train.labels), (test.data, test.labels), [seed], max_epochs=3, image_size=32
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "backbone"),
    [
        ("flowers5", "builtin/mini"),
        ("hymenoptera/train", "builtin/mini"),
        ("hymenoptera/train", "torchvision/mobilenet_v2"),
        pytest.param(
            "flowers5",
            "torchvision/mobilenet_v2",
            marks=pytest.mark.xfail(
                reason="suggests 9.2e-4 for 60 photos, where the last good rate of the grid is 3e-4"
            ),
        ),
    ],
)
def test_the_suggestion_for_photos_is_near_the_best_learning_rates(
    name, backbone, shared, tmp_path
):
    with ZipFile(shared / "data" / f"{name.split('/')[0]}.zip") as archive:
        archive.extractall(tmp_path)
    photos = load_image_folder(tmp_path / name)
    X, X_test, y, y_test = train_test_split(
        photos.data,
        photos.labels,
        train_size=60,
        test_size=60,
        stratify=photos.labels,
        random_state=0,
    )
    how = {"backbone": backbone, "image_size": 64}
    if backbone == "torchvision/mobilenet_v2":
        weights = shared / "weights" / "mobilenet_v2_imagenet.safetensors"
        how["weights"] = weights
    check_suggestions((X, y), (X_test, y_test), [0, 1], max_epochs=6, **how)
