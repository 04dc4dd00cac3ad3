"""A classifier of which the fit can be plotted."""

from helpers.tiny import tiny_backbone

from sktransfer import FineTuneClassifier


def classifier(**parameters):
    """Return a classifier with one epoch for the head, and two for the stages."""
    quick = {"freeze_epochs": 1, "max_epochs": 2, "verbose": 0, "random_state": 0}
    return FineTuneClassifier(tiny_backbone, **quick | parameters)
