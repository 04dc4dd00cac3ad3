"""File names that are not UTF-8, in folders, tables, checks, digests and caches."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from sktransfer import (
    FineTuneClassifier,
    PretrainedFeatureExtractor,
    check_images,
    load_image_folder,
)
from sktransfer._support.hashing import hash_int, hash_parts
from sktransfer.data.digests import digest, file_key, file_state
from sktransfer.data.folders import image_table
from sktransfer.exceptions import DecodeError

ODD = b"caf\xe9"  # Latin-1
NAME = os.fsdecode(ODD)


@pytest.fixture
def folder(tmp_path, rng):
    """Two classes of two images; a class and an image have names that are not UTF-8."""
    names = (f"ants/{NAME}.png", "ants/1.png", f"{NAME}/2.png", f"{NAME}/3.png")
    for path in (tmp_path / "photos" / name for name in names):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        except OSError:
            pytest.skip("this file system requires names in UTF-8")
        Image.fromarray(rng.integers(0, 256, (40, 48, 3), np.uint8)).save(path)
    return tmp_path / "photos"


@pytest.fixture
def photos(folder):
    return load_image_folder(folder)


def test_a_folder_with_odd_names_is_loaded(folder, photos):
    assert photos.data.tolist() == [
        str(folder / name)
        for name in ("ants/1.png", f"ants/{NAME}.png", f"{NAME}/2.png", f"{NAME}/3.png")
    ]
    assert photos.labels.tolist() == ["ants", "ants", NAME, NAME]
    assert photos.frame["path"].tolist() == photos.data.tolist()
    assert photos.frame["label"].tolist() == photos.labels.tolist()


def test_the_description_of_a_folder_can_be_printed(folder):
    strange = load_image_folder(folder.rename(folder.with_name(f"{NAME}\n")))
    assert strange.DESCR.encode().endswith(b"and 0 hidden ones.")
    assert r"caf\udce9\n; skipped 0" in strange.DESCR


def test_a_list_in_a_message_shows_odd_names_escaped(folder):
    (folder / "ants/1.png").rename(folder / f"{NAME}\n.png")
    with pytest.raises(ValueError, match=r"outside of them:\n  caf\\udce9\\n\.png$"):
        load_image_folder(folder)


def test_a_folder_with_odd_names_is_a_table(folder, photos):
    assert image_table(folder)["path"].tolist() == photos.data.tolist()
    ants = folder / "ants"
    assert image_table(ants)["path"].tolist() == photos.data.tolist()[:2]


def test_a_csv_file_may_list_odd_names(folder, photos):
    table = folder / "list.csv"
    table.write_bytes(b"n,path,label\n1,ants/" + ODD + b".png,ant\n2,007.png,bee\n")
    read = image_table(table)
    assert read["path"].tolist() == [photos.data[1], str(folder / "007.png")]
    assert read["label"].tolist() == ["ant", "bee"]
    assert read["n"].tolist() == [1, 2]


def test_other_columns_of_a_csv_file_must_be_utf_8(folder):
    if pd.Series(["a"]).dtype == object:
        pytest.skip("strings of this pandas may hold any character")
    table = folder / "list.csv"
    table.write_bytes(b"path,label\na.png," + ODD + b"\n")
    with pytest.raises(ValueError, match=r"list\.csv' must be encoded in UTF-8, except for its"):
        image_table(table)


def test_images_with_odd_names_are_checked(photos):
    odd = photos.data[1]
    Image.new("L", (8, 8)).save(odd)
    report = check_images(photos.data, photos.labels)
    assert set(report["path"]) == {odd}
    assert "tiny" in set(report["problem"])


def test_text_with_surrogates_has_a_hash():
    assert len({hash_parts("example", text) for text in (NAME, "caf\udcea", "café")}) == 3
    assert hash_int(NAME) != hash_int("café")


def test_a_file_with_an_odd_name_has_a_digest_and_a_key(photos):
    odd = photos.data[1]
    os.utime(odd, (1, 1))
    assert digest(odd) == digest(Path(odd).read_bytes())
    assert len(file_key(odd, file_state(odd))) == 16


@pytest.mark.parametrize("form", [list, np.array, lambda paths: pd.Series(paths, dtype=object)])
def test_images_with_odd_names_have_features(photos, tmp_path, form):
    model = PretrainedFeatureExtractor(image_size=32, cache=tmp_path / "cache")
    features = model.fit_transform(form(photos.data.tolist()))
    assert np.isfinite(features).all()
    assert np.array_equal(model.transform(photos.data), features)


@pytest.mark.filterwarnings("ignore:cache saves the first pass")
def test_a_classifier_learns_labels_with_odd_names(photos, tmp_path):
    folders = {"cache": tmp_path / "cache", "checkpoint": tmp_path / "checkpoint"}
    model = FineTuneClassifier(weights=None, image_size=32, max_epochs=1, random_state=0, **folders)
    model.fit(photos.data, photos.labels)
    assert model.classes_.tolist() == ["ants", NAME]


def test_an_error_shows_an_odd_name_escaped(photos):
    Path(photos.data[1]).write_bytes(b"no image")
    with pytest.raises(DecodeError, match=r"caf\\udce9\.png' is not an image"):
        PretrainedFeatureExtractor(image_size=32).fit_transform(photos.data)
