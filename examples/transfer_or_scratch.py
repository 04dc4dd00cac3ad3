"""
Is transfer worth it? Learning curves
=====================================

The fewer labels there are, the more a pretrained network helps.  scikit-learn's learning curves
take the paths of photos, and with a cache each photo passes the frozen network only once.
"""

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, learning_curve
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sktransfer import (
    FineTuneClassifier,
    PretrainedFeatureExtractor,
    load_image_folder,
    load_textures,
)

folder = Path(tempfile.mkdtemp())
for subset in ("train", "test"):
    load_textures(subset, folder=folder / subset)
parts = [load_image_folder(folder / subset) for subset in ("train", "test")]
paths = np.concatenate([part.data for part in parts])
labels = np.concatenate([part.labels for part in parts])
print(len(paths), "photos")

methods = {
    "pretrained, frozen": make_pipeline(
        PretrainedFeatureExtractor(cache=folder / "cache"),
        StandardScaler(),
        LogisticRegression(C=0.01),
    ),
    "pretrained, fine-tuned": FineTuneClassifier(
        unfreeze=1, augment=None, max_epochs=5, fine_tune_lr=1e-3, cache=folder / "cache",
        random_state=0,
    ),
    "from scratch": FineTuneClassifier(
        "builtin/small_cnn", weights=None, image_size=64, max_epochs=12, fine_tune_lr=1e-3,
        random_state=0,
    ),
}  # fmt: skip

# %%
# Both pretrained methods read the features of the cache.  Only the network from scratch sees every
# photo in every epoch.

figure, axis = plt.subplots(figsize=(6.5, 3.6), layout="constrained")
splits = []
for train, test in StratifiedKFold(2, shuffle=True, random_state=0).split(paths, labels):
    # A smaller training set is the beginning of a larger one, so the classes take turns.
    turns = [np.flatnonzero(labels[train] == label) for label in np.unique(labels)]
    splits.append((train[np.stack(turns, axis=1).ravel()], test))
for name, model in methods.items():
    counts, _, scores = learning_curve(
        model,
        paths,
        labels,
        train_sizes=[20, 50, 100],
        cv=splits,
    )
    means, stds = scores.mean(axis=1), scores.std(axis=1)
    axis.errorbar(counts, means, stds, marker="o", capsize=3, label=name)
    print(f"{name:24}", " ".join(f"{mean:.3f}" for mean in means))
axis.set(xscale="log", xlabel="labelled photos of ten classes", ylabel="accuracy")
axis.set_xticks(counts, labels=[str(count) for count in counts])
axis.minorticks_off()
axis.legend()
plt.show()

# %%
# The distance between the curves shrinks as labels are added: transfer is less helpful with a large
# target set.  With few labels, training from scratch is hopeless, and the frozen network suffices.
