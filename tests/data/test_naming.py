"""Warnings of Pillow: named, shown once, never an error, in threads too."""

import re
import struct
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

import numpy as np
import pytest
import torch
from helpers.image_files import encoded, planes_of
from PIL import Image, TiffImagePlugin

from sktransfer import ImagePreset, PretrainedFeatureExtractor, check_images
from sktransfer.data import naming
from sktransfer.data.digests import digest
from sktransfer.exceptions import DecodeError


def odd_jpeg(quality=95):
    """Return a JPEG file, to be turned by 90 degrees, whose EXIF data lack the text of a tag."""
    # tag, type (SHORT or ASCII), count, and the value or its offset
    orientation, software = (274, 3, 1, 6), (305, 2, 200, 100)
    entries = [struct.pack("<HHII", *entry) for entry in (orientation, software)]
    start = b"Exif\0\0II*\0" + struct.pack("<IH", 8, len(entries))
    exif = b"".join((start, *entries, bytes(4)))
    left_black = Image.new("RGB", (16, 32), "white")
    left_black.paste("black", (0, 0, 8, 32))
    return encoded(left_black, "JPEG", exif=exif, quality=quality)


def cause():
    """Return the text of Pillow's own warning about an odd file."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        Image.open(BytesIO(odd_jpeg())).getexif()
    return str(caught[0].message)


CAUSE = cause()


@pytest.fixture(autouse=True)
def _forget_earlier_warnings():
    naming._show.cache_clear()


@pytest.fixture
def odd(tmp_path):
    path = tmp_path / "odd.jpg"
    path.write_bytes(odd_jpeg())
    return path


@pytest.fixture
def shown():
    """Warnings shown in the test, however the filters treat them."""
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        yield shown


def texts(shown):
    return [str(warning.message) for warning in shown]


def test_a_warning_names_the_file(odd):
    message = rf"odd\.jpg' is decoded, but Pillow warns: {re.escape(CAUSE)}$"
    with pytest.warns(UserWarning, match=message):
        planes_of(odd)


def test_a_warning_describes_an_item_without_a_name(shown):
    data = odd_jpeg()
    planes_of(data)
    planes_of(Image.open(BytesIO(encoded(Image.new("RGB", (8, 8)), "PNG"))))
    assert texts(shown) == [f"an image of {len(data)} bytes is decoded, but Pillow warns: {CAUSE}"]


def test_a_warning_is_shown_once(odd, shown):
    for _ in range(3):
        planes_of(odd)
        with warnings.catch_warnings():  # makes Python forget what it has shown
            warnings.simplefilter("ignore")
    assert len(shown) == 1


def test_several_warnings_about_a_file_are_one(odd, shown):
    planes_of(odd)  # Pillow's modules get a stand-in for `warnings` when they are first used
    shown.clear()
    with naming.named_warnings("odder.jpg"):
        for tag in (270, 271, 270):
            TiffImagePlugin.warnings.warn(f"Skipping tag {tag}", stacklevel=1)
    assert texts(shown) == [
        "'odder.jpg' is decoded, but Pillow warns: Skipping tag 270; Skipping tag 271"
    ]


def test_each_file_with_the_same_fault_is_named(tmp_path, shown):
    for name in "abc":
        (tmp_path / name).write_bytes(odd_jpeg())
        planes_of(tmp_path / name)
    assert [text.partition("'")[2].partition("'")[0][-1] for text in texts(shown)] == [*"abc"]


def test_a_good_image_is_decoded_if_warnings_are_errors(odd):
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("error")
        (plane,) = planes_of(odd)
    assert "odd.jpg' is decoded, but Pillow warns" in texts(shown)[0]
    pixels = np.asarray(plane)
    assert pixels.shape == (16, 32, 3)  # upright: the orientation is read in spite of the warning
    assert pixels[:8].mean() < 5
    assert pixels[8:].mean() > 250


def test_an_image_has_the_same_pixels_whatever_the_filters_are(odd):
    preset, rows = ImagePreset(size=16), []
    for action in ("error", "ignore", "default"):
        with warnings.catch_warnings(record=True):
            warnings.simplefilter(action)
            rows.append(preset(odd))
    assert torch.equal(rows[0], rows[1])
    assert torch.equal(rows[0], rows[2])


def test_an_estimator_reads_a_good_image_if_warnings_are_errors(odd, tmp_path):
    model = PretrainedFeatureExtractor(image_size=32, cache=tmp_path / "cache", n_jobs=2).fit([odd])
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("error")
        features = model.transform([odd])
    assert np.isfinite(features).all()
    assert any("odd.jpg' is decoded" in text for text in texts(shown))


def test_an_item_that_cannot_be_decoded_is_not_warned_about(tmp_path, shown):
    path = tmp_path / "torn.jpg"
    path.write_bytes(odd_jpeg()[:-5])
    with pytest.raises(DecodeError, match=r"torn\.jpg' is truncated"):
        planes_of(path)
    assert not shown


def test_check_images_warns_once_about_an_image(odd, shown):
    check_images([odd, odd_jpeg(quality=90)], min_side=1)
    assert len(shown) == 2


def test_the_digest_of_an_opened_image_names_it_in_warnings(shown):
    image = Image.open(BytesIO(odd_jpeg()))
    image.info["exif"] = odd_jpeg(quality=90)  # read when the digest is computed
    shown.clear()
    digest(image)
    assert all("a PIL image of mode RGB is decoded" in text for text in texts(shown))


def test_warnings_of_many_threads_name_their_own_file(tmp_path, shown):
    paths = [tmp_path / f"{i}.jpg" for i in range(40)]
    for i, path in enumerate(paths):
        path.write_bytes(odd_jpeg() if i % 2 else encoded(Image.new("RGB", (8, 8)), "JPEG"))
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(planes_of, paths))
    named = sorted(int(text.partition(".jpg'")[0].rpartition("/")[2]) for text in texts(shown))
    assert named == list(range(1, 40, 2))


def test_other_uses_of_pillow_warn_as_before(odd, shown):
    planes_of(odd)
    inside, outside = threading.Event(), threading.Event()

    def decode_slowly():
        with naming.named_warnings("slow.jpg"):
            inside.set()
            outside.wait(10)

    thread = threading.Thread(target=decode_slowly)
    thread.start()
    inside.wait(10)
    shown.clear()
    with Image.open(odd) as image:
        image.getexif()
    outside.set()
    thread.join()
    assert texts(shown) == [CAUSE]
    assert shown[0].filename.endswith("TiffImagePlugin.py")


def test_every_module_of_pillow_that_warns_has_the_stand_in(odd, shown):
    planes_of(odd)
    modules = [module for name, module in sys.modules.items() if name.startswith("PIL.")]
    seen = [module.warnings for module in modules if hasattr(module, "warnings")]
    assert len(seen) > 5
    assert all(isinstance(one, naming._Warnings) for one in seen)
    assert seen[0].catch_warnings is warnings.catch_warnings
