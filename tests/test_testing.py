"""check_backbone finds each kind of invalid backbone."""

import copy

import pytest
import torch
from helpers.text_nets import Attend, text_backbone
from helpers.tiny import tiny_backbone
from torch import nn

from sktransfer.testing import check_backbone


@pytest.fixture
def backbone():
    return tiny_backbone()


def own_forward(backbone):
    net = copy.deepcopy(backbone).eval()
    return lambda x: net.classifier(net(x))


def test_a_valid_backbone_passes_and_is_not_changed(backbone):
    backbone.freeze_to(1).train()
    before = copy.deepcopy(backbone.state_dict())
    check_backbone(backbone, reference=own_forward(backbone))
    assert backbone.cut == 1
    assert backbone.training
    assert all(torch.equal(before[key], tensor) for key, tensor in backbone.state_dict().items())


class FrozenInName(nn.BatchNorm2d):
    """Batch norm whose statistics also change in evaluation mode."""

    def forward(self, x):
        self.running_mean += 1
        return super().forward(x)


def overwrite(backbone):
    backbone.stages["layer1"].insert(0, nn.Threshold(0.5, 9, inplace=True))


def share(backbone):
    backbone.stages["extra"] = backbone.stages["layer2"]


def move(backbone):
    backbone.stages["layer2"][1] = FrozenInName(16)


def noise(backbone):
    backbone.stages["layer2"].append(Noise())


class Noise(nn.Module):
    def forward(self, x):
        return x + torch.rand_like(x)


def flatten(backbone):
    backbone.stages["layer2"].append(nn.Flatten())


def misname(backbone):
    backbone.layout = "CHW"


def empty(backbone):
    backbone.stages = nn.ModuleDict()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (overwrite, "stage 'layer1' must not overwrite its input"),
        (share, "stage 'extra' must not share a parameter with stage 'layer2'"),
        (move, "must give the output of the whole chain|layer2.1.running_mean did"),
        (noise, "must give the output of the whole chain"),
        (flatten, "must have 4 axes with layout 'NCHW'"),
        (misname, "layout must be one of"),
        (empty, "at least one stage"),
    ],
)
def test_an_invalid_backbone_is_an_error_that_names_the_stage(backbone, spoil, message):
    spoil(backbone)
    with pytest.raises(AssertionError, match=message):
        check_backbone(backbone)


def test_another_forward_pass_is_an_error(backbone):
    with pytest.raises(AssertionError, match=r"bit for bit.*greatest difference"):
        check_backbone(backbone, reference=lambda x: own_forward(backbone)(x) + 1e-6)


def test_a_reference_needs_a_classifier(backbone):
    backbone.classifier = None
    with pytest.raises(AssertionError, match=r"classifier must be a module"):
        check_backbone(backbone, reference=lambda x: x)


def test_a_valid_chain_for_texts_passes():
    check_backbone(text_backbone())
    check_backbone(text_backbone(), torch.tensor([[5, 6, 7, 8], [9, -1, -1, -1]]))


class WithoutMask(Attend):
    """Attention to all positions."""

    def forward(self, x):
        whole = torch.cat([x[:, :, :-1], torch.ones_like(x[:, :, -1:])], 2)
        return torch.cat([super().forward(whole)[:, :, :-1], x[:, :, -1:]], 2)


class Infinite(nn.Module):
    def forward(self, x):
        mean = x[:, :, :-1] / x[:, :, -1:].sum(1, keepdim=True)
        return torch.cat([mean, x[:, :, -1:]], 2)


class MaskLost(nn.Module):
    def forward(self, x):
        return torch.cat([x[:, :, :-1], torch.ones_like(x[:, :, -1:])], 2)


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        (WithoutMask, "stage 'extra' must not depend on positions without a token; .* differ by"),
        (Infinite, "stage 'extra' must be finite for a row without tokens. Add -1e4"),
        (MaskLost, "the last channel of stage 'extra' must be 1 for a token and 0 for a position"),
    ],
)
def test_a_chain_for_texts_that_reads_padding_is_named(stage, message):
    backbone = text_backbone()
    backbone.stages["extra"] = stage()
    with pytest.raises(AssertionError, match=message):
        check_backbone(backbone)
