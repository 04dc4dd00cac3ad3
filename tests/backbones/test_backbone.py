"""The backbone: order of stages, freezing, cuts and fingerprints."""

import pytest
import torch
from helpers.tiny import tiny_backbone
from torch import nn
from torchvision.models import squeezenet1_1

from sktransfer import split


@pytest.fixture
def backbone():
    return tiny_backbone()


@pytest.fixture
def batch():
    return torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("cut", [0, 1, 2, 3])
def test_gradients_flow_only_after_the_cut(backbone, cut):
    stages = backbone.freeze_to(cut).stages.values()
    learns = [all(p.requires_grad for p in stage.parameters()) for stage in stages]
    assert learns == [index >= cut for index in range(3)]


def test_a_cut_that_is_moved_back_unfreezes_stages(backbone):
    backbone.freeze_to(3).freeze_to(0)
    assert all(p.requires_grad for p in backbone.parameters())


@pytest.mark.parametrize("cut", [-1, 4])
def test_a_cut_outside_the_chain_is_refused(backbone, cut):
    with pytest.raises(ValueError, match=f"^cut must be between 0 and 3; got {cut}.$"):
        backbone.freeze_to(cut)


def test_training_mode_does_not_change_frozen_batch_statistics(backbone, batch):
    # skorch calls train() before each batch; frozen stages must stay in evaluation mode.
    norms = [stage[1] for stage in backbone.freeze_to(2).stages.values()]
    before = [norm.running_mean.clone() for norm in norms]
    backbone.train()(batch)
    moved = [not torch.equal(n.running_mean, b) for n, b in zip(norms, before, strict=True)]
    assert moved == [False, False, True]


@pytest.mark.parametrize("cut", [0, 1, 2, 3])
def test_the_chain_computes_the_same_at_every_cut(backbone, batch, cut):
    backbone.eval()
    assert torch.equal(backbone(backbone(batch, stop=cut), start=cut), backbone(batch))


def test_truncating_keeps_the_first_stages(backbone, batch):
    expected = backbone.eval()(batch, stop=2)
    short = backbone.truncate(2)
    assert short.names == ["stem", "layer1"]
    assert short.classifier is None
    assert torch.equal(short(batch), expected)


def test_equal_backbones_have_one_fingerprint(backbone):
    assert backbone.fingerprint(2) == tiny_backbone().fingerprint(2)


def test_the_fingerprints_of_all_cuts_are_those_of_each(backbone):
    every = {stop: backbone.weights_fingerprint(stop) for stop in (1, 2, 3, None)}
    assert len(set(every.values())) == 4  # the last one covers the classifier
    assert backbone.weights_fingerprints() == every
    assert backbone.weights_fingerprints(2) == {1: every[1], 2: every[2]}


def change_weight(backbone):
    backbone.stages["stem"][0].weight.data[0, 0, 0, 0] += 1e-6


def change_statistics(backbone):
    backbone.stages["stem"][1].running_mean[0] += 1e-6


def change_stride(backbone):
    backbone.stages["stem"][0].stride = (1, 1)


def change_activation(backbone):
    backbone.stages["stem"][2] = nn.GELU()


class Scale(nn.Module):
    """A module with an attribute that neither its repr nor its state dict shows."""

    def __init__(self, factor):
        super().__init__()
        self.factor = factor
        self.register_buffer("shift", torch.tensor([factor]), persistent=False)

    def forward(self, x):
        return x * self.factor + self.shift


@pytest.mark.parametrize("attribute", ["factor", "shift"])
def test_a_hidden_attribute_changes_the_fingerprint(backbone, attribute):
    backbone.stages["stem"].append(Scale(1.0))
    before = backbone.fingerprint(1)
    setattr(backbone.stages["stem"][-1], attribute, getattr(Scale(5.0), attribute))
    assert backbone.fingerprint(1) != before


def change_layout(backbone):
    backbone.layout = "NHWC"


def change_prefix_tokens(backbone):
    backbone.n_prefix_tokens = 1


def test_a_layer_that_a_frozen_stage_shares_stays_in_evaluation_mode(backbone):
    shared = torch.nn.Dropout()
    for stage in backbone.stages.values():
        stage.append(shared)
    backbone.freeze_to(1)
    for _ in range(2):
        assert backbone.train().training
        assert not shared.training
        assert backbone.stages["layer2"][0].training


def test_training_mode_does_not_change_the_fingerprint(backbone):
    assert backbone.train().fingerprint() == backbone.eval().fingerprint()


def test_the_preset_does_not_change_the_fingerprint_of_the_weights(backbone):
    before = backbone.weights_fingerprint()
    backbone.preset = backbone.preset.at(32)
    assert backbone.weights_fingerprint() == before


def change_preset(backbone):
    backbone.preset = backbone.preset.at(32)


@pytest.mark.parametrize(
    "change",
    [
        change_weight,
        change_statistics,
        change_stride,
        change_activation,
        change_preset,
        change_layout,
        change_prefix_tokens,
    ],
)
def test_every_change_of_the_prefix_changes_its_fingerprint(backbone, change):
    before = backbone.fingerprint(1)
    change(backbone)
    assert backbone.fingerprint(1) != before


def test_later_stages_do_not_change_the_fingerprint_of_the_prefix(backbone):
    before = backbone.fingerprint(1)
    backbone.stages["layer1"][0].weight.data += 1
    backbone.classifier[2].weight.data += 1
    assert backbone.fingerprint(1) == before
    assert backbone.fingerprint() != tiny_backbone().fingerprint()


def test_split_takes_the_networks_own_modules():
    net = squeezenet1_1()
    stages = split(net, stem="features[0:3]", rest="features[3:] classifier.1")
    assert stages["stem"][0] is net.features[0]
    assert stages["rest"][-1] is net.classifier[1]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("layer9", "SqueezeNet has no submodule 'layer9'"),
        ("features[90:]", r"SqueezeNet has no submodule in 'features\[90:\]'"),
        ("features[a:]", r"SqueezeNet has no submodule 'features\[a:\]'"),
    ],
)
def test_split_names_a_missing_submodule(name, message):
    with pytest.raises(ValueError, match=message):
        split(squeezenet1_1(), stem=name)
