"""Every kind of y on the same images: a model, and the y of 24 images."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from helpers.tiny import tiny_backbone

from sktransfer import (
    FineTuneClassifier,
    FineTuneMultiTask,
    FineTuneRegressor,
    FineTuneSegmenter,
)


def bright_squares(n=24):
    """Return noisy images of one size with a bright square, and its left and top."""
    rng = np.random.default_rng(0)
    images = rng.integers(60, 100, (n, 32, 40, 3), dtype=np.uint8)
    corners = np.column_stack([rng.integers(0, 28, n), rng.integers(0, 20, n)])
    for image, (left, top) in zip(images, corners, strict=True):
        image[top : top + 12, left : left + 12] += 120
    return images, corners


@dataclass(frozen=True)
class Kind:
    """A kind of y: its estimator, and its targets."""

    estimator: type
    y: Any
    parameters: dict[str, Any]

    def model(self, **parameters):
        common = {"backbone": tiny_backbone, "max_epochs": 2, "unfreeze": 1, "augment": None}
        common |= {"random_state": 0, "verbose": 0}
        return self.estimator(**(common | self.parameters | parameters))

    def those(self, rows):
        """Return the y of some items, in the order of ``rows``."""
        if isinstance(self.y, pd.DataFrame):
            return self.y.iloc[rows].reset_index(drop=True)
        return [self.y[at] for at in rows] if isinstance(self.y, list) else self.y[rows]


IMAGES, CORNERS = bright_squares()


def _kinds():
    left, top = CORNERS.T
    side, level = np.where(left < 14, "left", "right"), np.where(top < 10, "high", "low")
    masks = np.zeros(IMAGES.shape[:3], np.uint8)
    for mask, (x, y) in zip(masks, CORNERS, strict=True):
        mask[y : y + 12, x : x + 12] = 1
    table = pd.DataFrame({"left": left + 0.5, "level": level})
    table.loc[::3, "left"] = np.nan
    table.loc[1::3, "level"] = None
    points = (CORNERS + 5.5)[:, None]
    return {
        "labels": (FineTuneClassifier, side, {}),
        "multi-label": (FineTuneClassifier, (CORNERS < 12).astype(int), {}),
        "columns": (FineTuneClassifier, np.column_stack([side, level]), {}),
        "numbers": (FineTuneRegressor, left + 0.5, {}),
        "points": (FineTuneRegressor, points, {"points": True, "pooling": "flatten"}),
        "masks": (FineTuneSegmenter, list(masks), {"head": "linear"}),
        "mixed": (FineTuneMultiTask, table, {}),
    }


KINDS = {name: Kind(*parts) for name, parts in _kinds().items()}


def assert_same(found, expected):
    """Assert that two predictions are equal to the last bit."""
    if isinstance(expected, pd.DataFrame):
        pd.testing.assert_frame_equal(found, expected, check_exact=True)
    else:
        np.testing.assert_equal(found, expected)
