"""The parts of encoders such as BERT and of decoders such as GPT-2.

The output of each part is (b, l, d + 1): the last channel is 1 for a token and 0 after the end of a
text.  The operations and their order are those of the package transformers, so that the results are
equal to the last bit.  In training, a block computes only the positions with a token; it gives
zeros at the others.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its usual name

from ..attention import FAR, attend, drop
from ..language_head import LanguageHead
from ..masks import joined, packing, parted
from ..pooling import pool


def _gelu_new(x: Tensor) -> Tensor:
    """Return the approximation of GELU that GPT-2 was trained with."""
    inner = math.sqrt(2.0 / math.pi) * (x + 0.044715 * torch.pow(x, 3.0))
    return 0.5 * x * (1.0 + torch.tanh(inner))


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "gelu_new": _gelu_new,
    "gelu_pytorch_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "relu": F.relu,
    "silu": F.silu,
    "swish": F.silu,
    "tanh": torch.tanh,
}


class Embed(nn.Module):
    """Vectors of tokens and of their positions.

    Parameters
    ----------
    n_tokens, n_positions, width : int
        The number of tokens and of positions, and the width of their vectors.
    first : int, default=0
        The index of the position of the first token.
    n_types : int, default=0
        The number of types of tokens, of which the first is used; 0 for a network without types.
    out_width : int or None, default=None
        The width after a linear layer at the end; None for a network without this layer.
    eps : float or None, default=None
        The constant of the layer norm; None for a network without this layer.
    dropout : float, default=0.0
    """

    def __init__(
        self,
        n_tokens: int,
        n_positions: int,
        width: int,
        *,
        first: int = 0,
        n_types: int = 0,
        out_width: int | None = None,
        eps: float | None = None,
        dropout: float = 0.0,
    ):
        super().__init__()
        self.first = first
        self.words = _empty_embedding(n_tokens, width)
        self.positions = _empty_embedding(n_positions, width)
        self.types = _empty_embedding(n_types, width) if n_types else None
        self.norm = nn.Identity() if eps is None else nn.LayerNorm(width, eps=eps)
        self.dropout = nn.Dropout(dropout)
        self.project = nn.Identity() if out_width is None else nn.Linear(width, out_width)

    def forward(self, ids: Tensor) -> Tensor:
        """Return the vectors of ids (b, l); -1 stands for a position without a token."""
        x = self.words(ids.clamp(min=0))  # (b, l, d)
        if self.types is not None:
            x = x + self.types.weight[0]
        x = x + self.positions(torch.arange(ids.shape[1], device=ids.device) + self.first)
        x = self.project(self.dropout(self.norm(x)))
        return joined(x, ids[..., None] >= 0)


def _empty_embedding(n_rows: int, width: int) -> nn.Embedding:
    """Return an embedding whose weights are not drawn, because they are read or drawn later.

    To draw them on the meta device, torch would import its compiler, which takes seconds.
    """
    return nn.Embedding(n_rows, width, _weight=torch.empty(n_rows, width))


class EncoderBlock(nn.Module):
    """A block of BERT: each token attends to all tokens; a norm follows each of two sums.

    Parameters
    ----------
    width, hidden, n_heads : int
        The width of a token, that of the layer between two, and the number of attention heads.
    activation : str
        A key of ACTIVATIONS.
    eps : float
        The constant of the layer norms.
    dropout, attention_dropout : float, default=0.0
    """

    def __init__(
        self,
        width: int,
        hidden: int,
        n_heads: int,
        *,
        activation: str,
        eps: float,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
    ):
        super().__init__()
        self.n_heads, self.activation = n_heads, activation
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.out = nn.Linear(width, width)
        self.norm1 = nn.LayerNorm(width, eps=eps)
        self.up, self.down = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.norm2 = nn.LayerNorm(width, eps=eps)
        self.dropout, self.attention_dropout = nn.Dropout(dropout), nn.Dropout(attention_dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Return the output (b, l, d + 1) for the output of the stage before."""
        x, mask = parted(x)
        pack, unpack = packing(mask, self.training)
        x, layers = pack(x), (self.query, self.key, self.value)
        query, key, value = (_heads(unpack(layer(x)), self.n_heads) for layer in layers)
        far = ((1 - mask) * FAR).transpose(1, 2)[:, None]  # (b, 1, 1, l)
        attended = attend(query, key, value, self.attention_dropout, far.to(query.dtype))
        x = self.norm1(drop(self.out(pack(_merged(attended))), self.dropout) + x)
        hidden = ACTIVATIONS[self.activation](self.up(x))
        return joined(unpack(self.norm2(drop(self.down(hidden), self.dropout) + x)), mask)


class DecoderBlock(nn.Module):
    """A block of GPT-2: each token attends to those before it; a norm precedes each of two sums.

    Parameters
    ----------
    width, hidden, n_heads : int
        The width of a token, that of the layer between two, and the number of attention heads.
    activation : str
        A key of ACTIVATIONS.
    eps : float
        The constant of the layer norms.
    scale : float
        The factor of the products of queries and keys.
    is_last : bool, default=False
        If True, a norm is the end of the block.
    dropout, attention_dropout : float, default=0.0
    """

    def __init__(
        self,
        width: int,
        hidden: int,
        n_heads: int,
        *,
        activation: str,
        eps: float,
        scale: float,
        is_last: bool = False,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
    ):
        super().__init__()
        self.n_heads, self.activation, self.scale = n_heads, activation, scale
        self.norm1 = nn.LayerNorm(width, eps=eps)
        self.attend, self.out = InOut(width, 3 * width), InOut(width, width)
        self.norm2 = nn.LayerNorm(width, eps=eps)
        self.up, self.down = InOut(width, hidden), InOut(hidden, width)
        self.norm3 = nn.LayerNorm(width, eps=eps) if is_last else nn.Identity()
        self.dropout, self.attention_dropout = nn.Dropout(dropout), nn.Dropout(attention_dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Return the output (b, l, d + 1) for the output of the stage before.

        The mask is not needed: what follows a text is after all its tokens.
        """
        x, mask = parted(x)
        pack, unpack = packing(mask, self.training)
        x = pack(x)
        parts = unpack(self.attend(self.norm1(x))).chunk(3, -1)
        query, key, value = (_heads(part, self.n_heads) for part in parts)
        heads = query, key, value
        attended = attend(*heads, self.attention_dropout, is_causal=True, scale=self.scale)
        x = drop(self.out(pack(_merged(attended))), self.dropout) + x
        hidden = ACTIVATIONS[self.activation](self.up(self.norm2(x)))
        return joined(unpack(self.norm3(x + drop(self.down(hidden), self.dropout))), mask)


class InOut(nn.Module):
    """A linear layer whose matrix is stored as (inputs, outputs), as in files of GPT-2.

    The bits of a matrix product depend on which of the matrices are transposed.
    """

    def __init__(self, n_inputs: int, n_outputs: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(n_inputs, n_outputs))
        self.bias = nn.Parameter(torch.empty(n_outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Return the outputs (b, l, n_outputs) for inputs (b, l, n_inputs)."""
        flat = torch.addmm(self.bias, x.view(-1, x.shape[-1]), self.weight)
        return flat.view(*x.shape[:-1], -1)

    def extra_repr(self) -> str:
        """Return the sizes."""
        n_inputs, n_outputs = self.weight.shape
        return f"{n_inputs}, {n_outputs}"


class FirstTokenHead(nn.Module):
    """The classifier of encoders: two layers on the first token.

    Parameters
    ----------
    width, n_labels : int
    activation : str
        The activation between the layers, a key of ACTIVATIONS.
    """

    def __init__(self, width: int, n_labels: int, activation: str):
        super().__init__()
        self.activation = activation
        self.dense, self.labels = nn.Linear(width, width), nn.Linear(width, n_labels)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits (b, n_labels) for the output of the last stage."""
        x, _ = parted(x)
        logits: Tensor = self.labels(ACTIVATIONS[self.activation](self.dense(x[:, 0])))
        return logits


class LastTokenHead(nn.Module):
    """The classifier of decoders: one layer on the last token."""

    def __init__(self, width: int, n_labels: int):
        super().__init__()
        self.labels = nn.Linear(width, n_labels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits (b, n_labels) for the output of the last stage."""
        x, mask = parted(x)
        logits = joined(self.labels(x), mask)  # (b, l, n_labels + 1)
        return pool(logits, "last", "NLM")


class Transform(nn.Module):
    """The layer of an encoder between its last block and the scores of tokens.

    Parameters
    ----------
    width, out_width : int
    activation : str
        A key of ACTIVATIONS.
    eps : float
        The constant of the layer norm.
    """

    def __init__(self, width: int, out_width: int, activation: str, eps: float):
        super().__init__()
        self.activation = activation
        self.dense, self.norm = nn.Linear(width, out_width), nn.LayerNorm(out_width, eps=eps)

    def forward(self, x: Tensor) -> Tensor:
        """Return the activations (b, l, out_width) for those of the last stage, (b, l, width)."""
        transformed: Tensor = self.norm(ACTIVATIONS[self.activation](self.dense(x)))
        return transformed


def build(form: Any, language: Any = None) -> nn.ModuleDict:
    """Return the stages of a network and, if it has them, its classifier and language head.

    Parameters
    ----------
    form : Architecture
    language : LanguageForm or None, default=None
        None for a network without a language head.
    """
    net: dict[str, nn.Module] = {
        "embed": Embed(
            form.n_tokens,
            form.n_positions,
            form.word_width,
            first=form.first,
            n_types=form.n_types,
            out_width=None if form.word_width == form.width else form.width,
            eps=form.eps if form.kind == "encoder" else None,
            dropout=form.dropout,
        )
    }
    sizes = (form.width, form.hidden, form.n_heads)
    shared: dict[str, Any] = {
        "activation": form.activation,
        "eps": form.eps,
        "dropout": form.dropout,
        "attention_dropout": form.attention_dropout,
    }
    for number in range(1, form.n_layers + 1):
        if form.kind == "encoder":
            net[f"block{number}"] = EncoderBlock(*sizes, **shared)
            continue
        scale, is_last = form.scales[number - 1], number == form.n_layers
        net[f"block{number}"] = DecoderBlock(*sizes, scale=scale, is_last=is_last, **shared)
    if form.n_labels and form.kind == "decoder":
        net["classifier"] = LastTokenHead(form.width, form.n_labels)
    elif form.n_labels:
        net["classifier"] = FirstTokenHead(form.width, form.n_labels, form.head_activation)
    if language is not None:
        net["language_head"] = _language_head(form, language)
    return nn.ModuleDict(net)


def _language_head(form: Any, language: Any) -> LanguageHead:
    transform = None
    if language.activation is not None:
        transform = Transform(form.width, form.word_width, language.activation, form.eps)
    return LanguageHead(
        form.n_tokens,
        form.word_width,
        objective=language.objective,
        table="embed.words.weight" if language.is_tied else None,
        transform=transform,
        bias=language.has_bias,
    )


def _heads(x: Tensor, n_heads: int) -> Tensor:
    return x.view(*x.shape[:2], n_heads, -1).transpose(1, 2)  # (b, h, l, d / h)


def _merged(x: Tensor) -> Tensor:
    return x.transpose(1, 2).flatten(2)  # (b, l, d)
