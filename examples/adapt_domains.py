"""
New domains: photos by night with labels of photos by day
=========================================================

The labelled photos were taken by day, and the model has to work by night.  This page compares the
statistics of batch norm, self-training, and adapters of the library skada, which follow the
features in its pipelines.
"""

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image
from skada import SubspaceAlignmentAdapter, make_da_pipeline
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import LabelEncoder, StandardScaler

from sktransfer import (
    DomainSelfTrainingClassifier,
    PretrainedFeatureExtractor,
    load_image_folder,
    load_textures,
)

folder = Path(tempfile.mkdtemp())
load_textures("train", folder=folder / "day")
load_textures("test", folder=folder / "night")
day, night = (load_image_folder(folder / name) for name in ("day", "night"))
rng = np.random.default_rng(0)
for path in night.data:
    pixels = np.asarray(Image.open(path)) * 0.2 + rng.normal(0, 6, 3)
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path)

figure, axes = plt.subplots(2, 5, figsize=(8, 3.4), layout="constrained")
for row, photos in zip(axes, (day, night), strict=True):
    for axis, index in zip(row, range(0, 50, 10), strict=True):
        axis.imshow(plt.imread(photos.data[index]))
        axis.set_title(photos.labels[index], fontsize=9)
        axis.axis("off")
plt.show()

# %%
# The pipelines take the paths of both domains.  ``sample_domain`` is positive for the source and
# negative for the target, as in skada, and the label -1 means that there is none.

codes = LabelEncoder().fit(day.labels)
X = [*day.data, *night.data]
y = np.concatenate([codes.transform(day.labels), np.full(len(night.data), -1)])
domain = np.repeat([1, -2], [len(day.data), len(night.data)])

cache = folder / "cache"
own = {"batch_norm": "data", "cache": cache}  # statistics of each domain
pipelines = {
    "no adaptation": (
        PretrainedFeatureExtractor(cache=cache),
        StandardScaler(),
        LogisticRegression(C=0.01),
    ),
    "own statistics": (
        PretrainedFeatureExtractor(**own),
        StandardScaler(),
        LogisticRegression(C=0.01),
    ),
    "own statistics, subspace alignment of skada": (
        PretrainedFeatureExtractor(**own),
        StandardScaler(),
        SubspaceAlignmentAdapter(n_components=50),
        LogisticRegression(),
    ),
    "own statistics, self-training": (
        PretrainedFeatureExtractor(**own),
        DomainSelfTrainingClassifier(),
    ),
}
for name, steps in pipelines.items():
    model = make_da_pipeline(*steps)
    model.fit(np.array(X), y, sample_domain=domain)
    predicted = model.predict(np.array(night.data), sample_domain=domain[domain < 0])
    accuracy = (codes.inverse_transform(predicted) == night.labels).mean()
    print(f"{name:45} {accuracy:.3f}")

# %%
# Only the photos of the target are needed, not their labels.  See "New domains" in the user guide
# for measurements on photos, cartoons and sketches, and for the case in which adaptation makes
# predictions worse.
