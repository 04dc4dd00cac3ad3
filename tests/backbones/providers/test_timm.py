"""timm's networks are chains that compute the same as in timm, or are refused with the reason."""

import pickle
import re
import sys
from copy import deepcopy

import pytest
import torch
from helpers.timm_nets import built, check_against, images, timm
from PIL import Image

from sktransfer import PretrainedFeatureExtractor, get_backbone, list_backbones
from sktransfer.backbones.providers import timm as provider
from sktransfer.backbones.tracing import TracedSteps

CONVOLUTIONAL = [
    "test_efficientnet",
    "mobilenetv3_small_050",
    "test_convnext",
    "regnetx_002",
    "edgenext_xx_small",
    "ghostnet_050",
    "hgnetv2_b0",
    "test_nfnet",
    "test_resnet",
    "test_mambaout",
]
ATTENTIVE = [
    "eva02_tiny_patch14_224",
    "levit_128s",
    "mobilevit_xxs",
    "swin_tiny_patch4_window7_224",
    "test_vit",
    "test_vit4",
    "vit_tiny_patch16_dinov3_qkvb",
]
REFUSED = {
    "crossvit_tiny_240": "its forward_features returns more than one tensor",
    "convit_tiny": r"its first stage would hold 8\d% of the parameters",
    "pit_ti_224": "its forward pass can be cut at 2 places, after a single NLC feature map; "
    "this gives less than 4 stages",
    "twins_svt_small": "torch.fx cannot follow its forward_features: Proxy object cannot be",
}


@pytest.fixture
def photo(rng):
    return Image.fromarray(rng.integers(0, 256, (300, 420, 3), "uint8"))


# --- stages --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*CONVOLUTIONAL, *ATTENTIVE])
def test_a_network_keeps_the_contract_bit_for_bit(name):
    check_against(*built(name))


@pytest.mark.parametrize(("name", "reason"), REFUSED.items())
def test_a_network_that_is_not_a_chain_is_refused_with_the_reason(name, reason):
    with pytest.raises(ValueError, match=f"timm/{name} is not a chain of stages: {reason}"):
        get_backbone(f"timm/{name}", weights=None)


@pytest.mark.parametrize(
    ("name", "layout", "n_prefix_tokens"),
    [
        ("test_resnet", "NCHW", 0),
        ("test_mambaout", "NHWC", 0),
        ("test_vit", "NLC", 1),
        ("deit_tiny_distilled_patch16_224", "NLC", 2),
        ("vit_tiny_patch16_dinov3_qkvb", "NLC", 5),
    ],
)
def test_a_backbone_has_the_layout_of_its_network(name, layout, n_prefix_tokens):
    backbone = built(name)[0]
    assert (backbone.layout, backbone.n_prefix_tokens) == (layout, n_prefix_tokens)


def test_the_stages_of_a_resnet_end_where_the_resolution_halves():
    backbone = built("test_resnet")[0]
    sides, x = [], torch.zeros(1, 3, 64, 64)
    for stage in backbone.stages.values():
        x = stage(x)
        sides.append(x.shape[2])
    assert sides == [32, 16, 8, 4, 2]
    assert not any(isinstance(stage, TracedSteps) for stage in backbone.stages.values())


def test_a_vit_has_its_blocks_in_four_groups():
    stages = built("vit_tiny_patch16_224")[0].stages
    blocks = [
        [key for key, _ in stage.named_children() if "blocks" in key] for stage in stages.values()
    ]
    assert list(map(len, blocks)) == [0, 3, 3, 3, 3]
    assert {"cls_token", "pos_embed"} <= dict(stages["stem"].named_parameters()).keys()
    assert "norm" in dict(stages["layer4"].named_children())


@pytest.mark.parametrize(
    "name", ["test_vit", "eva02_tiny_patch14_224", "vit_tiny_patch16_dinov3_qkvb"]
)
def test_a_stage_survives_a_pickle(name):
    backbone = built(name)[0]
    assert isinstance(backbone.stages["stem"], TracedSteps)
    batch = images(backbone)
    copy = pickle.loads(pickle.dumps(backbone))
    with torch.no_grad():
        assert torch.equal(copy(batch), backbone(batch))
    assert copy.fingerprint() == backbone.fingerprint()


@pytest.mark.parametrize(
    ("size", "fits"), [(32, True), (48, True), (160, True), (16, False), (40, False)]
)
def test_a_vit_takes_multiples_of_its_patches(size, fits):
    preset = built("test_vit")[0].preset
    assert preset.size == 160
    if fits:
        assert preset.at(size).size == size
    else:
        with pytest.raises(ValueError, match="image_size must be at least 32 and a multiple of 16"):
            preset.at(size)


def test_a_network_of_one_image_size_names_it():
    preset = built("levit_128s")[0].preset
    with pytest.raises(ValueError, match="image_size must be 224 for this network; got 192"):
        preset.at(192)


def test_rotary_embeddings_keep_their_precision():
    backbone, net = deepcopy(built("vit_tiny_patch16_dinov3_qkvb"))
    batch = images(backbone)
    backbone, net = backbone.bfloat16(), net.bfloat16()
    with torch.no_grad():
        features = net.forward_features(batch.bfloat16())
        assert torch.equal(backbone(batch.bfloat16()), features)


@pytest.mark.parametrize(
    "name", ["swin_tiny_patch4_window7_224", "test_vit", "vit_tiny_patch16_dinov3_qkvb"]
)
def test_a_backbone_moves_to_another_device(name):
    backbone = deepcopy(built(name)[0]).to("meta")
    assert backbone(images(backbone).to("meta")).device.type == "meta"


def test_the_extractor_returns_features_of_a_vit(rng):
    pixels = rng.integers(0, 256, (3, 32, 32, 3), "uint8")
    rows = {
        pooling: PretrainedFeatureExtractor(
            "timm/test_vit", weights=None, pooling=pooling, image_size=32
        ).fit_transform(pixels)
        for pooling in ("avg", "cls")
    }
    assert rows["avg"].shape == rows["cls"].shape == (3, 64)
    assert abs(rows["avg"] - rows["cls"]).max() > 0.01


def test_a_network_without_classes_has_no_classifier():
    backbone = built("eva02_tiny_patch14_224")[0]
    assert backbone.classifier is None
    assert backbone.preset.sizes.multiple == 14


# --- names and presets ---------------------------------------------------------------------------


def test_architectures_are_listed_without_and_with_each_tag():
    listed = list_backbones("timm", "timm/resnet18*")
    assert {"timm/resnet18", "timm/resnet18.a1_in1k", "timm/resnet18.tv_in1k"} <= set(listed)


def test_a_misspelt_tag_is_an_error_that_suggests_the_nearest():
    with pytest.raises(
        ValueError, match=r"no backbone 'resnet18.a1_in2k'. Did you mean 'timm/resnet18"
    ):
        get_backbone("timm/resnet18.a1_in2k")


def test_the_error_without_timm_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'sktransfer\[timm\]'"):
        get_backbone("timm/resnet18", weights=None)


@pytest.mark.parametrize("name", ["resnet18.a1_in1k", "resnet18.tv_in1k", "test_vit.r160_in1k"])
def test_the_preset_matches_timms_preprocessing(name, photo):
    cfg = timm.get_pretrained_cfg(name)
    transform = timm.data.create_transform(
        **timm.data.resolve_data_config(pretrained_cfg=cfg.to_dict())
    )
    architecture, _, tag = name.partition(".")
    preset = provider._preset(architecture, provider._cfg(architecture, tag, None))
    assert torch.equal(preset.collate([preset(photo)], 1)[0], transform(photo))


def test_networks_for_images_that_are_not_square_are_refused():
    tall = next(
        name
        for name in timm.list_pretrained()
        if timm.get_pretrained_cfg(name).input_size == (3, 1024, 768)
    )
    with pytest.raises(ValueError, match="its images are 1024 x 768 with 3 channels"):
        provider.load(tall, None)


# --- every architecture --------------------------------------------------------------------------

BIG = re.compile(
    r"large|huge|giant|gigantic|base|so\d+m|_[lxhg]+(_|$)|\d+b(_|$)|[1-9]\d\dm|medium|[1-9]\d\d(d|$)"
)


def smallest(module):
    """Return the network with the fewest parameters among the first with a small name."""

    def n_parameters(name):
        with torch.device("meta"):
            return sum(p.numel() for p in timm.create_model(name).parameters())

    names = timm.list_models(module=module)
    tiny = [name for name in names if name.startswith("test_")]
    small = [name for name in names if not BIG.search(name)]
    few = (tiny or small or names)[:6]
    try:
        return min(few, key=n_parameters)
    except (RuntimeError, NotImplementedError):  # it cannot be built on the meta device
        return few[0]


# For some modules of timm, the reason why their smallest network is refused.
NOT_CHAINS = {
    "cait": "its forward pass can be cut at 2 places, after a single NLC feature map",
    "coat": "its forward_features returns more than one tensor",
    "convit": "its first stage would hold 84% of the parameters",
    "crossvit": "its forward_features returns more than one tensor",
    "deepseek_vit": "its forward pass can be cut at 1 place, after a single NHWC feature map",
    "efficientformer": "its forward pass can be cut at 2 places, after a single NLC feature map",
    "efficientvim": "its forward_features returns more than one tensor",
    "gemma4_vit": "its forward pass can be cut at 1 place, after a single NLC feature map",
    "hrnet": "it does not run on the meta device: 'immutable_list'",
    "naflexvit": "its forward pass can be cut at 3 places, after a single NLC feature map",
    "nasnet": "its forward pass can be cut at 3 places, after a single NCHW feature map",
    "pit": "its forward pass can be cut at 2 places, after a single NLC feature map",
    "pnasnet": "its forward pass can be cut at 3 places, after a single NCHW feature map",
    "qwen3_vit": "its forward pass can be cut at 1 place, after a single NHWC feature map",
    "tnt": "its forward pass can be cut at 2 places, after a single NLC feature map",
    "twins": "torch.fx cannot follow its forward_features: Proxy object cannot be",
    "vision_transformer_sam": "its forward pass can be cut at 2 places, after a single NCHW feat",
    "volo": "its last feature map is not square",
    "xcit": r"its first stage would hold \d\d% of the parameters",
}


@pytest.mark.slow
@pytest.mark.parametrize("module", timm.list_modules())
def test_an_architecture_is_a_chain_or_is_refused_with_the_reason(module):
    name = smallest(module)
    if module in NOT_CHAINS:
        with pytest.raises(ValueError, match=f"is not a chain of stages: {NOT_CHAINS[module]}"):
            get_backbone(f"timm/{name}", weights=None)
        return
    check_against(*built.__wrapped__(name))  # without the cache, which would fill the memory
