"""Pooling of maps with channels first or last, of tokens, and of vectors."""

import pytest
import torch

from sktransfer.backbones.pooling import POOLINGS, pool


@pytest.fixture
def maps():
    return torch.randn(2, 5, 3, 4, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("pooling", ["avg", "max", "avgmax", "flatten"])
def test_the_layout_of_a_map_does_not_matter(maps, pooling):
    expected = pool(maps, pooling)
    tokens = torch.cat([torch.full((2, 1, 5), 99.0), maps.flatten(2).transpose(1, 2)], 1)
    assert torch.equal(pool(maps.permute(0, 2, 3, 1), pooling, "NHWC"), expected)
    torch.testing.assert_close(pool(tokens, pooling, "NLC", n_prefix_tokens=1), expected)


@pytest.mark.parametrize(
    ("pooling", "expected"),
    [
        ("avg", lambda m: torch.nn.functional.adaptive_avg_pool2d(m, 1).flatten(1)),
        ("max", lambda m: torch.nn.functional.adaptive_max_pool2d(m, 1).flatten(1)),
        ("flatten", lambda m: m.flatten(1)),
    ],
)
def test_pooling_agrees_with_torch(maps, pooling, expected):
    torch.testing.assert_close(pool(maps, pooling), expected(maps))


def test_avgmax_concatenates_avg_and_max(maps):
    both = torch.cat([pool(maps, "avg"), pool(maps, "max")], 1)
    assert torch.equal(pool(maps, "avgmax"), both)


def test_cls_is_the_first_token():
    tokens = torch.arange(12.0).reshape(1, 3, 4)
    assert pool(tokens, "cls", "NLC", 1).tolist() == [[0, 1, 2, 3]]


@pytest.mark.parametrize("pooling", [p for p in POOLINGS if p not in ("cls", "avgmax")])
def test_pooling_leaves_vectors_unchanged(pooling):
    vectors = torch.arange(6.0).reshape(2, 3)
    assert torch.equal(pool(vectors, pooling, "NC"), vectors)
