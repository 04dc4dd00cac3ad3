"""The preset of texts: ids of tokens, in rows of a few lengths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from .._support.validation import check_choice, check_int
from .items import Items
from .texts import Text, check_items_are_texts
from .tokenizers import Tokenizer

# Version of the rules by which a text becomes ids.  It is part of fingerprints and has to be
# increased whenever a text gets other ids or another length.
RULES = 1

TRUNCATIONS = ("head", "tail", "ends")

# The lengths of rows.  Fewer would fill up rows with more positions without a token; more would
# leave more batches incomplete.
STEPS = ((8, 32, 4), (40, 64, 8), (80, 128, 16), (160, 256, 32), (320, 512, 64))
LENGTHS = tuple(length for first, last, step in STEPS for length in range(first, last + 1, step))

# The id of a position without a token.
NO_TOKEN = -1


@dataclass(frozen=True)
class TextPreset:
    """Turn texts into rows of ids, as the weights of a network require.

    Parameters
    ----------
    tokenizer : Tokenizer
        Divides a text into tokens and returns their ids.  It is a value: two tokenizers that
        return equal ids are equal and have equal hashes.
    max_length : int, default=256
        Maximum number of tokens of a text, including the special tokens that the network requires.
    truncation : {"head", "tail", "ends"}, default="head"
        The tokens of a longer text that are kept: the first ones, the last ones, or the first
        quarter and the last three quarters [1]_.
    lengths : tuple of int, default=LENGTHS
        Lengths of rows, increasing.  A row is as short as possible.  The last length is the maximum
        of ``max_length``.  ``LENGTHS`` has 23 from 8 to 512, four for each power of two.

    Notes
    -----
    **Items** are strings: in a list, an array, or a column of pandas, polars or pyarrow.  An empty
    string is a text.

    **Rows** are filled up on the right with -1.  The length of a row depends on the text and the
    preset alone, and so do the last bits of the features of a text.

    References
    ----------
    .. [1] C. Sun, X. Qiu, Y. Xu and X. Huang, "How to Fine-Tune BERT for Text Classification?",
       CCL 2019, https://arxiv.org/abs/1905.05583

    Examples
    --------
    >>> from sktransfer import TextPreset
    >>> from sktransfer.data import WordPiece
    >>> words = ("[UNK]", "[CLS]", "[SEP]", "a", "lovely", "film", "dull")
    >>> preset = TextPreset(WordPiece(words, prefix=(1,), suffix=(2,)))
    >>> items = preset.check(["a lovely film", "dull"])
    >>> preset(items[0]).tolist()
    [1, 3, 4, 5, 2, -1, -1, -1]
    >>> preset.collate([preset(item) for item in items], 2).shape
    torch.Size([2, 8])
    """

    tokenizer: Tokenizer
    max_length: int = 256
    truncation: str = "head"
    lengths: tuple[int, ...] = LENGTHS

    def __post_init__(self) -> None:
        # JSON files hold lists, which become tuples because presets are compared and hashed.
        lengths = tuple(check_int("a length", length, 1) for length in self.lengths)
        if not lengths or any(a >= b for a, b in pairwise(lengths)):
            raise ValueError(f"lengths must be increasing integers; got {self.lengths!r}.")
        object.__setattr__(self, "lengths", lengths)
        check_choice("truncation", self.truncation, TRUNCATIONS)
        check_int("max_length", self.max_length, 1)
        least = self._n_special + 1
        if not least <= self.max_length <= lengths[-1]:
            raise ValueError(
                f"max_length must be from {least} to {lengths[-1]} tokens, which is the limit of "
                f"the network; got {self.max_length}."
            )

    @property
    def _n_special(self) -> int:
        return len(self.tokenizer.prefix) + len(self.tokenizer.suffix)

    @property
    def has_class_token(self) -> bool:
        """True if each row begins with a special token, which ``pooling="cls"`` reads."""
        return bool(self.tokenizer.prefix)

    def check(self, X: Any) -> Items:
        """Check that ``X`` holds texts, and return them as items.

        Parameters
        ----------
        X : sequence of n str, or a column of them

        Returns
        -------
        Items
            Each is a :class:`Text`.

        Raises
        ------
        ValueError, TypeError
            If X is one text, has several columns, or holds something else than texts; the message
            lists the first ten of these items.
        """
        return check_items_are_texts(X)

    def __call__(self, item: Text) -> Tensor:
        """Return the ids of a text, and -1 for each position after its end: (length,), int64."""
        return self.row(self._truncated(item.ids(self.tokenizer.encode)))

    def row(self, ids: Sequence[int]) -> Tensor:
        """Return a row of ids between the special tokens, and -1 after its end: (length,), int64.

        Parameters
        ----------
        ids : sequence of int
            The ids of a text or of a piece of it, without special tokens.
        """
        tokenizer = self.tokenizer
        whole = [*tokenizer.prefix, *ids, *tokenizer.suffix]
        row = torch.full((self._fitting(len(whole)),), NO_TOKEN)
        row[: len(whole)] = torch.tensor(whole, dtype=torch.int64)
        return row

    def pieces(self, item: Text) -> list[Sequence[int]]:
        """Divide the ids of a text into successive pieces, so that no token is left out.

        Each piece has as many tokens as ``max_length`` allows, except the last one.  They have no
        special tokens.  A text without tokens has no piece.
        """
        ids, n = item.ids(self.tokenizer.encode), self._n_kept
        return [ids[start : start + n] for start in range(0, len(ids), n)]

    def length_of(self, item: Text) -> int:
        """Return the length of the row of a text.

        Rows of one length are computed together; see :func:`sktransfer.data.lengths_of`.
        """
        return self._fitting(self.n_tokens(item))

    def n_tokens(self, item: Text) -> int:
        """Return the number of tokens in the row of a text, with special tokens."""
        return min(len(item.ids(self.tokenizer.encode)), self._n_kept) + self._n_special

    def collate(self, rows: Sequence[Tensor], size: int) -> Tensor:
        """Join rows to one batch, as long as the longest of them.

        Parameters
        ----------
        rows : sequence of at most ``size`` tensors (length,)
            As the preset returns them.  Their lengths may differ.
        size : int
            Number of rows of the batch.  Missing rows have no token.

        Returns
        -------
        Tensor of shape (size, length), int64
        """
        length = max(map(len, rows), default=self.lengths[0])
        batch = torch.full((size, length), NO_TOKEN)
        for target, row in zip(batch, rows, strict=False):
            target[: len(row)] = row
        return batch

    def example(self, size: int) -> Tensor:
        """Return a batch of random ids, (size, length), int64: the same in each call.

        The first row has a token at each position, and each other row has one token less than the
        row before it.
        """
        length = self._fitting(min(self._n_kept, max(size, 8)) + self._n_special)
        generator = torch.Generator().manual_seed(0)
        batch = torch.randint(self.tokenizer.vocab_size, (size, length), generator=generator)
        n_tokens = (length - torch.arange(size)).clamp(min=1)
        return batch.where(torch.arange(length) < n_tokens[:, None], NO_TOKEN)

    def fingerprint(self) -> str:
        """Return a text that is equal for two presets only if they give equal inputs."""
        return (
            f"text {RULES} {self.tokenizer.fingerprint()} {self.max_length} {self.truncation} "
            f"{self.lengths}"
        )

    def remark(self, items: Sequence[Text]) -> str:
        """Return a sentence about texts of which a part is lost, for a warning; "" if none is."""
        n_long = sum(map(self._is_too_long, items))
        if not n_long:
            return ""
        longer = f", or a larger max_length, at most {self.lengths[-1]}"
        return (
            f"{n_long:,} of {len(items):,} texts are longer than max_length={self.max_length} "
            f"tokens; the rest of them is not used ({self.truncation!r} is kept). Pass "
            f"preset={{'truncation': 'ends'}} to keep the beginning and the end"
            f"{longer if self.max_length < self.lengths[-1] else ''}."
        )

    @property
    def _n_kept(self) -> int:
        """The maximum number of tokens of a text, without special tokens."""
        return self.max_length - self._n_special

    def _is_too_long(self, item: Text) -> bool:
        # A token has at least one letter, so short texts need not be divided into tokens; some
        # tokenizers add one at the beginning.
        if len(item.text) < self._n_kept and item.text.isascii():
            return False
        return len(item.ids(self.tokenizer.encode)) > self._n_kept

    def _truncated(self, ids: Sequence[int]) -> Sequence[int]:
        n = self._n_kept
        if len(ids) <= n:
            return ids
        n_first = {"head": n, "tail": 0, "ends": n // 4}[self.truncation]
        return [*ids[:n_first], *ids[len(ids) - (n - n_first) :]]

    def _fitting(self, n_tokens: int) -> int:
        """Return the least length of a row for a number of tokens, with special tokens."""
        fits = next(length for length in self.lengths if length >= n_tokens)
        return min(fits, self.max_length)
