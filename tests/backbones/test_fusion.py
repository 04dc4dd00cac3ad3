"""Fast training on a CPU computes the same function with the same gradients."""

from contextlib import suppress
from copy import deepcopy

import pytest
import torch
from helpers.tiny import tiny_backbone
from torch import nn

from sktransfer.backbones.fusion import fast_training, fused_conv_bn
from sktransfer.backbones.patching import unpatched

CPU = torch.device("cpu")


class NormThenActivation(nn.BatchNorm2d):
    """A batch norm that ends with an activation, as in timm."""

    def __init__(self, channels):
        super().__init__(channels)
        self.act = nn.Tanh()

    def forward(self, x):
        return self.act(super().forward(x))


def randomised(chain):
    """Convert ``chain`` to double precision and give its batch norms random values."""
    torch.manual_seed(0)
    for norm in (m for m in chain.modules() if isinstance(m, nn.BatchNorm2d)):
        nn.init.uniform_(norm.running_mean, -1, 1)
        nn.init.uniform_(norm.running_var, 0.5, 2)
        if norm.affine:
            nn.init.uniform_(norm.weight, 0.5, 2)
            nn.init.uniform_(norm.bias, -1, 1)
    return chain.double()


CHAINS = {
    "plain": lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()),
    "no bias": lambda: nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4)),
    "not affine": lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, affine=False)),
    "depthwise": lambda: nn.Sequential(nn.Conv2d(3, 6, 3, 2, groups=3), nn.BatchNorm2d(6)),
    "padded": lambda: nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect"), nn.BatchNorm2d(4)
    ),
    "with activation": lambda: nn.Sequential(nn.Conv2d(3, 4, 3), NormThenActivation(4)),
    "norm alone": lambda: nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3)),
}


@pytest.fixture(params=CHAINS, ids=str)
def chain(request):
    return randomised(CHAINS[request.param]()).eval()


@pytest.fixture
def x():
    drawn = torch.Generator().manual_seed(1)
    return torch.rand(2, 3, 12, 12, generator=drawn, dtype=torch.float64)


def outcome(chain, x):
    """The output, and the gradient of each parameter."""
    chain.zero_grad()
    out = chain(x)
    out.square().sum().backward()
    return [out.detach(), *(p.grad.clone() for p in chain.parameters())]


def test_a_fused_norm_gives_the_same_outputs_and_gradients(chain, x):
    expected = outcome(chain, x)
    with fused_conv_bn(chain, lambda: chain(x)):
        torch.testing.assert_close(outcome(chain, x), expected, rtol=1e-10, atol=1e-12)
    assert all(p.equal(q) for p, q in zip(outcome(chain, x), expected, strict=True))


def test_a_fused_norm_passes_its_input_on(x):
    chain = randomised(CHAINS["plain"]()).eval()
    ran = []
    with fused_conv_bn(chain, lambda: chain(x)):
        chain[1].register_forward_hook(lambda _, args, out: ran.append(args[0] is out))
        chain(x)
    assert ran == [True]


def test_a_norm_in_training_mode_still_learns_its_statistics(chain, x):
    other = deepcopy(chain).train()
    expected = outcome(other, x)
    chain.train()
    with fused_conv_bn(chain, lambda: chain(x)):
        assert all(part.training for part in chain.modules())
        torch.testing.assert_close(outcome(chain, x), expected, rtol=0, atol=0)
    torch.testing.assert_close(chain.state_dict(), other.state_dict(), rtol=0, atol=0)


def test_fusion_leaves_names_and_forwards_as_they_were(chain, x):
    names = list(chain.state_dict())
    with suppress(KeyError), fused_conv_bn(chain, lambda: chain(x)):
        assert list(chain.state_dict()) == names
        raise KeyError
    assert not any("forward" in vars(part) for part in chain.modules())


def test_a_copy_made_during_training_shares_nothing_with_the_network(chain, x):
    expected = chain(x)
    with fused_conv_bn(chain, lambda: chain(x)):
        copied = unpatched(deepcopy(chain))
        with torch.no_grad():
            for parameter in chain.parameters():
                parameter.zero_()
    assert not any("forward" in vars(part) for part in copied.modules())
    assert copied(x).equal(expected)


class Reused(nn.Module):
    """A convolution whose output is also used by an addition."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, x):
        out = self.conv(x)
        return self.norm(out) + out


def test_a_convolution_whose_output_is_used_twice_is_not_fused(x):
    net = randomised(Reused()).eval()
    expected = outcome(net, x)
    with fused_conv_bn(net, lambda: net(x)):
        torch.testing.assert_close(outcome(net, x), expected, rtol=0, atol=0)


class ByKeyword(nn.Module):
    """A module that passes the inputs of its layers by keyword."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 3, 2, groups=3), nn.BatchNorm2d(3)

    def forward(self, x):
        return self.norm(input=self.conv(input=x))


def test_layers_may_be_called_by_keyword(x):
    net, x = randomised(ByKeyword()).float().eval(), x.float()
    expected = outcome(net, x)
    with fast_training(net, lambda: net(x), CPU, torch.bfloat16):
        torch.testing.assert_close(outcome(net, x), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("when", ["before", "during"])
def test_a_hook_sees_the_output_of_the_convolution(when, x):
    chain = randomised(CHAINS["plain"]()).eval()
    expected, seen = chain[0](x), []

    def watch():
        chain[0].register_forward_hook(lambda _, args, out: seen.append(out.clone()) or 2 * out)

    if when == "before":
        watch()
    with fused_conv_bn(chain, lambda: chain(x)):
        if when == "during":
            watch()
        seen.clear()
        out = chain(x)
    assert seen[0].equal(expected)
    assert out.equal(chain[2](chain[1](2 * expected)))


def test_an_error_while_watching_restores_modes_and_hooks(x):
    chain = randomised(CHAINS["plain"]()).train()
    with pytest.raises(ZeroDivisionError), fused_conv_bn(chain, lambda: 1 / 0):
        pass  # pragma: no cover
    assert all(part.training and not part._forward_hooks for part in chain.modules())


def test_fusion_and_float32_convolutions_work_together():
    backbone = tiny_backbone().eval()
    backbone.stages["layer1"][0] = nn.Conv2d(8, 12, 3, 2, 1, groups=4)
    x = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    expected = backbone(x)
    with fast_training(backbone, lambda: backbone(x), CPU, torch.bfloat16):
        assert sum("forward" in vars(part) for part in backbone.modules()) == 6
        torch.testing.assert_close(backbone(x), expected, rtol=1e-5, atol=1e-5)
        with torch.autocast("cpu", torch.bfloat16):
            low = backbone(x)
        torch.testing.assert_close(low.float(), expected, rtol=0.05, atol=0.05)
    assert not any("forward" in vars(part) for part in backbone.modules())
    assert backbone(x).equal(expected)


def test_fast_training_changes_nothing_on_other_devices():
    backbone = tiny_backbone()
    with fast_training(backbone, lambda: None, torch.device("cuda"), torch.bfloat16):
        assert not any("forward" in vars(part) for part in backbone.modules())
