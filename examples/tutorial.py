"""
Transfer learning step by step
==============================

From a network trained from scratch to a separate learning rate for each stage.  Each step prints
its accuracy on test photos.  Each photo here is small and each class has ten of them, so that the
page runs in seconds; with your own photos, the differences between the steps are others.
"""

from tempfile import TemporaryDirectory

import matplotlib.pyplot as plt
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sktransfer import (
    FineTuneClassifier,
    MLPHead,
    PretrainedFeatureExtractor,
    Views,
    find_lr,
    load_textures,
)
from sktransfer.callbacks import ModelEMA
from sktransfer.schedules import SGDR

train, test = load_textures("train"), load_textures("test")
X, y = train.data, train.labels
accuracies = {}


def report(step, model):
    accuracies[step] = model.score(test.data, test.labels)
    print(f"{step:42} {accuracies[step]:.3f}")


# %%
# 1. Training from scratch
# ------------------------
#
# A classic network of four blocks, with augmentation and dropout.  This is the baseline for
# transfer learning.

scratch = FineTuneClassifier(
    "builtin/small_cnn",
    weights=None,
    head=MLPHead(hidden_sizes=(128,), dropout=0.5),
    fine_tune_lr=3e-3,
    image_size=64,
    max_epochs=20,
    random_state=0,
)
report("1. from scratch", scratch.fit(X, y))

# %%
# 2. Features and a linear model
# ------------------------------
#
# Each photo passes the pretrained network once, and a linear model is trained on the output.  This
# takes seconds, and with few photos the accuracy is hard to beat.

features = make_pipeline(
    PretrainedFeatureExtractor(), StandardScaler(), LogisticRegression(C=0.01, max_iter=1000)
)
report("2. features and logistic regression", features.fit(X, y))

# %%
# 3. A new head on the frozen network
# -----------------------------------
#
# The head is trained by gradient descent.  Random augmentation would send photos through the
# network in each epoch.  Four fixed views of each photo pass it only once, and their features are
# kept.  The test photos show the surfaces of the training photos, so the weights may move all the
# way; by default, those of few images end half the way.

model = FineTuneClassifier(weight_interpolation=1, random_state=0)
model.set_params(unfreeze=0, augment=Views("light", n=4), dropout=0.5, lr=1e-3)
report("3. new head, four views of each photo", model.fit(X, y))

# %%
# 4. One stage unfrozen
# ---------------------
#
# The head starts from the exact solution.  Then the last stage trains too, with a one-cycle
# schedule.  The range test suggests a learning rate.

model.set_params(unfreeze=1, augment="light", dropout=0.0)
curve = find_lr(model, X, y)
print(f"the range test suggests a learning rate of {curve.suggestion:.0e}")
model.set_params(fine_tune_lr=1e-3)
report("4. one stage unfrozen, 1-cycle", model.fit(X, y))

# %%
# 5. All stages, with a learning rate for each
# --------------------------------------------
#
# Layer-wise learning-rate decay: each stage trains with a fraction of the learning rate of the next
# one.  The first stages detect edges and colours, and need to change little.

model.set_params(unfreeze="all", layer_decay=0.6, max_epochs=4)
report("5. everything unfrozen, layer-wise rates", model.fit(X, y))
for row in model.report_[:-1]:  # without the head
    print(f"   {row['stage']:8} lr up to {row['lr_max']:.1e}, moved by {row['moved']:.4f}")

# %%
# 6. Variations
# -------------
#
# One more stage is unfrozen in each epoch; then warm restarts and averaged weights.

model.set_params(unfreeze_every=1)
report("6. gradual unfreezing", model.fit(X, y))
model.set_params(
    unfreeze_every=None, lr_schedule=SGDR(cycle_length=2), skorch_callbacks=[ModelEMA()]
)
report("6. warm restarts, averaged weights", model.fit(X, y))

# %%
# 7. The number of trainable stages
# ---------------------------------
#
# A grid search chooses it.  Without augmentation and with a cache, frozen stages run once.

model.set_params(lr_schedule="one_cycle", skorch_callbacks=None, augment=None, max_epochs=2)
with TemporaryDirectory() as cache:
    search = GridSearchCV(model.set_params(cache=cache), {"unfreeze": [0, 1, 2]}, cv=2)
    report("7. depth by cross-validation", search.fit(X, y))
print(f"best depth: {search.best_params_['unfreeze']}")

figure, axis = plt.subplots(figsize=(7, 3.2), layout="constrained")
bars = axis.barh(list(accuracies), accuracies.values())
axis.bar_label(bars, fmt="%.2f", padding=3)
axis.invert_yaxis()
axis.set(xlabel="accuracy", xlim=(0, 1.1))
plt.show()
