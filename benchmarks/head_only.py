"""Claim: a new head on a frozen base, 30 epochs, is trained 15 times faster than in Keras, fastai.

    python benchmarks/head_only.py [--quick] [--data DIR] [--weights FILE] [--repeats N]
        [--peer-epochs N]

MobileNetV2 on two thirds of hymenoptera, no augmentation; all of it gradient steps, from photos in
files.  Where photos or weights are not there, they are made, and only seconds compare.  A peer that
is not installed (requirements.txt) is skipped by name.

Keras 3 trains as its guide to transfer learning says: a base whose ``trainable`` is False, a dense
layer on it, photos decoded once.  Its own weights would have to be downloaded: they are random, and
only its seconds compare.  fastai trains a ``vision_learner``, whose base is frozen, the gain and
bias of its batch norm included.  Peers run ``--peer-epochs`` epochs, whose seconds are multiplied
by 30 over their number; loading and decoding are not.
"""

import json
import tempfile
from pathlib import Path

import numpy as np
from _common import QUICK, SIZE, photo_task, seconds
from _fits import BATCH_SIZE, Fit, compare, faster, fit_options, hold, ours

BAR = 15
N_EPOCHS = 2 if QUICK else 30


def scaled(load, train, n_epochs):
    """Return the result of ``load``, and the seconds of a fit of which ``train`` runs a part."""
    model, loading = seconds(load)
    n_run = min(n_epochs, given.peer_epochs)
    _, training = seconds(lambda: train(model, n_run))
    return model, loading + training * n_epochs / n_run


def keras(photos, labels, n_epochs):
    from keras import Sequential, applications, layers, utils

    classes, y = np.unique(labels, return_inverse=True)

    def load():
        pixels = [utils.img_to_array(utils.load_img(p, target_size=(SIZE, SIZE))) for p in photos]
        x = applications.mobilenet_v2.preprocess_input(np.stack(pixels))
        shape = {"include_top": False, "pooling": "avg", "input_shape": x.shape[1:]}
        base = applications.MobileNetV2(weights=None, **shape)
        base.trainable = False
        model = Sequential([base, layers.Dense(len(classes), activation="softmax")])
        model.compile("adam", "sparse_categorical_crossentropy")
        return model, x

    def train(loaded, n_run):
        model, x = loaded
        model.fit(x, y, batch_size=BATCH_SIZE, epochs=n_run, verbose=0)

    return Fit(None, scaled(load, train, n_epochs)[1])


def fastai(photos, labels, n_epochs):
    from _fastai import learner_of, predictor, silent

    def load():
        return learner_of(photos, labels, task.weights, SIZE, bs=BATCH_SIZE, train_bn=False)

    def train(learner, n_run):
        with silent(learner):
            learner.fit(n_run)

    learner, whole = scaled(load, train, n_epochs)
    return Fit(predictor(learner), whole)


options = fit_options()
options.add_argument("--peer-epochs", type=int, default=1 if QUICK else 2)
given = options.parse_args()
with tempfile.TemporaryDirectory() as name:
    task = photo_task(given, Path(name))
    own = ours(task.weights, unfreeze=0, head_init="prior", freeze_epochs=0, augment=None)
    peers = {"keras": keras, "fastai": fastai}
    results = compare(own, peers, task, N_EPOCHS, given.repeats)

claim = f"a new head on frozen `mobilenet_v2`, {N_EPOCHS} epochs, against"
part = f"scaled from {given.peer_epochs} epochs"
rows = [
    faster(f"{claim} Keras 3", BAR, results, "keras", part, "random weights"),
    faster(f"{claim} fastai", BAR, results, "fastai", part),
]
print(json.dumps({"rows": rows, "task": task.about(), "results": results}, indent=2))
assert QUICK or hold(rows), "a head must train 15 times faster"
