"""fastai's learner, on the weights and the photos of the others."""

from contextlib import contextmanager

import numpy as np
from safetensors.torch import load_file
from torchvision.models import mobilenet_v2


def learner_of(photos, labels, weights, size, *, seed=0, bs=64, **options):
    """A ``vision_learner`` of mobilenet_v2 that spends no time on validation, as others do not."""
    from fastai.torch_core import set_seed
    from fastai.vision.all import ImageDataLoaders, Resize, vision_learner
    from fastai.vision.learner import default_split, model_meta

    def arch(**_):
        net = mobilenet_v2()
        net.load_state_dict(load_file(weights))
        return net

    # as fastai's own table has other networks: body, two groups of rates, mean and deviation
    model_meta[arch] = {"cut": -1, "split": default_split, "stats": ([0.5] * 3, [0.5] * 3)}
    set_seed(seed)
    loaders = ImageDataLoaders.from_lists(
        ".",
        [str(photo) for photo in photos],
        [str(label) for label in labels],
        valid_pct=0,
        item_tfms=Resize(size),
        bs=bs,
    )
    return vision_learner(loaders, arch, **options)


@contextmanager
def silent(learner):
    """A context in which the learner prints nothing."""
    with learner.no_bar(), learner.no_logging():
        yield


def predictor(learner):
    """A function of photos that gives their labels."""

    def predict(photos):
        with silent(learner):
            loader = learner.dls.test_dl([str(photo) for photo in photos])
            scores, _ = learner.get_preds(dl=loader)
        return np.array(list(learner.dls.vocab))[scores.argmax(1).numpy()]

    return predict
