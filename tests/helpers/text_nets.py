"""A small chain for texts with a toy tokenizer, in a module so that pickles find it."""

import zlib
from dataclasses import dataclass

import torch
from torch import nn

from sktransfer import Backbone
from sktransfer.data import TextPreset

N_WORDS, WIDTH = 500, 16


@dataclass(frozen=True)
class Words:
    """Ids of words by their hash, between two special tokens."""

    n_words: int = N_WORDS
    prefix: tuple[int, ...] = (0,)
    suffix: tuple[int, ...] = (1,)
    unknown: int | None = None

    @property
    def vocab_size(self):
        return self.n_words

    def encode(self, text):
        return [3 + zlib.crc32(word.encode()) % (self.n_words - 3) for word in text.split()]

    def fingerprint(self):
        return f"words {self.n_words} {self.prefix} {self.suffix}"


class Embed(nn.Module):
    """Vectors of tokens and their positions, with the mask as the last channel."""

    def __init__(self, n_words=N_WORDS, width=WIDTH):
        super().__init__()
        self.words = nn.Embedding(n_words, width)
        self.places = nn.Embedding(512, width)

    def forward(self, ids):
        vectors = self.words(ids.clamp(min=0)) + self.places.weight[: ids.shape[1]]
        return torch.cat([vectors, (ids >= 0)[:, :, None].to(vectors.dtype)], 2)  # (b, l, d + 1)


class Attend(nn.Module):
    """A block of attention, which does not look at positions without a token."""

    def __init__(self, width=WIDTH):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.mix = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.dropout = nn.Dropout(0.1)

    def forward(self, x):
        x, mask = x[:, :, :-1], x[:, :, -1:]
        query, key, value = self.mix(self.norm(x)).chunk(3, 2)
        closed = (1 - mask.transpose(1, 2)) * -1e4  # (b, 1, l)
        mixed = nn.functional.scaled_dot_product_attention(query, key, value, closed)
        return torch.cat([x + self.dropout(self.out(mixed)), mask], 2)


class Convolve(nn.Module):
    """A convolution over three tokens; padding is zero, as it is at the end of a longer row."""

    def __init__(self, width=WIDTH):
        super().__init__()
        self.conv = nn.Conv1d(width, width, 3, padding=1)

    def forward(self, x):
        x, mask = x[:, :, :-1], x[:, :, -1:]
        mixed = self.conv((x * mask).transpose(1, 2)).transpose(1, 2)
        return torch.cat([x + torch.tanh(mixed), mask], 2)


def text_backbone(pooling=None, **fields):
    """An embedding and two blocks with random weights from a fixed seed."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        stages = {"embed": Embed(), "block1": Attend(), "block2": Convolve()}
    preset = TextPreset(**{"tokenizer": Words(), "max_length": 32} | fields)
    info = {"tag": "test", "pooling": pooling} if pooling else {}
    return Backbone(stages, preset, layout="NLM", weights_info=info)
