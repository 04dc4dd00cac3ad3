"""A fit that is killed, and a comparison with one that was not."""

from contextlib import contextmanager

import numpy as np
import pytest
import torch

from sktransfer.training.net import TailNet


class Killed(Exception):  # noqa: N818 - what ends a process
    """Stands for a power cut."""


@contextmanager
def killed_after(n_epochs):
    """Return a context manager in which a fit is killed after some epochs; it must get there."""
    run_single_epoch = TailNet.run_single_epoch

    def or_die(net, *args, **kwargs):
        if net.first_epoch + net.epoch_ == n_epochs:
            raise Killed
        run_single_epoch(net, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TailNet, "run_single_epoch", or_die)
        with pytest.raises(Killed):
            yield


def assert_same_fit(one, other):
    """Assert that two fits ended with the same weights, history and report."""
    left, right = (model._fitted.tail.state_dict() for model in (one, other))
    assert all(torch.equal(left[name], value) for name, value in right.items())
    left, right = (
        [{k: v for k, v in row.items() if k != "seconds"} for row in model.history_]
        for model in (one, other)
    )
    np.testing.assert_equal(left, right)  # a callback may have recorded arrays
    assert one.report_[:-1] == other.report_[:-1]
