"""Images with two coloured squares, and the positions of the squares."""

import numpy as np


def square_images(n, seed=0):
    """Return grey images of several sizes with a red and a blue square, and their centres."""
    rng = np.random.default_rng(seed)
    images, points = [], []
    for _ in range(n):
        height, width = rng.integers(24, 48, 2)
        image = np.full((height, width, 3), 128, np.uint8)
        centres = [(rng.integers(5, width - 5), rng.integers(5, height - 5)) for _ in range(2)]
        for (x, y), colour in zip(centres, ((255, 0, 0), (0, 0, 255)), strict=True):
            image[y - 3 : y + 4, x - 3 : x + 4] = colour
        images.append(image)
        points.append(centres)
    return images, np.array(points, float)
