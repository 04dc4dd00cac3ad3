"""The depth of a file: the bits of a channel; the values of black, white and clear colours.

Pillow's modes have 8, 16 or 32 bits.  Pixels of other depths keep their values or are shifted to
the left, and only the file states which values stand for black and white.
"""

from __future__ import annotations

from typing import Any

from PIL import ExifTags, Image

from ..exceptions import DecodeError

WHITE_IS_ZERO = 0  # a value of the TIFF tag PhotometricInterpretation

# The first markers of a JPEG 2000 codestream, and the offset of the bits of the first channel
CODESTREAM, CODESTREAM_BITS = b"\xff\x4f\xff\x51", 42
# The box that describes the image in a JP2 file, and the offset of the bits of all channels
HEADER, HEADER_BITS, BITS_VARY = b"ihdr", 14, 255
HEAD_BYTES = 2**16  # metadata may precede both

# Pillow's names for PNG files whose grey pixels have few bits, and these bits
GREY_BITS = {"L;2": 2, "L;4": 4}


def n_bits(image: Image.Image) -> int:
    """Return the bits of a channel: those that the file names, or those of Pillow's mode.

    The header of a JPEG 2000 file can be read only until its image is loaded.
    """
    deep = image.mode.startswith("I")
    if image.format == "JPEG2000":
        return _jpeg2000_bits(image) or (16 if deep else 8)
    named = _tags(image).get(ExifTags.Base.BitsPerSample) if deep else None
    return int(named[0]) if named else 16 if deep else 8


def black_and_white(image: Image.Image) -> tuple[int, int]:
    """Return the pixel values that stand for black and white in an image of integers.

    Raises
    ------
    DecodeError
        If Pillow does not decode images of this kind correctly.

    Examples
    --------
    >>> from PIL import Image
    >>> from sktransfer.data.depths import black_and_white
    >>> black_and_white(Image.new("L", (8, 8))), black_and_white(Image.new("I;16", (8, 8)))
    ((0, 255), (0, 65535))
    """
    if image.mode == "I":  # Pillow opens some files of 16 bits in this mode of 32 bits
        return 0, 65535
    if image.mode in ("P", "PA"):  # the bits of an index
        return 0, 255
    bits, width = n_bits(image), 16 if image.mode.startswith("I;16") else 8
    if image.format == "JPEG2000":
        if bits > width:
            raise DecodeError(
                f"is a JPEG 2000 file of {bits} bits and mode {image.mode}, whose whites Pillow "
                "decodes as black. Convert it to PNG or TIFF."
            )
        return 0, (2**bits - 1) << (width - bits)
    # Pillow inverts eight bits itself.
    meaning = _tags(image).get(ExifTags.Base.PhotometricInterpretation) if width == 16 else None
    white = 2**bits - 1
    return (white, 0) if meaning == WHITE_IS_ZERO else (0, white)


def scale_clear_colour(image: Image.Image) -> None:
    """Scale the transparent colour of a PNG file, which is not loaded, as Pillow scales its pixels.

    Pillow keeps the number that the file names, but makes eight bits of two, four and sixteen.
    """
    clear = image.info.get("transparency")
    parts = getattr(image, "tile", [])  # a file without pixels has none
    if image.format != "PNG" or clear is None or not parts:
        return
    stored = parts[0][3]
    if stored in GREY_BITS:
        white = 2 ** GREY_BITS[stored] - 1
        image.info["transparency"] = (clear & white) * 255 // white
    elif stored == "RGB;16B":
        image.info["transparency"] = tuple(value >> 8 for value in clear)


def _tags(image: Image.Image) -> Any:
    """Return the tags of a TIFF file.  Copied and unpickled images have no tags."""
    return getattr(image, "tag_v2", {})


def _jpeg2000_bits(image: Image.Image) -> int:
    """Return the bits of the first channel of a JPEG 2000 file; 0 if they cannot be read."""
    file = getattr(image, "fp", None)
    if file is None:
        return 0
    position = file.tell()
    file.seek(0)
    head: bytes = file.read(HEAD_BYTES)
    file.seek(position)
    for marker, offset in ((CODESTREAM, CODESTREAM_BITS), (HEADER, HEADER_BITS)):
        start = head.find(marker)
        found = head[start + offset : start + offset + 1]
        if start >= 0 and found and found[0] != BITS_VARY:
            return (found[0] & 0x7F) + 1  # the first bit marks signed values
    return 0
