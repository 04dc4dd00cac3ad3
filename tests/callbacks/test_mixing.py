"""MixUp and CutMix: the papers' formulas, weights, layouts, and what is refused."""

from copy import deepcopy
from types import SimpleNamespace

import pytest
import torch
from helpers.nets import Net, assert_same
from torch import nn

from sktransfer.callbacks import CutMix, MixUp


@pytest.fixture
def net():
    return Net([])


def mixed(callback, net, X, training=True):
    """Return a copy of the batch after the callback has mixed it."""
    X = dict(X)
    callback.initialize().on_batch_begin(net, batch=(X, None), training=training)
    return X


def soft_batch(shape=(6, 3, 8, 8), weight=None):
    rng = torch.Generator().manual_seed(1)
    target = torch.rand(shape[0], 4, generator=rng, dtype=torch.float64)
    weight = torch.ones(shape[0], dtype=torch.float64) if weight is None else weight
    return {"x": torch.randn(shape, generator=rng), "target": target, "weight": weight}


@pytest.mark.parametrize("shape", [(6, 3, 8, 8), (6, 5), (6, 7, 4), (1, 3, 8, 8)])
def test_mixup_is_the_formula_of_the_paper(net, shape):
    X, rng = soft_batch(shape), net.rng("mixup", 0)
    share, order = rng.beta(0.4, 0.4), rng.permutation(shape[0])
    result = mixed(MixUp(0.4), net, X)
    torch.testing.assert_close(result["x"], share * X["x"] + (1 - share) * X["x"][order])
    expected = share * X["target"] + (1 - share) * X["target"][order]
    torch.testing.assert_close(result["target"], expected)
    assert result["weight"].tolist() == pytest.approx([1] * shape[0])
    assert [value.dtype for value in result.values()] == [value.dtype for value in X.values()]


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_a_collage_holds_a_box_of_another_item_and_its_share_of_the_target(net, layout):
    if layout == "NHWC":
        net.module_.backbone.layout, net.module_.cut = layout, 1
    shape = (6, 3, 8, 8) if layout == "NCHW" else (6, 8, 8, 3)
    X, rng = soft_batch(shape), net.rng("cutmix", 5)
    net.step_ = 5
    result = mixed(CutMix(), net, X)
    rng.beta(1, 1), rng.integers(8), rng.integers(8)
    order = torch.from_numpy(rng.permutation(6))
    other = result["x"] != X["x"]
    assert torch.equal(result["x"], torch.where(other, X["x"][order], X["x"]))
    moved = order != torch.arange(6)
    area = other[moved].float().mean().item()
    assert 0 < area < 1
    mask = other[moved][0].all(0 if layout == "NCHW" else 2)
    rows, columns = mask.any(1).sum(), mask.any(0).sum()
    assert mask.sum() == rows * columns == other[moved][0].sum() / 3
    expected = (1 - area) * X["target"] + area * X["target"][order]
    torch.testing.assert_close(result["target"], expected)


@pytest.mark.parametrize("callback", [MixUp(1.0), CutMix()])
def test_the_loss_of_a_mixture_is_that_of_its_weighted_parts(net, callback):
    weight = torch.tensor([1.0, 0.5, 2.0, 3.0, 0.1, 1.5], dtype=torch.float64)
    X, rng = soft_batch(weight=weight), net.rng("mixup", 0)
    share = rng.beta(1, 1)
    if isinstance(callback, CutMix):
        rng.integers(8), rng.integers(8)
    order = torch.from_numpy(rng.permutation(6))
    result = mixed(callback, net, X)
    if isinstance(callback, CutMix):
        share = (result["x"] == X["x"])[order != torch.arange(6)].double().mean()
    logs = torch.randn(6, 4, generator=torch.Generator().manual_seed(2)).double().log_softmax(1)

    def loss(target, weight):
        return -(weight[:, None] * target * logs).sum()

    parts = share * loss(X["target"], weight)
    parts += (1 - share) * loss(X["target"][order], weight[order])
    torch.testing.assert_close(loss(result["target"], result["weight"]), parts)


@pytest.mark.parametrize("callback", [MixUp(), CutMix()])
def test_items_without_weight_make_mixtures_without_one(net, callback):
    result = mixed(callback, net, soft_batch(weight=torch.zeros(6, dtype=torch.float64)))
    assert result["weight"].tolist() == [0] * 6
    assert result["target"].isfinite().all()


@pytest.mark.parametrize("callback", [MixUp(), CutMix()])
def test_mixing_writes_into_no_tensor_of_the_batch(net, callback):
    X = soft_batch()
    before = deepcopy(X)
    result = mixed(callback, net, X)
    assert_same(X, before)
    assert all(result[name] is not X[name] for name in X)


@pytest.mark.parametrize("callback", [MixUp(), CutMix()])
def test_a_validation_batch_is_not_mixed(net, callback):
    X = soft_batch()
    assert mixed(callback, net, X, training=False) == X


@pytest.mark.parametrize("callback", [MixUp(), CutMix()])
def test_a_mixture_is_a_function_of_the_step(net, callback):
    first, again = (mixed(callback, net, soft_batch()) for _ in range(2))
    assert_same(first, again)
    net.step_ = 1
    assert not torch.equal(mixed(callback, net, soft_batch())["target"], first["target"])


@pytest.mark.parametrize("callback", [MixUp(), CutMix()])
def test_a_net_trains_on_mixtures(callback):
    net = Net([callback])
    before = net.module_.head.weight.detach().clone()
    net.fit()
    assert net.module_.head.weight.isfinite().all()
    assert not torch.equal(net.module_.head.weight, before)


@pytest.mark.parametrize(
    ("callback", "x", "error", "message"),
    [
        (
            MixUp(),
            torch.zeros(2, 3, dtype=torch.uint8),
            TypeError,
            r"floats .*; got torch\.uint8\.",
        ),
        (MixUp(), [0.0], TypeError, r"X\['x'\] must be a tensor of floats for MixUp; got list\."),
        (CutMix(), [0.0], TypeError, r"X\['x'\] must be a tensor for CutMix; got list\."),
        (
            CutMix(),
            torch.zeros(8, 5),
            ValueError,
            r"X\['x'\] must be images or feature maps.*got shape \(8, 5\)\. MixUp accepts any .*\.",
        ),
    ],
)
def test_an_input_that_cannot_be_mixed_is_named(net, callback, x, error, message):
    with pytest.raises(error, match=message):
        mixed(callback, net, {"x": x})


def test_pooled_features_of_the_head_phase_make_no_collages(net):
    X, net.phase = soft_batch((6, 5)), "head"
    assert mixed(CutMix(), net, X) == X


def test_collages_do_without_a_backbone(net):
    plain = SimpleNamespace(module_=nn.Linear(1, 1), step_=0, rng=net.rng)
    assert_same(mixed(CutMix(), plain, soft_batch()), mixed(CutMix(), net, soft_batch()))
