"""The error about weights of another network names the network that they fit."""

import re
from types import SimpleNamespace

import pytest
import torch
from sklearn.datasets import load_digits
from torchvision import models

from sktransfer import PretrainedFeatureExtractor, get_backbone, register_provider, save
from sktransfer.backbones import registry


def other_names(state):
    """Return a state dict as DataParallel and a training loop write it."""
    return {"epoch": 3, "state_dict": {f"module.{name}": value for name, value in state.items()}}


def features_only(state):
    return {name: value for name, value in state.items() if not name.startswith("classifier")}


FILES = {
    "mobilenet_v2": (lambda: models.mobilenet_v2().state_dict(), "torchvision/mobilenet_v2"),
    "other classes": (lambda: models.resnet18(num_classes=3).state_dict(), "torchvision/resnet18"),
    "checkpoint": (
        lambda: other_names(models.squeezenet1_1().state_dict())["state_dict"],
        "torchvision/squeezenet1_1",
    ),
    "features only": (
        lambda: features_only(models.mobilenet_v3_small().state_dict()),
        "torchvision/mobilenet_v3_small",
    ),
    "other size": (
        lambda: models.vit_b_32(image_size=64).state_dict(),
        "torchvision/vit_b_32",
    ),
    "mini": (get_backbone("builtin/mini").stages.state_dict, "builtin/mini"),
}


@pytest.mark.parametrize("case", FILES)
def test_weights_of_another_network_are_an_error_that_names_its_address(tmp_path, case):
    make, address = FILES[case]
    path = tmp_path / "mine.pth"
    torch.save(make(), path)
    wrong = "builtin/small_cnn" if case == "mini" else "builtin/mini"
    remedy = re.escape(f"They fit '{address}': pass backbone='{address}'.")
    message = rf"(?s)^weights '{path}' do not fit '{wrong}'; \d+ tensors differ:.*\n{remedy}$"
    with pytest.raises(ValueError, match=message):
        get_backbone(wrong, path)
    assert get_backbone(address, path).weights_info["source"] == "mine.pth"


@pytest.mark.parametrize(("path", "seconds"), [("mine.pth", 600), ("timm--test_resnet/1.pth", 0)])
def test_a_network_of_timm_is_found_at_once_if_its_name_is_in_the_path(monkeypatch, path, seconds):
    timm = pytest.importorskip("timm")
    known = registry._providers()
    monkeypatch.setattr(registry, "_providers", lambda: {"timm": known["timm"]})
    monkeypatch.setattr(registry, "SEARCH_SECONDS", seconds)
    monkeypatch.setattr(timm, "list_models", lambda: ["resnet18d", "test_vit", "test_resnet"])
    state = timm.create_model("test_resnet", num_classes=3).state_dict()
    assert registry.find_network(state, path) == "timm/test_resnet"


def test_unknown_weights_have_no_address(tmp_path):
    torch.save({"a.weight": torch.zeros(3)}, tmp_path / "mine.pth")
    with pytest.raises(ValueError, match=r"that the weights were made for\.$"):
        get_backbone("builtin/mini", tmp_path / "mine.pth")


def test_the_search_ends_in_time(monkeypatch):
    tried = []
    endless = SimpleNamespace(
        names=list,
        load=None,
        likely=lambda state, path: map(str, range(10**9)),
        matches=lambda name, state: bool(tried.append(name)),
    )
    monkeypatch.setattr(registry, "_providers", lambda: {"acme": lambda: endless})
    monkeypatch.setattr(registry, "SEARCH_SECONDS", 0)
    assert registry.find_network({}, "mine.pth") == ""
    assert tried == ["0"]


def test_a_provider_need_not_know_its_networks_by_their_tensors(tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "_registered", {})
    register_provider("acme", SimpleNamespace(names=lambda: ["net"], load=lambda *_: None))
    assert registry.find_network(models.resnet18().state_dict(), "") == "torchvision/resnet18"


def test_the_file_of_a_model_is_not_a_file_of_weights(tmp_path):
    path = tmp_path / "model.safetensors"
    save(PretrainedFeatureExtractor(image_size=32).fit(load_digits().data[:2]), path)
    message = rf"'{path}' is a fitted model\. Load it with sktransfer\.load\('{path}'\)"
    with pytest.raises(ValueError, match=message):
        get_backbone("builtin/mini", path)


def test_a_tag_of_another_provider_is_an_error_that_names_the_remedy():
    message = (
        r"weights of builtin/mini must be 'default', the path of a \.safetensors, .* or None; got "
        r"'IMAGENET1K_V1'\. Weights of another network need its backbone, such as backbone="
    )
    with pytest.raises(ValueError, match=message):
        get_backbone("builtin/mini", "IMAGENET1K_V1")
