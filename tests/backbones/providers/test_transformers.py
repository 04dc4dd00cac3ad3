"""``transformers/<folder>``: found by path or name, read with its tokenizer and its pooling."""

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.bert_tokens import VOCABULARY, word_piece
from helpers.text_folders import (
    classifier_of,
    config_of,
    tensors_of,
    write_folder,
    write_json,
    write_sentence_folder,
)
from safetensors.torch import load_file, save_file

from sktransfer import (
    FineTuneClassifier,
    PretrainedFeatureExtractor,
    get_backbone,
    list_backbones,
    save,
)
from sktransfer import load as load_model
from sktransfer.data import TextPreset
from sktransfer.testing import check_backbone

VARIABLE = "SKTRANSFER_MODELS"


@pytest.fixture
def folder(tmp_path):
    return write_folder(tmp_path / "models" / "tiny")


def load(folder, *args):
    return get_backbone(f"transformers/{folder}", *args)


def test_a_folder_is_a_valid_backbone(folder):
    backbone = load(folder)
    assert backbone.names == ["embed", "block1", "block2"]
    assert backbone.layout == "NLM"
    assert backbone.address == f"transformers/{folder}"
    check_backbone(backbone, torch.tensor([[2, 5, 6, 3], [2, 7, 3, -1]]))


def test_loading_a_network_does_not_import_the_compiler_of_torch(folder):
    code = (
        # torch 2.6 imports sympy for every layer on the device "meta"
        "import sys, torch; torch.nn.Linear(1, 1, device='meta'); before = set(sys.modules); "
        f"import sktransfer; sktransfer.get_backbone('transformers/{folder.as_posix()}'); "
        "print([m for m in ('torch._dynamo', 'sympy') if m in set(sys.modules) - before])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_networks_of_one_folder_share_their_tokenizer(folder):
    tokenizer = load(folder).preset.tokenizer
    assert load(folder).preset.tokenizer is tokenizer
    (folder / "tokenizer.json").write_bytes(word_piece(lowercase=False).to_bytes())
    assert load(folder).preset.tokenizer == word_piece(lowercase=False)


@pytest.mark.parametrize(
    ("card", "licence"),
    [
        ("---\nlanguage: en\nlicense: apache-2.0\n---\n# Card", "apache-2.0"),
        ("---\r\nlicense: 'mit'\r\n---\r\n", "mit"),
        ("---\nlanguage: en\n---\nlicense: mit\n", "not stated"),
        ("# Card\nlicense: mit\n", "not stated"),
        ("---\nlicense:\ntags: [a]\n---\n", "not stated"),
        ("---\nlicense: m\x1bit\n---\n", "m\\x1bit"),
        ("", "not stated"),
    ],
)
@pytest.mark.parametrize("write", [write_folder, write_sentence_folder])
def test_the_licence_is_that_of_the_model_card(tmp_path, write, card, licence):
    folder = write(tmp_path / "tiny")
    (folder / "README.md").write_bytes(card.encode())
    assert load(folder).weights_info["licence"] == licence


def test_a_network_without_a_model_card_states_no_licence(folder):
    assert load(folder).weights_info["licence"] == "not stated"


def test_the_summary_of_a_network_for_texts_does_not_count_the_mask(folder):
    assert "16, averaged over the tokens (layout NLM)" in repr(load(folder))


def test_a_folder_is_found_by_any_path(folder, monkeypatch):
    expected = load(folder).fingerprint()
    monkeypatch.chdir(folder.parent.parent)
    monkeypatch.setenv("HOME", str(folder.parent))
    monkeypatch.setenv("USERPROFILE", str(folder.parent))
    for name in (
        "models/tiny",
        "./models/tiny/",
        "../" + Path.cwd().name + "/models/tiny",
        "~/tiny",
    ):
        assert load(name).fingerprint() == expected


def test_a_folder_is_found_by_its_name(folder, monkeypatch):
    write_folder(folder.parent / "maker" / "other")
    (folder.parent / "empty").mkdir()
    (folder.parent / "a file").touch()
    monkeypatch.setenv(VARIABLE, str(folder.parent))
    assert list_backbones("transformers") == ["transformers/maker/other", "transformers/tiny"]
    assert load("tiny").fingerprint() == load(folder).fingerprint()
    assert load("maker/other").names == load("tiny").names


@pytest.mark.parametrize("value", ["", "/no/such/folder"])
def test_no_names_are_listed_without_a_directory_of_models(value, monkeypatch):
    monkeypatch.setenv(VARIABLE, value)
    assert list_backbones("transformers") == []


def test_a_missing_folder_is_an_error_with_the_nearest_name(folder, monkeypatch):
    monkeypatch.chdir(folder.parent.parent)
    with pytest.raises(FileNotFoundError, match=r"Did you mean 'models/tiny'.* are not downloaded"):
        load("models/tinny")
    monkeypatch.setenv(VARIABLE, str(folder.parent))
    with pytest.raises(FileNotFoundError, match=r"Did you mean 'tiny'.*sktransfer fetch"):
        load("tny")


def test_a_file_instead_of_a_folder_is_an_error_with_its_folder(folder):
    with pytest.raises(FileNotFoundError, match=f"Pass its folder: 'transformers/{folder}'"):
        load(folder / "model.safetensors")


def test_a_folder_without_a_configuration_is_an_error_with_its_content(folder):
    with pytest.raises(FileNotFoundError, match=r"with config.json; .* contains tiny. Is the"):
        load(folder.parent)


def test_the_origin_of_the_weights_is_recorded(folder):
    info = load(folder).weights_info
    content = (folder / "model.safetensors").read_bytes()
    assert info["sha256"] == hashlib.sha256(content).hexdigest()
    assert info["source"] == "tiny"
    assert "pooling" not in info


def test_random_weights_need_no_file_of_weights(folder):
    (folder / "model.safetensors").unlink()
    one, other = (get_backbone(f"transformers/{folder}", None, seed=seed) for seed in (0, 1))
    assert one.weights_info["source"] == "random"
    assert one.fingerprint() != other.fingerprint()
    assert one(torch.tensor([[2, 5, 3]])).isfinite().all()


def test_weights_of_another_file_take_the_place_of_those_in_the_folder(folder, tmp_path):
    save_file(tensors_of(config_of("bert"), seed=1), tmp_path / "tuned.safetensors")
    tuned = load(folder, tmp_path / "tuned.safetensors")
    assert tuned.weights_info["source"] == "tuned.safetensors"
    assert tuned.fingerprint() != load(folder).fingerprint()


def test_weights_with_the_names_of_the_stages_are_read(folder, tmp_path):
    state = load(folder).stages.state_dict()
    state["block2.up.bias"] += 1
    save_file(state, tmp_path / "tuned.safetensors")
    tuned = load(folder, tmp_path / "tuned.safetensors").stages.state_dict()
    assert all(torch.equal(tuned[name], state[name]) for name in state)


def test_an_unknown_name_of_weights_is_an_error(folder):
    with pytest.raises(ValueError, match=r"must be 'default', None, or the path of a .*'best'"):
        load(folder, "best")


def test_names_of_a_network_with_a_head_and_of_old_files_are_understood(folder):
    expected = load(folder).fingerprint()
    state = load_file(folder / "model.safetensors")
    old = {
        f"bert.{name}".replace("LayerNorm.weight", "LayerNorm.gamma").replace(
            "LayerNorm.bias", "LayerNorm.beta"
        ): tensor
        for name, tensor in state.items()
    }
    old["cls.predictions.bias"] = torch.zeros(3)
    old["bert.pooler.dense.weight"] = torch.zeros(16, 16)
    old["bert.embeddings.position_ids"] = torch.arange(40)[None]
    save_file(old, folder / "model.safetensors")
    assert load(folder).fingerprint() == expected


def test_tensors_of_a_file_that_share_memory_do_not_do_so_in_the_network(folder, tmp_path):
    state = load_file(folder / "model.safetensors")
    biases = [name for name in state if name.endswith("query.bias")]
    assert len(biases) > 1
    state |= dict.fromkeys(biases, state[biases[0]])
    torch.save(state, tmp_path / "shared.pt")
    backbone = get_backbone(f"transformers/{folder}", tmp_path / "shared.pt")
    first, second = (backbone.stages[f"block{number}"].query.bias for number in (1, 2))
    assert torch.equal(first, second)
    assert first.data_ptr() != second.data_ptr()


def test_half_precision_files_become_float32(folder):
    state = load_file(folder / "model.safetensors")
    save_file({name: tensor.half() for name, tensor in state.items()}, folder / "model.safetensors")
    assert {p.dtype for p in load(folder).parameters()} == {torch.float32}


@pytest.mark.parametrize("kind", ["bert", "gpt2"])
def test_a_fine_tuned_classifier_keeps_its_head(kind, tmp_path):
    folder = write_folder(tmp_path, classifier_of(kind))
    backbone = load(folder)
    ids = torch.tensor([[2, 5, 3], [2, 6, -1]])
    assert backbone.classifier(backbone(ids)).shape == (2, 3)
    alone = backbone.classifier(backbone(ids[1:, :2]))
    torch.testing.assert_close(backbone.classifier(backbone(ids))[1:], alone)


def test_a_classifier_that_the_file_lacks_is_left_out(tmp_path):
    tensors = tensors_of(config_of("bert"))
    folder = write_folder(tmp_path, classifier_of("bert"), tensors)
    backbone = load(folder)
    assert backbone.classifier is None
    assert backbone.weights_info["classifier"].startswith("left out; missing: ")


# --- tokenizer and preset ------------------------------------------------------------------------


def test_the_preset_has_the_tokenizer_of_the_folder(folder):
    preset = load(folder).preset
    assert preset == TextPreset(word_piece(), max_length=40, lengths=(*range(8, 33, 4), 40))


def test_roberta_counts_positions_from_its_padding(tmp_path):
    folder = write_folder(tmp_path, config_of("roberta", pad_token_id=1))
    assert load(folder).preset.lengths[-1] == 38
    assert load(folder)(torch.full((1, 38), 5)).isfinite().all()


def test_a_network_with_many_positions_has_longer_rows(tmp_path):
    folder = write_folder(tmp_path, config_of("bert", max_position_embeddings=900))
    preset = load(folder).preset
    assert (preset.max_length, preset.lengths[-3:]) == (256, (512, 768, 900))


def test_a_vocabulary_file_takes_the_place_of_a_tokenizer_file(folder):
    expected = load(folder).fingerprint()
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY), encoding="utf-8")
    assert load(folder).fingerprint() == expected
    write_json(
        folder / "tokenizer_config.json",
        {"tokenizer_class": "BertTokenizer", "do_lower_case": False},
    )
    assert not load(folder).preset.tokenizer.lowercase


# --- sentence-transformers -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pooling", "expected"), [("mean_tokens", "avg"), ("cls_token", "cls"), ("max_tokens", "max")]
)
def test_the_pooling_of_sentence_transformers_is_recorded(tmp_path, pooling, expected):
    info = load(write_sentence_folder(tmp_path, pooling)).weights_info
    assert info["pooling"] == expected
    assert info["normalize"] == "not applied"


def test_the_pooling_of_newer_files_is_recorded(tmp_path):
    write_json(
        write_sentence_folder(tmp_path) / "1_Pooling" / "config.json",
        {"embedding_dimension": 16, "pooling_mode": "lasttoken", "include_prompt": True},
    )
    assert load(tmp_path).weights_info["pooling"] == "last"


def test_the_length_of_sentence_transformers_is_used(tmp_path):
    assert load(write_sentence_folder(tmp_path, max_length=20)).preset.max_length == 20


@pytest.mark.parametrize("stated", [None, 0, 2, True, 99, "30"])
def test_an_unusable_length_of_sentence_transformers_is_that_of_the_network(tmp_path, stated):
    assert load(write_sentence_folder(tmp_path, max_length=stated)).preset.max_length == 40


def test_a_network_in_a_subfolder_of_sentence_transformers_is_read(tmp_path):
    folder = write_sentence_folder(tmp_path)
    expected = load(folder).fingerprint()
    inner = folder / "0_Transformer"
    inner.mkdir()
    for name in ("tokenizer.json", "model.safetensors", "sentence_bert_config.json"):
        (folder / name).rename(inner / name)
    shutil.copy(folder / "config.json", inner / "config.json")
    listed = (folder / "modules.json").read_text().replace('"path": ""', '"path": "0_Transformer"')
    (folder / "modules.json").write_text(listed)
    assert load(folder).fingerprint() == expected


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pooling": "mean_sqrt_len_tokens"}, "its pooling is not one of this package"),
        ({"modules": ["Dense", "Normalize"]}, "its modules Dense are not applied"),
    ],
)
def test_steps_after_the_network_that_are_not_computed_give_a_warning(tmp_path, change, message):
    folder = write_sentence_folder(tmp_path, **change)
    with pytest.warns(UserWarning, match=message):
        load(folder)


def test_lower_case_of_sentence_transformers_is_used(tmp_path):
    folder = write_sentence_folder(tmp_path)
    (folder / "tokenizer.json").write_bytes(word_piece(lowercase=False).to_bytes())
    assert not load(folder).preset.tokenizer.lowercase
    write_json(folder / "sentence_bert_config.json", {"do_lower_case": True})
    assert load(folder).preset.tokenizer.lowercase


def test_features_are_the_pooled_hidden_states(tmp_path):
    folder = write_sentence_folder(tmp_path, "max_tokens")
    texts = ["the film", "", "isn't the play unbelievable?"]
    features = PretrainedFeatureExtractor(f"transformers/{folder}", verbose=0).fit_transform(texts)
    backbone, tokenizer = load(folder), word_piece()
    for text, found in zip(texts, features, strict=True):
        ids = torch.tensor([[*tokenizer.prefix, *tokenizer.encode(text), *tokenizer.suffix]])
        with torch.no_grad():
            expected = backbone(ids)[0, :, :-1].amax(0)
        torch.testing.assert_close(torch.from_numpy(found), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", ["bert", "roberta", "electra", "distilbert", "gpt2"])
def test_a_saved_model_needs_no_weights_of_the_folder(kind, tmp_path):
    folder = write_folder(tmp_path / "tiny", config_of(kind))
    texts, labels = ["the film", "a play"] * 10, [0, 1] * 10
    model = FineTuneClassifier(
        f"transformers/{folder}", unfreeze=1, max_epochs=1, random_state=0, verbose=0
    ).fit(texts, labels)
    save(model, tmp_path / "model.safetensors")
    (folder / "model.safetensors").unlink()
    again = load_model(tmp_path / "model.safetensors")
    assert np.array_equal(again.predict_proba(texts), model.predict_proba(texts))
    (folder / "config.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"must be a folder with config.json"):
        load_model(tmp_path / "model.safetensors")


def test_logits_of_a_fine_tuned_classifier_are_features(tmp_path):
    folder = write_folder(tmp_path, classifier_of("bert"))
    model = PretrainedFeatureExtractor(f"transformers/{folder}", layer="logits", verbose=0)
    features = model.fit_transform(["the film", "a play isn't"])
    backbone, tokenizer = load(folder), word_piece()
    ids = torch.tensor([[2, *tokenizer.encode("the film"), 3]])
    with torch.no_grad():
        expected = backbone.classifier(backbone(ids))[0]
    torch.testing.assert_close(torch.from_numpy(features[0]), expected, rtol=0, atol=1e-5)


def test_the_cache_of_the_hub_is_one_folder(folder, tmp_path):
    blobs = tmp_path / "hub" / "models--tiny" / "blobs"
    snapshot = blobs.parent / "snapshots" / "0123"
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    for path in folder.iterdir():
        shutil.copy(path, blobs / f"{path.name}-hash")
        (snapshot / path.name).symlink_to(Path("..", "..", "blobs", f"{path.name}-hash"))
    assert load(snapshot).fingerprint() == load(folder).fingerprint()
