"""Upright pixels of one image, converted tile by tile.

A conversion, such as placing an image on a white background, takes several copies of its pixels.
In tiles, it needs them only for a small part of a large image at a time.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image

from .._support.geometry import IDENTITY, Place, mirrored, scaled, swapped
from ..exceptions import DecodeError

# Left, top, right and bottom of a rectangle, in pixels
Box = tuple[int, int, int, int]

# Number of pixels of a tile.  Most images have fewer, and are a single tile.
TILE = 2**19

# EXIF orientation -> the operation that turns the image upright
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# The orientations in which rows are stored as columns, and those in which the stored image is
# mirrored from left to right or from top to bottom
SIDEWAYS, FROM_RIGHT, FROM_BOTTOM = (5, 6, 7, 8), (2, 3, 7, 8), (3, 4, 6, 7)

# Pillow converts a mode with premultiplied alpha only to the same mode with plain alpha.
PLAIN_ALPHA = {"La": "LA", "RGBa": "RGBA"}

# A pair of pixel values: black and white
EIGHT_BITS = (0, 255)

DEPTH_16 = np.float32(65535)
DEPTH_8 = np.float32(255)

# Floats may leave [0, 1] by this much, from rounding.
TOLERANCE = 1e-6


class Picture(ABC):
    """Upright pixels of one image."""

    @property
    @abstractmethod
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""

    @property
    @abstractmethod
    def place(self) -> Place:
        """The place of the item in the upright pixels."""

    @abstractmethod
    def tile(self, box: Box) -> list[Image.Image]:
        """Convert a part at once, as for :meth:`planes`."""

    @abstractmethod
    def is_direct(self, box: Box) -> bool:
        """Return True if the conversion of a part at once copies it at most once."""

    def check(self) -> None:
        """Raise an error if there are no pixels."""
        if 0 in self.size:
            raise DecodeError("has no pixels: it is {} x {}.".format(*self.size))

    def planes(self, box: Box | None = None) -> list[Image.Image]:
        """Return the pixels as one image of mode RGB or L, or as float planes.

        Float planes are images of mode F, one for grey and three for colour, with values in
        [0, 1].  They stand for images with more than eight bits per channel.

        Parameters
        ----------
        box : tuple of 4 int or None, default=None
            Return only this part.
        """
        left, top, right, bottom = box = box or (0, 0, *self.size)
        width, height = right - left, bottom - top
        if width * height <= TILE or self.is_direct(box):
            return self.tile(box)
        planes: list[Image.Image] = []
        for part in tiles(box):
            converted = self.tile(part)
            planes = planes or [Image.new(tile.mode, (width, height)) for tile in converted]
            for plane, tile in zip(planes, converted, strict=True):
                plane.paste(tile, (part[0] - left, part[1] - top))
        return planes


def tiles(box: Box) -> Iterator[Box]:
    """Divide a rectangle into tiles of at most ``TILE`` pixels, row by row."""
    left, top, right, bottom = box
    columns = min(right - left, TILE)
    rows = TILE // columns
    for y in range(top, bottom, rows):
        for x in range(left, right, columns):
            yield x, y, min(x + columns, right), min(y + rows, bottom)


@dataclass(frozen=True)
class Draft:
    """A reduced size at which a file was decoded.

    Parameters
    ----------
    full_size : tuple of 2 int
        Width and height of the file.
    scale : float
        The size of the decoded image divided by that of the file.
    """

    full_size: tuple[int, int]
    scale: float


@dataclass(frozen=True)
class StoredImage(Picture):
    """The pixels of a loaded PIL image.

    Parameters
    ----------
    image : PIL image
    orientation : int
        The EXIF orientation, which is applied.  1 is upright.
    n_bits : int
        The bits of a channel.
    span : (int, int)
        The pixel values of black and white, if they are integers.
    draft : Draft or None, default=None
        The reduced size at which the image was decoded, if it was.
    """

    image: Image.Image
    orientation: int
    n_bits: int
    span: tuple[int, int]
    draft: Draft | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the upright image."""
        width, height = self.image.size
        return (height, width) if self.orientation in SIDEWAYS else (width, height)

    @property
    def place(self) -> Place:
        """The place of the stored image in the upright pixels."""
        width, height = self.image.size
        draft = self.draft or Draft(self.image.size, 1)
        place = Place(scaled(draft.scale, draft.scale), draft.full_size)
        if self.orientation in FROM_RIGHT:
            place = place.then(mirrored(width))
        if self.orientation in FROM_BOTTOM:
            place = place.then(swapped() @ mirrored(height) @ swapped())
        return place.then(swapped()) if self.orientation in SIDEWAYS else place

    def tile(self, box: Box) -> list[Image.Image]:
        """Convert a part at once, as for :meth:`planes`."""
        part = _part(self.image, self._stored(box))
        if self.orientation in UPRIGHT:
            part = part.transpose(UPRIGHT[self.orientation])
        if _is_deep(part):
            return _array_planes(self._deep(part))
        if self.span != EIGHT_BITS:
            part = part.point(lambda value: min(255, round(value * 255 / self.span[1])))
        return [_shallow(part)]

    def is_direct(self, box: Box) -> bool:
        """Return True if the conversion of a part at once copies it at most once."""
        image = self.image
        whole = self.orientation not in UPRIGHT and box == (0, 0, *image.size)
        shallow = self.span == EIGHT_BITS and not _is_deep(image)
        return whole and shallow and not _may_be_clear(image)

    def check(self) -> None:
        """Raise an error if there are no pixels, or if their values are out of range."""
        super().check()
        if not _is_deep(self.image):
            return
        top, slack = (1, TOLERANCE) if self.image.mode == "F" else (max(self.span), 0)
        low, high = self._extremes()
        if not (low >= -slack and high <= top + slack):
            raise DecodeError(
                f"must have pixels from 0 to {top}, because its mode is {self.image.mode}; got "
                f"{low:g} to {high:g}. Rescale them."
            )

    def opacity(self) -> int:
        """Return the minimum opacity of the pixels, in [0, 255]."""
        if not _may_be_clear(self.image):
            return 255
        if _is_deep(self.image):
            clear = self.image.info.get("transparency")
            found = any(np.any(np.asarray(tile) == clear) for tile in self._stored_tiles())
            return 0 if found else 255
        alpha = [_plain(tile).getchannel("A").getextrema() for tile in self._stored_tiles()]
        return min(int(low) for low, _ in alpha)  # type: ignore[arg-type]  # one channel

    def _deep(self, part: Image.Image) -> np.ndarray:
        """Return the pixels of a part of mode I;16, I or F, as uint16 or as floats in [0, 1]."""
        pixels, (black, white) = np.asarray(part), self.span
        if part.mode == "F":
            return pixels
        if (clear := part.info.get("transparency")) is not None:
            pixels = np.where(pixels == clear, white, pixels)  # on a white background
        if (black, white) == (0, 65535):
            return pixels.astype(np.uint16)
        return (pixels.astype(np.float32) - np.float32(black)) / np.float32(white - black)

    def _extremes(self) -> tuple[float, float]:
        """Return the minimum and maximum of all pixels, or NaN."""
        found = [(pixels.min(), pixels.max()) for pixels in map(np.asarray, self._stored_tiles())]
        lows, highs = zip(*found, strict=True)
        return np.min(lows), np.max(highs)

    def _stored(self, box: Box) -> Box:
        """Return the rectangle of the stored image that becomes ``box`` when it is upright."""
        left, top, right, bottom = box
        if self.orientation in SIDEWAYS:
            left, top, right, bottom = top, left, bottom, right
        width, height = self.image.size
        if self.orientation in FROM_RIGHT:
            left, right = width - right, width - left
        if self.orientation in FROM_BOTTOM:
            top, bottom = height - bottom, height - top
        return left, top, right, bottom

    def _stored_tiles(self) -> Iterator[Image.Image]:
        """Divide the stored image into tiles."""
        return (_part(self.image, box) for box in tiles((0, 0, *self.image.size)))


def _part(image: Image.Image, box: Box) -> Image.Image:
    """Return a part of an image; the whole image is not copied."""
    return image if box == (0, 0, *image.size) else image.crop(box)


def _is_deep(image: Image.Image) -> bool:
    """Return True if the mode of an image has more than eight bits per channel."""
    return image.mode.startswith("I") or image.mode == "F"


def _may_be_clear(image: Image.Image) -> bool:
    """Return True if an image may have transparent pixels."""
    if image.mode == "P" and image.palette is None:  # has_transparency_data fails
        return "transparency" in image.info
    return image.has_transparency_data


def _plain(image: Image.Image) -> Image.Image:
    """Convert a transparent image to mode RGBA."""
    return image.convert(PLAIN_ALPHA.get(image.mode, image.mode)).convert("RGBA")


def _shallow(image: Image.Image) -> Image.Image:
    """Convert an image of at most eight bits per channel to mode RGB or L."""
    if _may_be_clear(image):
        image = _plain(image)
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    if image.mode == "1":
        return image.convert("L")
    return image if image.mode in ("RGB", "L") else image.convert("RGB")


@dataclass(frozen=True, eq=False)
class PixelArray(Picture):
    """The pixels of an array.

    Parameters
    ----------
    pixels : ndarray of shape (h, w) or (h, w, c)
    """

    pixels: np.ndarray

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the image."""
        height, width = self.pixels.shape[:2]
        return width, height

    @property
    def place(self) -> Place:
        """The place of the array in its pixels, which are the same."""
        return Place(IDENTITY, self.size)

    def tile(self, box: Box) -> list[Image.Image]:
        """Convert a part at once, as for :meth:`planes`."""
        left, top, right, bottom = box
        return _array_planes(self.pixels[top:bottom, left:right])

    def is_direct(self, box: Box) -> bool:  # noqa: ARG002 - true of any part
        """Return True if the conversion of a part at once copies it at most once."""
        opaque = self.pixels.ndim == 2 or self.pixels.shape[2] in (1, 3)
        return opaque and self.pixels.dtype == np.uint8


def _array_planes(pixels: np.ndarray) -> list[Image.Image]:
    """Convert an array (h, w) or (h, w, c) to an RGB or L image, or to float planes."""
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]  # (h, w)
    if pixels.dtype == bool:
        pixels = pixels.astype(np.uint8) * np.uint8(255)
    if pixels.dtype == np.uint8:
        return [_shallow(Image.fromarray(np.ascontiguousarray(pixels)))]
    floats = _floats(pixels)
    if floats.ndim == 2:
        return [Image.fromarray(np.ascontiguousarray(floats))]
    if floats.shape[2] in (2, 4):
        colours, alpha = floats[:, :, :-1], floats[:, :, -1:]
        floats = colours * alpha + (1 - alpha)  # on a white background
    bands = np.ascontiguousarray(np.moveaxis(floats, 2, 0))  # (c, h, w)
    return [Image.fromarray(band) for band in bands]


def is_uint16(pixels: np.ndarray) -> bool:
    """Return True if the pixels are unsigned integers of 16 bits, in either byte order."""
    return pixels.dtype.kind == "u" and pixels.dtype.itemsize == 2


def _floats(pixels: np.ndarray) -> np.ndarray:
    """Convert pixels to float32.  The scale depends on their dtype, never on their values."""
    floats = pixels.astype(np.float32)
    if pixels.dtype.kind == "f":
        return floats
    return floats / (DEPTH_16 if is_uint16(pixels) else DEPTH_8)
