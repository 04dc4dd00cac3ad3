"""Weights are compared with their hash when they are read; damaged ones are downloaded again."""

import warnings
from functools import partial
from hashlib import sha256

import pytest
import torch
from helpers.hub import flip_a_bit, keep_squeezenet
from helpers.server import BODY
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torchvision.models import squeezenet1_1

from sktransfer import get_backbone
from sktransfer.backbones import fetch, read_weights
from sktransfer.backbones.download import download, offline_mode
from sktransfer.backbones.weights import DamagedWeightsError, read_download

PREFIX = sha256(BODY).hexdigest()[:8]


@pytest.fixture
def file(tmp_path):
    """A file of weights."""
    path = tmp_path / "net.pth"
    torch.save({"weight": torch.arange(2000.0)}, path)
    return path


def hash_of(path):
    return sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("length", [0, 8, 64])
def test_a_file_with_the_right_hash_is_read(file, length):
    assert read_weights(file, hash_of(file)[:length].upper()).sha256 == hash_of(file)


def test_a_file_with_another_hash_is_an_error(file):
    prefix = hash_of(file)[:8]
    flip_a_bit(file)
    with pytest.raises(
        ValueError,
        match=rf"weights must be a complete file; '.*net\.pth' is damaged: its sha256 must begin "
        rf"with {prefix}; got {hash_of(file)}\. Use another copy of the file\.",
    ):
        read_weights(file, prefix)
    read_weights(file)  # a file of the user's, whose hash is not known


def test_a_truncated_download_is_recognised_before_it_is_parsed(file):
    prefix = hash_of(file)[:8]
    file.write_bytes(file.read_bytes()[:-50])
    with pytest.raises(DamagedWeightsError, match="its sha256 must begin with"):
        read_weights(file, prefix)


# Downloads


@pytest.fixture
def fetch_net(server, tmp_path):
    """A function that downloads a file, as a provider passes it to ``read_download``."""

    def fetch(again):
        url = f"{server.url}/net.pth"
        options = {"address": "acme/net", "sha256_prefix": PREFIX, "again": again}
        return download(url, tmp_path / "hub", "net.pth", **options), PREFIX

    return fetch


def test_a_damaged_file_is_downloaded_again(fetch_net, server):
    path, _ = fetch_net(again=False)
    flip_a_bit(path)
    assert fetch_net(again=True) == (path, PREFIX)
    assert path.read_bytes() == BODY
    assert server.asked == 2 * ["/net.pth"]


def test_a_file_that_another_process_has_replaced_is_not_downloaded_again(fetch_net, server):
    fetch_net(again=False)
    fetch_net(again=True)
    assert server.asked == ["/net.pth"]


def test_a_damaged_file_stays_if_it_cannot_be_downloaded(fetch_net, server):
    path, _ = fetch_net(again=False)
    flip_a_bit(path)
    damaged = path.read_bytes()
    with offline_mode(True), pytest.raises(ConnectionError) as caught:
        fetch_net(again=True)
    assert str(caught.value).startswith(
        "weights of acme/net are damaged, and downloads are forbidden (offline=True, or "
        f"SKTRANSFER_OFFLINE). The file needed is net.pth, and its place is {path}. "
    )
    assert path.read_bytes() == damaged
    assert server.asked == ["/net.pth"]


def test_a_warning_names_a_file_that_was_downloaded_again(file):
    content, prefix = file.read_bytes(), hash_of(file)[:8]
    flip_a_bit(file)

    def fetch(again):
        if again:
            file.write_bytes(content)
        return file, prefix

    with pytest.warns(UserWarning, match=r"net\.pth' were damaged, and have been downloaded again"):
        assert read_download(fetch).sha256 == hash_of(file)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_download(fetch)


def test_a_file_that_is_damaged_twice_is_an_error(file):
    with pytest.raises(DamagedWeightsError), pytest.warns(UserWarning, match="downloaded again"):
        read_download(lambda again: (file, "0" * 8))


def test_damaged_weights_of_a_provider_are_not_loaded(tmp_path, monkeypatch, server):
    torch.manual_seed(0)
    path = keep_squeezenet(monkeypatch, tmp_path, squeezenet1_1(), host=server.url)
    load = partial(get_backbone, "torchvision/squeezenet1_1")
    fingerprint = load().fingerprint()
    content = path.read_bytes()
    flip_a_bit(path)
    with pytest.raises(ConnectionError, match="weights of torchvision/squeezenet1_1 are damaged"):
        load(offline=True)
    server.files[f"/{path.name}"] = content
    with pytest.warns(UserWarning, match="have been downloaded again"):
        assert load().fingerprint() == fingerprint
    assert path.read_bytes() == content


# Files that fetch wrote


@pytest.fixture
def fetched(tmp_path):
    return fetch("builtin/mini", tmp_path)


def resaved(path, change):
    """Change the tensors and the metadata of a safetensors file."""
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    tensors = load_file(path)
    change(tensors, metadata)
    save_file(tensors, path, metadata)


def test_a_fetched_file_with_a_flipped_bit_is_an_error(fetched):
    flip_a_bit(fetched)
    message = "is damaged: its content has changed since fetch wrote it. Use another copy"
    with pytest.raises(ValueError, match=message):
        get_backbone("builtin/mini", fetched)


CHANGES = {
    "mean": lambda tensors, metadata: metadata.update(mean="0.4,0.5,0.5"),
    "no mean": lambda tensors, metadata: metadata.pop("mean"),
    "no tensor": lambda tensors, metadata: tensors.pop(min(tensors)),
    "shape": lambda tensors, metadata: tensors.update({k: v[None] for k, v in tensors.items()}),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_fetched_file_with_other_content_is_an_error(fetched, change):
    resaved(fetched, change)
    with pytest.raises(ValueError, match="its content has changed since fetch wrote it"):
        read_weights(fetched)


def test_a_fetched_file_may_be_changed_if_its_digest_is_removed(fetched):
    resaved(fetched, lambda tensors, metadata: metadata.pop("sktransfer_digest"))
    assert read_weights(fetched).metadata["mean"] == "0.5,0.5,0.5"
