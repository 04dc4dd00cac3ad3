"""Every classification network of torchvision is a chain that computes the same function."""

import re

import pytest
import torch
from helpers.hub import keep_squeezenet
from PIL import Image
from torch import nn
from torchvision import models
from torchvision.models.vision_transformer import interpolate_embeddings

from sktransfer import get_backbone, list_backbones
from sktransfer.backbones.providers import torchvision as provider
from sktransfer.backbones.weights import WeightsFile
from sktransfer.testing import check_backbone

NAMES = provider.names()
KIN = ["efficientnet_v2_s", "swin_v2_t"]  # built differently from the smallest of their family


def n_parameters(name):
    return models.get_model_weights(name).DEFAULT.meta["num_params"]


def smallest_of_each_family():
    """List the network with the fewest parameters of each table, and some related ones."""
    smallest = {}
    for name in sorted(NAMES, key=n_parameters, reverse=True):
        smallest[id(provider._family(name).table)] = name
    return sorted([*smallest.values(), *KIN])


SMALLEST = smallest_of_each_family()
EACH = [name if name in SMALLEST else pytest.param(name, marks=pytest.mark.slow) for name in NAMES]
# Three float32 copies of a network with more parameters do not fit on a small machine.
LARGEST = 400_000_000


def enlivened(net):
    """Add random values to constant tensors of a new network: zeros would hide differences."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for tensor in [*net.parameters(), *net.buffers()]:
            values = tensor.flatten()
            if tensor.is_floating_point() and values[0] == values[-1]:
                tensor.add_(torch.rand(tensor.shape, generator=generator), alpha=0.1)
    return net.eval()


def lively(name, **config):
    """Build torchvision's network with random weights and statistics, in evaluation mode."""
    torch.manual_seed(0)
    return enlivened(models.get_model(name, weights=None, **config))


def images(backbone):
    """Draw two small images that give more than one position at the last stage."""
    sizes, dtype = backbone.preset.sizes, next(backbone.parameters()).dtype
    small = max(sizes.minimum, 64 // sizes.multiple * sizes.multiple)
    size = sizes.only[0] if sizes.only else small
    return torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0)).to(dtype)


def at_size(net, size):
    """Return ``net`` for images of ``size``: a ViT is rebuilt, with the same tensors."""
    if not isinstance(net, models.VisionTransformer):
        return net
    patch, dtype = net.patch_size, net.class_token.dtype
    layers, heads = len(net.encoder.layers), net.encoder.layers[0].num_heads
    with torch.device("meta"):
        other = models.VisionTransformer(size, patch, layers, heads, net.hidden_dim, net.mlp_dim)
    # the backbone added its stem to the network
    state = {k: t for k, t in net.state_dict().items() if not k.startswith("tokens.")}
    state = interpolate_embeddings(size, patch, state)
    other.load_state_dict(state, assign=True)
    return other.to(dtype).eval()


@pytest.fixture(params=EACH)
def built(request, monkeypatch):
    """A backbone with random weights, and the network that it shares."""
    made, get_model = [], models.get_model
    monkeypatch.setattr(
        models, "get_model", lambda *a, **k: made.append(get_model(*a, **k)) or made[0]
    )
    backbone = get_backbone(f"torchvision/{request.param}", weights=None)
    net = enlivened(made[0])
    if n_parameters(request.param) > LARGEST:
        net.bfloat16()
        backbone.bfloat16()
    return backbone, net


def without_values(patch):
    """Replace downloads, reading and filling, so that loading is quick.

    Returns the list of downloads that are asked for, and a dictionary of files to be read.
    """
    asked, files = [], {}

    def download(url, folder, filename, **options):
        asked.append((url, options))
        return folder / filename

    def read_weights(path, sha256_prefix=None):
        return WeightsFile(files.get(path.name, {}), {}, "0" * 64, path)

    patch.setattr("sktransfer.backbones.weights.download", download)
    patch.setattr(provider, "read_weights", read_weights)
    patch.setattr(provider, "read_download", lambda fetch: read_weights(*fetch(False)))
    patch.setattr(provider, "fill", lambda net, state, source, optional=(): [])
    return asked, files


@pytest.fixture
def no_values(monkeypatch):
    return without_values(monkeypatch)


@pytest.fixture(scope="module", params=EACH)
def outline(request):
    """A name and its backbone on the meta device."""
    with pytest.MonkeyPatch.context() as patch:
        without_values(patch)
        return request.param, provider.load(request.param).to("meta").eval()


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """An empty folder as torchvision's cache."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    return folder


@pytest.fixture
def photo(rng):
    return Image.fromarray(rng.integers(0, 256, (40, 56, 3), "uint8"))


def test_every_classification_network_is_a_backbone_or_listed_with_the_reason():
    listed = {address.removeprefix("torchvision/") for address in list_backbones("torchvision")}
    known = set(models.list_models(module=models))
    assert not listed & set(provider.NOT_A_CHAIN)
    assert listed | set(provider.NOT_A_CHAIN) == known


def test_every_pattern_of_names_matches_a_network():
    used = {id(provider._family(name)) for name in NAMES}
    assert used == set(map(id, provider.FAMILIES.values()))


def test_a_backbone_keeps_the_contract_bit_for_bit(built):
    backbone, net = built
    batch = images(backbone)
    with torch.no_grad():
        logits = at_size(net, batch.shape[-1])(batch)
    assert not torch.equal(*logits)  # equal logits of both images would hide differences
    check_backbone(backbone, batch, lambda _: logits)


def test_stages_have_the_same_names_in_every_family(outline):
    name, backbone = outline
    layers = [f"layer{index}" for index in range(1, len(backbone.names))]
    blocks = [f"block{index}" for index in range(1, 6)]
    assert backbone.names == (blocks if name.startswith("vgg") else ["stem", *layers])
    assert 4 <= len(backbone.names) <= 6


def test_each_stage_after_the_first_two_has_a_lower_resolution(outline):
    _, backbone = outline
    sides, x = [], torch.zeros(1, 3, 224, 224, device="meta")
    for stage in backbone.stages.values():
        x = stage(x)
        sides.append(x.shape[1 if backbone.layout in ("NHWC", "NLC") else 2])
    assert sides == sorted(sides, reverse=True)
    if backbone.layout != "NLC":
        assert sides[0] > sides[-1]


def compares_sizes():
    """Return True if a kernel that is larger than its input is an error on the device "meta"."""
    try:
        nn.Conv2d(1, 1, 2, device="meta")(torch.zeros(1, 1, 1, 1, device="meta"))
    except RuntimeError:
        return True
    return False  # torch 2.6


def test_the_smallest_image_is_the_smallest_that_works(outline):
    _, backbone = outline
    sizes = backbone.preset.sizes
    least = sizes.only[0] if sizes.only else sizes.minimum
    backbone.classifier(backbone(torch.zeros(1, 3, least, least, device="meta")))
    if least > 1 and not sizes.only and compares_sizes():
        with pytest.raises((RuntimeError, ValueError)):
            backbone(torch.zeros(1, 3, least - 1, least - 1, device="meta"))
    if least > 1:
        with pytest.raises(ValueError, match="image_size must be"):
            backbone.preset.at(least - 1)


@pytest.mark.parametrize("name", EACH)
def test_the_preset_matches_the_transforms_of_the_weights(name, no_values, photo):
    asked, _ = no_values
    for entry in models.get_model_weights(name):
        preset = provider.load(name, entry.name).preset
        transforms = entry.transforms()
        assert (preset.size, preset.resize) == (*transforms.crop_size, *transforms.resize_size)
        assert preset.interpolation == transforms.interpolation.value
        assert (preset.mean, preset.std) == (tuple(transforms.mean), tuple(transforms.std))
        assert torch.equal(preset.collate([preset(photo)], 1)[0], transforms(photo))
        url, options = asked[-1]
        assert url == entry.url
        assert len(options["sha256_prefix"]) >= 8
        assert f"-{options['sha256_prefix']}." in url
        assert options["address"] == f"torchvision/{name}"
        is_default = entry is models.get_model_weights(name).DEFAULT
        assert options["tag"] == (None if is_default else entry.name)


def test_default_weights_are_torchvisions_default(no_values):
    info = provider.load("mobilenet_v2", "default").weights_info
    assert info["tag"] == "IMAGENET1K_V2"
    assert info == provider.load("mobilenet_v2", "DEFAULT").weights_info


def test_random_weights_have_the_preset_of_the_default_weights(no_values):
    random = provider.load("efficientnet_b1", None)
    assert random.preset == provider.load("efficientnet_b1").preset
    assert random.weights_info["tag"] is None
    assert random.weights_info["sha256"] is None


def test_random_weights_depend_on_the_seed():
    a, b, c = (
        get_backbone("torchvision/squeezenet1_1", None, seed=seed).stages["stem"][0].weight
        for seed in (0, 0, 1)
    )
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


def test_the_licence_is_the_one_that_torchvision_states(no_values):
    assert "SWAG" in provider.load("vit_b_16", "IMAGENET1K_SWAG_E2E_V1").weights_info["licence"]
    licence = provider.load("squeezenet1_1").weights_info["licence"]
    assert licence == "not stated by torchvision"


@pytest.mark.parametrize("tag", ["IMAGENET1K_V1", "IMAGENET1K_SWAG_E2E_V1"])
def test_a_vit_is_built_at_the_size_its_weights_were_trained_at(tag, no_values):
    backbone = provider.load("vit_b_16", tag)
    n_tokens = (backbone.preset.size // 16) ** 2 + 1
    assert backbone.stages["stem"].pos_embedding.shape == (1, n_tokens, 768)


def test_the_image_size_of_a_vit_is_read_from_its_file(no_values):
    _, files = no_values
    files["mine.pth"] = {"encoder.pos_embedding": torch.zeros(1, 12 * 12 + 1, 768)}
    backbone = provider.load("vit_b_32", "mine.pth")
    assert backbone.preset.size == 384
    assert backbone.stages["stem"].pos_embedding.shape == (1, 145, 768)


def test_a_file_in_the_cache_of_torchvision_is_used(tmp_path, monkeypatch):
    entry, net = models.SqueezeNet1_1_Weights.DEFAULT, lively("squeezenet1_1")
    keep_squeezenet(monkeypatch, tmp_path, net)
    backbone = get_backbone("torchvision/squeezenet1_1", offline=True)
    check_backbone(backbone, images(backbone), net)
    info = backbone.weights_info
    assert (info["tag"], info["source"]) == ("IMAGENET1K_V1", entry.url)
    assert (info["input_size"], len(info["sha256"])) == (224, 64)


def test_the_offline_error_names_the_missing_file(hub):
    with pytest.raises(OSError, match=r"resnet18-f37072fd\.pth") as caught:
        get_backbone("torchvision/resnet18", offline=True)
    assert "sktransfer fetch torchvision/resnet18" in str(caught.value)


@pytest.mark.parametrize(
    "name", ["squeezenet1_1", "mnasnet0_5", "shufflenet_v2_x0_5", "googlenet", "densenet121"]
)
def test_a_users_own_file_gives_the_same_function(name, tmp_path):
    # GoogLeNet's file has two auxiliary heads, and expects rescaled images
    config = {"init_weights": True, "transform_input": True} if name == "googlenet" else {}
    net = lively(name, **config)
    torch.save(net.state_dict(), tmp_path / "mine.pth")
    backbone = get_backbone(f"torchvision/{name}", weights=tmp_path / "mine.pth")
    check_backbone(backbone, images(backbone), net)
    assert backbone.weights_info["source"] == "mine.pth"


def test_a_file_may_have_other_classes(tmp_path):
    net = lively("squeezenet1_1", num_classes=3)
    torch.save(net.state_dict(), tmp_path / "mine.pth")
    backbone = get_backbone("torchvision/squeezenet1_1", weights=tmp_path / "mine.pth")
    check_backbone(backbone, images(backbone), net)


@pytest.mark.parametrize("head", ["missing", "nan"])
def test_a_file_of_features_only_gives_no_classifier(head, tmp_path):
    state = lively("squeezenet1_1").state_dict()
    for key in [key for key in state if key.startswith("classifier.")]:
        tensor = state.pop(key)
        if head == "nan":  # like torchvision's IMAGENET1K_FEATURES of vgg16
            state[key] = torch.full_like(tensor, torch.nan)
    torch.save(state, tmp_path / "mine.pth")
    backbone = get_backbone("torchvision/squeezenet1_1", weights=tmp_path / "mine.pth")
    assert backbone.classifier is None
    assert torch.equal(backbone.stages["stem"][0].weight, state["features.0.weight"])
    assert "missing: classifier.1.weight" in backbone.weights_info["classifier"]


def test_a_file_of_another_network_is_refused(tmp_path):
    torch.save(lively("squeezenet1_0").state_dict(), tmp_path / "mine.pth")
    with pytest.raises(ValueError, match=r"mine\.pth"):
        get_backbone("torchvision/squeezenet1_1", weights=tmp_path / "mine.pth")


@pytest.mark.parametrize(
    ("name", "new", "old"),
    [
        ("densenet121", r"(denselayer\d+\.(?:norm|conv))([12])", r"\1.\2"),
        pytest.param("vit_b_32", r"mlp\.3", "mlp.linear_2", marks=pytest.mark.slow),
    ],
)
def test_tensors_under_the_names_of_older_files_are_found(name, new, old, tmp_path):
    net = lively(name)
    state = {re.sub(new, old, key): tensor for key, tensor in net.state_dict().items()}
    assert state.keys() != net.state_dict().keys()
    torch.save(state, tmp_path / "old.pth")
    backbone = get_backbone(f"torchvision/{name}", weights=tmp_path / "old.pth")
    batch = images(backbone)
    check_backbone(backbone, batch, at_size(net, batch.shape[-1]))


def test_a_file_without_counters_of_batches_is_complete(tmp_path):
    net = lively("shufflenet_v2_x0_5")
    state = {k: v for k, v in net.state_dict().items() if not k.endswith("num_batches_tracked")}
    torch.save(state, tmp_path / "old.pth")
    backbone = get_backbone("torchvision/shufflenet_v2_x0_5", weights=tmp_path / "old.pth")
    check_backbone(backbone, images(backbone), net)
    assert backbone.state_dict()["stages.stem.0.1.num_batches_tracked"] == 0


def test_the_shared_network_has_its_own_normalisation(shared):
    path = shared / "weights" / "mobilenet_v2_imagenet.safetensors"
    backbone = get_backbone("torchvision/mobilenet_v2", weights=path)
    assert backbone.preset.mean == backbone.preset.std == (0.5, 0.5, 0.5)
    assert backbone.weights_info["mean"] == (0.5, 0.5, 0.5)
    assert "google-coral" in backbone.weights_info["source"]
    check_backbone(backbone)


@pytest.mark.parametrize("shape", [(1, 0, 768), (1, 1, 768), (1, 3, 768), (197, 768), ()])
def test_a_position_embedding_that_is_not_square_is_refused(shape, tmp_path):
    torch.save({"encoder.pos_embedding": torch.zeros(shape)}, tmp_path / "mine.pth")
    with pytest.raises(ValueError, match=r"mine\.pth' do not fit 'torchvision/vit_b_32'"):
        get_backbone("torchvision/vit_b_32", weights=tmp_path / "mine.pth")


@pytest.mark.parametrize("size", [16, 225])
def test_a_vit_takes_multiples_of_its_patch_only(size, no_values):
    with pytest.raises(ValueError, match="at least 32 and a multiple of 32"):
        provider.load("vit_b_32").preset.at(size)


def test_a_maxvit_takes_one_size_only(no_values):
    with pytest.raises(ValueError, match="image_size must be 224"):
        provider.load("maxvit_t").preset.at(256)


def test_a_wrong_tag_is_an_error_that_lists_the_tags():
    message = (
        r"^weights of torchvision/resnet50 must be one of 'default', 'IMAGENET1K_V1', "
        r"'IMAGENET1K_V2', 'DEFAULT', None, or the path of a \.safetensors, \.pth or \.pt file; "
        r"got 'IMAGENET_V2'\. Did you mean 'IMAGENET1K_V2'\?$"
    )
    with pytest.raises(ValueError, match=message):
        get_backbone("torchvision/resnet50", weights="IMAGENET_V2")


def test_a_tag_that_is_not_a_string_is_refused():
    with pytest.raises(ValueError, match=r"got 2\."):
        get_backbone("torchvision/resnet50", weights=2)


def test_a_wrong_name_is_an_error_that_suggests_the_nearest():
    with pytest.raises(ValueError, match=r"no backbone 'resnet_18'\. Did you mean 'resnet18'"):
        provider.load("resnet_18")


def test_a_network_that_is_not_a_chain_is_refused_with_the_reason(monkeypatch):
    monkeypatch.setitem(provider.NOT_A_CHAIN, "resnet18", "its second half feeds its first.")
    assert "torchvision/resnet18" not in list_backbones("torchvision")
    with pytest.raises(ValueError, match="not a chain of stages: its second half feeds its first"):
        provider.load("resnet18")
