"""Statistics of batch norm are read, replaced and averaged over batches."""

from copy import deepcopy

import numpy as np
import pytest
import torch
from helpers.tiny import tiny_backbone
from torch import nn

from sktransfer.backbones import average_batches, batch_norms, get_statistics, with_statistics
from sktransfer.backbones import batch_norm as module


class Residual(nn.Module):
    """A network that uses the output of its convolution twice."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)

    def forward(self, x):
        x = self.conv(x)
        return x + self.norm(x)


class Activating(nn.BatchNorm2d):
    """A batch norm that ends with an activation, as those of timm do."""

    def __init__(self, n, affine=True):
        super().__init__(n, affine=affine)
        self.act = nn.ReLU()

    def forward(self, x):
        return self.act(super().forward(x))


def net(norm):
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), norm, nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4)).eval()


def of_torch(module, batches):
    """The statistics that torch averages in training mode."""
    module = deepcopy(module)
    for norm in batch_norms(module).values():
        norm.train()
        norm.momentum = None
        norm.reset_running_stats()
    with torch.no_grad():
        for batch in batches:
            module(batch)
    return get_statistics(module)


CASES = {
    "plain": lambda: net(nn.BatchNorm2d(4)),
    "with an activation": lambda: net(Activating(4)),
    "not affine": lambda: net(Activating(4, affine=False)),
    "residual": lambda: Residual().eval(),
    "no convolution": lambda: nn.BatchNorm2d(3).eval(),
    "one dimension": lambda: nn.Sequential(nn.Flatten(), nn.BatchNorm1d(300)).eval(),
}


@pytest.mark.parametrize("case", CASES)
def test_the_averages_are_those_of_torch(case):
    made = CASES[case]()
    batches = torch.rand(3, 5, 3, 10, 10)
    expected = of_torch(made, batches)
    average_batches(made, torch.randn(2, 3, 10, 10))
    with torch.no_grad():
        for batch in batches:
            made(batch)
    found = get_statistics(made)
    assert found.keys() == expected.keys()
    assert all(np.allclose(found[name], expected[name], atol=1e-5) for name in expected)


@pytest.mark.parametrize(("case", "in_place"), [("plain", True), ("residual", False)])
def test_batch_norm_writes_to_its_input_only_if_no_other_layer_reads_it(case, in_place):
    made = CASES[case]()
    average_batches(made, torch.randn(2, 3, 10, 10))
    forwards = [norm.forward.func for norm in batch_norms(made).values()]
    assert (module._normalise_in_place in forwards) == in_place


def test_one_value_of_a_channel_is_an_error_in_place_too():
    made = net(nn.BatchNorm2d(4))
    average_batches(made, torch.randn(2, 3, 10, 10))
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        made(torch.rand(1, 3, 5, 5))


def test_a_copy_with_other_statistics_shares_the_weights():
    backbone = tiny_backbone()
    before = get_statistics(backbone)
    other = with_statistics(backbone, {name: value + 1 for name, value in before.items()})
    assert all(np.array_equal(get_statistics(other)[name], before[name] + 1) for name in before)
    assert all(np.array_equal(get_statistics(backbone)[name], before[name]) for name in before)
    pairs = zip(backbone.parameters(), other.parameters(), strict=True)
    assert all(a is b for a, b in pairs)
    assert backbone.weights_fingerprint() != other.weights_fingerprint()


@pytest.mark.parametrize("name", ["stages.stem.1.running_mean", "stages.stem.1.other"])
def test_statistics_of_another_network_are_an_error(name):
    with pytest.raises(ValueError, match=r"statistics must be those of the network; got\n.*shape"):
        with_statistics(tiny_backbone(), {name: np.zeros(3, np.float32)})


def test_layers_without_stored_statistics_have_none():
    assert get_statistics(nn.BatchNorm2d(3, track_running_stats=False)) == {}
