"""A fused copy of a stage computes the same function with fewer operations."""

import pytest
import torch
from helpers.tiny import tiny_stages
from torch import nn

from sktransfer.backbones.fusion import fuse_conv_bn

TOLERANCE = 1e-5


@pytest.fixture
def stage():
    torch.manual_seed(0)
    stage = nn.Sequential(*tiny_stages().values()).eval()
    for module in stage.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -1, 1)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 2)
    return stage


@pytest.fixture
def batch():
    """Images whose sum is positive."""
    return torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def norms(module):
    return [m for m in module.modules() if isinstance(m, nn.BatchNorm2d)]


def test_a_fused_chain_computes_the_same_function(stage, batch):
    fused = fuse_conv_bn(stage, batch, TOLERANCE)
    assert len(norms(stage)) == 3
    assert norms(fused) == []
    torch.testing.assert_close(fused(batch), stage(batch), rtol=1e-5, atol=1e-6)


def test_a_norm_in_the_next_stage_is_fused(batch):
    chain = nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 4, 1)), nn.Sequential(nn.BatchNorm2d(4))
    ).eval()
    chain[1][0].running_mean += 1
    fused = fuse_conv_bn(chain, batch, TOLERANCE)
    assert norms(fused) == []
    torch.testing.assert_close(fused(batch), chain(batch))


class NormThenActivation(nn.BatchNorm2d):
    """A batch norm that ends with an activation, as in timm."""

    def __init__(self, channels):
        super().__init__(channels)
        self.act = nn.Tanh()

    def forward(self, x):
        return self.act(super().forward(x))


def test_the_activation_at_the_end_of_a_norm_stays(batch):
    chain = nn.Sequential(nn.Conv2d(3, 4, 1), NormThenActivation(4)).eval()
    chain[1].running_mean += 1
    fused = fuse_conv_bn(chain, batch, TOLERANCE)
    assert norms(fused) == []
    torch.testing.assert_close(fused(batch), chain(batch))


class Repeating(nn.Module):
    """A convolution that runs twice, the second time before the batch norm."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

    def forward(self, x):
        return self.norm(self.conv(self.conv(x)))


class Doubled(nn.Module):
    """Two batch norms that take the output of one convolution."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.other = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.BatchNorm2d(3)

    def forward(self, x):
        y = self.conv(x)
        return self.norm(y) + self.other(y)


class Distant(nn.Module):
    """A multiplication between the convolution and the batch norm."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

    def forward(self, x):
        return self.norm(self.conv(x) * 2)


class Reused(nn.Module):
    """A convolution whose output is also used by an addition."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

    def forward(self, x):
        y = self.conv(x)
        return y + self.norm(y)


@pytest.mark.parametrize("kind", [Repeating, Doubled, Distant, Reused])
def test_a_module_that_cannot_be_fused_is_copied_unchanged(kind, batch):
    chain = nn.Sequential(kind()).eval()
    chain[0].norm.running_mean += 1
    fused = fuse_conv_bn(chain, batch, TOLERANCE)
    assert len(norms(fused)) == len(norms(chain))
    assert torch.equal(fused(batch), chain(batch))


def test_a_forward_pass_that_depends_on_values_is_followed(batch):
    class Deciding(Distant):
        def forward(self, x):
            return self.norm(self.conv(x)) if x.sum() > 0 else x

    assert norms(fuse_conv_bn(nn.Sequential(Deciding()), batch, TOLERANCE)) == []


def test_a_batch_norm_without_statistics_is_not_fused(batch):
    chain = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3, track_running_stats=False))
    assert len(norms(fuse_conv_bn(chain, batch, TOLERANCE))) == 1


def test_a_copy_is_in_evaluation_mode_and_shares_no_parameter(batch):
    for chain in (nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)), nn.Sequential(Reused())):
        copied = fuse_conv_bn(chain.train(), batch, TOLERANCE)
        assert not any(module.training for module in copied.modules())
        assert not {*copied.parameters()} & {*chain.parameters()}
        assert chain.training


def test_a_single_layer_is_copied(batch):
    layer = nn.Conv2d(3, 4, 1)
    copied = fuse_conv_bn(layer, batch, TOLERANCE)
    assert copied is not layer
    assert torch.equal(copied(batch), layer(batch))
