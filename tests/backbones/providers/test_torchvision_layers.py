"""Operations between torchvision's submodules compute the same as torchvision."""

import pytest
import torch
from torchvision import models
from torchvision.models.vision_transformer import interpolate_embeddings

from sktransfer.backbones.providers._torchvision_layers import Tokens


def tiny_vit(size):
    torch.manual_seed(0)
    return models.VisionTransformer(size, 8, 1, 2, 16, 32, num_classes=3)


@pytest.mark.parametrize("size", [8, 16, 24, 40, 64])
def test_tokens_at_another_image_size_equal_those_of_torchvision(size):
    small, large = tiny_vit(32), tiny_vit(size)
    large.load_state_dict(interpolate_embeddings(size, 8, small.state_dict()))
    x = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    assert torch.equal(Tokens(small)(x), Tokens(large)(x))


def test_a_graph_of_the_tokens_of_an_image_takes_any_number_of_images():
    vit = models.VisionTransformer(32, 16, num_layers=1, num_heads=1, hidden_dim=8, mlp_dim=8)
    tokens = Tokens(vit).eval()
    axes = ({0: torch.export.Dim("n")},)
    graph = torch.export.export(tokens, (torch.zeros(2, 3, 32, 32),), dynamic_shapes=axes)
    images = torch.rand(5, 3, 32, 32)
    torch.testing.assert_close(graph.module()(images), tokens(images))
