"""Installed and registered providers are found by name; two with one name are refused."""

import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file

from sktransfer import (
    Backbone,
    PretrainedFeatureExtractor,
    get_backbone,
    list_backbones,
    register_provider,
)
from sktransfer.backbones import registry
from sktransfer.testing import check_backbone

DOCS = Path(__file__).resolve().parents[1] / "docs" / "providers.md"
CODE, SETUP = (
    re.search(rf"```{language}\n(.*?)```", DOCS.read_text(), re.DOTALL)[1]
    for language in ("python", "ini")
)
ENTRY = re.search(r"acme = \w+", SETUP)[0]


def distribution(folder, name, entry):
    """Create the metadata and entry points of an installed distribution, as pip does."""
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[sktransfer.backbones]\n{entry}\n")
    return folder


@pytest.fixture
def acme(tmp_path, monkeypatch):
    """The folder in which the provider of the documentation is installed."""
    (tmp_path / "acme_backbones.py").write_text(CODE)
    shapes = {"0.weight": (8, 3, 3, 3), "0.bias": (8,), "2.weight": (16, 8, 3, 3), "2.bias": (16,)}
    weights = {name: torch.full(shape, 0.01) for name, shape in shapes.items()}
    save_file(weights, tmp_path / "net_s.safetensors")
    monkeypatch.syspath_prepend(distribution(tmp_path, "acme", ENTRY))
    yield tmp_path
    sys.modules.pop("acme_backbones", None)


def list_providers():
    """The providers that an error lists."""
    with pytest.raises(ValueError, match="providers") as error:
        get_backbone("no_such_provider/net")
    return str(error.value)


@pytest.fixture
def registered(monkeypatch):
    """The providers that are registered in this process, which a test can change."""
    monkeypatch.setattr(registry, "_registered", {})


@pytest.fixture
def images(rng):
    return rng.integers(0, 256, (3, 32, 32, 3), "uint8")


def test_a_provider_takes_at_most_twelve_lines():
    assert len([line for line in CODE.splitlines() if line]) <= 12


def test_an_installed_provider_is_listed(acme):
    assert list_backbones("acme") == ["acme/net_s"]
    assert "acme/net_s" in list_backbones()


def test_a_provider_that_is_installed_later_is_found(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    assert "later" not in list_providers()
    distribution(tmp_path, "later", "later = acme_backbones")
    assert "later" in list_providers()


def test_a_provider_is_not_imported_before_an_address_names_it(acme):
    get_backbone("torchvision/squeezenet1_1", weights=None)
    assert "acme_backbones" not in sys.modules
    get_backbone("acme/net_s")
    assert "acme_backbones" in sys.modules


@pytest.mark.parametrize("weights", ["default", None])
def test_an_installed_provider_gives_a_valid_backbone(acme, weights):
    check_backbone(get_backbone("acme/net_s", weights))


def test_an_installed_provider_loads_its_own_weights(acme):
    stem = get_backbone("acme/net_s").stages["stem"]
    assert torch.equal(stem[0].bias, torch.full((8,), 0.01))


def test_the_extractor_uses_an_installed_provider(acme, images):
    features = PretrainedFeatureExtractor("acme/net_s").fit_transform(images)
    assert features.shape == (3, 16)


def test_a_new_process_finds_an_installed_provider(acme):
    code = "from sktransfer import list_backbones; print(list_backbones('acme'))"
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(acme)!r}); {code}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "['acme/net_s']"


def test_two_distributions_with_the_same_provider_are_refused_by_name(acme, tmp_path, monkeypatch):
    rival = distribution(tmp_path / "rival", "bravo", "acme = bravo_backbones")
    monkeypatch.syspath_prepend(rival)
    with pytest.raises(ValueError, match="'acme' is defined by two distributions") as caught:
        list_backbones("acme")
    assert "acme (acme_backbones)" in str(caught.value)
    assert "bravo (bravo_backbones)" in str(caught.value)


def test_a_registered_provider_is_listed(registered):
    provider = SimpleNamespace(names=lambda: ["a"], load=lambda name, weights: None)
    register_provider("mine", provider)
    assert list_backbones("mine") == ["mine/a"]


@pytest.mark.parametrize("name", ["mine", "torchvision", "acme"])
def test_a_taken_name_is_refused(registered, acme, name):
    provider = SimpleNamespace(names=list, load=get_backbone)
    register_provider("mine", provider)
    with pytest.raises(ValueError, match=f"name must be new; '{name}' is already a provider"):
        register_provider(name, provider)


@pytest.mark.parametrize("name", ["", "mine/a"])
def test_an_invalid_name_is_refused(registered, name):
    with pytest.raises(ValueError, match=r"name must be a prefix without a slash; got"):
        register_provider(name, SimpleNamespace(names=list, load=get_backbone))


@pytest.mark.parametrize("missing", ["names", "load"])
def test_an_object_that_is_not_a_provider_is_refused(registered, missing):
    provider = SimpleNamespace(names=list, load=get_backbone)
    delattr(provider, missing)
    with pytest.raises(TypeError, match=rf"must have a function {missing}\(\)"):
        register_provider("mine", provider)
    with pytest.raises(
        ValueError, match=r"provider must be one of .* use list_backbones\(pattern="
    ):
        list_backbones("mine")


def test_a_provider_that_does_not_return_a_backbone_is_an_error(registered):
    provider = SimpleNamespace(names=lambda: ["a"], load=lambda name, weights: torch.nn.ReLU())
    register_provider("mine", provider)
    with pytest.raises(TypeError, match=r"'mine/a' must return a Backbone; got ReLU"):
        get_backbone("mine/a")


def test_the_provider_receives_the_weights(registered, acme):
    asked = []

    def load(name, weights):
        asked.append((name, weights))
        return get_backbone("acme/net_s", None)

    register_provider("mine", SimpleNamespace(names=lambda: ["a"], load=load))
    assert isinstance(get_backbone("mine/a", "tag"), Backbone)
    assert asked == [("a", "tag")]
