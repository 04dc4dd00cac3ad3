"""Language heads of networks of the package transformers: their names in files and their form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# The part of a network that is the language head, in the names of this package.
HEAD = "language_head"

# The ends of names of classes of transformers whose files contain a language head.
CLASSES = ("ForMaskedLM", "ForPreTraining", "LMHeadModel")

# The usual names of the token that takes the place of a masked one.
MASK_TOKENS = ("[MASK]", "<mask>")


@dataclass(frozen=True)
class LanguageForm:
    """The form of a language head.

    Parameters
    ----------
    objective : {"causal", "masked"}
    names : mapping of str to str
        The name in the file for each part of the head.
    activation : str or None
        The activation of the layer before the table; None for a head without this layer.
    is_tied : bool
        True if the table is that of the first stage.
    is_declared : bool
        True if the configuration names a class with a language head.
    """

    objective: str
    names: Mapping[str, str]
    activation: str | None
    is_tied: bool
    is_declared: bool

    @property
    def has_bias(self) -> bool:
        """True if each token has a bias."""
        return self.objective == "masked"


def _named(dense: str, norm: str, bias: str, decoder: str) -> dict[str, str]:
    return {
        f"{HEAD}.transform.dense": dense,
        f"{HEAD}.transform.norm": norm,
        HEAD: bias,
        f"{HEAD}.decoder": decoder,
    }


_BERT = _named(
    "cls.predictions.transform.dense",
    "cls.predictions.transform.LayerNorm",
    "cls.predictions",
    "cls.predictions.decoder",
)
_ROBERTA = _named("lm_head.dense", "lm_head.layer_norm", "lm_head", "lm_head.decoder")
_DISTILBERT = _named("vocab_transform", "vocab_layer_norm", "vocab_projector", "vocab_projector")
_ELECTRA = _named(
    "generator_predictions.dense",
    "generator_predictions.LayerNorm",
    "generator_lm_head",
    "generator_lm_head",
)

# type -> the names in the file, and the activation: the key of the configuration, or a name
_FORMS: dict[str, tuple[str, Mapping[str, str], str | None]] = {
    "bert": ("masked", _BERT, "hidden_act"),
    "distilbert": ("masked", _DISTILBERT, "activation"),
    "electra": ("masked", _ELECTRA, "gelu"),
    "gpt2": ("causal", {f"{HEAD}.decoder": "lm_head"}, None),
    "roberta": ("masked", _ROBERTA, "gelu"),
    "xlm-roberta": ("masked", _ROBERTA, "gelu"),
}


def language_form(values: Mapping[str, Any]) -> LanguageForm:
    """Return the form of the language head of a network.

    Parameters
    ----------
    values : mapping
        The content of a ``config.json`` that :func:`architecture` accepts.
    """
    objective, names, key = _FORMS[values["model_type"]]
    classes = values.get("architectures") or [""]
    return LanguageForm(
        objective,
        names,
        None if key is None else values.get(key, "gelu"),
        is_tied=bool(values.get("tie_word_embeddings", True)),
        is_declared=str(classes[0]).endswith(CLASSES),
    )


def find_mask_token(described: Mapping[str, Any], settings: Mapping[str, Any]) -> int | None:
    """Return the id of the token that takes the place of a masked one, or None.

    Parameters
    ----------
    described : mapping
        The content of ``tokenizer.json``.
    settings : mapping
        The content of ``tokenizer_config.json``, which may name the token.
    """
    named = settings.get("mask_token")
    stated = named.get("content") if isinstance(named, Mapping) else named
    ids = {each["content"]: each["id"] for each in described.get("added_tokens") or ()}
    found = (ids.get(token) for token in (stated, *MASK_TOKENS) if isinstance(token, str))
    return next((id_ for id_ in found if isinstance(id_, int)), None)
