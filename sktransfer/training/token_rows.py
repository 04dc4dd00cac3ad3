"""Rows of tokens with their targets: the samples of a language model.

The targets are drawn together with the rows.  A causal model predicts the token after each
position.  A masked model predicts some tokens [1]_, which are other ones in every epoch.

.. [1] J. Devlin, M.-W. Chang, K. Lee and K. Toutanova, "BERT: Pre-training of Deep Bidirectional
   Transformers for Language Understanding", NAACL 2019, https://arxiv.org/abs/1810.04805
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .._support.random import rng_of
from ..data import TextPreset
from ..tasks import NO_TARGET, LanguageModel, make_targets
from .batches import Batch, Samples
from .sources import cut_to_longest
from .tail import Entry

# The share of tokens that a masked model predicts.  Of these, some become the mask token, some
# become a random token, and the others stay as they are.
PREDICTED, MASKED, RANDOM = 0.15, 0.8, 0.1


@dataclass(frozen=True)
class TokenRows:
    """Pieces of texts as rows, with the targets of a language model.

    Parameters
    ----------
    preset : TextPreset
    pieces : sequence of n sequences of int
        The ids of each piece, without special tokens.
    task : LanguageModel
    seed : int
        The seed of the tokens that a masked model predicts.
    is_fixed : bool, default=False
        If True, these are the same in every epoch.
    entry : int, default=0
        The rows enter the first stage.
    """

    preset: TextPreset
    pieces: Sequence[Sequence[int]]
    task: LanguageModel
    seed: int
    is_fixed: bool = False
    entry: Entry = 0

    @cached_property
    def lengths(self) -> np.ndarray:
        """The number of tokens of each row."""
        tokenizer = self.preset.tokenizer
        n_special = len(tokenizer.prefix) + len(tokenizer.suffix)
        return np.array([len(piece) for piece in self.pieces]) + n_special

    def load(self, rows: np.ndarray, epoch: int) -> Tensor:
        """Return the rows at some positions as one batch, (b, l)."""
        return self.load_with_targets(rows, epoch)[0]

    def load_with_targets(self, rows: np.ndarray, epoch: int) -> tuple[Tensor, Tensor]:
        """Return the rows at some positions and their targets, both (b, l)."""
        pairs = [self._row(int(row), 0 if self.is_fixed else epoch) for row in rows]
        x, target = (self.preset.collate(each, len(rows)) for each in zip(*pairs, strict=True))
        return cut_to_longest(x, self.lengths, rows), cut_to_longest(target, self.lengths, rows)

    @cached_property
    def mean_targets(self) -> float:
        """The mean number of targets of a row; exact if they are the same in every epoch."""
        counts = [(self._row(row, 0)[1] != NO_TARGET).sum() for row in range(len(self.pieces))]
        return float(np.mean(counts))

    def _row(self, row: int, epoch: int) -> tuple[Tensor, Tensor]:
        ids = self.preset.row(self.pieces[row])
        target = torch.full_like(ids, NO_TARGET)
        if self.task.objective == "causal":
            target[:-1] = ids[1:]  # -1 after the end of the text
            return ids, target
        n, start = len(self.pieces[row]), len(self.preset.tokenizer.prefix)
        rng = rng_of(self.seed, "mask", epoch, row)
        chosen = rng.random(n) < PREDICTED
        chosen[rng.integers(n)] |= not chosen.any()
        at = torch.from_numpy(np.flatnonzero(chosen) + start)
        target[at] = ids[at]
        ids[at] = torch.from_numpy(self._replaced(ids[at].numpy(), rng))
        return ids, target

    def _replaced(self, ids: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return the ids that the network sees in place of those that it predicts."""
        draw = rng.random(len(ids))
        others = rng.integers(self.preset.tokenizer.vocab_size, size=len(ids))
        changed = np.where(draw < MASKED + RANDOM, others, ids)
        mask: Any = self.task.mask_token
        return np.where(draw < MASKED, mask, changed)


@dataclass(frozen=True)
class TokenSamples(Samples):
    """Rows of tokens and their targets, as a dataset of skorch.

    A row counts in proportion to the number of its targets, so that the mean over all rows is the
    mean over all targets.
    """

    source: TokenRows

    def batch(self, rows: np.ndarray, epoch: int) -> tuple[Batch, np.ndarray]:
        """Return a batch for skorch, a dict of rows, targets and weights, and labels of zeros."""
        x, target = self.source.load_with_targets(rows, epoch)
        weight = (target != NO_TARGET).sum(1).to(self.dtype) / self.source.mean_targets
        return Batch({"x": x, "target": target, "weight": weight}, 0), self.labels[rows]


def make_samples(
    preset: TextPreset, items: Iterable[Any], task: LanguageModel, seed: int, is_fixed: bool
) -> TokenSamples:
    """Make the samples of texts: all their pieces that have a target.

    Raises
    ------
    ValueError
        If no piece of the texts has a target.
    """
    tokenizer = preset.tokenizer
    # the first token of a causal model is not predicted
    least = 1 if task.objective == "masked" or tokenizer.prefix or tokenizer.suffix else 2
    pieces = [piece for item in items for piece in preset.pieces(item) if len(piece) >= least]
    if not pieces:
        raise ValueError(
            "X must contain a text with tokens to predict; all its texts are too short."
        )
    targets = make_targets(np.zeros(len(pieces)), None)
    rows = TokenRows(preset, pieces, task, seed, is_fixed)
    return TokenSamples(rows, targets, targets.values)
