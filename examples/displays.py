"""
Plots of a fit
==============

The displays work like those of scikit-learn.  ``from_estimator`` and ``from_predictions`` collect
the data and plot them, ``plot(ax=None)`` plots them again into other axes, and the attributes
``ax_`` and ``figure_`` are there to add a title or to call ``savefig``.  They need matplotlib,
which comes with the extra ``plot``.
"""

# %%
# Finding a learning rate
# -----------------------
#
# ``find_lr`` trains a copy of the model while the learning rate grows.  Choose a learning rate on
# the slope, well before the loss starts to grow.  A loss that diverges is cut off at the top.

import matplotlib.pyplot as plt

from sktransfer import FineTuneClassifier, find_lr, load_textures

train, test = load_textures("train"), load_textures("test")
model = FineTuneClassifier(
    unfreeze=3,
    unfreeze_every=2,
    layer_decay=0.4,
    head_init="prior",
    freeze_epochs=3,
    max_epochs=8,
    lr=0.01,
    fine_tune_lr=0.001,
    batch_size=16,
    early_stopping=True,
    validation_fraction=0.2,
    random_state=0,
)
curve = find_lr(model, train.data, train.labels)
display = curve.plot()

# %%
# Losses and scores
# -----------------
#
# The phases are named above the plot, the epochs that train only the head are shaded, and the epoch
# whose weights were kept is marked.  The training loss is computed with augmented images and
# smoothed labels, the validation loss with neither.  The validation loss of a good fit can
# therefore be below the training loss.

from sktransfer.display import TrainingCurvesDisplay

model.fit(train.data, train.labels)
display = TrainingCurvesDisplay.from_estimator(model)

# %%
# Learning rates of the stages
# ----------------------------
#
# A stage has a line only in the epochs in which it trains.  Here ``unfreeze_every=2`` unfreezes one
# more stage every two epochs, and ``layer_decay=0.4`` is the ratio of the learning rates of
# neighbouring stages.  The schedule ends near zero, below the axes.

from sktransfer.display import LearningRatesDisplay

display = LearningRatesDisplay.from_estimator(model)

# %%
# Images with the largest losses
# ------------------------------
#
# These are the images whose labels have the smallest predicted probabilities.  They are often
# mislabelled, hard to recognise or unlike all others.  ``from_predictions(y, proba, X)`` accepts
# the probabilities of any model, for example those of ``cross_val_predict``.

from sktransfer.display import TopLossesDisplay

display = TopLossesDisplay.from_estimator(model, test.data, test.labels, k=6)

# %%
# Number of stages to unfreeze
# ----------------------------
#
# The line is the test score with its standard deviation over the folds, with its axis on the left.
# The bars are the times to fit, with their axis on the right.  A search over a parameter of a
# pipeline step, such as ``clf__unfreeze``, works too.  If the search varies other parameters as
# well, each depth is represented by its best candidate.

from sklearn.model_selection import GridSearchCV

from sktransfer.display import UnfreezeDepthDisplay

candidate = FineTuneClassifier(augment=None, max_epochs=2, fine_tune_lr=0.001, random_state=0)
search = GridSearchCV(candidate, {"unfreeze": [0, 1, 2, "all"]}, cv=2, refit=False)
search.fit(train.data, train.labels)
display = UnfreezeDepthDisplay.from_search(search)

# %%
# Augmentation
# ------------
#
# The images as the network sees them are next to random variants like those in training.  The model
# does not have to be fitted.  Have a look before a long fit: the network cannot learn from a
# variant in which you cannot recognise the label.
#
# The photos are `china.jpg <https://www.flickr.com/photos/danielbuechele/6061409035/>`_ by
# danielbuechele and `flower.jpg <https://www.flickr.com/photos/vultilion/6056698931/>`_ by
# vultilion, from Flickr, `CC BY 2.0 <https://creativecommons.org/licenses/by/2.0/>`_, cropped and
# augmented.

from sklearn.datasets import load_sample_images

from sktransfer.display import AugmentationDisplay

photos = load_sample_images().images
trivial = FineTuneClassifier(augment="trivial", image_size=128)
display = AugmentationDisplay.from_estimator(trivial, photos, n_views=5)
plt.show()
