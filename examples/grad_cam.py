"""
Grad-CAM: the part of a photo that decides
==========================================

``module_`` is the fitted network as an ordinary module of torch, so tools that explain networks
work on it.  Grad-CAM draws a heat map over a photo: the warm parts raise the score of a class.
"""

# %%
# A model of ten materials
# ------------------------

from sktransfer import FineTuneClassifier, load_textures

train, test = load_textures("train"), load_textures("test")
model = FineTuneClassifier(random_state=0).fit(train.data, train.labels)
print(f"accuracy: {model.score(test.data, test.labels):.2f}")

# %%
# Photos of four materials
# ------------------------
#
# Each photo is put together from four photos of the test set.  So it is known where the heat of a
# class should be: in its quarter.

import numpy as np


def put_together(names, number):
    """Return a photo with a quarter for each of four classes."""
    tiles = [test.data[test.labels == name][number] for name in names]
    return np.vstack([np.hstack(tiles[:2]), np.hstack(tiles[2:])])


names = ["fur", "brick", "petals", "coins"]
photos = [put_together(names, number) for number in range(10)]

# %%
# Grad-CAM
# --------
#
# The weight of a feature map is the mean slope of the score of a class with regard to it.  The heat
# is the sum of the maps with these weights, without negative values.  A hook keeps the maps of the
# last stage.  The quarters have the size of the training photos, so the photos are twice as large.

import torch

module, classes = model.module_, list(model.classes_)
preset = model.backbone_.preset.at(160)


def heat(photo, label):
    """Return the heat map of a class for one photo."""
    kept = {}
    stage = module.backbone.stages["layer4"]
    hook = stage.register_forward_hook(lambda *args: kept.update(maps=args[-1]))
    score = module(preset.collate([preset(photo)], 1))[0, classes.index(label)]
    hook.remove()
    maps = kept["maps"]  # (1, 1024, 10, 10)
    (slopes,) = torch.autograd.grad(score, maps)
    weights = slopes.mean((2, 3), keepdim=True)
    return (weights * maps).sum(1)[0].relu().detach().numpy()


# %%
# Heat maps
# ---------
#
# The column of a class shows its heat.

import matplotlib.pyplot as plt

figure, axes = plt.subplots(2, 5, figsize=(8, 3.6), layout="constrained")
for row, photo in zip(axes, photos[:2], strict=True):
    row[0].imshow(photo)
    for axis, name in zip(row[1:], names, strict=True):
        axis.imshow(photo, extent=(0, 1, 0, 1))
        axis.imshow(
            heat(photo, name),
            cmap="inferno",
            alpha=0.6,
            extent=(0, 1, 0, 1),
            interpolation="bicubic",
        )
        axis.set_title(name, fontsize=9)
for axis in axes.flat:
    axis.axis("off")
plt.show()

# %%
# The share of the heat in the right quarter; without any knowledge, it would be 0.25.

shares = {name: [] for name in names}
for photo in photos:
    for name in names:
        found = heat(photo, name)
        top, left = divmod(names.index(name), 2)
        quarter = found.reshape(2, 5, 2, 5)[top, :, left]
        shares[name].append(quarter.sum() / found.sum())
for name in names:
    print(f"{name:7}{np.mean(shares[name]):.2f} of the heat in its quarter")
