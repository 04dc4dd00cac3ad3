"""Masks are predicted in one pass over the items, batch by batch."""

from dataclasses import dataclass
from threading import Event

import numpy as np
import torch
from helpers.masks import masked_images
from helpers.tiny import tiny_stages
from torch import nn

from sktransfer import Backbone, FineTuneSegmenter, ImagePreset

SIZE = 2
later, waited = Event(), []


@dataclass(frozen=True)
class Watched(ImagePreset):
    """Sets an event when the image of the second batch is decoded, which is the only square one."""

    def __call__(self, item):
        if item.shape[0] == item.shape[1]:
            later.set()
        return super().__call__(item)


class Waiting(nn.Module):
    """A stage that waits for the event, and writes down if it came."""

    is_armed = False

    def forward(self, x):
        if Waiting.is_armed:
            waited.append(later.wait(timeout=60))
        return x


def watched_backbone():
    torch.manual_seed(0)
    return Backbone({"wait": Waiting(), **tiny_stages()}, Watched(size=32, crop=None))


def test_the_next_batch_is_decoded_while_the_network_computes(monkeypatch):
    X, y = masked_images(6)
    how = {"head": "linear", "stages": ["layer1", "layer2"], "max_epochs": 0, "verbose": 0}
    model = FineTuneSegmenter(watched_backbone, inference_batch_size=SIZE, n_jobs=2, **how)
    model.fit(X, y)
    X = [image[:20, :24] for image in X[: 2 * SIZE]]
    X[SIZE] = X[SIZE][:20, :20]
    expected = model.predict(X)
    later.clear()
    monkeypatch.setattr(Waiting, "is_armed", True)
    np.testing.assert_equal(model.predict(X), expected)
    assert waited[0]
