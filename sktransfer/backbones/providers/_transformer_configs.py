"""The ``config.json`` of a network of the package transformers, as sizes and names of tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

# The starts of names of tensors that are no part of the chain, but of a head, and the ends of those
# that are computed.
HEADS = (
    *("classifier.", "cls.", "discriminator_predictions.", "generator_", "lm_head."),
    *("multiple_choice_head.", "pooler.", "pre_classifier.", "qa_outputs.", "score.", "vocab_"),
)
COMPUTED = (".attn.bias", ".attn.masked_bias", ".position_ids", ".token_type_ids")

# The largest sizes that are accepted, so that a file cannot ask for endless work.
MOST_LAYERS = 1_000
MOST_VALUES = 10_000_000

# Types of networks that are no chain of stages, with the reason.
_REASONS = {
    "whose blocks share their weights, so no cut can divide it": "albert",
    "whose blocks share an embedding of relative positions, so no cut can divide it": (
        "deberta deberta-v2 mpnet xlnet"
    ),
    "which consists of two chains, an encoder and a decoder": (
        "bart blenderbot led longt5 m2m_100 marian mbart mt5 pegasus switch_transformers t5 umt5"
    ),
}
REFUSED = {kind: reason for reason, kinds in _REASONS.items() for kind in kinds.split()}


@dataclass(frozen=True)
class Architecture:
    """The sizes of a network, and the names of its tensors in a file of weights.

    Parameters
    ----------
    kind : {"encoder", "decoder"}
    n_tokens, n_positions, first, n_types, width, hidden, n_layers, n_heads : int
        See ``Embed`` and the blocks.
    word_width : int
        The width of the vectors of tokens, before the first block.
    activation : str
    eps, dropout, attention_dropout : float
    names : mapping of str to str
        The name in the file for each name of this package; ``{}`` stands for the index of a block.
    prefix : str
        The start of names in files of networks with a head.
    scales : tuple of float, default=()
        For decoders, the factor of the attention of each block.
    n_labels : int, default=0
        The number of outputs of the classifier; 0 for a network without one.
    head_activation : str, default=""
    """

    kind: str
    n_tokens: int
    n_positions: int
    first: int
    n_types: int
    width: int
    word_width: int
    hidden: int
    n_layers: int
    n_heads: int
    activation: str
    eps: float
    dropout: float
    attention_dropout: float
    names: Mapping[str, str] = field(repr=False)
    prefix: str
    scales: tuple[float, ...] = ()
    n_labels: int = 0
    head_activation: str = ""

    def in_file(self, name: str) -> str:
        """Return the name in the file for the name of a tensor of this package.

        Examples
        --------
        >>> from sktransfer.backbones.providers._transformer_configs import architecture
        >>> bert = architecture({"model_type": "bert"}, "this network")
        >>> bert.in_file("block1.up.weight")
        'encoder.layer.0.intermediate.dense.weight'
        """
        path, _, parameter = name.rpartition(".")
        stage, _, part = path.partition(".")
        number = stage.removeprefix("block")
        if number.isdigit():
            return f"{self.names[f'block.{part}'].format(int(number) - 1)}.{parameter}"
        return f"{self.names[path]}.{parameter}"


class Config:
    """The values of a ``config.json``, checked as they are read."""

    def __init__(self, values: Mapping[str, Any], defaults: Mapping[str, Any]):
        self._values = {**defaults, **values}

    def integer(self, name: str, low: int = 1, high: int = MOST_VALUES) -> int:
        """Return an integer in a range."""
        value = self._values[name]
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise ValueError(_must(name, f"an integer from {low} to {high}", value))
        return value

    def number(self, name: str) -> float:
        """Return a number from 0 to 1."""
        value = self._values[name]
        if not isinstance(value, (int, float)) or not 0 <= value <= 1:
            raise ValueError(_must(name, "a number from 0 to 1", value))
        return float(value)

    def choice(self, name: str, choices: tuple[Any, ...]) -> Any:
        """Return one of some values."""
        value = self._values[name]
        if not any(type(value) is type(choice) and value == choice for choice in choices):
            raise ValueError(_must(name, f"one of {', '.join(map(repr, choices))}", value))
        return value

    def optional(self, name: str, otherwise: int) -> int:
        """Return a positive integer, or ``otherwise`` if the value is null."""
        return otherwise if self._values[name] is None else self.integer(name)


def _must(name: str, rule: str, value: object) -> str:
    return f"{name!r} in config.json must be {rule}; got {value!r}"


ACTIVATION_NAMES = ("gelu", "gelu_new", "gelu_pytorch_tanh", "relu", "silu", "swish", "tanh")

_BERT_NAMES = {
    "embed.words": "embeddings.word_embeddings",
    "embed.positions": "embeddings.position_embeddings",
    "embed.types": "embeddings.token_type_embeddings",
    "embed.norm": "embeddings.LayerNorm",
    "embed.project": "embeddings_project",
    "block.query": "encoder.layer.{}.attention.self.query",
    "block.key": "encoder.layer.{}.attention.self.key",
    "block.value": "encoder.layer.{}.attention.self.value",
    "block.out": "encoder.layer.{}.attention.output.dense",
    "block.norm1": "encoder.layer.{}.attention.output.LayerNorm",
    "block.up": "encoder.layer.{}.intermediate.dense",
    "block.down": "encoder.layer.{}.output.dense",
    "block.norm2": "encoder.layer.{}.output.LayerNorm",
}
_BERT_HEAD = {"classifier.dense": "pooler.dense", "classifier.labels": "classifier"}
_ROBERTA_HEAD = {"classifier.dense": "classifier.dense", "classifier.labels": "classifier.out_proj"}
_BERT_DEFAULTS = {
    "vocab_size": 30522,
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
    "layer_norm_eps": 1e-12,
    "position_embedding_type": "absolute",
    "pad_token_id": 0,
    "is_decoder": False,
    "add_cross_attention": False,
}


def _bert(config: Config, **changes: Any) -> Architecture:
    for name in ("is_decoder", "add_cross_attention"):
        config.choice(name, (False,))
    config.choice("position_embedding_type", ("absolute", None))
    width = config.integer("hidden_size")
    sizes = {
        "kind": "encoder",
        "n_tokens": config.integer("vocab_size"),
        "n_positions": config.integer("max_position_embeddings"),
        "first": 0,
        "n_types": config.integer("type_vocab_size"),
        "width": width,
        "word_width": width,
        "hidden": config.integer("intermediate_size"),
        "n_layers": config.integer("num_hidden_layers", high=MOST_LAYERS),
        "n_heads": config.integer("num_attention_heads"),
        "activation": config.choice("hidden_act", ACTIVATION_NAMES),
        "eps": config.number("layer_norm_eps"),
        "dropout": config.number("hidden_dropout_prob"),
        "attention_dropout": config.number("attention_probs_dropout_prob"),
        "names": _BERT_NAMES | _BERT_HEAD,
        "prefix": "bert.",
        "head_activation": "tanh",
    }
    return Architecture(**sizes | changes)


def _roberta(config: Config) -> Architecture:
    return _bert(
        config,
        # positions are counted from the one after the padding's
        first=config.integer("pad_token_id", low=0) + 1,
        names=_BERT_NAMES | _ROBERTA_HEAD,
        prefix="roberta.",
    )


def _electra(config: Config) -> Architecture:
    return _bert(
        config,
        word_width=config.integer("embedding_size"),
        names=_BERT_NAMES | _ROBERTA_HEAD,
        prefix="electra.",
        head_activation="gelu",
    )


def _distilbert(config: Config) -> Architecture:
    block = "transformer.layer.{}."
    width = config.integer("dim")
    return Architecture(
        kind="encoder",
        n_tokens=config.integer("vocab_size"),
        n_positions=config.integer("max_position_embeddings"),
        first=0,
        n_types=0,
        width=width,
        word_width=width,
        hidden=config.integer("hidden_dim"),
        n_layers=config.integer("n_layers", high=MOST_LAYERS),
        n_heads=config.integer("n_heads"),
        activation=config.choice("activation", ACTIVATION_NAMES),
        eps=1e-12,
        dropout=config.number("dropout"),
        attention_dropout=config.number("attention_dropout"),
        names={
            "embed.words": "embeddings.word_embeddings",
            "embed.positions": "embeddings.position_embeddings",
            "embed.norm": "embeddings.LayerNorm",
            "block.query": f"{block}attention.q_lin",
            "block.key": f"{block}attention.k_lin",
            "block.value": f"{block}attention.v_lin",
            "block.out": f"{block}attention.out_lin",
            "block.norm1": f"{block}sa_layer_norm",
            "block.up": f"{block}ffn.lin1",
            "block.down": f"{block}ffn.lin2",
            "block.norm2": f"{block}output_layer_norm",
            "classifier.dense": "pre_classifier",
            "classifier.labels": "classifier",
        },
        prefix="distilbert.",
        head_activation="relu",
    )


def _gpt2(config: Config) -> Architecture:
    config.choice("add_cross_attention", (False,))
    width, n_heads = config.integer("n_embd"), config.integer("n_head")
    n_layers = config.integer("n_layer", high=MOST_LAYERS)
    scale = (
        (width // n_heads) ** -0.5 if config.choice("scale_attn_weights", (True, False)) else 1.0
    )
    is_divided = config.choice("scale_attn_by_inverse_layer_idx", (False, True))
    return Architecture(
        kind="decoder",
        n_tokens=config.integer("vocab_size"),
        n_positions=config.integer("n_positions"),
        first=0,
        n_types=0,
        width=width,
        word_width=width,
        hidden=config.optional("n_inner", 4 * width),
        n_layers=n_layers,
        n_heads=n_heads,
        activation=config.choice("activation_function", ACTIVATION_NAMES),
        eps=config.number("layer_norm_epsilon"),
        dropout=config.number("resid_pdrop"),
        attention_dropout=config.number("attn_pdrop"),
        names={
            "embed.words": "wte",
            "embed.positions": "wpe",
            "block.norm1": "h.{}.ln_1",
            "block.attend": "h.{}.attn.c_attn",
            "block.out": "h.{}.attn.c_proj",
            "block.norm2": "h.{}.ln_2",
            "block.up": "h.{}.mlp.c_fc",
            "block.down": "h.{}.mlp.c_proj",
            "block.norm3": "ln_f",
            "classifier.labels": "score",
        },
        prefix="transformer.",
        scales=tuple(scale / (layer + 1 if is_divided else 1) for layer in range(n_layers)),
    )


_ROBERTA_DEFAULTS = _BERT_DEFAULTS | {"vocab_size": 50265, "pad_token_id": 1}

# type -> the function that reads its configuration, and the values of keys that are missing
TYPES: dict[str, tuple[Callable[[Config], Architecture], Mapping[str, Any]]] = {
    "bert": (_bert, _BERT_DEFAULTS),
    "distilbert": (
        _distilbert,
        {
            "vocab_size": 30522,
            "max_position_embeddings": 512,
            "n_layers": 6,
            "n_heads": 12,
            "dim": 768,
            "hidden_dim": 3072,
            "dropout": 0.1,
            "attention_dropout": 0.1,
            "activation": "gelu",
        },
    ),
    "electra": (
        _electra,
        _BERT_DEFAULTS
        | {
            "embedding_size": 128,
            "hidden_size": 256,
            "num_attention_heads": 4,
            "intermediate_size": 1024,
        },
    ),
    "gpt2": (
        _gpt2,
        {
            "vocab_size": 50257,
            "n_positions": 1024,
            "n_embd": 768,
            "n_layer": 12,
            "n_head": 12,
            "n_inner": None,
            "activation_function": "gelu_new",
            "resid_pdrop": 0.1,
            "attn_pdrop": 0.1,
            "layer_norm_epsilon": 1e-5,
            "scale_attn_weights": True,
            "scale_attn_by_inverse_layer_idx": False,
            "add_cross_attention": False,
        },
    ),
    "roberta": (_roberta, _ROBERTA_DEFAULTS),
    "xlm-roberta": (_roberta, _ROBERTA_DEFAULTS),
}


def architecture(values: Mapping[str, Any], name: str) -> Architecture:
    """Return the architecture that a ``config.json`` describes.

    Parameters
    ----------
    values : mapping
        The content of ``config.json``.
    name : str
        The name of the network, for messages.

    Raises
    ------
    ValueError
        If the network is of another type, asks for code of its own, or has sizes that do not fit.
    """
    kind = values.get("model_type")
    if not isinstance(kind, str) or kind not in TYPES:
        reason = REFUSED.get(str(kind), "which this package cannot build")
        raise ValueError(
            f"{name} must be of one of the types {', '.join(map(repr, TYPES))}; it is of type "
            f"{kind!r}, {reason}. Take a network of one of these types."
        )
    if values.get("auto_map"):
        raise ValueError(
            f"{name} must not need code of its own, which is never run; its config.json names "
            f"some under 'auto_map'. Take a network of type {kind!r} without it."
        )
    read, defaults = TYPES[kind]
    try:
        found = read(Config(values, defaults))
        n_labels = _n_labels(values)
    except ValueError as error:
        raise ValueError(f"{error}, for {name} to be used.") from None
    except (TypeError, LookupError) as error:
        cause = f"{type(error).__name__}: {error}"
        raise ValueError(
            f"config.json of {name} must describe a network; it does not: {cause}."
        ) from error
    if found.width % found.n_heads:
        raise ValueError(
            f"the width of {name} must be a multiple of the number of its attention heads; got "
            f"{found.width} and {found.n_heads}."
        )
    return replace(found, n_labels=n_labels)


def _n_labels(values: Mapping[str, Any]) -> int:
    """Return the number of labels of the classifier, or 0 if there is none."""
    architectures = values.get("architectures") or [""]
    if not str(architectures[0]).endswith("ForSequenceClassification"):
        return 0
    names = values.get("id2label")
    given = {"num_labels": len(names)} if isinstance(names, Mapping) else {}
    return Config({**given, **values}, {"num_labels": 2}).integer("num_labels")
