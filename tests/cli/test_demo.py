"""The demo compares methods on few labels and plots the results."""

import sys
from zipfile import ZipFile

import numpy as np
import pytest
from helpers.command_line import brief_demo
from matplotlib.figure import Figure
from matplotlib.image import imread
from PIL import Image

from sktransfer.cli import main
from sktransfer.cli.demo import Comparison, Result, Split, draw_demo, run_demo, run_text_demo


def write(folder, rng, n=4, names=("dark", "light")):
    """Write ``n`` images of each class; the classes differ in brightness."""
    for level, name in enumerate(names):
        (folder / name).mkdir(parents=True)
        for index in range(n):
            pixels = rng.integers(0, 60, (40, 50, 3), np.uint8) + np.uint8(180 * level)
            Image.fromarray(pixels).save(folder / name / f"{index}.png")
    return folder


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """The comparison on a folder of two classes of eight photos."""
    folder = write(tmp_path_factory.mktemp("demo") / "photos", np.random.default_rng(0), 8)
    with brief_demo():
        yield run_demo(folder, weights=None)


@pytest.fixture
def demo(rng):
    """Four images and two methods, of which the second makes one mistake."""
    X, y = rng.random((4, 8, 8)), np.array(["a", "b", "b", "b"], dtype=object)
    results = [
        Result("raw pixels", y[::-1], 0.5, 0.1),
        Result("features", y[[0, 1, 2, 0]], 0.75, 2.0),
    ]
    return Comparison(Split("Four images", X, X, y, y), "builtin/mini", results)


@pytest.fixture
def texts(monkeypatch, tmp_path):
    """A function that plots a comparison and returns all texts of the plot."""
    figures = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: figures.append(figure))

    def drawn(demo):
        draw_demo(demo, tmp_path / "picture.png")
        return [text.get_text() for text in figures[-1].findobj(lambda x: hasattr(x, "get_text"))]

    return drawn


def test_the_demo_trains_on_ten_photos_of_each_texture(brief):
    demo = run_demo(weights=None)
    assert [result.name for result in demo.results] == [
        "raw pixels",
        "network from scratch",
        "features of random weights",
        "new head on a frozen network",
        "fine-tuned network",
    ]
    assert demo.split.title == "Ten textures, 10 labels per class"
    assert np.unique(demo.split.y_train, return_counts=True)[1].tolist() == [10] * 10
    assert len(demo.split.y_test) == 400


def test_pretrained_features_of_texts_are_better_than_words():
    split, (words, features) = run_text_demo()
    assert split.title == "Five fields of Python's library, 10 labels per class"
    assert np.unique(split.y_train, return_counts=True)[1].tolist() == [10] * 5
    assert len(split.y_test) == 200
    assert not set(split.X_train) & set(split.X_test)
    assert (words.name, features.name) == ("words", "pretrained features")
    assert features.accuracy > words.accuracy + 0.05


def test_the_accuracy_is_that_of_the_predictions(compared):
    for result in compared.results:
        assert result.accuracy == np.mean(result.predicted == compared.split.y_test)
        assert result.seconds > 0


def test_the_split_of_a_folder_is_stratified(compared):
    split = compared.split
    assert sorted(split.y_train) == ["dark"] * 6 + ["light"] * 6
    assert sorted(split.y_test) == ["dark"] * 2 + ["light"] * 2
    assert not set(split.X_train) & set(split.X_test)
    assert split.title.endswith("/photos")


def test_raw_pixels_separate_easy_photos(compared):
    assert compared.results[0].accuracy == 1


@pytest.mark.parametrize("test", ["val", "test", "Validation"])
def test_folders_of_training_and_test_images_are_not_mixed(brief, tmp_path, rng, test):
    write(tmp_path / "train", rng, 3)
    write(tmp_path / test, rng, 2)
    split = run_demo(tmp_path, weights=None).split
    assert (len(split.y_train), len(split.y_test)) == (6, 4)
    assert all("train" in path for path in split.X_train)


def test_two_images_of_each_class_are_enough(brief, tmp_path, rng):
    split = run_demo(write(tmp_path / "photos", rng, 2), weights=None).split
    assert (len(split.y_train), len(split.y_test)) == (2, 2)


def test_an_unknown_class_in_the_test_images_is_refused(tmp_path, rng):
    write(tmp_path / "train", rng, 1)
    write(tmp_path / "val", rng, 1, ("dark", "lihgt"))
    message = r"(?s)the given classes only, 'dark', 'light'; .*val' also holds:\n  'lihgt'"
    with pytest.raises(ValueError, match=message):
        run_demo(tmp_path)


def test_a_class_of_one_image_is_refused(tmp_path, rng):
    write(tmp_path, rng, 2)
    write(tmp_path, rng, 1, ["lone"])
    with pytest.raises(ValueError, match=r"(?s)at least two images each; .*\n  'lone': 1"):
        run_demo(tmp_path)


def test_one_class_is_refused(tmp_path, rng):
    with pytest.raises(ValueError, match="images must contain at least two classes"):
        run_demo(write(tmp_path, rng, 4, ["alone"]))


def test_guessing_predicts_the_most_common_class(demo):
    assert demo.guess == 0.75


def test_the_plot_is_written_to_a_file(demo, tmp_path):
    draw_demo(demo, tmp_path / "picture.png")
    picture = imread(tmp_path / "picture.png")
    assert picture.shape == (840, 1560, 4)
    assert picture.std() > 0.05


def test_photos_are_drawn_from_their_files(compared, tmp_path):
    draw_demo(compared, tmp_path / "picture.svg")
    assert (tmp_path / "picture.svg").read_text().count("<image") == 4


def test_the_plot_shows_each_method(demo, texts):
    drawn = texts(demo)
    assert {"Four images", "raw pixels", "50.0%", "0.1 s", "features", "75.0%", "2.0 s"} <= {*drawn}
    assert "most common class" in drawn


def test_the_plot_shows_the_mistakes_of_the_last_method(demo, texts):
    drawn = texts(demo)
    assert drawn.count("a, not b") == 1  # the mistake of the last method, not those of the first
    assert "b, not a" not in drawn


def test_a_long_class_name_is_shortened(demo, texts):
    demo.results[-1].predicted[0] = "a name of very many letters"
    assert "a name of very many…" in [text[:20] for text in texts(demo)]


def test_a_plot_without_matplotlib_is_an_error(demo, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ModuleNotFoundError, match=r"matplotlib .* extra 'plot'"):
        draw_demo(demo, tmp_path / "picture.png")


@pytest.mark.slow
def test_pretrained_weights_improve_the_accuracy_on_photos(shared, tmp_path):
    with ZipFile(shared / "data/hymenoptera.zip") as archive:
        archive.extractall(tmp_path)
    demo = run_demo(
        tmp_path / "hymenoptera",
        backbone="torchvision/mobilenet_v2",
        weights=shared / "weights/mobilenet_v2_imagenet.safetensors",
    )
    raw, scratch, features, head, tuned = (result.accuracy for result in demo.results)
    assert demo.results[2].name == "pretrained features"
    assert raw <= 0.7
    assert scratch <= 0.8
    assert min(features, head, tuned) >= 0.9


def test_the_folder_of_the_plot_must_not_be_a_file(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit) as done:
        main(["demo", "--out", str(tmp_path / "file" / "x.png")])
    assert "--out must be the path of a folder, which need not exist; got " in done.value.code
