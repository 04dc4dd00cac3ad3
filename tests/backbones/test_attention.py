"""Attention and dropout in training on a CPU."""

import pytest
import torch
from torch.nn import Dropout
from torch.nn.functional import scaled_dot_product_attention

from sktransfer.backbones.attention import attend, drop
from sktransfer.backbones.masks import packing

NEARLY_NONE = Dropout(1e-9)  # so small that nothing is dropped


def test_dropout_keeps_the_mean_and_the_share_of_values():
    torch.manual_seed(0)
    dropped = drop(torch.ones(100_003), Dropout(0.3))
    assert (dropped == 0).float().mean() == pytest.approx(0.3, abs=0.01)
    assert dropped.max() == pytest.approx(1 / 0.7)
    assert dropped.mean() == pytest.approx(1, abs=0.01)


def test_dropout_depends_on_the_seed_alone():
    x, dropped = torch.randn(5, 7), []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        dropped.append(drop(x, Dropout(0.5)))
    assert torch.equal(dropped[0], dropped[1])
    assert not torch.equal(dropped[0], dropped[2])


@pytest.mark.parametrize(("p", "training"), [(0.5, False), (0.0, True)])
def test_without_dropout_values_stay(p, training):
    x = torch.randn(3, 4)
    assert torch.equal(drop(x, Dropout(p).train(training)), x)


def test_a_dropout_of_all_values_leaves_none():
    assert drop(torch.ones(5), Dropout(1.0)).tolist() == [0] * 5


def test_the_gradient_of_dropout_is_that_of_the_values_that_stay():
    x = torch.ones(64, requires_grad=True)
    dropped = drop(x, Dropout(0.5))
    dropped.sum().backward()
    assert torch.equal(x.grad, dropped.detach())


@pytest.mark.parametrize("how", [{}, {"is_causal": True, "scale": 0.3}, {"mask": -1e4}])
def test_attention_with_dropout_is_that_of_torch(how):
    generator = torch.Generator().manual_seed(0)
    query, key, value = torch.randn(3, 2, 4, 5, 6, generator=generator)
    if "mask" in how:
        how = {"mask": how["mask"] * torch.eye(5)[None, None, :1].expand(2, 1, 1, 5)}
    renamed = {"attn_mask" if name == "mask" else name: value for name, value in how.items()}
    expected = scaled_dot_product_attention(query, key, value, **renamed)
    found = attend(query, key, value, NEARLY_NONE, **how)
    torch.testing.assert_close(found, expected)
    assert torch.equal(attend(query, key, value, Dropout(0.5).eval(), **how), expected)


def test_attention_drops_weights():
    query, key, value = torch.ones(3, 1, 1, 50, 2)
    torch.manual_seed(0)
    found = attend(query, key, value, Dropout(0.5))
    assert found.mean() == pytest.approx(1, abs=0.1)
    assert found.std() > 0.05


def test_packed_positions_are_those_with_a_token():
    mask = torch.tensor([[1.0, 1, 0], [1, 0, 0]])[..., None]
    x = torch.arange(12.0).reshape(2, 3, 2)
    pack, unpack = packing(mask, packs=True)
    assert pack(x).tolist() == [[0, 1], [2, 3], [6, 7]]
    assert torch.equal(unpack(pack(x)), x * mask)


@pytest.mark.parametrize(("mask", "packs"), [([1.0, 1], True), ([1.0, 0], False)])
def test_nothing_is_packed_without_need(mask, packs):
    x = torch.arange(4.0).reshape(1, 2, 2)
    pack, unpack = packing(torch.tensor(mask).reshape(1, 2, 1), packs)
    assert pack(x) is x
    assert unpack(x) is x
