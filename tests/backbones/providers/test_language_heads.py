"""Language heads of folders equal those of the package transformers, to the last bit."""

import json

import pytest
import torch
from helpers.bert_tokens import VOCABULARY, word_piece
from helpers.text_folders import config_of, tensors_of, write_folder, write_json
from helpers.transformer_nets import of_the_package, random_ids
from safetensors.torch import load_file, save_file

from sktransfer import PretrainedFeatureExtractor, get_backbone
from sktransfer.backbones import LanguageHead

UNTIED = {"tie_word_embeddings": False}
MASKED = {
    "bert": config_of("bert"),
    "bert with another activation": config_of("bert", hidden_act="relu"),
    "bert with a table of its own": config_of("bert", **UNTIED),
    "roberta": config_of("roberta", pad_token_id=1),
    "xlm-roberta": config_of("xlm-roberta", pad_token_id=1, hidden_act="relu"),
    "electra": config_of("electra"),
    "electra of one width": config_of("electra", embedding_size=16),
    "distilbert": config_of("distilbert"),
    "distilbert with a table of its own": config_of("distilbert", **UNTIED),
}
CAUSAL = {"gpt2": config_of("gpt2"), "gpt2 with a table of its own": config_of("gpt2", **UNTIED)}


@torch.no_grad()
@pytest.mark.parametrize("name", [*MASKED, *CAUSAL])
def test_scores_equal_those_of_the_package(name, tmp_path):
    kind = "AutoModelForMaskedLM" if name in MASKED else "AutoModelForCausalLM"
    net = of_the_package((MASKED | CAUSAL)[name], tmp_path, kind)
    backbone = get_backbone(f"transformers/{tmp_path}")
    for length in (1, 7, 16):
        ids = random_ids(3, length)
        assert torch.equal(backbone.token_scores(backbone(ids)), net(input_ids=ids).logits)


def test_the_bias_of_the_decoder_is_the_one_that_is_used(tmp_path):
    net = of_the_package(MASKED["bert with a table of its own"], tmp_path, "AutoModelForMaskedLM")
    state = load_file(tmp_path / "model.safetensors")
    for order in (sorted(state), sorted(state, reverse=True)):
        save_file({name: state[name] for name in order}, tmp_path / "model.safetensors")
        head = get_backbone(f"transformers/{tmp_path}").language_head
        assert torch.equal(head.bias, net.cls.predictions.decoder.bias)


@pytest.mark.parametrize("name", MASKED)
def test_a_masked_head_knows_the_mask_token(name, tmp_path):
    of_the_package(MASKED[name], tmp_path, "AutoModelForMaskedLM")
    head = get_backbone(f"transformers/{tmp_path}").language_head
    assert head.objective == "masked"
    assert head.mask_token == VOCABULARY.index("[MASK]")


def test_the_mask_token_is_the_one_that_the_tokenizer_names(tmp_path):
    of_the_package(MASKED["bert"], tmp_path, "AutoModelForMaskedLM")
    write_json(tmp_path / "tokenizer_config.json", {"mask_token": {"content": "[PAD]"}})
    assert get_backbone(f"transformers/{tmp_path}").language_head.mask_token == 0


def test_a_tokenizer_without_a_mask_token_gives_none(tmp_path):
    of_the_package(MASKED["bert"], tmp_path, "AutoModelForMaskedLM")
    described = json.loads(word_piece().to_bytes())
    described["added_tokens"] = [
        token for token in described["added_tokens"] if token["content"] != "[MASK]"
    ]
    write_json(tmp_path / "tokenizer.json", described)
    assert get_backbone(f"transformers/{tmp_path}").language_head.mask_token is None


def test_a_causal_network_always_has_its_tied_head(tmp_path):
    head = get_backbone(f"transformers/{write_folder(tmp_path, config_of('gpt2'))}").language_head
    assert (head.objective, head.table, list(head.parameters())) == (
        "causal",
        "embed.words.weight",
        [],
    )


@pytest.mark.parametrize("kind", ["bert", "electra", "distilbert", "roberta"])
def test_a_folder_without_a_head_gives_a_backbone_without_one(kind, tmp_path):
    backbone = get_backbone(f"transformers/{write_folder(tmp_path, config_of(kind))}")
    assert backbone.language_head is None
    with pytest.raises(ValueError, match=r"has no language head. Take builtin/lm, or a folder"):
        backbone.token_scores(torch.zeros(1, 2, 17))


def test_a_part_of_a_head_is_left_out(tmp_path):
    tensors = tensors_of(config_of("bert")) | {"cls.predictions.bias": torch.zeros(5)}
    backbone = get_backbone(f"transformers/{write_folder(tmp_path, tensors=tensors)}")
    assert backbone.language_head is None


def test_the_names_of_older_files_are_read(tmp_path):
    net = of_the_package(MASKED["bert"], tmp_path, "AutoModelForMaskedLM")
    state = load_file(tmp_path / "model.safetensors")
    state["cls.predictions.decoder.bias"] = state.pop("cls.predictions.bias")
    state["cls.predictions.decoder.weight"] = state["bert.embeddings.word_embeddings.weight"] + 0
    save_file(state, tmp_path / "model.safetensors")
    backbone = get_backbone(f"transformers/{tmp_path}")
    with torch.no_grad():
        found = backbone.token_scores(backbone(random_ids(2, 5)))
        assert torch.equal(found, net(input_ids=random_ids(2, 5)).logits)


def test_random_weights_have_the_head_that_the_configuration_names(tmp_path):
    config = config_of("bert", architectures=["BertForMaskedLM"])
    folder = write_folder(tmp_path, config)
    backbone = get_backbone(f"transformers/{folder}", None)
    assert isinstance(backbone.language_head, LanguageHead)
    assert backbone.token_scores(backbone(random_ids(2, 5))).shape == (2, 5, len(VOCABULARY))


def test_a_head_belongs_to_the_whole_backbone_only(tmp_path):
    of_the_package(MASKED["bert"], tmp_path, "AutoModelForMaskedLM")
    address = f"transformers/{tmp_path}"
    backbone = get_backbone(address)
    assert "language_head" in repr(backbone)
    before, stages = backbone.fingerprint(), backbone.fingerprint(3)
    with torch.no_grad():
        backbone.language_head.bias += 1
    assert backbone.fingerprint() != before
    assert backbone.fingerprint(3) == stages
    assert backbone.truncate(3).language_head is None
    features = PretrainedFeatureExtractor(address, verbose=0).fit(["a film"])
    assert features.backbone_.language_head is None


def test_an_objective_must_be_known():
    with pytest.raises(ValueError, match="objective must be one of 'causal', 'masked'; got 'next'"):
        LanguageHead(5, 4, objective="next")
