"""
Photos in folders: check, fit, save, predict
============================================

The usual way to keep labelled photos is a folder with one subfolder for each class.  This page goes
from this folder to a saved model.
"""

# %%
# A folder for each class
# -----------------------
#
# The first lines write the folders; use your own instead.

from pathlib import Path
from tempfile import TemporaryDirectory

import matplotlib.pyplot as plt

from sktransfer import check_images, load_image_folder, load_textures

workspace = TemporaryDirectory()
folder = Path(workspace.name)
load_textures("train", folder=folder / "train")
load_textures("test", folder=folder / "test")

train = load_image_folder(folder / "train")
test = load_image_folder(folder / "test", classes=train.target_names)
print(len(train.data), "photos of", ", ".join(train.target_names))

# %%
# Check the files
# ---------------
#
# ``check_images`` finds files that cannot be read, duplicates, tiny images and the like before a
# fit begins.  Here it reports colour photos, because most of the others are grey.

problems = check_images([*train.data, *test.data], [*train.labels, *test.labels])
print(problems["problem"].value_counts().to_dict())
problems[["problem", "detail"]].head(3)

# %%
# Fit and evaluate
# ----------------
#
# ``data`` are paths, and ``labels`` are the names of the folders.

from sklearn.metrics import classification_report

from sktransfer import FineTuneClassifier

model = FineTuneClassifier(random_state=0).fit(train.data, train.labels)
print(classification_report(test.labels, model.predict(test.data)))

# %%
# Save and load
# -------------
#
# The file runs no code when it is loaded, and needs no download.

from sktransfer import load, save

save(model, folder / "textures.safetensors")
loaded = load(folder / "textures.safetensors")
paths = test.data[::20]
predicted = loaded.predict(paths)

figure, axes = plt.subplots(1, 5, figsize=(8, 2), layout="constrained")
for axis, path, label in zip(axes, paths, predicted, strict=True):
    print(Path(path).relative_to(folder).as_posix(), "->", label)
    axis.imshow(plt.imread(path))
    axis.set_title(label)
    axis.axis("off")
plt.show()

workspace.cleanup()
