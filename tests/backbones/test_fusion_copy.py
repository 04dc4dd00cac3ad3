"""A folded stage is the same function with fewer operations."""

import pytest
import torch
from helpers.tiny import tiny_stages
from torch import nn

from sktransfer.backbones.fusion import fold_batch_norm


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


def test_a_folded_chain_computes_the_same(stage, batch):
    folded = fold_batch_norm(stage, batch)
    assert len(norms(stage)) == 3
    assert norms(folded) == []
    torch.testing.assert_close(folded(batch), stage(batch), rtol=1e-5, atol=1e-6)


def test_a_norm_in_the_next_stage_is_folded_too(batch):
    chain = nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 4, 1)), nn.Sequential(nn.BatchNorm2d(4))
    ).eval()
    chain[1][0].running_mean += 1
    folded = fold_batch_norm(chain, batch)
    assert norms(folded) == []
    torch.testing.assert_close(folded(batch), chain(batch))


class NormThenActivation(nn.BatchNorm2d):
    """As timm writes them."""

    def __init__(self, channels):
        super().__init__(channels)
        self.act = nn.Tanh()

    def forward(self, x):
        return self.act(super().forward(x))


def test_the_activation_that_a_norm_ends_with_stays(batch):
    chain = nn.Sequential(nn.Conv2d(3, 4, 1), NormThenActivation(4)).eval()
    chain[1].running_mean += 1
    folded = fold_batch_norm(chain, batch)
    assert norms(folded) == []
    torch.testing.assert_close(folded(batch), chain(batch))


class Repeating(nn.Module):
    """One convolution runs twice, once before the batch norm."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

    def forward(self, x):
        return self.norm(self.conv(self.conv(x)))


class Doubled(nn.Module):
    """Two batch norms take the output of one convolution."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.other = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.BatchNorm2d(3)

    def forward(self, x):
        y = self.conv(x)
        return self.norm(y) + self.other(y)


class Distant(nn.Module):
    """Something stands between the convolution and the batch norm."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

    def forward(self, x):
        return self.norm(self.conv(x) * 2)


@pytest.mark.parametrize("kind", [Repeating, Doubled, Distant])
def test_what_cannot_be_folded_is_copied_as_it_is(kind, batch):
    chain = nn.Sequential(kind()).eval()
    chain[0].norm.running_mean += 1
    folded = fold_batch_norm(chain, batch)
    assert len(norms(folded)) == len(norms(chain))
    assert torch.equal(folded(batch), chain(batch))


def test_a_forward_pass_that_looks_at_values_is_followed(batch):
    class Deciding(Distant):
        def forward(self, x):
            return self.norm(self.conv(x)) if x.sum() > 0 else x

    assert norms(fold_batch_norm(nn.Sequential(Deciding()), batch)) == []


def test_a_batch_norm_without_statistics_stays(batch):
    chain = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3, track_running_stats=False))
    assert len(norms(fold_batch_norm(chain, batch))) == 1
