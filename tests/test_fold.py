"""A folded stage is the same function with fewer operations."""

import pytest
import torch
from tiny import tiny_stages
from torch import nn

from sktransfer.fold import fold_batch_norm


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
    return torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def norms(module):
    return [m for m in module.modules() if isinstance(m, nn.BatchNorm2d)]


def test_a_folded_stage_computes_the_same(stage, batch):
    folded = fold_batch_norm(stage)
    assert len(norms(stage)) == 3
    assert norms(folded) == []
    torch.testing.assert_close(folded(batch), stage(batch), rtol=1e-5, atol=1e-6)


class Branching(nn.Module):
    """The convolution's output is used beside the batch norm, too."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

    def forward(self, x):
        y = self.conv(x)
        return y + self.norm(y)


class Repeating(nn.Module):
    """One convolution runs twice, once before the batch norm."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

    def forward(self, x):
        return self.norm(self.conv(self.conv(x)))


class Untraceable(nn.Module):
    """A forward pass that asks for values, which torch.fx cannot follow."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

    def forward(self, x):
        return self.norm(self.conv(x)) if x.sum() > 0 else x


@pytest.mark.parametrize("kind", [Branching, Repeating, Untraceable])
def test_what_cannot_be_folded_is_copied_as_it_is(kind, batch):
    stage = kind().eval()
    stage.norm.running_mean += 1
    folded = fold_batch_norm(stage)
    assert len(norms(folded)) == 1
    assert torch.equal(folded(batch), stage(batch))


def test_a_batch_norm_without_statistics_stays():
    stage = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3, track_running_stats=False))
    assert len(norms(fold_batch_norm(stage))) == 1
