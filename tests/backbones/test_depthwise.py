"""Depthwise convolutions compute the same function in other ways."""

from copy import deepcopy
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional

from sktransfer.backbones.depthwise import depthwise_by_shifts, depthwise_in_float32
from sktransfer.backbones.fusion import fast_training
from sktransfer.backbones.patching import unpatched

CPU = torch.device("cpu")

DEPTHWISE = {
    "valid": partial(nn.Conv2d, 6, 6, 3, groups=6),
    "padded": partial(nn.Conv2d, 6, 6, 3, padding=1, groups=6, bias=False),
    "strided": partial(nn.Conv2d, 6, 6, 3, 2, 1, groups=6),
    "dilated": partial(nn.Conv2d, 6, 6, 3, padding=2, dilation=2, groups=6),
    "oblong": partial(nn.Conv2d, 6, 6, (1, 5), (2, 1), (0, 2), (1, 2), groups=6),
}
OTHERS = {
    "dense": partial(nn.Conv2d, 6, 6, 3),
    "of one channel": partial(nn.Conv2d, 1, 1, 3),
    "grouped": partial(nn.Conv2d, 6, 6, 3, groups=3),
    "widening": partial(nn.Conv2d, 6, 12, 3, groups=6),
    "reflecting": partial(nn.Conv2d, 6, 6, 3, padding=1, padding_mode="reflect", groups=6),
    "padded by name": partial(nn.Conv2d, 6, 6, 3, padding="same", groups=6),
}


@pytest.fixture
def x():
    drawn = torch.Generator().manual_seed(0)
    return torch.randn(4, 6, 9, 11, generator=drawn, dtype=torch.float64)


def outcome(conv, x):
    """The output, and the gradients of the input and of each parameter."""
    conv.zero_grad()
    rows = x.clone().requires_grad_()
    out = conv(rows)
    out.square().sum().backward()
    return [out.detach(), rows.grad, *(p.grad.clone() for p in conv.parameters())]


@pytest.fixture
def refuse_convolutions(monkeypatch):
    """Have torch refuse to convolve."""

    def refuse(*args, **kwargs):
        raise NotImplementedError

    return lambda: monkeypatch.setattr(functional, "conv2d", refuse)


@pytest.mark.parametrize("kind", DEPTHWISE)
def test_sums_over_shifts_have_the_values_and_gradients_of_torch(kind, x, refuse_convolutions):
    torch.manual_seed(0)
    conv = DEPTHWISE[kind]().double()
    expected = outcome(conv, x)
    refuse_convolutions()
    with depthwise_by_shifts(conv):
        found = outcome(conv, x)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_one_row_without_a_batch_is_convolved_too(x):
    conv = DEPTHWISE["strided"]().double()
    expected = conv(x[0])
    with depthwise_by_shifts(conv):
        torch.testing.assert_close(conv(x[0]), expected)


def test_a_sum_over_shifts_has_the_same_bits_in_every_batch_and_order_of_memory(x):
    conv = DEPTHWISE["padded"]().double()
    with depthwise_by_shifts(conv):
        expected = conv(x)
        assert conv(x.to(memory_format=torch.channels_last)).equal(expected)
        assert conv(x[1:2]).equal(expected[1:2])


@pytest.mark.parametrize("kind", OTHERS)
def test_other_convolutions_stay_those_of_torch(kind, refuse_convolutions):
    conv = OTHERS[kind]().double()
    x = torch.zeros(1, conv.in_channels, 9, 9, dtype=torch.float64)
    refuse_convolutions()
    with depthwise_by_shifts(conv), pytest.raises(NotImplementedError):
        conv(x)


def test_rows_smaller_than_the_kernel_are_an_error_of_torch(x):
    conv = DEPTHWISE["valid"]().double()
    with depthwise_by_shifts(conv), pytest.raises(RuntimeError, match="Kernel size can't be"):
        conv(x[..., :2])


def test_fast_training_in_float64_fuses_batch_norm_into_sums_over_shifts(x, refuse_convolutions):
    torch.manual_seed(0)
    net = nn.Sequential(DEPTHWISE["strided"](), nn.BatchNorm2d(6)).double().eval()
    nn.init.uniform_(net[1].running_var, 0.5, 2)
    expected = outcome(net, x)
    with fast_training(net, lambda: net(x), CPU, torch.float64):
        refuse_convolutions()
        torch.testing.assert_close(outcome(net, x), expected, rtol=1e-10, atol=1e-12)
        copied = unpatched(deepcopy(net))
    assert not any(callable(value) for part in copied for value in vars(part).values())
    with pytest.raises(NotImplementedError):
        net(x)


def test_strided_depthwise_convolutions_compute_in_float32():
    chain = nn.Sequential(nn.Conv2d(4, 4, 3, 2, groups=4), nn.Conv2d(4, 4, 1))
    seen = []
    for conv in chain:
        conv.register_forward_hook(lambda conv, args, out: seen.append(out))
    x = torch.randn(2, 4, 9, 9, generator=torch.Generator().manual_seed(0))
    expected = chain[0](x)
    seen.clear()
    with depthwise_in_float32(chain), torch.autocast("cpu", torch.bfloat16):
        chain(x)
    assert seen[0].equal(expected)
    assert seen[1].dtype == torch.bfloat16
