"""Weights of timm's networks: from the hub's cache, from a download, or from a user's own file."""

import hashlib

import pytest
import torch
from helpers.hub import flip_a_bit
from helpers.timm_nets import images, lively, timm
from safetensors.torch import save_file

from sktransfer import get_backbone
from sktransfer.backbones.providers import timm as provider
from sktransfer.testing import check_backbone

hub = pytest.importorskip("huggingface_hub", reason="needs the extra 'timm'")


@pytest.fixture
def hub_cache(tmp_path, monkeypatch):
    """An empty folder as the hub's cache."""
    monkeypatch.setattr(hub.constants, "HF_HUB_CACHE", str(tmp_path))
    return tmp_path


@pytest.fixture
def cut_off(monkeypatch):
    """Make the hub unreachable; the list of files that it was asked for."""
    asked = []

    def hf_hub_download(repository, filename, **_):
        asked.append((repository, filename))
        raise hub.errors.LocalEntryNotFoundError("the hub cannot be reached")

    monkeypatch.setattr(hub, "hf_hub_download", hf_hub_download)
    return asked


def keep(cache, repository, filename, net):
    """Save a network's weights in the hub's cache, like a download."""
    folder = cache / f"models--{repository.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True, exist_ok=True)
    (folder / "refs" / "main").write_text("0" * 40)
    path = folder / "snapshots" / ("0" * 40) / filename
    path.parent.mkdir(parents=True, exist_ok=True)
    save = save_file if filename.endswith(".safetensors") else torch.save
    save(net.state_dict(), path)
    return path


@pytest.mark.parametrize(
    ("name", "weights", "message"),
    [
        ("resnet18", "a1_in2k", "must be one of 'default', 'a1_in1k', .* Did you mean 'a1_in1k'"),
        ("resnet18.a1_in1k", "a2_in1k", "must be one of 'default', 'a1_in1k', None, or the path"),
        ("resnet18", 3, r"must be one of 'default', .*; got 3\."),
        ("resnet18.a4", None, "the tag of timm/resnet18 must be one of 'a1_in1k', "),
        ("resnet17", None, "timm has no backbone 'resnet17'. Did you mean 'resnet"),
        ("regnetx_003", None, "timm has no backbone 'regnetx_003'. Did you mean 'regnetx_0"),
    ],
)
def test_unknown_weights_are_refused_before_a_network_is_built(name, weights, message):
    with pytest.raises(ValueError, match=message):
        provider.load(name, weights)


def test_an_architecture_without_weights_is_an_error(cut_off):
    bare = min(set(timm.list_models()) - {n.partition(".")[0] for n in timm.list_pretrained()})
    message = f"weights of timm/{bare} must be None, or .*; got 'default'. timm has no weights of"
    with pytest.raises(ValueError, match=message):
        provider.load(bare)


@pytest.mark.parametrize(
    ("address", "weights"),
    [
        ("timm/test_resnet", "default"),
        ("timm/test_resnet", "r160_in1k"),
        ("timm/test_resnet.r160_in1k", "default"),
        ("timm/test_resnet.r160_in1k", "r160_in1k"),
    ],
)
@pytest.mark.parametrize("filename", ["model.safetensors", "pytorch_model.bin"])
def test_weights_in_the_cache_of_the_hub_are_used(hub_cache, cut_off, address, weights, filename):
    net = lively("test_resnet")
    path = keep(hub_cache, "timm/test_resnet.r160_in1k", filename, net)
    backbone = get_backbone(address, weights)
    check_backbone(backbone, images(backbone), net)
    assert not cut_off  # the hub is not asked for a file in its cache
    info = backbone.weights_info
    assert info["tag"] == "r160_in1k"
    assert info["source"] == "https://huggingface.co/timm/test_resnet.r160_in1k"
    assert info["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert info["licence"] == "apache-2.0"
    assert info["input_size"] == 160


def test_weights_on_disk_replace_all_random_weights(hub_cache, cut_off):
    net = lively("test_vit")
    keep(hub_cache, "timm/test_vit.r160_in1k", "model.safetensors", net)
    numbers = {id(p) for p in get_backbone("timm/test_vit").parameters()}
    first, second = (get_backbone("timm/test_vit", seed=seed) for seed in (0, 1))
    assert len(numbers) == len(list(net.parameters()))
    assert all(map(torch.equal, first.parameters(), second.parameters()))


@pytest.mark.parametrize("offline", [True, False])
def test_the_error_names_weights_that_cannot_be_downloaded(hub_cache, cut_off, offline):
    with pytest.raises(ConnectionError, match=r"weights of timm/test_resnet.r160_in1k") as caught:
        get_backbone("timm/test_resnet", offline=offline)
    message = str(caught.value)
    assert "model.safetensors of timm/test_resnet.r160_in1k" in message
    assert str(hub_cache) in message
    assert "`sktransfer fetch timm/test_resnet.r160_in1k --to DIR`" in message
    assert ("offline=True" if offline else "the hub cannot be reached") in message
    assert len(cut_off) == (0 if offline else 1)


def test_the_environment_variable_forbids_a_download(hub_cache, cut_off, monkeypatch):
    monkeypatch.setenv("SKTRANSFER_OFFLINE", "1")
    with pytest.raises(ConnectionError, match="downloads are forbidden"):
        get_backbone("timm/test_resnet")
    assert not cut_off


def as_blob(path):
    """Move a file to where the hub keeps files by their hash, with a link in its place."""
    blobs = path.parents[2] / "blobs"
    blobs.mkdir(exist_ok=True)
    blob = path.rename(blobs / hashlib.sha256(path.read_bytes()).hexdigest())
    path.symlink_to(blob)
    return blob


def test_a_damaged_file_of_the_hub_is_downloaded_again(hub_cache, monkeypatch):
    path = keep(hub_cache, "timm/test_resnet.r160_in1k", "model.safetensors", lively("test_resnet"))
    blob = as_blob(path)
    content, fingerprint = blob.read_bytes(), get_backbone("timm/test_resnet").fingerprint()
    flip_a_bit(blob)
    with pytest.raises(ConnectionError, match="the file on this machine is damaged, and downloads"):
        get_backbone("timm/test_resnet", offline=True)

    def hf_hub_download(repository, filename, *, revision, force_download):
        assert force_download
        blob.write_bytes(content)
        return str(path)

    monkeypatch.setattr(hub, "hf_hub_download", hf_hub_download)
    with pytest.warns(UserWarning, match=r"safetensors' were damaged, and have been downloaded"):
        assert get_backbone("timm/test_resnet").fingerprint() == fingerprint


@pytest.mark.parametrize("there", ["model.safetensors", "pytorch_model.bin", None])
def test_a_download_takes_the_file_in_the_repository(hub_cache, monkeypatch, there):
    net = lively("test_resnet")

    def hf_hub_download(repository, filename, **_):
        if filename != there:
            raise hub.errors.EntryNotFoundError(f"404: {filename}")
        return str(keep(hub_cache, repository, filename, net))

    monkeypatch.setattr(hub, "hf_hub_download", hf_hub_download)
    if there is None:
        with pytest.raises(ConnectionError, match="404"):
            get_backbone("timm/test_resnet")
    else:
        backbone = get_backbone("timm/test_resnet")
        check_backbone(backbone, images(backbone), net)


def test_weights_outside_the_hub_are_stored_in_the_cache_of_torch(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    url = timm.get_pretrained_cfg("gcvit_xxtiny.in1k").url
    with pytest.raises(ConnectionError, match=url.rpartition("/")[2]):
        get_backbone("timm/gcvit_xxtiny", offline=True)


@pytest.fixture
def mine(tmp_path):
    return tmp_path / "mine.safetensors"


def test_a_users_own_file_gives_the_same_function(mine):
    net = lively("test_resnet")
    save_file(net.state_dict(), mine, {"input_size": "96", "licence": "mit"})
    backbone = get_backbone("timm/test_resnet", weights=mine)
    check_backbone(backbone, images(backbone), net)
    assert backbone.preset.size == 96
    info = backbone.weights_info
    assert (info["source"], info["licence"], info["input_size"]) == (mine.name, "mit", 96)


def test_a_file_may_have_other_classes(mine):
    net = lively("test_vit", num_classes=3, dynamic_img_size=True)
    save_file(net.state_dict(), mine)
    backbone = get_backbone("timm/test_vit", weights=str(mine))
    check_backbone(backbone, images(backbone), net)


def test_a_file_of_features_only_gives_no_classifier(mine):
    net = lively("test_resnet", num_classes=0)
    save_file(net.state_dict(), mine)
    backbone = get_backbone("timm/test_resnet", weights=mine)
    assert backbone.classifier is None
    assert "missing: fc.weight" in backbone.weights_info["classifier"]
    with torch.no_grad():
        batch = images(backbone)
        assert torch.equal(backbone(batch), net.forward_features(batch))


def test_a_file_of_a_vit_of_another_size_is_resized_as_timm_does(mine):
    net = lively("test_vit", img_size=224)
    save_file(net.state_dict(), mine)
    backbone = get_backbone("timm/test_vit", weights=mine)
    assert backbone.stages["stem"].pos_embed.shape == (1, 101, 64)
    assert torch.equal(backbone.classifier.head.weight, net.head.weight)


def test_the_metadata_of_a_vit_sets_its_image_size(mine):
    net = lively("test_vit", img_size=224, dynamic_img_size=True)
    save_file(net.state_dict(), mine, {"input_size": "224"})
    backbone = get_backbone("timm/test_vit", weights=mine)
    assert backbone.preset.size == 224
    check_backbone(backbone, images(backbone), net)


def test_a_file_of_another_network_is_refused_with_its_first_tensors(mine):
    save_file(lively("test_efficientnet").state_dict(), mine)
    with pytest.raises(
        ValueError, match=r"mine\.safetensors' do not fit 'timm/test_resnet'; \d+ tensors"
    ):
        get_backbone("timm/test_resnet", weights=mine)


def test_a_missing_file_is_an_error():
    with pytest.raises(FileNotFoundError, match=r"nowhere\.pth"):
        get_backbone("timm/test_resnet", weights="nowhere.pth")
