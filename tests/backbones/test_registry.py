"""The registry finds backbones by address; for a wrong address it suggests the nearest."""

import re
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from helpers.fresh import run_fresh
from helpers.tiny import tiny_backbone

from sktransfer import get_backbone, list_backbones, register_provider
from sktransfer._support.random import seeded_globals
from sktransfer.backbones import registry, tensor_files
from sktransfer.backbones.providers import torchvision


class Acme:
    """A provider of one network."""

    @staticmethod
    def names():
        return ["net_s"]

    @staticmethod
    def load(name, weights):
        return tiny_backbone()


@pytest.fixture
def acme(monkeypatch):
    monkeypatch.setattr(registry, "_registered", {})
    register_provider("acme", Acme)
    return Acme


def test_a_registered_provider_is_listed_and_loads(acme):
    assert list_backbones("acme") == ["acme/net_s"]
    assert get_backbone("acme/net_s").names == ["stem", "layer1", "layer2"]


def test_a_loaded_backbone_is_not_frozen_and_in_evaluation_mode(acme):
    backbone = get_backbone("acme/net_s")
    assert backbone.cut == 0
    assert not backbone.training
    assert all(p.requires_grad for p in backbone.parameters())


def test_list_backbones_takes_patterns_of_a_shell():
    assert list_backbones("torchvision", "*/vgg1[13]") == ["torchvision/vgg11", "torchvision/vgg13"]
    assert "builtin/mini" in list_backbones()


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("acme/net_x", "acme has no backbone 'net_x'. Did you mean 'acme/net_s'? "),
        ("acne/net_s", "the providers 'acme', .*; got 'acne/net_s'. Did you mean 'acme/net_s'?"),
        ("acne/net_x", "the providers 'acme', .*; got 'acne/net_x'. Did you mean 'acme/net_s'?"),
        ("net_s", "backbone must be an address .*; got 'net_s'. Did you mean 'acme/net_s'?"),
        ("acme", "got 'acme'. list_backbones[(]'acme'[)] names its models."),
        ("mini", "got 'mini'. Did you mean 'builtin/mini'?"),
        ("resnet18", "got 'resnet18'. Did you mean 'torchvision/resnet18'"),
        ("mobilenet_v2", "got 'mobilenet_v2'. Did you mean 'torchvision/mobilenet_v2'?"),
        ("MobileNetV2", "got 'MobileNetV2'. Did you mean 'torchvision/mobilenet_v2'?"),
        ("acme/vgg-16", "acme has no backbone 'vgg-16'. Did you mean 'torchvision/vgg16'"),
        ("shuffle", "list_backbones[(]pattern='[*]shuffle[*]'[)] names "),
        ("zzz", "got 'zzz'.$"),
    ],
)
def test_a_misspelt_address_is_an_error_that_suggests_the_nearest(acme, address, message):
    with pytest.raises(ValueError, match=message.replace("?", r"\?")):
        get_backbone(address)


def test_a_folder_of_transformers_is_an_error_with_its_address(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ValueError, match=f"got a folder.* pass 'transformers/{tmp_path}'"):
        get_backbone(str(tmp_path))


def test_a_path_is_an_error_with_what_to_pass(tmp_path):
    message = f"got the path '{tmp_path}'.* pass 'transformers/{tmp_path}'"
    with pytest.raises(TypeError, match=message):
        get_backbone(tmp_path)
    with pytest.raises(TypeError, match=r"pass the address of its network and weights='a\.pth'"):
        get_backbone(Path("a.pth"))


@pytest.mark.parametrize("name", ["bert-base-uncased", "owner-x/all-MiniLM-L6-v2"])
def test_a_name_of_the_hub_is_an_error_that_tells_how_to_fetch_it(name):
    with pytest.raises(ValueError, match=f"got '{name}'.*`sktransfer fetch transformers/OWNER/NA"):
        get_backbone(name)


def test_a_name_that_two_providers_have_gives_two_addresses_the_smaller_provider_first(
    acme, monkeypatch
):
    monkeypatch.setattr(acme, "names", lambda: ["vgg16", "mini"])
    with pytest.raises(ValueError, match=r"got 'mini'\. Did you mean 'acme/mini' or 'built"):
        get_backbone("mini")


def test_a_network_itself_is_refused():
    with pytest.raises(TypeError, match=r"A network itself is not accepted"):
        get_backbone(tiny_backbone())


def test_a_factory_must_return_a_backbone():
    with pytest.raises(TypeError, match=r"must return a Backbone; got Linear"):
        get_backbone(lambda: torch.nn.Linear(1, 1))


@pytest.mark.parametrize(
    ("name", "provider", "error", "message"),
    [
        ("acme", Acme, ValueError, "name must be new; 'acme' is already a provider."),
        ("builtin", Acme, ValueError, "name must be new; 'builtin' is already a provider."),
        ("a/b", Acme, ValueError, "name must be a prefix without a slash; got 'a/b'."),
        ("other", object(), TypeError, "provider 'other' must have a function names()"),
    ],
)
def test_an_invalid_provider_is_refused(acme, name, provider, error, message):
    with pytest.raises(error, match=re.escape(message)):
        register_provider(name, provider)


def test_random_weights_depend_on_the_seed_and_not_on_the_global_generator():
    before = torch.get_rng_state()
    first, second = (get_backbone("torchvision/squeezenet1_1", weights=None) for _ in range(2))
    other = get_backbone("torchvision/squeezenet1_1", weights=None, seed=1)
    assert first.fingerprint() == second.fingerprint() != other.fingerprint()
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("address", "module", "name"),
    [
        ("builtin/mini", tensor_files, "read"),
        ("torchvision/squeezenet1_1", torchvision, "download_checkpoint"),
    ],
)
def test_other_threads_draw_while_weights_are_read(monkeypatch, address, module, name):
    seeded = threading.Event()

    def seed():
        with seeded_globals(0):
            seeded.set()

    def read(*_args, **_options):
        threading.Thread(target=seed, daemon=True).start()
        raise OSError("others draw" if seeded.wait(20) else "others wait")

    monkeypatch.setattr(module, name, read)
    with pytest.raises(OSError, match="others draw"):
        get_backbone(lambda: get_backbone(address))


def test_random_weights_are_the_same_in_every_thread():
    found = []
    threads = [
        threading.Thread(
            target=lambda: found.append(
                get_backbone("torchvision/squeezenet1_1", weights=None).fingerprint()
            )
        )
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1


def test_get_backbone_imports_one_provider_only():
    code = (
        "import sys, sktransfer; sktransfer.get_backbone('builtin/mini'); "
        "print([m for m in ('timm', 'torchvision.models') if m in sys.modules])"
    )
    assert run_fresh(code).strip() == "[]"


def test_entry_points_of_another_class_are_providers(monkeypatch):
    # the backport importlib_metadata serves entry points of a class of its own
    foreign = SimpleNamespace(name="foreign", value="acme", dist=None, load=lambda: Acme)
    monkeypatch.setattr(registry, "entry_points", lambda group: [foreign])
    assert list_backbones("foreign") == ["foreign/net_s"]
    assert get_backbone("foreign/net_s").names == ["stem", "layer1", "layer2"]


def test_two_distributions_with_one_provider_are_noticed_whatever_their_class(monkeypatch):
    entries = [SimpleNamespace(name="twice", value=value, dist=None) for value in ("one", "two")]
    monkeypatch.setattr(registry, "entry_points", lambda group: entries)
    with pytest.raises(ValueError, match="'twice' is defined by two distributions"):
        list_backbones()


def test_addresses_work_after_the_backport_of_metadata_is_imported():
    pytest.importorskip("importlib_metadata", reason="needs the backport importlib_metadata")
    code = "import importlib_metadata, sktransfer; sktransfer.get_backbone('builtin/mini')"
    subprocess.run([sys.executable, "-c", code], check=True)
