"""Small language models for texts of a Markov chain, in a module so that pickles find them."""

import numpy as np
import torch
from helpers.text_nets import Attend, Embed
from torch import nn

from sktransfer import Backbone
from sktransfer.backbones import LanguageHead
from sktransfer.data import TextPreset, WordPiece

LETTERS = "abcdefgh"
WIDTH = 16

# The probability of each letter (columns) after each letter (rows).
CHANGES = np.random.default_rng(0).dirichlet(np.full(len(LETTERS), 0.3), len(LETTERS))


def markov_texts(n_texts, n_words, seed):
    """Texts whose words are letters; each depends on the one before it."""
    rng = np.random.default_rng(seed)
    texts = []
    for _ in range(n_texts):
        states = [rng.integers(len(LETTERS))]
        for _ in range(n_words - 1):
            states.append(rng.choice(len(LETTERS), p=CHANGES[states[-1]]))
        texts.append(" ".join(LETTERS[state] for state in states))
    return texts


def entropy():
    """The entropy of a letter, given the one before it, in a long text."""
    values, vectors = np.linalg.eig(CHANGES.T)
    stationary = np.real(vectors[:, np.argmax(np.real(values))])
    stationary /= stationary.sum()
    rows = -(CHANGES * np.log(np.maximum(CHANGES, 1e-300))).sum(1)
    return float(stationary @ rows)


def letters(prefix=(), suffix=()):
    """A tokenizer with one token for each letter."""
    vocabulary = ("[UNK]", "[CLS]", "[SEP]", "[MASK]", *LETTERS)
    return WordPiece(vocabulary, prefix=prefix, suffix=suffix, special=(("[MASK]", 3),))


class Recurrent(nn.Module):
    """A causal stage."""

    def __init__(self, width=WIDTH):
        super().__init__()
        self.gru = nn.GRU(width, width, batch_first=True)

    def forward(self, x):
        x, mask = x[:, :, :-1], x[:, :, -1:]
        return torch.cat([x + self.gru(x)[0], mask], 2)


def small_table():
    """A table of small vectors, with which all tokens are about equally likely at first."""
    table = Embed(12, WIDTH)
    for parameter in table.parameters():
        parameter.data *= 0.1
    return table


def causal_backbone(**fields):
    """A table of tokens and two recurrent stages, which predict the next letter."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        stages = {"embed": small_table(), "gru1": Recurrent(), "gru2": Recurrent()}
        head = LanguageHead(12, WIDTH, objective="causal")
    preset = TextPreset(**{"tokenizer": letters(), "max_length": 32} | fields)
    return Backbone(stages, preset, layout="NLM", language_head=head, weights_info={"tag": "test"})


def masked_backbone(mask_token=3, **fields):
    """A table of tokens and two blocks of attention, which predict masked letters."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        stages = {"embed": small_table(), "block1": Attend(), "block2": Attend()}
        head = LanguageHead(12, WIDTH, objective="masked", mask_token=mask_token)
    preset = TextPreset(**{"tokenizer": letters((1,), (2,)), "max_length": 32} | fields)
    return Backbone(stages, preset, layout="NLM", language_head=head, weights_info={"tag": "test"})
