"""
Columns of images and numbers
=============================

A table often has a column of images among columns of numbers and categories.  A
``ColumnTransformer`` turns each column into features, and one model reads all of them.
"""

# %%
# A table with a column of paths
# ------------------------------
#
# The price of a stone depends on its material, which only the photo shows, its weight and its
# origin.

from tempfile import TemporaryDirectory

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from sktransfer import load_image_folder, load_textures

workspace = TemporaryDirectory()
load_textures("train", n_per_class=20, folder=workspace.name)
photos = load_image_folder(workspace.name)

rng = np.random.default_rng(0)
frame = pd.DataFrame({"path": photos.data, "weight": rng.uniform(1, 5, len(photos.data))})
frame["origin"] = rng.choice(["north", "south"], len(frame))
price = photos.target * 10 + 8 * frame["weight"] + 15 * (frame["origin"] == "south")
frame.drop(columns="path").head()

# %%
# One transformer for each column
# -------------------------------

from sklearn.compose import make_column_transformer
from sklearn.decomposition import PCA
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import KFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from sktransfer import PretrainedFeatureExtractor

images = make_pipeline(PretrainedFeatureExtractor(), StandardScaler(), PCA(30, random_state=0))
numbers = (StandardScaler(), ["weight"])
categories = (OneHotEncoder(), ["origin"])
steps = {
    "numbers": make_column_transformer(numbers, categories),
    "images": make_column_transformer((images, ["path"])),
    "images and numbers": make_column_transformer((images, ["path"]), numbers, categories),
}
folds = KFold(5, shuffle=True, random_state=0)
figure, axis = plt.subplots(figsize=(6, 2.6), layout="constrained")
for name, columns in steps.items():
    model = make_pipeline(columns, RidgeCV(np.logspace(-2, 3, 6)))
    scores = cross_val_score(model, frame, price, cv=folds, scoring="r2")
    print(f"{name:20} R2 {scores.mean():.2f}")
    axis.barh(name, scores.mean(), xerr=scores.std(), color="C0")
axis.set(xlabel="R2 of the price, five folds", xlim=(0, 1))
plt.show()

workspace.cleanup()
