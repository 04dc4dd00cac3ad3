"""A synthetic photo, and images as the bytes of files."""

from io import BytesIO

import numpy as np
from PIL import Image

from sktransfer.data.decoding import decoded


def encoded(image, filetype, **options):
    """Return the bytes of a file with ``image``."""
    file = BytesIO()
    image.save(file, filetype, **options)
    return file.getvalue()


def planes_of(item):
    """Return the decoded item as one image of mode RGB or L, or as float planes."""
    with decoded(item) as picture:
        return [plane.copy() for plane in picture.planes()]


def textured_photo():
    """Return an image like a photo, 640 x 480: soft shapes, edges and grain."""
    rng = np.random.default_rng(0)
    soft = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    edges = rng.integers(0, 256, (30, 40, 3), dtype=np.uint8)
    layers = [
        Image.fromarray(soft).resize((640, 480), Image.Resampling.BICUBIC),
        Image.fromarray(edges).resize((640, 480), Image.Resampling.NEAREST),
    ]
    grain = rng.normal(0, 6, (480, 640, 1))
    pixels = 0.7 * np.asarray(layers[0]) + 0.3 * np.asarray(layers[1]) + grain
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
