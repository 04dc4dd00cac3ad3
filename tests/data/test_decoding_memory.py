"""The memory of decoding: a small multiple of the pixels, for all threads together."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image, features

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="the peak of memory is read from /proc"
)

SIDE = 3000
PIXELS = SIDE * SIDE
SLACK = 2**25  # bytes: a few tiles, and what Python and the C library keep

# Prints the additional bytes that each job takes at most, for jobs as (name, path).
CHILD = """
import json, sys
from PIL import Image
import torch
from sktransfer import ImagePreset, check_images
from sktransfer._support.memory import MemoryBudget
from sktransfer._support.threads import map_ahead
from sktransfer.data import decoding

torch.set_num_threads(1)
preset = ImagePreset(size=32)

def in_threads(path):
    decoding._budget = MemoryBudget(2 * 8 * %(pixels)d)
    list(map_ahead(preset, [path] * 8, 8, 8))

JOBS = {"preset": preset, "check_images": lambda path: check_images([path]), "threads": in_threads}

def status(key):
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(key))

small = Image.new("RGB", (64, 64))
preset(small), check_images([small])  # imports
peaks = []
for name, path in json.loads(sys.argv[1]):
    open("/proc/self/clear_refs", "w").write("5")  # resets the peak
    before = status("VmRSS")
    JOBS[name](path)
    peaks.append(status("VmHWM") - before)
print(json.dumps(peaks))
"""


def flat(mode, colour):
    return Image.new(mode, (SIDE, SIDE), colour)


def rotated(orientation):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    return exif


def files():
    """Return images, the options with which they are written, and bytes for each pixel."""
    rgb, rgba = flat("RGB", (200, 30, 60)), flat("RGBA", (200, 30, 60, 51))
    sixteen = Image.fromarray(np.full((SIDE, SIDE), 0x8001, np.uint16))
    yield "rgb.png", rgb, {}, 4
    yield "rgba.png", rgba, {}, 8
    yield "turned.png", rgb, {"exif": rotated(6)}, 8
    yield "la.png", rgba.convert("LA"), {}, 8
    yield "clear.png", rgb, {"transparency": (200, 30, 60)}, 8
    yield "palette.gif", rgb.quantize(4), {"transparency": 0}, 5
    yield "sixteen.png", sixteen, {}, 6
    yield "float.tif", flat("F", 0.5), {"compression": "tiff_lzw"}, 8
    yield "cmyk.tif", rgb.convert("CMYK"), {"compression": "tiff_lzw"}, 8
    yield "plain.jpg", rgb, {}, 4
    yield "progressive.jpg", rgb, {"progressive": True, "subsampling": 0}, 10
    if features.check("webp"):
        yield "rgba.webp", rgba, {"lossless": True, "method": 0}, 16
    if (
        ".avif" in Image.registered_extensions()
    ):  # older versions of Pillow do not know this feature
        yield "rgba.avif", rgba, {"speed": 10}, 12
    if features.check("jpg_2000"):
        yield "rgba.jp2", rgba, {}, 25


FILES = [name for name, *_ in files()]


@pytest.fixture(scope="module")
def excess(tmp_path_factory):
    """Return a function of a job and a file: bytes that it took above those expected, or less."""
    folder = tmp_path_factory.mktemp("large")
    jobs, limits = [("threads", "rgba.png")], [2 * 8 * PIXELS]
    for name, image, options, bytes_each in files():
        image.save(folder / name, **options)
        jobs += [("preset", name), ("check_images", name)]
        limits += [bytes_each * PIXELS] * 2
    listed = json.dumps([(job, str(folder / name)) for job, name in jobs])
    command = [sys.executable, "-c", CHILD % {"pixels": PIXELS}, listed]
    peaks = json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout)
    found = dict(zip(jobs, np.subtract(peaks, limits), strict=True))
    return lambda job, name: found[job, name]


@pytest.mark.parametrize("job", ["preset", "check_images"])
@pytest.mark.parametrize("name", FILES)
def test_decoding_takes_only_a_few_bytes_for_each_pixel(excess, job, name):
    assert excess(job, name) < SLACK


def test_a_jpeg_takes_less_if_it_is_decoded_at_a_smaller_size(excess):
    assert excess("preset", "plain.jpg") < SLACK - 4 * PIXELS


def test_threads_decode_large_images_within_their_budget(excess):
    assert excess("threads", "rgba.png") < 2 * SLACK  # two images have tiles at the same time
