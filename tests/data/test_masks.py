"""Masks are read when they are needed, from files, images and arrays."""

import numpy as np
import pandas as pd
import pytest
import torch
from helpers.masks import CountedPath
from PIL import Image

from sktransfer.data import check_masks, encode_mask
from sktransfer.data.masks import read_mask

MASK = np.array([[0, 1, 2], [2, 2, 1]], np.uint8)


@pytest.mark.parametrize("mode", ["L", "P", "I", "I;16"])
def test_a_file_of_one_number_for_each_pixel_is_a_mask(tmp_path, mode):
    image = Image.fromarray(MASK.astype(np.uint16)) if mode == "I;16" else Image.fromarray(MASK)
    if mode == "P":
        image.putpalette([0, 0, 0, 200, 0, 0, 0, 200, 0] + [0] * 759)
    elif mode == "I":
        image = image.convert("I")
    image.save(tmp_path / "mask.tiff")
    assert np.array_equal(read_mask(tmp_path / "mask.tiff"), MASK)
    assert np.array_equal(read_mask(image), MASK)


def test_tensors_and_bools_are_masks():
    assert np.array_equal(read_mask(torch.from_numpy(MASK)), MASK)
    assert read_mask(MASK > 1).dtype == bool


def test_masks_are_counted_once_and_taken_apart():
    masks = check_masks([MASK, MASK.T], "y")
    assert masks.summaries[1] == ((2, 3), {0: 1, 1: 2, 2: 3})
    assert masks.counts([2, 5]).tolist() == [[3, 0], [3, 0]]
    assert np.array_equal(next(iter(masks[np.array([1])])), MASK.T)
    assert len(masks.followed_by(masks)) == 4


def test_the_digest_is_that_of_the_content(tmp_path):
    Image.fromarray(MASK).save(tmp_path / "mask.png")
    arrays, files = check_masks([MASK], "y"), check_masks([tmp_path / "mask.png"], "y")
    assert arrays.digest() == files.digest()
    assert arrays.digest() != check_masks([MASK.T], "y").digest()


@pytest.mark.parametrize("y", [None, "masks.png", 3])
def test_something_that_is_no_list_is_an_error(y):
    with pytest.raises(TypeError, match="y must be a list of masks, one for each item; got"):
        check_masks(y, "y")


def test_a_single_image_is_named_by_its_size():
    with pytest.raises(TypeError, match="one for each item; got image of 640 x 480"):
        check_masks(Image.new("L", (640, 480)), "y")


def test_a_table_is_an_error_that_names_its_columns():
    message = r"got a table with the columns 'mask', 7\. Pass one of them, such as y\['mask'\]\.$"
    with pytest.raises(TypeError, match=message):
        check_masks(pd.DataFrame([["0.png", 1]], columns=["mask", 7]), "y")


def test_masks_keep_the_name_of_their_column():
    masks = check_masks(pd.Series(["0.png", "1.png"], index=[5, 3], name="mask"), "y")
    assert (masks.column, masks[np.array([1])].column, len(masks)) == ("mask", "mask", 2)
    assert check_masks(["0.png"], "y").column is None


@pytest.mark.parametrize("bad", [np.zeros((2, 2, 3)), np.zeros(3), 4])
def test_an_entry_that_is_no_mask_is_named(bad):
    with pytest.raises(ValueError, match=r"1 entries are something else:\n  y\[1\]: "):
        check_masks([MASK, bad], "y")


def test_masks_that_cannot_be_read_are_listed(tmp_path):
    Image.new("RGB", (3, 2)).save(tmp_path / "colours.png")
    sources = [MASK, tmp_path / "colours.png", tmp_path / "missing.png", MASK / 2]
    with pytest.raises(ValueError, match="3 cannot be used:") as caught:
        _ = check_masks(sources, "y_val").summaries
    text = str(caught.value)
    assert "y_val[1] has the mode RGB, not one number for each pixel" in text
    assert "y_val[2] cannot be read: " in text
    assert "y_val[3] holds float64, not integers" in text


def test_a_mask_that_disappears_is_named(tmp_path):
    Image.fromarray(MASK).save(tmp_path / "mask.png")
    masks = check_masks([MASK, tmp_path / "mask.png"], "y")[np.array([1])]
    assert masks.summaries[0] == ((3, 2), {0: 1, 1: 2, 2: 3})
    (tmp_path / "mask.png").unlink()
    with pytest.raises(ValueError, match=r"y must have masks of integers(.|\n)*  y\[1\] cannot be"):
        masks.read(0)


@pytest.mark.parametrize("shift", [-3, 0, 2**16])
@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_all_values_are_counted(shift, dtype):
    mask = MASK.astype(dtype) + shift
    expected = {shift: 1, shift + 1: 2, shift + 2: 3}
    assert check_masks([mask], "y").summaries[0][1] == expected
    assert check_masks([MASK > 1], "y").summaries[0][1] == {0: 3, 1: 3}


def test_parts_share_the_summaries(tmp_path):
    paths = [CountedPath(tmp_path / f"{at}.png") for at in range(3)]
    for path in paths:
        Image.fromarray(MASK).save(path.path)
    masks = check_masks(paths, "y")
    _ = masks.summaries, masks[np.array([2, 0])].followed_by(masks[:2]).summaries
    assert [path.n_reads for path in paths] == [1, 1, 1]


@pytest.mark.parametrize("value", [-1, 2**16])
def test_a_value_that_no_png_file_holds_is_an_error(value):
    with pytest.raises(ValueError, match=r"mask must have integers from 0 to 65535.*other numbers"):
        encode_mask(np.array([[0, value]]))


def test_masks_of_a_lossy_format_are_a_warning(tmp_path):
    Image.fromarray(MASK).save(tmp_path / "mask.jpg")
    with Image.open(tmp_path / "mask.jpg") as image:
        masks = check_masks([MASK, tmp_path / "mask.jpg", image], "y")
        with pytest.warns(UserWarning, match=r"write PNG files. They are 2:\n  y\[1\]: JPEG\n  y"):
            masks.check()
    masks.check()
