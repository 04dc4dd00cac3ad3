"""Files whose pixels have neither 8 nor 16 bits, which Pillow cannot write."""

import base64
import struct
import zlib

import numpy as np

# A quarter of the image each: black, a third, two thirds, white.  Written by OpenJPEG, compressed
# with zlib.  (bits, channels) -> the file
_JPEG2000 = {
    (1, 1): (
        "eNr77/8/kEGTAQQEoBgGUPmMDIyM/4MYeMBMBhYWBsb/MQwsDhz/UxhUGRidi1ITS1JTFJIqFfwLUvO8AlzdFcpS"
        "i4oz8/MUjPRM9Uz+T2DgApsjDdQ4+WqCYEDIeoUUBsWdx/r/3wQAXJcc1Q=="
    ),
    (4, 3): (
        "eNpjYGDgyQpQUODlaudiYGAQSSupLMgqMFIAshmgtC6QzgDSYpkZKUVAWgCMmZnZQWoY+JPzc4oYwUygBCMXUHHy"
        "f///gQz6MDEwhgFUPjMzIyME/Q9i4AEKAA1iYWFg/B/DwOKg8D+FQZWB0bkoNbEkNUUhqVLBvyA1zyvA1V2hLLWo"
        "ODM/T8FIz1TP5P8EBi6waZOAGiffV5ogGBAsybUm5PpNyeUnFY9z1Cb0HqvVF2JgSFTUrwhn4FHeFwCympOznlZq"
        "/98EAJXXTk8="
    ),
    (10, 1): (
        "eNr77/8/kEGTAQQEoBgGUPmMnIyM/4MYeEBMBgYWFgbG/zEMLA4B/1MYVBkYnYtSE0tSUxSSKhX8C1LzvAJc3RXK"
        "UouKM/PzFIz0TPVM/k9g4AKbswqocfL9rUaCAcGSXGtCrt+UXH5S8ThHbULvsVp9IQaGREWFzxNbWnaxWAAVM3Ny"
        "ene0Cb7VYqk9ldG/01dI6MfBAwyMLS37xNSASmUe/6nrKgCKC37XXGT31MT9zrJOzpqEBwwMh5ziuYUZGAz6Cv/Z"
        "u1oAxTt+T7koXzRL+V2wS8s+gwLsmsGK/t8EADzkWZw="
    ),
    (12, 1): (
        "eNpjYGDgyQpQUODlaudiYGAQSSupLMgqMFIAshmgtC6QzgDSYpkZKUVAWgCMGbnZQWoY+JPzc4oYwUxBBgZGO6Di"
        "5P/+/wMZNMFiAlAMA6h8Rm5Gxv9BDDwgJgMDCwsD4/8YBhaHhP8pDKoMjM5FqYklqSkKSZUK/gWpeV4Bru4KZalF"
        "xZn5eQpGeqZ6Jv8nMHCBzTkD1Dj5/qM3ggHBklxrQq7flFx+UvE4R21C77FafSEGhkRFhc8TW1p2sVgAFTNzcnp3"
        "tAm+1WKpPZXRv9NXSOjHwQMMjC0t+8TUgEplHv+p6yoAigt+11xk99TE/c6yTs6ahAcMDIec4rmFGRgM+gr/2bta"
        "AMU7fk+5KF80S/ldsEvLPoMCkD36rZ0NDBLuFv/5L/ohDAApVNTvkWHALgUy4/9NAC7gdAQ="
    ),
    (9, 1): (
        "eNpjYGDgyQpQUODlaudiYGAQSSupLMgqMFIAshmgtC6QzgDSYpkZKUVAWgCMGTnYQWoY+JPzc4oYwUxBBgZGHqDi"
        "5P/+/wMZNMFiAlAMA6h8Rg5Gxv9BDDwgJgMDCwsD4/8YBhYHj/8pDKoMjM5FqYklqSkKSZUK/gWpeV4Bru4KZalF"
        "xZn5eQpGeqZ6Jv8nMHCBzZkF1Dj5/lwhwYBgSa41IddvSi4/qXicozah91itvhADQ6KiwueJLS27WCyAipk5Ob07"
        "2gTfarHUnsro3+krJPTj4AEGxpaWfWJqQKUyj//UdRUAxQW/ay6ye2rifmdZJ2dNwgMGhkOWx3/8FXkoXzRL+V2w"
        "C0QzVJGH92NgcLAJnrM//mI5x//6/zcBVldfOg=="
    ),
    (12, 3): (
        "eNpjYGDgyQpQUODlaudiYGAQSSupLMgqMFIAshmgtC6QzgDSYpkZKUVAWgCMmbnZQWoY+JPzc4oYwUygBNMBoOLk"
        "//7/Axn0YWJgDAOofGZuRkYI+h/EwAMUABrEwsLA+D+GgcUh4X8KgyoDo3NRamJJaopCUqWCf0FqnleAq7tCWWpR"
        "cWZ+noKRnqmeyf8JDCCnMzB5ADVOvv/ojWBAsCTXmpDrNyWXn1Q8zlGb0HusVl+IgSFRUeHzxJaWXSwWIKs5Ob07"
        "2gTfarHUnsro3+krJPTj4AEGxpaWfWJqQKUyj//UdRUAxQW/ay6ye2rifmdZJ2dNwgMGhkNO8dzCDAwGfYX/7F0t"
        "gOIdv6dclC+apfwu2KVln0EByB791s4GBgl3i//8F/0QBoAUKur3yDBglwKZMer6gXP9/5sAPKcRKw=="
    ),
}


def jpeg2000(bits, channels):
    """Return a JPEG 2000 file of 16 x 16 pixels with four greys from black to white."""
    return zlib.decompress(base64.b64decode(_JPEG2000[bits, channels]))


def grey_tiff(pixels, bits, *, white_is_zero=False):
    """Return a TIFF file of one channel with ``bits`` bits, packed without gaps in a row."""
    pixels = np.asarray(pixels)
    height, width = pixels.shape
    if bits == 16:
        rows = pixels.astype("<u2").tobytes()
    else:
        shifts = np.arange(bits - 1, -1, -1)
        planes = (pixels[:, :, None] >> shifts & 1).astype(np.uint8)  # (h, w, bits)
        rows = np.packbits(planes.reshape(height, -1), axis=1).tobytes()
    tags = {
        256: width,
        257: height,
        258: bits,
        259: 1,  # not compressed
        262: 0 if white_is_zero else 1,
        273: 8 + 2 + 12 * 9 + 4,  # the offset of the rows
        277: 1,
        278: height,
        279: len(rows),
    }
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    return struct.pack("<2sHIH", b"II", 42, 8, len(tags)) + entries + bytes(4) + rows


def png(pixels, bits, clear):
    """Return a PNG file, grey (h, w) or colour (h, w, 3), in which one colour is transparent."""
    pixels = np.asarray(pixels)
    height, width = pixels.shape[:2]
    samples = pixels.reshape(height, -1)
    shifts = np.arange(bits - 1, -1, -1)
    planes = (samples[:, :, None] >> shifts & 1).astype(np.uint8)  # (h, n, bits)
    rows = np.packbits(planes.reshape(height, -1), axis=1)
    rows = np.pad(rows, ((0, 0), (1, 0)))  # each row begins with its filter: none
    header = struct.pack(">IIBBBBB", width, height, bits, 0 if pixels.ndim == 2 else 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        len(content).to_bytes(4) + name + content + zlib.crc32(name + content).to_bytes(4)
        for name, content in (
            (b"IHDR", header),
            (b"tRNS", struct.pack(f">{np.size(clear)}H", *np.ravel(clear))),
            (b"IDAT", zlib.compress(rows.tobytes())),
            (b"IEND", b""),
        )
    )
