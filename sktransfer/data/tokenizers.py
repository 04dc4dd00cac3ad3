"""Tokenizers: from a text to the ids of its tokens."""

from __future__ import annotations

import json
import re
import unicodedata
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

from .._support.hashing import hash_parts
from .._support.validation import require
from .words import split_words

# The maximum number of words whose ids are kept, and of characters of a kept word.
MOST_WORDS = 2**16
LONGEST_WORD = 64

Ids = tuple[int, ...]


class KnownWords(dict[str, Ids]):
    """The ids of words, kept for the next text; a bounded number of short words."""

    def keep(self, words: str, ids: Ids) -> Ids:
        """Keep the ids of words without a space between them, if they are short; return the ids."""
        if len(words) <= LONGEST_WORD:
            if len(self) >= MOST_WORDS:
                self.clear()
            self[words] = ids
        return ids


class Tokenizer(Protocol):
    """The protocol of a tokenizer: a value that is hashable, equal by content and picklable.

    Attributes
    ----------
    prefix, suffix : tuple of int
        The ids before and after each text, such as those of ``[CLS]`` and ``[SEP]``.
    unknown : int or None
        The id of the token for what is not in the vocabulary.
    vocab_size : int
        One more than the largest id.
    """

    @property
    def prefix(self) -> Ids: ...  # noqa: D102 - described by the class
    @property
    def suffix(self) -> Ids: ...  # noqa: D102 - described by the class
    @property
    def unknown(self) -> int | None: ...  # noqa: D102 - described by the class
    @property
    def vocab_size(self) -> int: ...  # noqa: D102 - described by the class

    def encode(self, text: str) -> list[int]:
        """Return the ids of a text, without ``prefix`` and ``suffix``; thread-safe."""

    def fingerprint(self) -> str:
        """Return a text that is equal for two tokenizers only if they give equal ids."""

    def to_bytes(self) -> bytes:
        """Return the content of a ``tokenizer.json`` that :func:`read_tokenizer` accepts."""


@dataclass(frozen=True, eq=False)
class WordPiece:
    """The tokenizer of BERT: words, and parts of words that a vocabulary contains.

    The ids are those of the package ``tokenizers``.  The ids of short words are kept, so that most
    words take one look-up.

    Parameters
    ----------
    vocabulary : tuple of str
        The tokens in the order of their ids; "" stands for an id without a token.
    unknown : int, default=0
        The id of the token for words that cannot be divided, ``[UNK]``.
    prefix, suffix : tuple of int, default=()
        The ids before and after each text.
    special : tuple of (str, int), default=()
        Texts such as ``[MASK]``, which are one token wherever they occur, and their ids.
    lowercase : bool, default=True
        If True, letters are changed to lower case.
    strip_accents : bool, default=True
        If True, accents are removed.
    clean : bool, default=True
        If True, control characters are removed.
    split_chinese : bool, default=True
        If True, each Chinese character is a word.
    continuation : str, default="##"
        The start of tokens that continue a word.
    longest_word : int, default=100
        The maximum number of characters of a word; a longer one is unknown.

    Examples
    --------
    >>> from sktransfer.data import WordPiece
    >>> tokenizer = WordPiece(("[UNK]", "a", "play", "##ing", "!"))
    >>> tokenizer.encode("A playing child!")
    [1, 2, 3, 0, 4]
    """

    vocabulary: tuple[str, ...] = field(repr=False)
    unknown: int = 0
    prefix: Ids = ()
    suffix: Ids = ()
    special: tuple[tuple[str, int], ...] = ()
    lowercase: bool = True
    strip_accents: bool = True
    clean: bool = True
    split_chinese: bool = True
    continuation: str = "##"
    longest_word: int = 100

    def __eq__(self, other: object) -> bool:
        return isinstance(other, WordPiece) and self.to_bytes() == other.to_bytes()

    def __hash__(self) -> int:
        return hash(self.to_bytes())

    def __reduce__(self) -> tuple[Any, ...]:  # without the words that are kept
        return type(self), tuple(getattr(self, name) for name in self.__dataclass_fields__)

    @property
    def vocab_size(self) -> int:
        """One more than the largest id."""
        return max([len(self.vocabulary), *(id_ + 1 for _, id_ in self.special)])

    def encode(self, text: str) -> list[int]:
        """Return the ids of a text, without ``prefix`` and ``suffix``.

        Parameters
        ----------
        text : str

        Returns
        -------
        list of int
        """
        ids: list[int] = []
        known = self._known
        # at odd positions are the special tokens themselves
        parts = self._pattern.split(text) if self.special else [text]
        for position, part in enumerate(parts):
            if position % 2:
                ids.append(self._special_ids[part])
                continue
            # a space separates words in any case; the parts are divided further if they are new
            for words in part.split(" "):
                found = known.get(words)
                ids += self._learn(words) if found is None else found
        return ids

    def fingerprint(self) -> str:
        """Return a text that is equal for two tokenizers only if they give equal ids."""
        return self._fingerprint

    def to_bytes(self) -> bytes:
        """Return the content of a ``tokenizer.json`` that :func:`read_tokenizer` accepts."""
        return self._json

    def _learn(self, words: str) -> Ids:
        """Return the ids of words without a space between them, and keep them."""
        divided = split_words(
            words,
            lowercase=self.lowercase,
            strip_accents=self.strip_accents,
            clean=self.clean,
            split_chinese=self.split_chinese,
        )
        # a tuple of integers costs the garbage collector nothing
        ids = tuple([id_ for word in divided for id_ in self._divide(word)])
        return self._known.keep(words, ids)

    def _divide(self, word: str) -> list[int]:
        """Return the ids of the longest parts of a word, from its start to its end."""
        if len(word) > self.longest_word:
            return [self.unknown]
        ids: list[int] = []
        start, before = 0, ""
        while start < len(word):
            for stop in range(min(len(word), start + self._longest_token), start, -1):
                found = self._ids.get(before + word[start:stop])
                if found is not None:
                    break
            else:
                return [self.unknown]
            ids.append(found)
            start, before = stop, self.continuation
        return ids

    @cached_property
    def _known(self) -> KnownWords:
        return KnownWords()

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {token: id_ for id_, token in enumerate(self.vocabulary) if token}

    @cached_property
    def _longest_token(self) -> int:
        return max(map(len, self.vocabulary), default=0)

    @cached_property
    def _special_ids(self) -> dict[str, int]:
        return dict(self.special)

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        texts = sorted(self._special_ids, key=len, reverse=True)  # the longest that fits
        return re.compile(f"({'|'.join(map(re.escape, texts))})")

    @cached_property
    def _fingerprint(self) -> str:
        # accents and lower case are those of Python's version of Unicode
        version = unicodedata.unidata_version
        return f"wordpiece {hash_parts('tokenizer', self.to_bytes()).hex()} {version}"

    @cached_property
    def _json(self) -> bytes:
        return json.dumps(_described(self)).encode()


@dataclass(frozen=True)
class JsonTokenizer:
    """A tokenizer that the package ``tokenizers`` computes; :func:`read_tokenizer` makes it.

    One text at a time is encoded, because the threads that the package starts for a batch do not
    survive a fork.

    Parameters
    ----------
    description : str
        The content of a ``tokenizer.json``, without truncation and padding.
    prefix, suffix : tuple of int
        The ids before and after each text.
    unknown : int or None
        The id of the token for what is not in the vocabulary.
    vocab_size : int
        One more than the largest id.

    Raises
    ------
    ModuleNotFoundError
        If the package ``tokenizers`` is not installed.
    ValueError
        If it does not accept the description.
    """

    description: str = field(repr=False)
    prefix: Ids
    suffix: Ids
    unknown: int | None
    vocab_size: int

    def __post_init__(self) -> None:
        self.encode("An invalid description is an error at once.")

    def __reduce__(self) -> tuple[Any, ...]:  # without the object of the package
        return type(self), tuple(getattr(self, name) for name in self.__dataclass_fields__)

    def encode(self, text: str) -> list[int]:
        """Return the ids of a text, without ``prefix`` and ``suffix``.

        Parameters
        ----------
        text : str

        Returns
        -------
        list of int
        """
        encoder = self._encoder
        try:
            ids: list[int] = encoder.encode(text, add_special_tokens=False).ids
        except BaseException as error:
            raise _explained(error) from error
        return ids

    def fingerprint(self) -> str:
        """Return a text that is equal for two tokenizers only if they give equal ids."""
        return self._fingerprint

    def to_bytes(self) -> bytes:
        """Return the content of a ``tokenizer.json`` that :func:`read_tokenizer` accepts."""
        return self.description.encode()

    @cached_property
    def _encoder(self) -> Any:
        package = require("tokenizers", "text")
        try:
            return package.Tokenizer.from_str(self.description)
        except BaseException as error:
            raise _explained(error) from error

    @cached_property
    def _fingerprint(self) -> str:
        version = require("tokenizers", "text").__version__
        return f"tokenizers {version} {hash_parts('tokenizer', self.description).hex()}"


def _explained(error: BaseException) -> BaseException:
    """Return the error to raise for one of the package, which also raises errors of Rust."""
    if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
        return error  # such as KeyboardInterrupt
    return ValueError(
        f"a description must be one that the package tokenizers can use; it cannot: {error}"
    )


def _described(tokenizer: WordPiece) -> dict[str, Any]:
    """Return the content of the ``tokenizer.json`` of a WordPiece."""
    ids = {token: id_ for id_, token in enumerate(tokenizer.vocabulary) if token}
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    sequence, around = {"Sequence": {"id": "A", "type_id": 0}}, {}
    for name, special in (("before", tokenizer.prefix), ("after", tokenizer.suffix)):
        around[name] = {"id": name, "ids": special, "tokens": [name] * len(special)}
    single = [{"SpecialToken": {"id": name, "type_id": 0}} for name in around]
    return {
        "version": "1.0",
        "added_tokens": [
            {"id": id_, "content": text, "special": True, **plain}
            for text, id_ in tokenizer.special
        ],
        "normalizer": {
            "type": "BertNormalizer",
            "clean_text": tokenizer.clean,
            "handle_chinese_chars": tokenizer.split_chinese,
            "strip_accents": tokenizer.strip_accents,
            "lowercase": tokenizer.lowercase,
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [single[0], sequence, single[1]],
            "pair": [single[0], sequence, sequence, single[1]],
            "special_tokens": around,
        },
        "model": {
            "type": "WordPiece",
            "unk_token": tokenizer.vocabulary[tokenizer.unknown],
            "continuing_subword_prefix": tokenizer.continuation,
            "max_input_chars_per_word": tokenizer.longest_word,
            "vocab": ids,
        },
    }
