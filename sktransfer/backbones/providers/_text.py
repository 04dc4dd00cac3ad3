"""The networks of ``builtin/text`` and ``builtin/lm``: a table of tokens, then gated convolutions.

Those of ``builtin/text`` reach to both sides, and those of ``builtin/lm`` to earlier tokens only.
Both have the same table.

The output of each stage is (b, l, d + 1): the last channel is 1 for a token and 0 after the end of
a text.  The dropout of ``builtin/lm`` is a part of that of AWD-LSTM: S. Merity, N. S. Keskar and
R. Socher, "Regularizing and Optimizing LSTM Language Models", ICLR 2018,
https://arxiv.org/abs/1708.02182
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import pad, silu

from ..language_head import LanguageHead
from ..masks import joined, parted

# The name of the table of tokens in a file of weights
TABLE = "embed.words.weight"

N_TOKENS, WIDTH = 16_000, 384
HIDDEN, N_BLOCKS, REACH = 256, 3, 2
LM_HIDDEN, LM_BLOCKS, LM_REACH = 384, 4, 8

# The table of builtin/lm is that of builtin/text times this number, with a standard deviation of 1.
TABLE_SCALE = 0.15

# The id of the token [EOS], which each text of builtin/lm begins with.
END = 1

# The probabilities with which the training of builtin/lm drops a token, and a channel of a text.
WORD_DROPOUT, DROPOUT = 0.02, 0.1


def sum_neighbours(value: Tensor, weights: Tensor, n_before: int) -> Tensor:
    """Return the weighted sum of neighbouring positions, for each position of values (b, l, h).

    Parameters
    ----------
    value : Tensor of shape (b, l, h)
    weights : Tensor of shape (n, h)
        The weights of a position's neighbours and its own, in the order of the text.
    n_before : int
        The number of neighbours before a position.
    """
    # Shifted copies are as fast as a depthwise convolution, and keep the order of the axes.
    length = value.shape[1]
    padded = pad(value, (0, 0, n_before, len(weights) - 1 - n_before))
    weights = weights.to(value.dtype)
    total = padded[:, :length] * weights[0]
    for shift in range(1, len(weights)):
        total = torch.addcmul(total, padded[:, shift : shift + length], weights[shift])
    return total


class TokenTable(nn.Module):
    """A vector for each token.

    Parameters
    ----------
    n_tokens, width : int
    vectors : Tensor of shape (n_tokens, width) or None, default=None
        They become the weights, without a copy; None draws them.
    """

    def __init__(self, n_tokens: int, width: int, vectors: Tensor | None = None):
        super().__init__()
        self.words = nn.Embedding(n_tokens, width, _weight=vectors)

    def forward(self, ids: Tensor) -> Tensor:
        """Return the vectors of ids (b, l); -1 stands for a position without a token."""
        return joined(self.words(ids.clamp(min=0)), ids[..., None] >= 0)


class GatedConvolution(nn.Module):
    """Adds to each token a weighted sum of its neighbours and of the mean of the text, with a gate.

    Parameters
    ----------
    width : int
        The width of a token.
    hidden : int
        The number of channels of the sum.
    reach : int
        The number of neighbours on each side.
    """

    def __init__(self, width: int, hidden: int, reach: int):
        super().__init__()
        self.reach = reach
        self.norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, 2 * hidden)
        self.weights = nn.Parameter(torch.empty(2 * reach + 1, hidden))
        self.mean = nn.Linear(hidden, hidden, bias=False)
        self.down = nn.Linear(hidden, width)
        nn.init.zeros_(self.mean.weight)
        nn.init.normal_(self.weights, std=(2 * reach + 1) ** -0.5)
        nn.init.normal_(self.down.weight, std=0.1 * hidden**-0.5)
        nn.init.zeros_(self.down.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return the output (b, l, d + 1) for the output of the stage before."""
        x, mask = parted(x)
        value, gate = self.up(self.norm(x)).chunk(2, -1)
        value = value * mask
        mean = value.sum(1, keepdim=True) / mask.sum(1, keepdim=True).clamp(min=1)  # (b, 1, h)
        summed = sum_neighbours(value, self.weights, self.reach) + self.mean(mean)
        return joined(x + self.down(summed * silu(gate)), mask)


def text_stages(
    n_tokens: int = N_TOKENS,
    width: int = WIDTH,
    hidden: int = HIDDEN,
    n_blocks: int = N_BLOCKS,
    reach: int = REACH,
) -> dict[str, nn.Module]:
    """Return the stages of ``builtin/text``, ``embed`` and ``block1`` to ``block3``.

    Parameters
    ----------
    n_tokens, width, hidden, n_blocks, reach : int
        The numbers of tokens and blocks, the width of a token and of the sums of neighbours, and
        the number of neighbours on each side.
    """
    blocks = {
        f"block{number}": GatedConvolution(width, hidden, reach)
        for number in range(1, n_blocks + 1)
    }
    return {"embed": TokenTable(n_tokens, width), **blocks}


class LockedDropout(nn.Dropout1d):
    """Sets a channel to zero at all positions of a text, with the probability ``p``."""

    def forward(self, x: Tensor) -> Tensor:
        """Return activations (b, l, d) of the same shape."""
        return super().forward(x.transpose(1, 2)).transpose(1, 2)


class DroppedTable(TokenTable):
    """A vector for each token; training sets all vectors of some tokens to zero.

    Parameters
    ----------
    n_tokens, width : int
    word_dropout, dropout : float
        The probability of a token, and that of a channel of a text.
    """

    def __init__(self, n_tokens: int, width: int, word_dropout: float, dropout: float):
        super().__init__(n_tokens, width)
        self.word_dropout, self.dropout = nn.Dropout(word_dropout), LockedDropout(dropout)

    def forward(self, ids: Tensor) -> Tensor:
        """Return the vectors of ids (b, l); -1 stands for a position without a token."""
        known = ids.clamp(min=0)
        x = self.words(known)  # (b, l, d)
        if self.training:
            kept = self.word_dropout(torch.ones_like(self.words.weight[:, :1]))  # (n_tokens, 1)
            x = x * kept[known]
        return joined(self.dropout(x), ids[..., None] >= 0)


class CausalConvolution(nn.Module):
    """Adds to each token a weighted sum of this token and those before it, with a gate.

    Parameters
    ----------
    width : int
        The width of a token.
    hidden : int
        The number of channels of the sum.
    reach : int
        The number of earlier tokens in the sum.
    dropout : float
    """

    def __init__(self, width: int, hidden: int, reach: int, dropout: float):
        super().__init__()
        self.reach = reach
        self.norm = nn.LayerNorm(width)
        self.up, self.down = nn.Linear(width, 2 * hidden), nn.Linear(hidden, width)
        self.weights = nn.Parameter(torch.empty(reach + 1, hidden))
        self.dropout = LockedDropout(dropout)
        nn.init.normal_(self.weights, std=(reach + 1) ** -0.5)
        nn.init.normal_(self.down.weight, std=0.1 * hidden**-0.5)
        nn.init.zeros_(self.down.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return the output (b, l, d + 1) for the output of the stage before."""
        x, mask = parted(x)
        value, gate = self.up(self.norm(x)).chunk(2, -1)
        summed = sum_neighbours(value, self.weights, self.reach)
        return joined(x + self.dropout(self.down(summed * silu(gate))), mask)


def lm_stages(
    n_tokens: int = N_TOKENS,
    width: int = WIDTH,
    hidden: int = LM_HIDDEN,
    n_blocks: int = LM_BLOCKS,
    reach: int = LM_REACH,
    dropout: float = DROPOUT,
) -> dict[str, nn.Module]:
    """Return the stages of ``builtin/lm``, ``embed`` and ``block1`` to ``block4``.

    Parameters
    ----------
    n_tokens, width, hidden, n_blocks, reach : int
        The numbers of tokens and blocks, the width of a token and of the sums, and the number of
        earlier tokens in a sum.
    dropout : float
        With 0, tokens are not dropped either.
    """
    table: nn.Module = DroppedTable(n_tokens, width, WORD_DROPOUT if dropout else 0.0, dropout)
    return {"embed": table} | {
        f"block{number}": CausalConvolution(width, hidden, reach, dropout)
        for number in range(1, n_blocks + 1)
    }


def lm_head(n_tokens: int = N_TOKENS, width: int = WIDTH) -> LanguageHead:
    """Return the language head: a linear layer before the table of the first stage."""
    layer = nn.Linear(width, width)
    nn.init.zeros_(layer.weight)
    transform = nn.Sequential(nn.LayerNorm(width), layer)
    return LanguageHead(n_tokens, width, objective="causal", transform=transform)
