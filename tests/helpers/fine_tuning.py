"""A small classifier, and comparisons of what it learned."""

import re

import torch
from helpers.tiny import tiny_backbone

from sktransfer import FineTuneClassifier


def classifier(**parameters):
    """Return a classifier that trains the tiny backbone for two epochs."""
    defaults = {"max_epochs": 2, "random_state": 0, "batch_size": 8}
    return FineTuneClassifier(tiny_backbone, **(defaults | parameters))


def weights(model):
    """Return every tensor of a fitted model, by name."""
    return model.net_.module_.state_dict()


def equal(one, other):
    """Return True if two states have the same tensors, bit for bit."""
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


def named(value):
    """Return the name of a test's case, without addresses in memory: workers must agree on it."""
    return re.sub(r"( object)? at 0x\w+", "", str(value))[:70]
