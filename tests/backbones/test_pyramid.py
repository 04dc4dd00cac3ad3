"""A chain as the backbone of torchvision's detectors and segmentation networks."""

import pytest
import torch
from helpers.tiny import tiny_backbone
from torch import nn
from torchvision.models.detection import FasterRCNN, RetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.segmentation.fcn import FCN, FCNHead
from torchvision.ops import MultiScaleRoIAlign

from sktransfer import Backbone, ImagePreset, TextPreset, feature_pyramid
from sktransfer.backbones import as_map, choose_maps, map_shapes
from sktransfer.data import WordPiece


def state_of(pyramid, frozen):
    names = pyramid.backbone.names
    cut = pyramid.backbone.cut
    chosen = names[:cut] if frozen else names[cut:]
    return {
        name: value.clone()
        for name, value in pyramid.backbone.state_dict().items()
        if name.split(".")[1] in chosen
    }


def n_moved(before, pyramid):
    after = pyramid.backbone.state_dict()
    return sum(not torch.equal(value, after[name]) for name, value in before.items())


def train_a_detector(pyramid):
    """Take two steps with a Faster R-CNN at 32 px."""
    torch.manual_seed(0)
    n_maps = len(pyramid.stages)
    detector = FasterRCNN(
        pyramid,
        num_classes=2,
        min_size=32,
        max_size=32,
        rpn_anchor_generator=AnchorGenerator(((8,),) * (n_maps + 1), ((1.0,),) * (n_maps + 1)),
        box_roi_pool=MultiScaleRoIAlign([str(at) for at in range(n_maps)], 4, 2),
    ).train()
    optimizer = torch.optim.SGD([p for p in detector.parameters() if p.requires_grad], 0.01)
    target = {"boxes": torch.tensor([[4.0, 4.0, 20.0, 20.0]]), "labels": torch.tensor([1])}
    for _ in range(2):
        loss = sum(detector([torch.rand(3, 32, 32)] * 2, [target] * 2).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return detector


def test_stages_are_counted_from_the_last_one_that_is_used():
    pyramid = feature_pyramid(tiny_backbone, stages=["stem", "layer1"], unfreeze=1)
    trains = {
        name: all(weight.requires_grad for weight in stage.parameters())
        for name, stage in pyramid.backbone.stages.items()
    }
    assert trains == {"stem": False, "layer1": True}


@pytest.mark.parametrize("freeze_bn", ["frozen", "all"])
@pytest.mark.parametrize("unfreeze", [0, 1, "layer1"])
def test_no_frozen_tensor_moves_when_a_detector_trains(unfreeze, freeze_bn):
    pyramid = feature_pyramid(tiny_backbone, unfreeze=unfreeze, out_channels=8, freeze_bn=freeze_bn)
    frozen, tuned = state_of(pyramid, frozen=True), state_of(pyramid, frozen=False)
    train_a_detector(pyramid)
    assert frozen
    assert n_moved(frozen, pyramid) == 0
    assert (n_moved(tuned, pyramid) > 0) == (unfreeze != 0)


@pytest.mark.parametrize(
    ("freeze_bn", "moves"), [("frozen", True), ("all", False), ("auto", False)]
)
def test_the_statistics_of_trainable_stages_move_only_if_asked(freeze_bn, moves):
    pyramid = feature_pyramid(tiny_backbone, unfreeze="all", freeze_bn=freeze_bn)
    before = {
        name: value.clone()
        for name, value in pyramid.state_dict().items()
        if "running_mean" in name
    }
    pyramid.train()(torch.randn(2, 3, 16, 16))
    after = pyramid.state_dict()
    assert any(not torch.equal(after[name], before[name]) for name in before) == moves


def test_the_maps_have_the_names_that_the_detectors_of_torchvision_expect():
    pyramid = feature_pyramid("builtin/mini", out_channels=16)
    maps = pyramid.eval()(torch.zeros(1, 3, 64, 96))
    assert {name: tuple(x.shape[1:]) for name, x in maps.items()} == {
        "0": (16, 32, 48),
        "1": (16, 16, 24),
        "2": (16, 8, 12),
        "3": (16, 4, 6),
        "pool": (16, 2, 3),
    }
    assert pyramid.stages == ["stem", "layer1", "layer2", "layer4"]
    assert pyramid.out_channels == 16


def test_other_detectors_take_the_pyramid_without_further_arguments():
    detector = RetinaNet(feature_pyramid("builtin/mini", out_channels=16), 2, min_size=64)
    losses = detector.train()(
        [torch.rand(3, 64, 64)],
        [{"boxes": torch.tensor([[4.0, 4.0, 40.0, 40.0]]), "labels": torch.tensor([1])}],
    )
    assert all(torch.isfinite(loss) for loss in losses.values())


def test_a_segmentation_network_of_torchvision_takes_the_pyramid():
    pyramid = feature_pyramid(tiny_backbone, out_channels=8, output="out")
    net = FCN(pyramid, FCNHead(8, 3)).train()
    frozen = state_of(pyramid, frozen=True)
    optimizer = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], 0.1)
    scores = net(torch.randn(2, 3, 24, 32))["out"]
    assert scores.shape == (2, 3, 24, 32)
    scores.square().mean().backward()
    optimizer.step()
    assert n_moved(frozen, pyramid) == 0


def test_the_stages_after_the_last_map_are_dropped():
    pyramid = feature_pyramid(tiny_backbone, unfreeze=0, stages=["stem", "layer1"])
    assert pyramid.backbone.names == ["stem", "layer1"]
    assert pyramid.backbone.cut == 2
    assert list(pyramid(torch.zeros(1, 3, 16, 16))) == ["0", "1", "pool"]


def test_a_backbone_is_copied():
    backbone = tiny_backbone()
    pyramid = feature_pyramid(backbone, unfreeze=0)
    assert backbone.cut == 0
    assert backbone.classifier is not None
    assert pyramid.backbone is not backbone
    assert torch.equal(pyramid.backbone.stages["stem"][0].weight, backbone.stages["stem"][0].weight)


def test_channels_last_maps_and_tokens_become_maps():
    x = torch.arange(2 * 3 * 4 * 6).reshape(2, 3, 4, 6)
    assert torch.equal(as_map(x.movedim(1, -1), "NHWC", 0, (8, 12)), x)
    tokens = torch.cat([torch.zeros(2, 1, 3), x.flatten(2).transpose(1, 2)], 1)
    assert torch.equal(as_map(tokens, "NLC", 1, (8, 12)), x)


def test_a_network_whose_stages_share_one_resolution_has_one_map():
    stages = {
        "stem": nn.Conv2d(3, 4, 2, 2),
        "layer1": nn.Conv2d(4, 6, 1),
        "layer2": nn.Conv2d(6, 8, 1),
    }
    shapes = map_shapes(Backbone(stages, ImagePreset(size=16)))
    assert [shape.name for shape in choose_maps(shapes, None)] == ["layer2"]
    assert [shape.n_channels for shape in choose_maps(shapes, ["stem", "layer2"])] == [4, 8]


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        (
            {"stages": ["layer9"]},
            "stages must be names of stages, some of 'stem', 'layer1', 'layer2'",
        ),
        ({"stages": []}, "stages must be names of stages"),
        ({"out_channels": 0}, "out_channels must be an integer of at least 1; got 0"),
        ({"freeze_bn": "none"}, "freeze_bn must be one of 'auto', 'frozen', 'all'; got 'none'"),
        ({"output": "dict"}, "output must be one of 'maps', 'out'; got 'dict'"),
        ({"unfreeze": 4}, "unfreeze must be 'all', the number of the last stages that train"),
    ],
)
def test_an_invalid_argument_is_named(parameters, message):
    with pytest.raises(ValueError, match=message):
        feature_pyramid(tiny_backbone, **parameters)


def test_stages_must_be_a_list():
    with pytest.raises(
        TypeError, match="stages must be None or a list of names of stages; got 'stem'"
    ):
        feature_pyramid(tiny_backbone, stages="stem")


def test_a_network_for_texts_has_no_feature_maps():
    preset = TextPreset(WordPiece({"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3}))
    backbone = Backbone({"stem": nn.Embedding(4, 3)}, preset, layout="NLM")
    with pytest.raises(ValueError, match="backbone must make feature maps of images; got"):
        feature_pyramid(backbone)
