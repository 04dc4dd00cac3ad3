"""A backbone is shown in about ten lines: its stages, features and weights."""

import re

import torch
from helpers.tiny import tiny_backbone
from torch import nn

from sktransfer import Backbone, ImagePreset, get_backbone

MINI = """\
Backbone 'builtin/mini' of 5 stages, 1,901,216 parameters
  stage   parameters  output for 80 x 80 pixels  state
  stem           928  (32, 40, 40)               frozen
  layer1      21,200  (40, 20, 20)               frozen
  layer2     174,640  (64, 10, 10)
  layer3     419,072  (128, 5, 5)
  layer4   1,285,376  (1024, 5, 5)
  features:  1,024, averaged over the positions (layout NCHW)
  weights:   random, seeded
  licence:   BSD-3-Clause"""


def test_the_summary_of_the_default_network_has_eleven_lines():
    backbone = get_backbone("builtin/mini", None).freeze_to(2)
    assert repr(backbone) == str(backbone) == MINI


def test_shapes_are_those_of_the_outputs_and_features_are_their_channels():
    for address in ("torchvision/resnet18", "torchvision/swin_t", "torchvision/vit_b_32"):
        backbone = get_backbone(address, None)
        size = backbone.preset.size
        with torch.no_grad():
            output = backbone(torch.zeros(1, 3, size, size))
        assert f" {tuple(output.shape[1:])}\n" in repr(backbone)
        n_features = output.shape[1 if backbone.layout == "NCHW" else -1]
        assert f"\n  features:  {n_features:,}, averaged over the positions" in repr(backbone)
        assert f"\n  classifier  {513_000 if n_features == 512 else 769_000:>10,}\n" in repr(
            backbone
        )


def test_a_summary_changes_no_weight_and_no_mode():
    backbone = tiny_backbone().freeze_to(1).train()
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    repr(backbone)
    assert all(value.device.type == "cpu" for value in backbone.state_dict().values())
    assert all(torch.equal(value, before[name]) for name, value in backbone.state_dict().items())
    assert backbone.training
    assert not backbone.stages["stem"].training


class Demanding(nn.Module):
    """A stage whose values decide what it does, which the meta device does not have."""

    def forward(self, x):
        return x * float(x.sum())


def test_a_shape_that_cannot_be_found_is_left_out():
    stages = {"stem": nn.Conv2d(3, 4, 3, 2), "layer1": Demanding(), "layer2": nn.Conv2d(4, 8, 3)}
    text = repr(Backbone(stages, ImagePreset(size=9)))
    assert re.search(r"stem +112  \(4, 4, 4\)\n  layer1 +0\n  layer2 +296\n", text)
    assert re.search(r"features: +not known\n  weights: +not stated\n  licence: +not stated$", text)


def test_a_backbone_without_stages_has_a_summary():
    assert "Backbone of 0 stages, 0 parameters" in repr(tiny_backbone().truncate(0))


def test_the_summary_in_a_notebook_has_the_same_cells_as_the_text():
    backbone = get_backbone("builtin/mini", None).freeze_to(2)
    html = backbone._repr_html_()
    html = html.replace("&#x27;", "'")
    cells = re.findall(r"<(?:td|th|strong)[^>]*>([^<]*)</", html)
    assert " ".join(filter(None, cells)).split() == MINI.replace(":", "").split()


def test_texts_of_a_file_are_plain_text_in_a_summary():
    info = {"tag": "<b>\x1b[31m", "source": "x" * 100, "licence": "<script>"}
    backbone = Backbone({"stem": nn.Identity()}, ImagePreset(size=8), weights_info=info)
    html = backbone._repr_html_()
    assert "&lt;script&gt;" in html
    assert "<script>" not in html
    assert "\x1b" not in html + repr(backbone)
    assert max(map(len, repr(backbone).splitlines())) < 80


def test_a_backbone_is_part_of_the_text_of_a_network_around_it():
    text = repr(nn.Sequential(tiny_backbone(), nn.Linear(16, 2)))
    assert "Backbone of 3 stages" in text
    assert "(1): Linear(in_features=16, out_features=2, bias=True)" in text
