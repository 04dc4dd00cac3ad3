"""The network of ``builtin/text``: a table of tokens, then gated convolutions along the text.

The output of each stage is (b, l, d + 1): the last channel is 1 for a token and 0 after the end of
a text.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import pad, silu

from ..masks import joined, parted

# The name of the table of tokens in a file of weights
TABLE = "embed.words.weight"

N_TOKENS, WIDTH, HIDDEN, N_BLOCKS, REACH = 16_000, 384, 256, 3, 2


class TokenTable(nn.Module):
    """A vector for each token.

    Parameters
    ----------
    n_tokens, width : int
    """

    def __init__(self, n_tokens: int, width: int):
        super().__init__()
        self.words = nn.Embedding(n_tokens, width)

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
        summed = self._summed(value) + self.mean(mean)
        return joined(x + self.down(summed * silu(gate)), mask)

    def _summed(self, value: Tensor) -> Tensor:
        """Return the weighted sum of the neighbours of each position, (b, l, h)."""
        # Shifted copies are as fast as a depthwise convolution, and keep the order of the axes.
        length = value.shape[1]
        padded = pad(value, (0, 0, self.reach, self.reach))
        weights = self.weights.to(value.dtype)
        total = padded[:, :length] * weights[0]
        for shift in range(1, 2 * self.reach + 1):
            total = torch.addcmul(total, padded[:, shift : shift + length], weights[shift])
        return total


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
