"""Names that may hold any character, as text to print."""

import numpy as np
import pytest
import torch
from PIL import Image

from sktransfer._support.text import printable, short


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("caf\udce9.jpg", r"caf\udce9.jpg"),
        ("a\nb\tc\r.jpg", r"a\nb\tc\r.jpg"),
        ("\x1b[31mred\x7f\x85", r"\x1b[31mred\x7f\x85"),
        ("a\u2028b\u2029c", r"a\u2028b\u2029c"),
        ("photo\u202egpj.exe\u2066", r"photo\u202egpj.exe\u2066"),
    ],
)
def test_characters_that_cannot_be_printed_are_escaped(name, expected):
    assert printable(name) == expected


@pytest.mark.parametrize("name", ["café 螞蟻 नमस्ते", "C:\\new\\table.jpg", "[red]a[/x]", ""])
def test_other_characters_stay_as_they_are(name):
    assert printable(name) == name


def test_a_printable_name_can_be_encoded():
    everything = "".join(map(chr, range(0x2100))) + "\ud800\udc80\udfff"
    text = printable(everything)
    assert text.encode().decode() == text
    assert len(text.splitlines()) == 1


def test_an_object_is_printed_as_str_shows_it(tmp_path):
    assert printable(tmp_path) == str(tmp_path)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (Image.new("L", (640, 480)), "image of 640 x 480"),
        ("a.jpg", "'a.jpg'"),
        (b"ab", "b'ab'"),
        (np.zeros((480, 640, 3)), "ndarray of shape (480, 640, 3)"),
        (torch.zeros(3, 4), "Tensor of shape (3, 4)"),
        (np.array([1, 2]), "array([1, 2])"),
        ("x" * 100, f"'{'x' * 76}..."),
    ],
)
def test_a_value_is_short_and_the_same_in_each_run(value, expected):
    assert short(value) == expected


def test_an_opened_image_is_named_by_its_size(tmp_path):
    Image.new("L", (3, 2)).save(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        assert short(image) == "image of 3 x 2"
