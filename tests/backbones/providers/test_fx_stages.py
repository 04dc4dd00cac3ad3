"""A traced network is divided into stages, or refused with the reason."""

from itertools import pairwise

import pytest
import torch
from torch import nn

from sktransfer.backbones.providers import timm as provider
from sktransfer.backbones.providers._fx_stages import Grid, grouped, stages
from sktransfer.backbones.tracing import Trace
from sktransfer.exceptions import NotAChainError

# --- the trace -----------------------------------------------------------------------------------


class Toy(nn.Module):
    """Six convolutions; each subclass changes one thing that matters to a chain."""

    def __init__(self, n=6):
        super().__init__()
        widths = [3, *[4] * n]
        pairs = pairwise(widths)
        self.blocks = nn.Sequential(*(nn.Conv2d(a, b, 3, 2 if a == 3 else 1, 1) for a, b in pairs))

    def forward_features(self, x):
        return self.blocks(x)


class Activated(Toy):
    def __init__(self):
        super().__init__()
        self.blocks = nn.Sequential(*(m for b in self.blocks for m in (b, nn.ReLU(inplace=True))))


class Double(nn.Module):
    def forward(self, x):
        return x.mul_(2)


class Overwriting(Toy):
    def __init__(self):
        super().__init__()
        self.blocks = nn.Sequential(*(m for b in self.blocks for m in (b, Double())))


class Sharing(Toy):
    def forward_features(self, x):
        for block in (*self.blocks, *list(self.blocks)[1:]):
            x = block(x)
        return x


class Skipping(Toy):
    def forward_features(self, x):
        first, *others = self.blocks
        x = skipped = first(x)
        for block in others:
            x = block(x)
        return x + skipped


class Branching(Toy):
    def forward_features(self, x):
        return self.blocks(x) if x.sum() > 0 else x


class Heavy(Toy):
    def __init__(self):
        super().__init__()
        self.blocks[0] = nn.Conv2d(3, 4, 9, 2, 4)


def staged(net, size=16):
    trace = Trace(net.eval(), "forward_features")
    return stages(trace, [trace.run(size)], Grid("NCHW"), size)


@pytest.mark.parametrize(
    ("net", "reason"),
    [
        (Overwriting(), "the stage that ends with blocks_2 overwrites its input"),
        (Sharing(), r"its stages '\w+' and 'layer\d' share a parameter"),
        (Skipping(), "its forward pass can be cut at 2 places, after a single NCHW feature map"),
        (Toy(3), "at 3 places, .*; this gives less than 4 stages"),
        (Branching(), "torch.fx cannot follow its forward_features: symbolically traced"),
        (Heavy(), "its first stage would hold 57% of the parameters"),
    ],
)
def test_a_network_that_is_not_a_chain_is_refused_with_the_reason(net, reason):
    with pytest.raises(NotAChainError, match=reason):
        staged(net)


def test_an_in_place_activation_at_the_start_of_a_stage_is_switched_off():
    net = Activated()
    x = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    expected = net.forward_features(x)
    made = staged(net)
    for stage in made.values():
        before = x.clone()
        y = stage(x)
        assert torch.equal(x, before)
        x = y
    assert torch.equal(x, expected)
    relus = [module for module in net.blocks if isinstance(module, nn.ReLU)]
    assert {relu.inplace for relu in relus} == {True, False}  # elsewhere it saves memory


@pytest.mark.parametrize(
    ("levels", "n_stem", "lengths"),
    [
        ([1, 2, 2, 3, 4, 5, 5], 1, [1, 2, 1, 1, 2]),  # five resolutions
        ([4] * 13, 0, [3, 3, 3, 2, 2]),  # one resolution, and no stem
        ([4] * 14, 1, [1, 3, 3, 3, 4]),  # a ViT: tokens, twelve blocks, norm
        ([2, 2, 3, 4, 5], 1, [1, 1, 1, 1, 1]),  # patches, four stages
        ([3, 3, 4, 5], 1, [1, 1, 1, 1]),  # nothing left to halve
        ([0, 1, 2, 3, 4, 5, 6], 1, [2, 1, 1, 1, 1, 1]),  # more than six resolutions
    ],
)
def test_units_are_grouped_into_stages(levels, n_stem, lengths):
    spans = grouped(levels, n_stem)
    assert [len(span) for span in spans] == lengths
    assert [i for span in spans for i in span] == list(range(len(levels)))


@pytest.mark.parametrize("forward", [lambda x: x, lambda x: None, len])
def test_a_forward_pass_that_does_more_is_refused(forward):
    net = Toy()
    net.forward_head = net.forward_features
    net.forward = forward
    with pytest.raises(NotAChainError, match="forward pass is not forward_head"):
        provider._check_forward(net)
