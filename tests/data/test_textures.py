"""The textures are real photos of ten materials, the same for the same seed."""

import sys

import numpy as np
import pytest
from PIL import Image

from sktransfer import load_image_folder, load_textures


def test_the_textures_are_small_photos_with_names():
    photos = load_textures(n_per_class=3)
    assert photos.data.shape == (30, 64, 64, 3)
    assert photos.data.dtype == np.uint8
    assert sorted(set(photos.labels)) == photos.target_names.tolist()
    assert (photos.labels == photos.target_names[photos.target]).all()
    assert np.bincount(photos.target).tolist() == [3] * 10
    assert photos.DESCR.startswith("30 photos of 10 materials")


def test_the_textures_depend_on_the_seed_alone():
    first, again = (load_textures(n_per_class=2, random_state=1).data for _ in range(2))
    assert (first == again).all()
    assert (first != load_textures(n_per_class=2, random_state=2).data).any()


def test_no_texture_is_a_blank():
    for subset in ("train", "test"):
        assert load_textures(subset, n_per_class=20).data.std(axis=(1, 2, 3)).min() > 1


def test_the_textures_can_be_written_to_a_folder(tmp_path):
    photos = load_textures(n_per_class=2, folder=tmp_path / "train")
    written = load_image_folder(tmp_path / "train")
    assert written.labels.tolist() == photos.labels.tolist()
    pixels = [np.asarray(Image.open(path)) for path in written.data]
    assert (np.stack(pixels) == photos.data).all()


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "train").write_text("a file")
    with pytest.raises(OSError, match="folder must be the path of a folder, which need not exist"):
        load_textures(n_per_class=1, folder=tmp_path / "train")


def test_a_file_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "train").mkdir()
    (tmp_path / "train/brick").write_text("a file")
    with pytest.raises(OSError, match=r"folder must be a folder that can be written(.|\n)*brick"):
        load_textures(n_per_class=1, folder=tmp_path / "train")


@pytest.mark.parametrize("n_per_class", [0, 1.5, "many"])
def test_the_number_of_textures_must_be_a_positive_integer(n_per_class):
    with pytest.raises(ValueError, match="n_per_class must be an integer of at least 1"):
        load_textures(n_per_class=n_per_class)


def test_an_unknown_half_of_the_textures_is_refused():
    with pytest.raises(ValueError, match="subset must be one of 'train', 'test'; got 'val'"):
        load_textures("val")


def test_the_textures_name_the_extra_that_they_need(monkeypatch):
    monkeypatch.setitem(sys.modules, "skimage", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'sktransfer\[demo\]'"):
        load_textures()
