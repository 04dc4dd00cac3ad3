"""Networks are built from their address without values, if that is possible."""

from threading import Thread

import numpy as np
import pytest
import torch
from helpers.provider import TinyProvider
from torch import nn

from sktransfer import PretrainedFeatureExtractor
from sktransfer.backbones import registry
from sktransfer.persistence import load, save


class Recorder(TinyProvider):
    """A provider that records on which device the weights of its networks are created."""

    def __init__(self, change=lambda backbone: None):
        self.change = change
        self.devices = []

    def load(self, name, weights):
        backbone = super().load(name, weights)
        self.change(backbone)
        self.devices.append(backbone.stages["stem"][0].weight.device.type)
        return backbone


def run(backbone):
    """Run a stage, as networks do that measure its shape."""
    backbone.stages["stem"](torch.zeros(1, 3, 32, 32))


def read(backbone):
    """Read a weight."""
    backbone.stages["stem"][0].weight.sum().item()


class Shift(nn.Module):
    """Add a constant that is not part of the state of the network."""

    def __init__(self):
        super().__init__()
        self.register_buffer("shift", torch.empty(1).fill_(0.25), persistent=False)

    def forward(self, x):
        return x + self.shift


def shift(backbone):
    backbone.stages["layer2"].append(Shift())


def loaded_by(provider, monkeypatch, images, path):
    """Save and load an extractor; return it with its features before."""
    monkeypatch.setitem(registry._registered, "tiny", provider)
    model = PretrainedFeatureExtractor("tiny/net").fit(images)
    expected = model.transform(images)
    save(model, path)
    provider.devices.clear()
    return load(path), expected


@pytest.mark.parametrize(
    ("change", "devices"),
    [
        (lambda backbone: None, ["meta"]),
        (run, ["meta"]),
        (read, ["cpu"]),
        (shift, ["meta", "cpu"]),
    ],
    ids=["plain", "runs", "reads", "buffer"],
)
def test_a_network_is_built_without_values_unless_it_needs_them(
    monkeypatch, images, path, change, devices
):
    provider = Recorder(change)
    loaded, expected = loaded_by(provider, monkeypatch, images, path)
    assert provider.devices == devices
    np.testing.assert_array_equal(loaded.transform(images), expected)
    tensors = [*loaded.backbone_.parameters(), *loaded.backbone_.buffers()]
    assert {tensor.device.type for tensor in tensors} == {"cpu"}


def test_loading_leaves_the_random_state_of_torch(saved):
    before = torch.get_rng_state()
    load(saved)
    assert torch.equal(torch.get_rng_state(), before)


def test_tensors_that_another_thread_creates_have_values(saved, monkeypatch):
    made = []

    class Other(TinyProvider):
        def load(self, name, weights):
            thread = Thread(target=lambda: made.append(torch.empty(1)))
            thread.start()
            thread.join()
            return super().load(name, weights)

    monkeypatch.setitem(registry._registered, "tiny", Other())
    load(saved)
    assert [tensor.device.type for tensor in made] == ["cpu"]
