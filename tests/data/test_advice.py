"""Errors about forms of X that are not accepted show what to pass instead."""

import io
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
from PIL import Image
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, Dataset, Subset
from torchvision.datasets import FakeData, ImageFolder

from sktransfer import PretrainedFeatureExtractor, check_images, load_image_folder


class InMemory(Dataset):
    """A data set in memory, as torchvision's CIFAR10 is one."""

    data = np.zeros((2, 32, 32, 3), np.uint8)
    targets = (0, 1)


@pytest.fixture
def folder(tmp_path, rng, monkeypatch):
    """A working folder with two classes of two images, the same in an archive, and a table."""
    for name in ("ants/1.png", "ants/2.png", "bees/1.png", "bees/2.png"):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (20, 20, 3), np.uint8)).save(path)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(path, "ants/1.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def opened_archive():
    with zipfile.ZipFile("a.zip") as archive:
        return archive


# name -> X, and a pattern of the advice
FORMS = {
    "Bunch": (
        lambda: load_image_folder("photos"),
        r"got Bunch\. Pass its paths, X\['data'\], and as y its labels, X\['labels'\]",
    ),
    "Bunch of scikit-learn": (load_digits, r"Pass its data, .* and as y its target, X\['target'\]"),
    "dict": (lambda: {"image": ["a.png"]}, r"got dict\. Pass the images .* one of its values"),
    "lazy frame": (lambda: pl.LazyFrame({"path": ["a.png"]}), r"got LazyFrame\. .*X\.collect\(\)"),
    "ImageFolder": (
        lambda: ImageFolder("photos"),
        r"Pass its paths, \[path for path, _ in X\.samples\], .* \[X\.classes\[i\] for _, i",
    ),
    "CIFAR10": (
        InMemory,
        r"got InMemory\. Pass its images, X\.data, and as y X\.targets",
    ),
    "FakeData": (lambda: FakeData(3), r"Pass its images, \[image for image, _ in X\], and as y"),
    "Subset": (lambda: Subset(ImageFolder("photos"), [0]), r"X\.dataset .* X\.indices, and as y"),
    "DataLoader": (
        lambda: DataLoader(ImageFolder("photos")),
        r"got DataLoader\. Pass its paths, \[path for path, _ in X\.dataset\.samples\]",
    ),
    "datasets": (
        lambda: SimpleNamespace(column_names=["image"], features={}),
        r"Pass its column of images: list\(X\['image'\]\)",
    ),
    "pairs": (
        lambda: ImageFolder("photos").samples,
        r"got pairs of an image and a label\. Pass the images, \[image for image, _ in X\]",
    ),
    "pairs of images and labels": (lambda: list(ImageFolder("photos")), r"got pairs of an image"),
    "archive": (opened_archive, r"got ZipFile\. .*\[X\.read\(name\) for name in names\]"),
    "path in an archive": (lambda: zipfile.Path("a.zip", "ants/1.png"), r"\[X\.read_bytes\(\)\]"),
    "file": (lambda: io.BytesIO(b"photo"), r"got BytesIO\. Pass its bytes: \[X\.read\(\)\]"),
    "generator": (lambda: Path("photos").glob("*/*"), r"Pass list\(X\)"),
    "set": (lambda: {"a.png"}, r"got set\. Pass list\(X\)"),
    "folder": (
        lambda: "photos",
        r"got one path\. .*load_image_folder\('photos'\)\.data, and as y its labels",
    ),
    "folder of images": (lambda: "photos/ants", r"list\(pathlib\.Path\('photos/ants'\)\.iterdir"),
    "Path of a folder": (lambda: Path("photos"), r"load_image_folder\('photos'\)\.data"),
    "table": (lambda: "list.csv", r"got one path\. .*pandas\.read_csv\('list\.csv'\)\['path'\]"),
    "image": (lambda: "photos/ants/1.png", r"got one path\. Pass a list of one: \['photos/ants"),
    "address": (lambda: "https://a.b/c.jpg", r"got one path\. Web addresses are not downloaded"),
}


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize(
    "use",
    [check_images, PretrainedFeatureExtractor(image_size=32).fit],
    ids=["check", "fit"],
)
def test_an_object_that_is_no_sequence_of_images_is_refused_with_advice(folder, name, use):
    make, advice = FORMS[name]
    with pytest.raises(TypeError, match=f"X must be a sequence of images: .*{advice}"):
        use(make())


def test_a_lazy_frame_is_refused_by_a_fitted_estimator(folder):
    paths = load_image_folder("photos").data
    model = PretrainedFeatureExtractor(image_size=32).fit(pl.DataFrame({"path": list(paths)}))
    with pytest.raises(TypeError, match=r"Pass X\.collect\(\)"):  # warnings are errors, too
        model.transform(pl.LazyFrame({"path": list(paths)}))


@pytest.mark.parametrize(
    ("items", "advice"),
    [
        (["a.zip/ants/1.png"], r"zipfile\.ZipFile\('a\.zip'\)\.read\('ants/1\.png'\)"),
        (["s3://bucket/a.png"], r"urllib\.request\.urlopen\('s3://bucket/a\.png'\)\.read\(\)"),
        (["gone.png", "http://a.b/c.png"], "Web addresses are not downloaded: pass the bytes"),
        (["photos"], r"load_image_folder\('photos'\)\.data, .* if it has a folder for each class"),
        (["gone.png"], "Relative paths start from"),
        (["a nice film", "bad"], "pass a backbone for texts, such as backbone='builtin/text'"),
        (["No plot at all. Bad"], "pass a backbone for texts"),
        (["Fine. " * 100], r"X\[0\]: 'Fine\. .{288,292}\.\.\.\n"),
    ],
)
def test_paths_that_are_not_files_are_refused_with_advice(folder, items, advice):
    with pytest.raises(ValueError, match=rf"(?s)X must hold paths of existing files; .*{advice}"):
        PretrainedFeatureExtractor(image_size=32).fit(items)


@pytest.mark.parametrize(
    ("make", "advice"),
    [
        (lambda: io.BytesIO(b"photo"), r"Pass the bytes of an opened file: file\.read\(\)"),
        (lambda: zipfile.Path("a.zip", "ants/1.png"), r"in an archive: path\.read_bytes\(\)"),
    ],
)
def test_items_that_have_to_be_read_are_refused_with_advice(folder, make, advice):
    with pytest.raises(ValueError, match=rf"(?s)in each row; 1 does not:\n  X\[0\]: .*{advice}"):
        PretrainedFeatureExtractor(image_size=32).fit([make()])


def test_the_advice_leads_to_features(folder):
    with zipfile.ZipFile("a.zip") as archive:
        read = archive.read("ants/1.png")
    data_set = ImageFolder("photos")
    paths = [path for path, _ in data_set.samples]
    forms = [
        [read],
        [zipfile.Path("a.zip", "ants/1.png").read_bytes()],
        load_image_folder("photos")["data"],
        paths,
        [image for image, _ in data_set],
        list(Path("photos/ants").iterdir()),
        InMemory().data,
        pl.LazyFrame({"path": paths}).collect(),
    ]
    for form in forms:
        assert np.isfinite(PretrainedFeatureExtractor(image_size=32).fit_transform(form)).all()
