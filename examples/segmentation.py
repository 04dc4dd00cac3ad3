"""
Name each pixel of an image
===========================

:class:`sktransfer.FineTuneSegmenter` predicts a class for each pixel.  Here, all stages of the
network are frozen: their outputs are computed once, kept in a cache, and serve every head.
"""

# %%
# Pictures with masks
# -------------------
#
# Each picture has round pieces of fur and petals on gravel.  Its mask has the class of each pixel.
# The photos of the test pictures are others than those for training.

import matplotlib.pyplot as plt
import numpy as np

from sktransfer import load_textures

CLASSES = ["gravel", "fur", "petals"]
SIDE = 64


def make_pictures(subset, n, seed):
    rng = np.random.default_rng(seed)
    textures = load_textures(subset, n_per_class=20)
    photos = [np.asarray(textures.data)[textures.labels == name] for name in CLASSES]
    pictures, masks = [], []
    down, right = np.mgrid[:SIDE, :SIDE]
    for _ in range(n):
        picture = photos[0][rng.integers(20)].copy()
        mask = np.zeros((SIDE, SIDE), np.uint8)
        for label in (1, 2):
            x, y = rng.integers(12, SIDE - 12, 2)
            radius = rng.integers(8, 20)
            inside = np.hypot(right - x, down - y) < radius
            picture[inside] = photos[label][rng.integers(20)][inside]
            mask[inside] = label
        pictures.append(picture)
        masks.append(mask)
    return np.array(pictures), np.array(masks)


X, y = make_pictures("train", 60, seed=0)
X_test, y_test = make_pictures("test", 20, seed=1)

# %%
# Heads on frozen stages
# ----------------------
#
# ``score`` is the mean intersection over union (IoU) of the classes.  Both heads read the outputs
# of the stages from the cache.

from tempfile import mkdtemp

from sktransfer import FineTuneSegmenter

cache = mkdtemp()
models = {}
for head in ("linear", "fpn"):
    model = FineTuneSegmenter(
        head=head, image_size=128, max_epochs=8, cache=cache, random_state=0, verbose=0
    )
    models[head] = model.fit(X, y)
    print(f"{head}: mean IoU {model.score(X_test, y_test):.3f}")

# %%
# The IoU of each class:

for name, iou in zip(CLASSES, models["fpn"].score_classes(X_test, y_test), strict=True):
    print(f"{name}: {iou:.3f}")

# %%
# Predicted masks
# ---------------

from sktransfer.display import MasksDisplay

MasksDisplay.from_estimator(models["fpn"], X_test, y_test, names=CLASSES, k=4)
plt.show()

# %%
# A prediction has the size of its image, whatever the size that the network sees:

wide = np.concatenate([X_test[0], X_test[1]], axis=1)
print(wide.shape, models["fpn"].predict([wide])[0].shape)

# %%
# With photos and masks in files, pass lists of paths.  ``unfreeze=2`` also trains the last two
# stages, with augmentation that moves images and masks together.
