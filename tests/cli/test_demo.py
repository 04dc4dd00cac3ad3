"""The demo learns from few labels, tells the truth about it, and draws it."""

import sys
from zipfile import ZipFile

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread
from PIL import Image

from sktransfer.cli.demo import Demo, Rung, Split, draw_demo, run_demo


def write(folder, rng, n=4, names=("dark", "light")):
    """``n`` images of each class; how light an image is tells its class."""
    for level, name in enumerate(names):
        (folder / name).mkdir(parents=True)
        for index in range(n):
            pixels = rng.integers(0, 60, (40, 50, 3), np.uint8) + np.uint8(180 * level)
            Image.fromarray(pixels).save(folder / name / f"{index}.png")
    return folder


@pytest.fixture
def folder(tmp_path, rng):
    return write(tmp_path / "photos", rng, 8)


@pytest.fixture
def demo(rng):
    """Four images and two rungs, of which the second is right but once."""
    X, y = rng.random((4, 8, 8)), np.array(["a", "b", "b", "b"], dtype=object)
    rungs = [Rung("raw pixels", y[::-1], 0.5, 0.1), Rung("features", y[[0, 1, 2, 0]], 0.75, 2.0)]
    return Demo(Split("Four images", X, X, y, y), "builtin/mini", rungs)


@pytest.fixture
def texts(monkeypatch, tmp_path):
    """A function that draws a demo and tells every text of the picture."""
    figures = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: figures.append(figure))

    def drawn(demo):
        draw_demo(demo, tmp_path / "picture.png")
        return [text.get_text() for text in figures[-1].findobj(lambda x: hasattr(x, "get_text"))]

    return drawn


def test_digits_are_learned_from_ten_labels_a_class():
    demo = run_demo(weights=None)
    assert [rung.name for rung in demo.rungs] == [
        "raw pixels",
        "network from scratch",
        "features of random weights",
        "new head on a frozen network",
        "fine-tuned network",
    ]
    assert demo.split.title == "Handwritten digits, 10 labels a class"
    assert np.unique(demo.split.y_train, return_counts=True)[1].tolist() == [10] * 10
    assert len(demo.split.y_test) == 500
    assert demo.rungs[0].accuracy > 0.8


def test_the_accuracy_is_that_of_the_predictions(folder):
    demo = run_demo(folder, weights=None)
    for rung in demo.rungs:
        assert rung.accuracy == np.mean(rung.predicted == demo.split.y_test)
        assert rung.seconds > 0


def test_a_folder_is_divided_by_class(folder):
    split = run_demo(folder, weights=None).split
    assert sorted(split.y_train) == ["dark"] * 6 + ["light"] * 6
    assert sorted(split.y_test) == ["dark"] * 2 + ["light"] * 2
    assert not set(split.X_train) & set(split.X_test)
    assert split.title.endswith("/photos")


def test_easy_photos_are_learned(folder):
    assert run_demo(folder, weights=None).rungs[0].accuracy == 1


@pytest.mark.parametrize("test", ["val", "test", "Validation"])
def test_a_split_is_used_as_it_is(tmp_path, rng, test):
    write(tmp_path / "train", rng, 3)
    write(tmp_path / test, rng, 2)
    split = run_demo(tmp_path, weights=None).split
    assert (len(split.y_train), len(split.y_test)) == (6, 4)
    assert all("train" in path for path in split.X_train)


def test_few_images_are_enough(tmp_path, rng):
    split = run_demo(write(tmp_path / "photos", rng, 2), weights=None).split
    assert (len(split.y_train), len(split.y_test)) == (2, 2)


def test_a_test_of_other_classes_is_refused(tmp_path, rng):
    write(tmp_path / "train", rng, 1)
    write(tmp_path / "val", rng, 1, ("dark", "lihgt"))
    message = "the same classes in 'train' and in 'val'; only 'val' holds 'lihgt'"
    with pytest.raises(ValueError, match=message):
        run_demo(tmp_path)


def test_a_class_of_one_image_is_refused(tmp_path, rng):
    write(tmp_path, rng, 2)
    write(tmp_path, rng, 1, ["lone"])
    with pytest.raises(ValueError, match=r"(?s)at least two images each; .*\n  'lone': 1"):
        run_demo(tmp_path)


def test_one_class_is_refused(tmp_path, rng):
    with pytest.raises(ValueError, match="images must hold at least two classes"):
        run_demo(write(tmp_path, rng, 4, ["alone"]))


@pytest.mark.parametrize("labels_per_class", [0, 1.5, "many"])
def test_labels_are_counted(labels_per_class):
    with pytest.raises(ValueError, match="labels_per_class must be an integer of at least 1"):
        run_demo(labels_per_class=labels_per_class)


def test_guessing_names_the_commonest_class(demo):
    assert demo.guess == 0.75


def test_the_picture_is_one(demo, tmp_path):
    draw_demo(demo, tmp_path / "picture.png")
    picture = imread(tmp_path / "picture.png")
    assert picture.shape == (840, 1560, 4)
    assert picture.std() > 0.05


def test_photos_are_drawn_from_their_files(folder, tmp_path):
    draw_demo(run_demo(folder, weights=None), tmp_path / "picture.svg")
    assert (tmp_path / "picture.svg").read_text().count("<image") == 4


def test_the_picture_tells_each_rung(demo, texts):
    drawn = texts(demo)
    assert {"Four images", "raw pixels", "50.0%", "0.1 s", "features", "75.0%", "2.0 s"} <= {*drawn}
    assert "guessing the commonest class" in drawn


def test_the_picture_tells_what_was_mistaken(demo, texts):
    drawn = texts(demo)
    assert drawn.count("a, not b") == 1  # the last rung's mistake, and not those of the first
    assert "b, not a" not in drawn


def test_a_long_name_is_cut(demo, texts):
    demo.rungs[-1].predicted[0] = "a name of very many letters"
    assert "a name of very many…" in [text[:20] for text in texts(demo)]


def test_a_picture_needs_matplotlib(demo, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ModuleNotFoundError, match=r"matplotlib .* extra 'plot'"):
        draw_demo(demo, tmp_path / "picture.png")


@pytest.mark.slow
def test_photos_and_real_weights_pay(shared, tmp_path):
    with ZipFile(shared / "data/hymenoptera.zip") as archive:
        archive.extractall(tmp_path)
    demo = run_demo(
        tmp_path / "hymenoptera",
        backbone="torchvision/mobilenet_v2",
        weights=shared / "weights/mobilenet_v2_imagenet.safetensors",
    )
    raw, scratch, features, head, tuned = (rung.accuracy for rung in demo.rungs)
    assert demo.rungs[2].name == "pretrained features"
    assert raw <= 0.7
    assert scratch <= 0.8
    assert min(features, head, tuned) >= 0.9
