"""The recipe, step by step: from a network trained from scratch to careful fine-tuning.

    python examples/tutorial.py TRAIN TEST [--backbone ADDRESS] [--weights FILE] [--epochs N]

TRAIN and TEST are folders that hold one folder of photos for each class.  Each step prints what it
reached; read it from top to bottom.
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
parser.add_argument("--image-size", type=int, help="in pixels; what the weights ask for")
parser.add_argument("--epochs", type=int, default=6, help="ten times as many from scratch")
how = parser.parse_args()

train, test = load_image_folder(how.train), load_image_folder(how.test)
print(f"{len(train.data)} photos of {', '.join(train.target_names)}, {len(test.data)} to test")


def tell(step, model):
    print(f"{step:52} {model.score(test.data, test.target):.3f}")


# 1. From scratch.  The classic network of four blocks, with augmentation and dropout: what a few
#    hundred photos can teach it is what transfer learning has to beat.
scratch = FineTuneClassifier(
    "builtin/small_cnn",
    weights=None,
    head=MLPHead(hidden_sizes=(512,), dropout=0.5),
    augment="standard",
    image_size=how.image_size,
    max_epochs=10 * how.epochs,
    random_state=0,
)
tell("1. from scratch", scratch.fit(train.data, train.target))

# 2. Features.  The network sees each photo once, as it was pretrained; a linear model learns from
#    what it says.  It takes seconds, and is hard to beat with few photos.
source = {"weights": how.weights, "image_size": how.image_size}
features = make_pipeline(
    PretrainedFeatureExtractor(how.backbone, **source),
    StandardScaler(),
    LogisticRegression(C=0.01, max_iter=1000),
)
tell("2. features and logistic regression", features.fit(train.data, train.target))

# 3. A new head on the frozen network, trained by gradient steps.  Augmented photos have to go
#    through the whole network; four fixed views of each go through it once, and are kept.
model = FineTuneClassifier(how.backbone, **source, random_state=0)
head = model.set_params(
    unfreeze=0, augment=Views("standard", n=4), dropout=0.5, lr=1e-3, max_epochs=how.epochs
)
tell("3. new head, four views of each photo", head.fit(train.data, train.target))

# 4. Careful fine-tuning.  The head starts from the exact solution; then the last stage trains too,
#    at a rate that the range test finds, in one cycle.
model.set_params(unfreeze=1, augment="light", dropout=0.0)
curve = find_lr(model, train.data, train.target, n_steps=8 * how.epochs)
print(f"   the range test suggests a rate of {curve.suggestion:.1e}")
model.set_params(fine_tune_lr=min(curve.suggestion, 3e-3))
tell("4. one stage unfrozen, 1-cycle", model.fit(train.data, train.target))

# 5. All stages, each at a fraction of the rate of the one that follows: the first ones see edges
#    and colours, and need little change.
model.set_params(unfreeze="all", fine_tune_lr=3e-4, layer_decay=0.6)
tell("5. everything unfrozen, differential rates", model.fit(train.data, train.target))
for row in model.report_:
    print(f"   {row['stage']:8} rate up to {row['lr_max']:.1e}, moved by {row['moved']:.4f}")

# 6. Variations: one stage more every epoch, warm restarts, averaged weights.
model.set_params(unfreeze_every=1)
tell("6. gradual unfreezing", model.fit(train.data, train.target))
model.set_params(
    unfreeze_every=None, lr_schedule=SGDR(cycle_length=2), skorch_callbacks=[ModelEMA()]
)
tell("6. warm restarts, averaged weights", model.fit(train.data, train.target))

# 7. How deep?  A search like any other; frozen stages run once for all of it.
model.set_params(lr_schedule="one_cycle", skorch_callbacks=None, augment=None)
with TemporaryDirectory() as cache:
    search = GridSearchCV(model.set_params(cache=cache), {"unfreeze": [0, 1, 2]}, cv=3)
    tell("7. depth by cross-validation", search.fit(train.data, train.target))
print(f"   best depth: {search.best_params_['unfreeze']}")
