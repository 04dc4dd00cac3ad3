"""Small networks for texts in folders, as transformers and sentence-transformers write them."""

import json

import torch
from helpers.bert_tokens import VOCABULARY, word_piece
from safetensors.torch import save_file

from sktransfer.backbones.providers._transformer_configs import architecture
from sktransfer.backbones.providers.transformers import build

SIZES = {
    "vocab_size": len(VOCABULARY),
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 40,
}
GPT2 = {
    "vocab_size": len(VOCABULARY),
    "n_embd": 16,
    "n_layer": 2,
    "n_head": 2,
    "n_positions": 40,
}
LABELS = {"id2label": {"0": "bad", "1": "good", "2": "fine"}}


def config_of(kind, **changes):
    """The content of a config.json."""
    sizes = {
        "distilbert": {
            "vocab_size": len(VOCABULARY),
            "dim": 16,
            "n_layers": 2,
            "n_heads": 2,
            "hidden_dim": 24,
            "max_position_embeddings": 40,
        },
        "gpt2": GPT2,
        "electra": SIZES | {"embedding_size": 8},
    }.get(kind, SIZES)
    return {"model_type": kind} | sizes | changes


def classifier_of(kind, **changes):
    """The content of a config.json of a classifier of three labels."""
    name = {"bert": "Bert", "gpt2": "GPT2"}[kind]
    return config_of(kind, architectures=[f"{name}ForSequenceClassification"], **LABELS | changes)


def tensors_of(config, seed=0):
    """Random tensors of a network by the names in files."""
    form = architecture(config, "a network of the tests")
    generator = torch.Generator().manual_seed(seed)
    return {
        form.in_file(name): torch.randn(tensor.shape, generator=generator) * 0.3
        for name, tensor in build(form).state_dict().items()
    }


def write_json(path, content):
    path.write_text(json.dumps(content))


def write_folder(folder, config=None, tensors=None):
    """Write a network with a WordPiece tokenizer; return the folder."""
    config = config_of("bert") if config is None else config
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "config.json", config)
    (folder / "tokenizer.json").write_bytes(word_piece().to_bytes())
    save_file(tensors_of(config) if tensors is None else tensors, folder / "model.safetensors")
    return folder


def write_sentence_folder(folder, pooling="mean_tokens", max_length=30, modules=("Normalize",)):
    """Write a network with the files of sentence-transformers; return the folder."""
    write_folder(folder)
    kinds = ["Transformer", "Pooling", *modules]
    listed = [
        {"idx": i, "name": str(i), "path": f"{i}_{kind}" if i else "", "type": _type(kind)}
        for i, kind in enumerate(kinds)
    ]
    write_json(folder / "modules.json", listed)
    (folder / "1_Pooling").mkdir(exist_ok=True)
    modes = ("cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens")
    flags = {f"pooling_mode_{mode}": mode == pooling for mode in modes}
    write_json(folder / "1_Pooling" / "config.json", {"word_embedding_dimension": 16, **flags})
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": max_length})
    return folder


def _type(kind):
    return kind if "." in kind else f"sentence_transformers.models.{kind}"
