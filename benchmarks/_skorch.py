"""Transfer learning with skorch, as its documentation teaches it.

A module holds torchvision's network with a new last layer, the parameters of frozen stages get no
gradient, and a ``NeuralNetClassifier`` trains it on an array of photos: the whole network runs in
each epoch.
"""

import numpy as np
import torch
from _common import SIZE
from _recipe import BATCH_SIZE, HEAD_LR, STAGES, normalised
from PIL import Image
from safetensors.torch import load_file
from skorch import NeuralNetClassifier
from torch import nn
from torch.optim import AdamW
from torchvision.models import mobilenet_v2
from torchvision.transforms import v2

BODY_LR = HEAD_LR / 10


class Pretrained(nn.Module):
    """MobileNetV2 with a new last layer, of which the last ``unfreeze`` stages train."""

    def __init__(self, weights, n_classes, unfreeze=0, dropout=0.0):
        super().__init__()
        self.net = mobilenet_v2(dropout=dropout)
        self.net.load_state_dict(load_file(weights))
        self.net.classifier[1] = nn.Linear(self.net.last_channel, n_classes)
        for parameter in self.net.features.parameters():
            parameter.requires_grad = False
        for stage in STAGES[len(STAGES) - unfreeze :]:
            for parameter in self.net.features[stage].parameters():
                parameter.requires_grad = True

    def forward(self, x):
        """Scores (b, n_classes) of photos (b, 3, h, w)."""
        return self.net(x)


def skorch_net(weights, n_classes, max_epochs):
    """A classifier whose body learns at a lower rate than its last layer."""
    torch.manual_seed(0)
    return NeuralNetClassifier(
        Pretrained,
        module__weights=weights,
        module__n_classes=n_classes,
        criterion=nn.CrossEntropyLoss,
        optimizer=AdamW,
        optimizer__param_groups=[("net.features.*", {"lr": BODY_LR})],
        lr=HEAD_LR,
        max_epochs=max_epochs,
        batch_size=BATCH_SIZE,
        iterator_train__shuffle=True,
        train_split=None,
        verbose=0,
    )


def decoded(photos):
    """Photos as one float32 array (n, 3, size, size), as the network wants to see them."""
    resize = v2.Compose([v2.Resize(round(SIZE / 0.875)), v2.CenterCrop(SIZE), v2.PILToTensor()])
    opened = (Image.open(photo).convert("RGB") for photo in photos)
    return np.stack([normalised(resize(photo)).numpy() for photo in opened])
