"""The language head: from the output of the last stage to a score for each token."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its usual name

from .._support.validation import check_choice
from ..data import TextPreset
from .masks import parted

OBJECTIVES = ("causal", "masked")

# The remedy if a network cannot be a language model.
TAKE_ANOTHER = (
    "Take builtin/lm, or a folder of transformers with one, such as that of a BertForMaskedLM, "
    "RobertaForMaskedLM, DistilBertForMaskedLM, ElectraForMaskedLM or GPT2LMHeadModel."
)


class LanguageHead(nn.Module):
    """Computes a score for each token of the vocabulary, at each position of a text.

    Most networks use the vectors of their tokens twice: as the input of the first stage, and as the
    weights of the language head.  The head then holds only the name of this table, so no parameter
    belongs to two modules.

    Parameters
    ----------
    n_tokens : int
        The number of tokens.
    width : int
        The width of the vectors that the table is multiplied by.
    objective : {"causal", "masked"}
        What the network predicts: the next token from those before it, or a token that is masked
        from those on both sides.
    table : str or None, default="embed.words.weight"
        The name of the table among the parameters of the stages.  None makes a table of its own.
    transform : Module or None, default=None
        Maps the activations (b, l, d) of the last stage to (b, l, width).  None changes nothing.
    bias : bool, default=True
        If True, each token has a bias.
    mask_token : int or None, default=None
        The id of the token that takes the place of a masked one.

    Examples
    --------
    >>> import torch
    >>> from sktransfer.backbones import LanguageHead
    >>> head = LanguageHead(50, 8, objective="causal", bias=False)
    >>> head(torch.ones(2, 3, 8 + 1), table=torch.ones(50, 8)).shape
    torch.Size([2, 3, 50])
    """

    bias: nn.Parameter | None

    def __init__(
        self,
        n_tokens: int,
        width: int,
        *,
        objective: str,
        table: str | None = "embed.words.weight",
        transform: nn.Module | None = None,
        bias: bool = True,
        mask_token: int | None = None,
    ):
        super().__init__()
        self.n_tokens, self.width = n_tokens, width
        self.objective = check_choice("objective", objective, OBJECTIVES)
        self.table, self.mask_token = table, mask_token
        self.transform = nn.Identity() if transform is None else transform
        self.decoder = nn.Linear(width, n_tokens, bias=False) if table is None else None
        self.bias = nn.Parameter(torch.zeros(n_tokens)) if bias else None

    def forward(self, x: Tensor, table: Tensor | None = None) -> Tensor:
        """Return the scores (b, l, n_tokens) for the output (b, l, d + 1) of the last stage.

        Parameters
        ----------
        x : Tensor
            The last channel is the mask, which is not used.
        table : Tensor of shape (n_tokens, width) or None, default=None
            The vectors of the tokens, unless the head has a table of its own.
        """
        x = self.transform(parted(x)[0])
        weight: Any = table if self.decoder is None else self.decoder.weight
        return F.linear(x, weight, self.bias)

    def extra_repr(self) -> str:
        """Return the settings."""
        return f"{self.n_tokens}, {self.width}, {self.objective}, table={self.table!r}"


def check_language_head(backbone: Any, name: Any) -> LanguageHead:
    """Return the language head of a backbone; raise an error if it cannot be a language model.

    Parameters
    ----------
    backbone : Backbone
    name : str or callable
        The parameter ``backbone``, for the message.
    """
    head: LanguageHead | None = backbone.language_head
    if head is None:
        kind = "" if isinstance(backbone.preset, TextPreset) else ", and its items are not texts"
        raise ValueError(
            f"backbone must be a language model; {name!r} has no language head{kind}. "
            f"{TAKE_ANOTHER}"
        )
    if head.objective == "masked" and head.mask_token is None:
        raise ValueError(
            f"backbone must have a tokenizer with a mask token; that of {name!r} has no '[MASK]' "
            "and no '<mask>'. Name it in tokenizer_config.json under 'mask_token'."
        )
    return head
