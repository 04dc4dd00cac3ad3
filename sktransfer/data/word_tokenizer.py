"""The tokenizer of word vectors: whole words, each with a vector of its own."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from .._support.hashing import hash_parts
from .tokenizers import Ids, KnownWords

# The value by which a description of this class differs from a file of the package tokenizers.
KIND = "words of sktransfer"

# Words, also with apostrophes and hyphens inside, and single signs.
_WORD = re.compile(r"\w+(?:['’-]\w+)*|[^\w\s]")

# Parts of a word that is unknown: "do" and "n't", "it" and "'s", "well" and "made".
_PART = re.compile(r"\w+?(?=n['’]t\b)|n['’]t\b|['’]\w+|\w+")


@dataclass(frozen=True, eq=False)
class WordTokenizer:
    """The words of a text that a vocabulary contains; the others are left out.

    A word is looked up as it is, then in lower case.  If it is unknown, the parts at its
    apostrophes and hyphens are looked up, such as "do" and "n't".

    Parameters
    ----------
    vocabulary : tuple of str
        The words in the order of their ids; "" stands for an id without a word.

    Examples
    --------
    >>> from sktransfer.data import WordTokenizer
    >>> tokenizer = WordTokenizer(("the", "film", "n't", "is", "Paris"))
    >>> tokenizer.encode("The film isn't about Paris.")
    [0, 1, 3, 2, 4]
    """

    vocabulary: tuple[str, ...] = field(repr=False)

    prefix = suffix = ()
    unknown = None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, WordTokenizer) and self.vocabulary == other.vocabulary

    def __hash__(self) -> int:
        return hash(self.fingerprint())

    def __reduce__(self) -> tuple[Any, ...]:  # without the words that are kept
        return type(self), (self.vocabulary,)

    @property
    def vocab_size(self) -> int:
        """One more than the largest id."""
        return len(self.vocabulary)

    def encode(self, text: str) -> list[int]:
        """Return the ids of the words of a text.

        Parameters
        ----------
        text : str

        Returns
        -------
        list of int
        """
        ids: list[int] = []
        known = self._known
        for words in text.split():
            found = known.get(words)
            ids += self._learn(words) if found is None else found
        return ids

    def fingerprint(self) -> str:
        """Return a text that is equal for two tokenizers only if they give equal ids."""
        return self._fingerprint

    def to_bytes(self) -> bytes:
        """Return a description that :func:`read_tokenizer` accepts."""
        return json.dumps({"type": KIND, "vocabulary": self.vocabulary}).encode()

    def _learn(self, words: str) -> Ids:
        """Return the ids of words without a space between them, and keep them."""
        ids = tuple([id_ for word in _WORD.findall(words) for id_ in self._look_up(word)])
        return self._known.keep(words, ids)

    def _look_up(self, word: str) -> Iterator[int]:
        """Yield the id of a word, or those of its parts."""
        for part in (word,) if self._find(word) is not None else _PART.findall(word):
            found = self._find(part)
            if found is not None:
                yield found

    def _find(self, word: str) -> int | None:
        found = self._ids.get(word)
        return self._ids.get(word.lower().replace("’", "'")) if found is None else found

    @cached_property
    def _known(self) -> KnownWords:
        return KnownWords()

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {word: id_ for id_, word in enumerate(self.vocabulary) if word}

    @cached_property
    def _fingerprint(self) -> str:
        # letters, and their lower case, are those of Python's version of Unicode
        return (
            f"words {hash_parts('tokenizer', self.to_bytes()).hex()} {unicodedata.unidata_version}"
        )
