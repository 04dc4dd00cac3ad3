"""Folders that cannot be used, or must not be trusted: an error with the reason and the way out."""

import json
import pickle
import shutil
import warnings
from contextlib import suppress

import pytest
import torch
from helpers.bert_tokens import VOCABULARY, word_piece
from helpers.text_folders import (
    config_of,
    tensors_of,
    write_folder,
    write_json,
    write_sentence_folder,
)
from safetensors.torch import save_file

from sktransfer import get_backbone


@pytest.fixture
def folder(tmp_path):
    return write_folder(tmp_path / "tiny")


@pytest.fixture(autouse=True)
def nothing_is_written(tmp_path, monkeypatch):
    """Code of a folder, which writes this file, is never run."""
    monkeypatch.chdir(tmp_path)
    yield
    assert not (tmp_path / "owned").exists()


def refused(folder, message, error=ValueError):
    with pytest.raises(error, match=message):
        get_backbone(f"transformers/{folder}")


class Bomb:
    def __reduce__(self):
        return exec, ("open('owned', 'w')",)


CODE = "open('owned', 'w')\nclass Model: pass\n"


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("albert", "whose blocks share their weights"),
        ("t5", "which consists of two chains"),
        ("bart", "which consists of two chains"),
        ("deberta-v2", "whose blocks share an embedding of relative positions"),
        ("mpnet", "whose blocks share an embedding of relative positions"),
        ("llama", "which this package cannot build"),
        (None, "which this package cannot build"),
        ("no such type", "which this package cannot build"),
    ],
)
def test_a_type_that_is_no_chain_is_refused_with_the_reason(folder, kind, reason):
    write_json(folder / "config.json", config_of("bert", model_type=kind))
    refused(folder, f"one of the types 'bert', .*'xlm-roberta'; it is of type {kind!r}, {reason}")


def test_code_that_a_configuration_names_is_not_run(folder):
    (folder / "modeling_evil.py").write_text(CODE)
    auto = {"AutoModel": "modeling_evil.Model", "AutoConfig": "modeling_evil.Model"}
    write_json(folder / "config.json", config_of("bert", auto_map=auto))
    refused(folder, "must not need code of its own, which is never run; its config.json names")


def test_an_attention_that_a_configuration_names_is_not_imported(folder):
    (folder / "evil.py").write_text(CODE)
    hidden = {"_attn_implementation_internal": "evil", "attn_implementation": "evil/kernel"}
    expected = get_backbone(f"transformers/{folder}").fingerprint()
    write_json(folder / "config.json", config_of("bert", **hidden))
    assert get_backbone(f"transformers/{folder}").fingerprint() == expected


def test_code_that_a_tokenizer_names_is_not_run(folder):
    (folder / "tok.py").write_text(CODE)
    write_json(folder / "tokenizer_config.json", {"auto_map": {"AutoTokenizer": ["tok.Model"]}})
    refused(folder, "tokenizer of transformers/.* must not need code of its own")


def test_modules_that_are_code_of_a_folder_are_not_run(tmp_path):
    (tmp_path / "mine.py").write_text(CODE)
    folder = write_sentence_folder(tmp_path / "tiny", modules=["mine.Model"])
    refused(folder, "its modules.json names 'mine.Model'")


@pytest.mark.parametrize(
    ("modules", "message"),
    [
        ({}, "the first module of .* must be a Transformer; its modules.json begins with nothing"),
        ([{"type": 1}], "modules.json of .* must be a list of modules"),
        (
            [{"type": "sentence_transformers.models.WordEmbeddings", "path": ""}],
            "begins with sentence_transformers.models.WordEmbeddings",
        ),
        (
            [{"type": "sentence_transformers.models.Transformer", "path": "../other"}],
            "must be in its folder; it names '../other'",
        ),
        ("text", "must be a list of modules"),
    ],
)
def test_modules_of_another_form_are_refused(folder, modules, message):
    write_json(folder / "modules.json", modules)
    refused(folder, message)


def test_pickles_alone_are_refused_with_the_way_out(folder):
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb()))
    refused(
        folder,
        r"contains only pytorch_model.bin, and loading a pickle can run code.*save_pretrained",
        FileNotFoundError,
    )


def test_a_pickle_beside_safe_weights_is_not_read(folder):
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb()))
    assert get_backbone(f"transformers/{folder}").names[0] == "embed"


def test_a_folder_without_weights_is_refused(folder):
    (folder / "model.safetensors").unlink()
    refused(folder, "it contains no weights. Copy them into ", FileNotFoundError)


def test_a_tokenizer_that_is_code_of_another_package_is_refused(folder):
    (folder / "tokenizer.json").unlink()
    refused(folder, "must contain tokenizer.json, or the vocab.txt", FileNotFoundError)
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY), encoding="utf-8")
    write_json(folder / "tokenizer_config.json", {"tokenizer_class": "BertJapaneseTokenizer"})
    refused(folder, "its tokenizer 'BertJapaneseTokenizer' is code", FileNotFoundError)


def test_a_tokenizer_of_another_vocabulary_is_refused(tmp_path):
    folder = write_folder(tmp_path / "tiny", config_of("bert", vocab_size=100))
    last = len(VOCABULARY) - 1
    refused(folder, f"gives ids up to {last}, and the network has 100 tokens")


def test_lower_case_that_only_the_package_knows_is_refused(tmp_path):
    pytest.importorskip("tokenizers")
    folder = write_sentence_folder(tmp_path / "tiny")
    content = json.loads(word_piece().to_bytes()) | {"normalizer": None}
    write_json(folder / "tokenizer.json", content)
    write_json(folder / "sentence_bert_config.json", {"do_lower_case": True})
    refused(folder, "must change letters to lower case itself")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden_size": 10**12}, "'hidden_size' in config.json must be an integer from 1 to"),
        ({"hidden_size": "16"}, "'hidden_size' in config.json must be an integer .*; got '16'"),
        ({"num_hidden_layers": True}, "'num_hidden_layers' .* got True"),
        ({"num_hidden_layers": 10**6}, "'num_hidden_layers' .* from 1 to 1000; got 1000000"),
        ({"layer_norm_eps": None}, "'layer_norm_eps' in config.json must be a number from 0 to 1"),
        ({"hidden_act": "os.system"}, "'hidden_act' in config.json must be one of 'gelu'"),
        ({"is_decoder": True}, "'is_decoder' in config.json must be one of False; got True"),
        ({"position_embedding_type": "relative_key"}, "must be one of 'absolute'"),
        ({"architectures": 5}, "config.json of .* must describe a network; it does not: TypeError"),
        ({"model_type": []}, r"it is of type \[\], which this package cannot build"),
        ({"num_attention_heads": 3}, "must be a multiple of .* attention heads; got 16 and 3"),
    ],
)
def test_a_configuration_with_unusable_values_is_refused(folder, change, message):
    write_json(folder / "config.json", config_of("bert", **change))
    refused(folder, message)


ODD = (None, True, -1, 10**30, 0.5, float("nan"), "", "..", "\ud800", [], {}, [[]])


@pytest.mark.parametrize("name", ["config.json", "modules.json", "sentence_bert_config.json"])
def test_any_value_in_a_file_gives_a_network_or_a_value_error(tmp_path, name):
    path = write_sentence_folder(tmp_path / "tiny") / name
    content = json.loads(path.read_bytes())
    for place in content if isinstance(content, dict) else range(len(content)):
        for value in ODD:
            changed = json.loads(path.read_bytes())
            changed[place] = value
            other = path.parent.with_name("other")
            shutil.copytree(path.parent, other, dirs_exist_ok=True)
            write_json(other / name, changed)
            with suppress(ValueError), warnings.catch_warnings(action="ignore"):
                get_backbone(f"transformers/{other}")


def test_tensors_that_do_not_fit_are_named_as_in_the_file(folder):
    tensors = tensors_of(config_of("bert"))
    del tensors["encoder.layer.1.output.dense.bias"]
    tensors["encoder.layer.7.output.dense.bias"] = torch.zeros(16)
    tensors["embeddings.LayerNorm.bias"] = torch.zeros(17)
    save_file(tensors, folder / "model.safetensors")
    refused(folder, r"(?s)'tiny' do not fit the config.json of .*; 3 tensors differ:.*17")
    refused(folder, r"missing: encoder.layer.1.output.dense.bias \(16,\)")
    refused(folder, r"unexpected: encoder.layer.7.output.dense.bias \(16,\)")


def test_a_network_larger_than_its_file_is_refused_before_it_takes_memory(folder):
    huge = {"hidden_size": 1_000_000, "intermediate_size": 10_000_000, "vocab_size": 10_000_000}
    write_json(folder / "config.json", config_of("bert", **huge))
    refused(folder, "tensors differ")


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors"])
def test_a_link_out_of_the_folder_is_refused(folder, tmp_path, name):
    (folder / name).rename(tmp_path / "outside")
    (folder / name).symlink_to(tmp_path / "outside")
    refused(folder, f"must be in its folder; {name} is a link to '.*outside'. Copy that file")


def test_a_link_of_a_subfolder_out_of_the_folder_is_refused(tmp_path):
    folder = write_sentence_folder(tmp_path / "tiny")
    (folder / "1_Pooling").rename(tmp_path / "outside")
    (folder / "1_Pooling").symlink_to(tmp_path / "outside")
    refused(folder, "must be in its folder; config.json is a link")


@pytest.mark.parametrize(
    "shards", [{"a": "../outside.safetensors"}, {"a": "/etc/passwd"}, {"a": ""}]
)
def test_shards_outside_the_folder_are_refused(folder, shards):
    (folder / "model.safetensors").unlink()
    write_json(folder / "model.safetensors.index.json", {"weight_map": shards})
    refused(folder, "must be in its folder; it names")


@pytest.mark.parametrize("index", [{}, {"weight_map": []}, {"weight_map": {}}])
def test_an_index_without_shards_is_refused(folder, index):
    (folder / "model.safetensors").unlink()
    write_json(folder / "model.safetensors.index.json", index)
    refused(folder, "model.safetensors.index.json of .* must map tensors to files")


def test_a_missing_shard_is_named(folder):
    (folder / "model.safetensors").unlink()
    shards = {"weight_map": {"a": "model-00001-of-00002.safetensors"}}
    write_json(folder / "model.safetensors.index.json", shards)
    refused(folder, "model-00001-of-00002.safetensors' does not exist", FileNotFoundError)


@pytest.mark.parametrize("n_bytes", [0, 4, 100, 5000])
def test_truncated_weights_are_refused(folder, n_bytes):
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[:n_bytes])
    refused(folder, "weights must be a complete safetensors file")


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json", "modules.json"])
@pytest.mark.parametrize("content", [b"[" * 200_000, b"{", b"\xff", b'{"a": NaN'])
def test_a_file_that_is_not_json_is_refused(folder, name, content):
    (folder / name).write_bytes(content)
    refused(folder, f"{name} of transformers/.* must contain JSON; it does not: ")


def test_a_configuration_that_is_a_list_is_refused(folder):
    write_json(folder / "config.json", [])
    refused(folder, "config.json of .* must contain an object of JSON; it contains a list")


@pytest.mark.parametrize(("name", "size"), [("config.json", 2**24), ("tokenizer.json", 2**26)])
def test_huge_files_are_not_read(folder, name, size):
    with (folder / name).open("r+b") as file:
        file.truncate(200_000_000)  # a sparse file
    refused(folder, f"{name} of .* must have at most {size} bytes; it has 200000000")


def test_a_deep_tokenizer_is_refused(folder):
    (folder / "tokenizer.json").write_bytes(b"[" * 10_000_000)
    refused(folder, "tokenizer.json of transformers/.* must describe a tokenizer")
