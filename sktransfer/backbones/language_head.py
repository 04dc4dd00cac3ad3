"""The language head: from the output of the last stage to a score for each token."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its usual name

from .._support.validation import check_choice
from .masks import parted

OBJECTIVES = ("causal", "masked")


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
