"""Heads of maps: linear and pyramids."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import interpolate

from sktransfer.tasks import FPNHead, LinearMapHead, build_map_head, set_map_bias

CHANNELS, SIZES = [4, 6], [(8, 6), (4, 3)]


def maps_of(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.randn(2, n, *size, generator=generator)
        for n, size in zip(CHANNELS, SIZES, strict=True)
    ]


@pytest.mark.parametrize("head", ["linear", "fpn", FPNHead(12), FPNHead(5), LinearMapHead()])
def test_a_head_has_the_positions_of_the_finest_map(head):
    built = build_map_head(head, CHANNELS, 3, SIZES)
    assert built(maps_of()).shape == (2, 3, 8, 6)


def test_a_linear_head_is_linear_in_the_resized_maps():
    head, maps = build_map_head("linear", CHANNELS, 3, SIZES), maps_of()
    weights = torch.cat([layer.weight for layer in head.layers], dim=1)
    resized = [maps[0], interpolate(maps[1], SIZES[0], mode="bilinear", align_corners=False)]
    expected = nn.functional.conv2d(torch.cat(resized, 1), weights, head.layers[1].bias)
    torch.testing.assert_close(head(maps), expected)


def test_a_linear_head_starts_from_its_biases():
    head = build_map_head("linear", CHANNELS, 2, SIZES)
    set_map_bias(head, np.array([0.5, -0.5]))
    assert (head(maps_of()) == torch.tensor([0.5, -0.5])[:, None, None]).all()


def test_a_head_without_as_many_biases_stays_as_it_is():
    for head in (nn.Identity(), nn.Conv2d(4, 3, 1), nn.Conv2d(4, 2, 1, bias=False)):
        before = [parameter.clone() for parameter in head.parameters()]
        set_map_bias(head, np.array([0.5, -0.5]))
        assert all(map(torch.equal, before, head.parameters()))


class Narrow(nn.Module):
    def forward(self, maps):
        return maps[0][:, :1]


@pytest.mark.parametrize(
    ("head", "error", "message"),
    [
        ("mlp", ValueError, "head must be one of 'linear', 'fpn'"),
        (nn.Identity(), TypeError, "head must be one of 'linear', 'fpn'"),
        (lambda n, k: 3, TypeError, "head must return a Module; got int"),
        (
            lambda n, k: nn.Conv2d(4, k, 1),
            ValueError,
            "head must return a Module of a list of maps",
        ),
        (
            lambda n, k: nn.Sequential(nn.Flatten()),
            ValueError,
            "head must return a Module of a list of maps.*failed: 'list' object",
        ),
        (
            lambda n, k: nn.Identity(),
            ValueError,
            r"outputs of shape \(b, 3, h, w\); got a list from",
        ),
        (lambda n, k: Narrow(), ValueError, r"outputs of shape \(b, 3, h, w\); got \(2, 1, 8, 6\)"),
    ],
)
def test_a_wrong_head_is_an_error(head, error, message):
    with pytest.raises(error, match=message):
        build_map_head(head, CHANNELS, 3, SIZES)


def test_the_width_of_a_pyramid_is_checked():
    with pytest.raises(ValueError, match="width must be an integer of at least 1; got 0"):
        FPNHead(0)
