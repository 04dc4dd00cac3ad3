"""A corpus of small image files: every mode and format that Pillow writes, and damaged ones."""

import random
from collections.abc import Iterator
from io import BytesIO

import numpy as np
from PIL import ExifTags, Image

WIDTH, HEIGHT = 29, 23

# Icons of many sizes take long, so they are written in these modes only, and not damaged.
ICON_MODES, MOST_BYTES = {"ICNS": ("P", "RGBA")}, 2**16

# Formats for which Pillow runs another program, and one that it cannot read and that holds the time
SKIPPED = ("EPS", "PDF")

# Options with which a format is written, in addition to none
OPTIONS = {
    "AVIF": [{"speed": 10, "quality": 100, "subsampling": "4:4:4"}],
    "BLP": [{"blp_version": "BLP1"}],
    "DDS": [{"pixel_format": name} for name in ("DXT1", "DXT3", "DXT5", "BC2", "BC3", "BC5")],
    "GIF": [{"interlace": 0}, {"transparency": 1}, {"save_all": True}],
    "ICO": [{"bitmap_format": "bmp"}],
    "JPEG": [
        {"progressive": True},
        {"quality": 100, "subsampling": 0},
        {"restart_marker_blocks": 1},
        *({"orientation": orientation} for orientation in range(2, 9)),
    ],
    "JPEG2000": [{"no_jp2": True}, {"irreversible": True}, {"tile_size": (16, 16)}],
    "MPO": [{"save_all": True}],
    "PNG": [
        {"transparency": 100},
        {"transparency": (100, 100, 100)},
        {"transparency": bytes(range(0, 256, 16))},
        {"bits": 4},
        {"save_all": True},
        {"orientation": 6},
    ],
    "SGI": [{"bpc": 2}],
    "TGA": [{"compression": "tga_rle"}],
    "TIFF": [
        *({"compression": f"tiff_{name}"} for name in ("lzw", "adobe_deflate", "jpeg")),
        *({"compression": name} for name in ("packbits", "group3", "group4", "zstd")),
        {"big_tiff": True},
        {"save_all": True},
        {"orientation": 8},
        {"tiffinfo": {317: 2}, "compression": "tiff_lzw"},  # differences of neighbouring pixels
    ],
    "WEBP": [{"lossless": True}, {"save_all": True}, {"orientation": 3}],
}


def corpus(n_files: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """Iterate over the names and bytes of whole files, then of truncated and of flipped ones."""
    whole = list(whole_files(seed))
    yield from whole[:n_files]
    small = [(name, data) for name, data in whole if len(data) <= MOST_BYTES]
    chance = random.Random(seed)
    for number in range(len(whole), n_files):
        name, data = small[number % len(small)]
        damage = (truncated, flipped)[number // len(small) % 2]
        yield f"{number}-{damage.__name__}-{name}", damage(data, chance)


def truncated(data: bytes, chance: random.Random) -> bytes:
    """Return the beginning of a file."""
    return data[: chance.randrange(1, len(data))]


def flipped(data: bytes, chance: random.Random) -> bytes:
    """Return a file in which some bits differ, half of them in its header."""
    damaged = bytearray(data)
    for _ in range(chance.choice([1, 2, 8])):
        end = chance.choice([100, len(data)])
        damaged[chance.randrange(min(end, len(data)))] ^= 1 << chance.randrange(8)
    return bytes(damaged)


def whole_files(seed: int) -> Iterator[tuple[str, bytes]]:
    """Iterate over the names and bytes of undamaged files."""
    Image.init()
    for mode, image in images(seed).items():
        for filetype in sorted(set(Image.SAVE) - set(SKIPPED)):
            if mode not in ICON_MODES.get(filetype, (mode,)):
                continue
            for number, options in enumerate([{}, *OPTIONS.get(filetype, [])]):
                data = written(image, filetype, **options)
                if data:
                    yield f"{mode.replace(';', '')}-{number}.{filetype.lower()}", data


def written(image, filetype: str, orientation: int = 1, **options) -> bytes:
    """Return the bytes of a file, b"" if Pillow does not write this mode with these options."""
    file = BytesIO()
    if orientation != 1:
        options["exif"] = Image.Exif()
        options["exif"][ExifTags.Base.Orientation] = orientation
    if "save_all" in options:
        options["append_images"] = [image.transpose(Image.Transpose.ROTATE_180)]
    try:
        image.save(file, filetype, **options)
    except Exception:  # noqa: BLE001 - each format raises errors of its own
        return b""
    return file.getvalue()


def images(seed: int) -> dict[str, Image.Image]:
    """Return one image of each mode: a gradient with noise, transparent on one side."""
    rng = np.random.default_rng(seed)
    ramp = np.linspace(0, 200, WIDTH)[None, :, None] + np.zeros((HEIGHT, 1, 4))
    pixels = (ramp + rng.integers(0, 56, ramp.shape)).astype(np.uint8)
    rgba = Image.fromarray(pixels)
    rgb, palette = rgba.convert("RGB"), rgba.convert("RGB").quantize(16)
    plain = ("1", "L", "RGB", "RGBX", "CMYK", "YCbCr", "HSV", "LAB")
    deep = pixels[:, :, 0].astype(np.uint16) * 257
    found = {
        **{mode: rgb.convert(mode) for mode in plain},
        **{mode: rgba.convert(mode) for mode in ("RGBA", "LA", "RGBa")},
        "La": rgba.convert("LA").convert("La"),
        "P": palette,
        "PA": palette.convert("PA"),
        "I;16": Image.fromarray(deep),
        "I;16B": Image.frombytes("I;16B", (WIDTH, HEIGHT), deep.astype(">u2").tobytes()),
        "I": Image.fromarray(deep.astype(np.int32)),
        "F": Image.fromarray(deep.astype(np.float32) / 65535),
    }
    found["LAB"].info.clear()  # a colour profile with the time
    return found
