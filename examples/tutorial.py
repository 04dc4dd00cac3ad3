"""Transfer learning step by step: from a network trained from scratch to fine-tuning.

    python examples/tutorial.py TRAIN TEST [--backbone ADDRESS] [--weights FILE] [--epochs N]

TRAIN and TEST are folders with a subfolder of photos for each class.  Read the script from top to
bottom; each step prints its accuracy on TEST.
"""

import argparse
from tempfile import TemporaryDirectory

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
    load_image_folder,
)
from sktransfer.callbacks import ModelEMA
from sktransfer.schedules import SGDR

parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
parser.add_argument("train")
parser.add_argument("test")
parser.add_argument("--backbone", default="builtin/mini")
parser.add_argument("--weights", default="default")
parser.add_argument("--image-size", type=int, help="in pixels; default: that of the weights")
parser.add_argument(
    "--epochs", type=int, default=6, help="ten times as many for training from scratch"
)
how = parser.parse_args()

train = load_image_folder(how.train)
test = load_image_folder(how.test, classes=train.target_names)
print(f"{len(train.data)} photos of {', '.join(train.target_names)}, {len(test.data)} to test")


def report(step, model):
    print(f"{step:52} {model.score(test.data, test.labels):.3f}")


# 1. Training from scratch.  A classic network of four blocks, with augmentation and dropout, learns
#    from a few hundred photos.  This is the baseline for transfer learning.
scratch = FineTuneClassifier(
    "builtin/small_cnn",
    weights=None,
    head=MLPHead(hidden_sizes=(512,), dropout=0.5),
    augment="standard",
    image_size=how.image_size,
    max_epochs=10 * how.epochs,
    random_state=0,
)
report("1. from scratch", scratch.fit(train.data, train.labels))

# 2. Features.  Each photo passes the pretrained network once, and a linear model is trained on the
#    output.  This takes seconds, and with few photos the accuracy is hard to beat.
source = {"weights": how.weights, "image_size": how.image_size}
features = make_pipeline(
    PretrainedFeatureExtractor(how.backbone, **source),
    StandardScaler(),
    LogisticRegression(C=0.01, max_iter=1000),
)
report("2. features and logistic regression", features.fit(train.data, train.labels))

# 3. A new head on the frozen network, trained by gradient descent.  Random augmentation would send
#    photos through the network in each epoch.  Four fixed views of each photo pass it only once,
#    and their features are cached.
model = FineTuneClassifier(how.backbone, **source, random_state=0)
head = model.set_params(
    unfreeze=0, augment=Views("standard", n=4), dropout=0.5, lr=1e-3, max_epochs=how.epochs
)
report("3. new head, four views of each photo", head.fit(train.data, train.labels))

# 4. Fine-tuning.  The head starts from the exact solution.  Then the last stage trains too, with a
#    one-cycle schedule and a learning rate from the range test.
model.set_params(unfreeze=1, augment="light", dropout=0.0)
curve = find_lr(model, train.data, train.labels, n_steps=8 * how.epochs)
print(f"   the range test suggests a learning rate of {curve.suggestion:.1e}")
model.set_params(fine_tune_lr=min(curve.suggestion, 3e-3))
report("4. one stage unfrozen, 1-cycle", model.fit(train.data, train.labels))

# 5. Layer-wise learning-rate decay.  All stages train, each with a fraction of the learning rate of
#    the next one.  The first stages detect edges and colours, and need to change little.
model.set_params(unfreeze="all", fine_tune_lr=3e-4, layer_decay=0.6)
report("5. everything unfrozen, layer-wise rates", model.fit(train.data, train.labels))
for row in model.report_:
    print(f"   {row['stage']:8} lr up to {row['lr_max']:.1e}, moved by {row['moved']:.4f}")

# 6. Variations.  One more stage is unfrozen in each epoch; then warm restarts and averaged weights.
model.set_params(unfreeze_every=1)
report("6. gradual unfreezing", model.fit(train.data, train.labels))
model.set_params(
    unfreeze_every=None, lr_schedule=SGDR(cycle_length=2), skorch_callbacks=[ModelEMA()]
)
report("6. warm restarts, averaged weights", model.fit(train.data, train.labels))

# 7. The number of trainable stages, chosen by a grid search in which frozen stages run once.
model.set_params(lr_schedule="one_cycle", skorch_callbacks=None, augment=None)
with TemporaryDirectory() as cache:
    search = GridSearchCV(model.set_params(cache=cache), {"unfreeze": [0, 1, 2]}, cv=3)
    report("7. depth by cross-validation", search.fit(train.data, train.labels))
print(f"   best depth: {search.best_params_['unfreeze']}")
