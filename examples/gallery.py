"""All plots of sktransfer.display, made from images that come with scikit-learn.

    python examples/gallery.py [FOLDER]

Writes the six plots of docs/displays.md to FOLDER, by default docs, in about a minute.
"""

import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from PIL import Image
from sklearn.datasets import load_digits, load_sample_images
from sklearn.model_selection import GridSearchCV

from sktransfer import FineTuneClassifier, find_lr
from sktransfer.display import (
    AugmentationDisplay,
    LearningRatesDisplay,
    TopLossesDisplay,
    TrainingCurvesDisplay,
    UnfreezeDepthDisplay,
)

mpl.use("Agg")
folder = Path(sys.argv[1] if len(sys.argv) > 1 else "docs")


def save(display: Any, name: str) -> None:
    """Write a plot to a PNG file with few colours, which makes it small."""
    memory = BytesIO()
    display.figure_.savefig(memory, dpi=90)
    image = Image.open(memory).convert("RGB").quantize(128)
    image.save(folder / f"{name}.png", optimize=True)
    print(folder / f"{name}.png")


digits = load_digits()
order = np.random.default_rng(0).permutation(len(digits.images))
X, y = digits.images[order] / 16, digits.target[order]  # (n, 8, 8) in [0, 1]
X, y, X_test, y_test = X[:400], y[:400], X[400:1000], y[400:1000]

model = FineTuneClassifier(
    image_size=32,
    unfreeze=3,
    unfreeze_every=2,
    layer_decay=0.4,
    augment=None,
    head_init="prior",
    freeze_epochs=3,
    max_epochs=9,
    lr=0.01,
    fine_tune_lr=0.001,
    batch_size=16,
    early_stopping=True,
    validation_fraction=0.2,
    random_state=0,
)
save(find_lr(model, X, y).plot(), "lr_finder")

model.fit(X, y)
save(TrainingCurvesDisplay.from_estimator(model), "training_curves")
save(LearningRatesDisplay.from_estimator(model), "learning_rates")
save(TopLossesDisplay.from_estimator(model, X_test, y_test, k=6), "top_losses")

model = FineTuneClassifier(
    image_size=32, augment=None, max_epochs=6, fine_tune_lr=0.001, batch_size=16, random_state=0
)
search = GridSearchCV(model, {"unfreeze": [0, 1, 2, 3, "all"]}, cv=3, refit=False)
search.fit(X[:200], y[:200])
save(UnfreezeDepthDisplay.from_search(search), "unfreeze_depth")

photos = load_sample_images().images
trivial = FineTuneClassifier(augment="trivial", image_size=128)
save(AugmentationDisplay.from_estimator(trivial, photos, n_views=5), "augmentation")
