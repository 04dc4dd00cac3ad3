"""Each stage has a learning rate, and each parameter belongs to one group."""

from functools import partial

import pytest
import torch
from helpers.tiny import tiny_backbone
from torch import nn

from sktransfer import Backbone, ImagePreset
from sktransfer.training.optim import OPTIMIZERS, make_optimizer, read_learning_rates, stage_groups


@pytest.fixture
def backbone():
    return tiny_backbone()  # stem, layer1, layer2, each a convolution and a norm


@pytest.fixture
def head():
    return nn.Linear(16, 4)


@pytest.fixture
def groups(backbone, head):
    return stage_groups(backbone, head, 0.1, layer_decay=0.5, weight_decay=0.01)


@pytest.mark.parametrize("layer_decay", [1.0, 0.5, 0.33])
def test_the_learning_rate_decays_by_one_factor_from_stage_to_stage(backbone, head, layer_decay):
    groups = stage_groups(backbone, head, 0.1, layer_decay, weight_decay=0)
    distance = {"head": 0, "layer2": 1, "layer1": 2, "stem": 3}
    for group in groups:
        expected = 0.1 * layer_decay ** distance[group["name"].removesuffix("/no_decay")]
        assert group["lr"] == group["initial_lr"] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("n_inputs", "factor"), [(16, 1), (1280, 1), (2560, 1 / 2), (40960, 1 / 32)]
)
def test_the_learning_rate_of_the_head_alone_falls_with_the_number_of_its_inputs(
    backbone, n_inputs, factor
):
    groups = stage_groups(backbone, nn.Linear(n_inputs, 4), 0.1, layer_decay=0.5, weight_decay=0)
    rates = read_learning_rates(make_optimizer("sgd", groups))
    stages = {"stem": 0.0125, "layer1": 0.025, "layer2": 0.05}
    assert rates == pytest.approx(stages | {"head": 0.1 * factor})


@pytest.mark.parametrize("head", [nn.Identity(), nn.BatchNorm1d(4)])
def test_a_head_without_weight_matrices_has_the_base_learning_rate(backbone, head):
    groups = stage_groups(backbone, head, 0.1, layer_decay=1, weight_decay=0)
    assert all(group["lr"] == 0.1 for group in groups if group["name"].startswith("head"))


@pytest.mark.parametrize("cut", [0, 2, 3])
def test_every_parameter_has_exactly_one_group_even_if_it_is_frozen(backbone, head, cut):
    backbone.freeze_to(cut)
    groups = stage_groups(backbone, head, 0.1, layer_decay=1, weight_decay=0)
    grouped = [id(parameter) for group in groups for parameter in group["params"]]
    held = [*backbone.stages.parameters(), *head.parameters()]
    assert sorted(grouped) == sorted(map(id, held))
    assert [parameter.requires_grad for parameter in backbone.stages["stem"].parameters()] == [
        cut == 0
    ] * 4


def test_groups_follow_the_chain(groups):
    names = ["stem", "layer1", "layer2", "head"]
    expected = [name + suffix for name in names for suffix in ("", "/no_decay")]
    assert [group["name"] for group in groups] == expected


def test_norms_and_biases_do_not_decay(groups):
    for group in groups:
        one_axis = {parameter.ndim <= 1 for parameter in group["params"]}
        assert one_axis == {group["weight_decay"] == 0}
        assert group["weight_decay"] in (0, 0.01)


def test_a_stage_without_parameters_has_no_group_and_still_counts_as_a_stage():
    stages = {"stem": nn.Conv2d(3, 8, 3, bias=False), "pool": nn.MaxPool2d(2)}
    backbone = Backbone(stages, ImagePreset(size=16))
    groups = stage_groups(backbone, nn.Identity(), 0.1, layer_decay=0.5, weight_decay=0)
    assert [(group["name"], group["lr"]) for group in groups] == [("stem", 0.1 * 0.5**2)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lr": 0}, r"lr must be a number in \(0, inf\); got 0\."),
        ({"layer_decay": 0}, r"layer_decay must be a number in \(0, 1\]; got 0\."),
        ({"layer_decay": 2}, r"layer_decay must be a number in \(0, 1\]; got 2\."),
        ({"weight_decay": -1}, r"weight_decay must be a number in \[0, inf\); got -1\."),
    ],
)
def test_a_setting_out_of_range_is_named(backbone, head, change, message):
    valid = {"lr": 0.1, "layer_decay": 1, "weight_decay": 0}
    with pytest.raises(ValueError, match=message):
        stage_groups(backbone, head, **(valid | change))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_named_optimizer_keeps_learning_rates_decay_and_names(groups, name):
    optimizer = make_optimizer(name, groups)
    assert type(optimizer).__name__.lower() == name
    keys = ("name", "lr", "initial_lr", "weight_decay")
    for group, given in zip(optimizer.param_groups, groups, strict=True):
        assert [group[key] for key in keys] == [given[key] for key in keys]


def test_the_initial_learning_rates_are_saved_with_the_optimizer(groups):
    saved = make_optimizer("adamw", groups).state_dict()["param_groups"]
    assert [group["initial_lr"] for group in saved] == [group["lr"] for group in groups]


def test_sgd_has_nesterov_momentum(groups):
    for group in make_optimizer("sgd", groups).param_groups:
        assert (group["momentum"], group["nesterov"]) == (0.9, True)


@pytest.mark.parametrize("optimizer", [torch.optim.Adam, partial(torch.optim.SGD, momentum=0.5)])
def test_a_class_or_a_function_keeps_the_learning_rates_of_the_stages(groups, optimizer):
    rates = read_learning_rates(make_optimizer(optimizer, groups))
    assert rates == {"stem": 0.0125, "layer1": 0.025, "layer2": 0.05, "head": 0.1}


def test_a_class_that_requires_a_learning_rate_gets_one(groups):
    class Demanding(torch.optim.SGD):
        def __init__(self, params, *, lr):
            super().__init__(params, lr)

    assert read_learning_rates(make_optimizer(Demanding, groups))["head"] == 0.1


@pytest.mark.parametrize("name", ["adamw", "sgd", torch.optim.Adam])
@pytest.mark.parametrize("fused", [True, False, None])
def test_fused_is_passed_on(groups, name, fused):
    assert make_optimizer(name, groups, fused=fused).defaults["fused"] is fused


def test_fused_is_left_out_if_the_optimizer_does_not_take_it(groups):
    assert "fused" not in make_optimizer("rmsprop", groups, fused=True).defaults


def test_a_step_changes_an_unfrozen_stage_and_not_a_frozen_one(backbone, head):
    backbone.freeze_to(3)
    groups = stage_groups(backbone, head, 0.1, layer_decay=1, weight_decay=0.1)
    optimizer, x = make_optimizer("sgd", groups), torch.ones(2, 3, 16, 16)
    weight = backbone.stages["layer2"][0].weight

    def moves():
        before = weight.detach().clone()
        optimizer.zero_grad()
        head(backbone(x).mean((2, 3))).square().sum().backward()
        optimizer.step()
        return not torch.equal(weight, before)

    assert not moves()
    backbone.freeze_to(2)
    assert moves()


def test_the_error_of_a_misspelt_optimizer_suggests_the_nearest_one(groups):
    message = r"optimizer must be one of 'adamw', 'sgd', 'rmsprop', .*; got 'adam'. Did you mean"
    with pytest.raises(ValueError, match=message):
        make_optimizer("adam", groups)


@pytest.mark.parametrize(
    ("optimizer", "message"),
    [
        (3, r"optimizer must be one of 'adamw', .*; got 3\."),
        (nn.Linear, r"optimizer must be one of 'adamw', .*; got <class .*Linear'>\."),
        (len, r"optimizer must return a torch.optim.Optimizer; got 8\."),
    ],
)
def test_a_value_that_is_not_an_optimizer_is_an_error(groups, optimizer, message):
    with pytest.raises(TypeError, match=message):
        make_optimizer(optimizer, groups)
