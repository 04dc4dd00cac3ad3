"""
Class imbalance
===============

If some classes have many more images than others, a classifier prefers them.
``class_weight="balanced"`` gives the images of rare classes more weight in the loss.
"""

# %%
# Five of ten classes are rare
# ----------------------------
#
# Half of the materials have 20 photos, the others only 2.  The test set has equal numbers.

from collections import Counter

import numpy as np

from sktransfer import load_textures

train, test = load_textures("train", n_per_class=20), load_textures("test")
position = np.arange(len(train.data)) % 20  # in the photos of a class
kept = position < np.where(train.target % 2, 2, 20)
X, y = train.data[kept], train.labels[kept]
print(dict(Counter(y)))

# %%
# Weights of the classes
# ----------------------
#
# Accuracy hides rare classes if the test set is as unbalanced as the training set.  Balanced
# accuracy is the mean of the accuracies of the classes.  The confusion matrices show that photos of
# rare classes were taken for frequent ones.

import matplotlib.pyplot as plt
from sklearn.metrics import ConfusionMatrixDisplay, balanced_accuracy_score

from sktransfer import FineTuneClassifier

figure, axes = plt.subplots(1, 2, figsize=(10, 4.6), layout="constrained")
for axis, class_weight in zip(axes, [None, "balanced"], strict=True):
    model = FineTuneClassifier(unfreeze=0, class_weight=class_weight, random_state=0).fit(X, y)
    predicted = model.predict(test.data)
    print(f"{class_weight!s:10} {balanced_accuracy_score(test.labels, predicted):.3f}")
    ConfusionMatrixDisplay.from_predictions(
        test.labels, predicted, ax=axis, cmap="Greens", colorbar=False, xticks_rotation=45
    )
    axis.set_title(f"class_weight={class_weight!r}")
plt.show()

# %%
# Fine-tuning moves the stages, too, and needs the weights less: with ``unfreeze="auto"``, both
# values of ``class_weight`` give about the same accuracy here.
