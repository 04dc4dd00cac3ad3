"""Limits of tokenizers from files: a text takes memory and time in proportion to its length.

A few steps that replace a character by many ones would fill the memory, and the package tokenizers
ends the process then.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterator, Mapping
from typing import Any

# The most characters of a text that one character can become.
MOST_GROWTH = 2**12

# The most characters of a word, and of a part of each of its tokens.
MOST_CHARACTERS = 1000

# Bytes, of which a character has several, become characters.
GROWTH_OF_BYTES = 4

# The texts and numbers of a model on which the time of each character depends.
LENGTHS = ("continuing_subword_prefix", "end_of_word_suffix", "max_input_chars_per_word")


def check_limits(described: Mapping[str, Any]) -> None:
    """Raise a ValueError if a tokenizer could take too much memory or time for a short text.

    Parameters
    ----------
    described : mapping
        The content of a ``tokenizer.json``.

    Examples
    --------
    >>> from sktransfer.data.tokenizer_limits import check_limits
    >>> check_limits({"model": {"max_input_chars_per_word": 10**6}})
    Traceback (most recent call last):
        ...
    ValueError: max_input_chars_per_word must be at most 1000; got 1000000
    """
    for name in LENGTHS:
        value = described["model"].get(name)
        size = value if isinstance(value, (int, float)) else len(value or "")
        if size > MOST_CHARACTERS:
            raise ValueError(f"{name} must be at most {MOST_CHARACTERS}; got {size}")
    growth = 1
    for part in ("normalizer", "pre_tokenizer"):
        for step in _steps(described.get(part)):
            growth *= _growth(step)
            if growth > MOST_GROWTH:
                raise ValueError(
                    f"its steps must make at most {MOST_GROWTH} characters of one; they can make "
                    f"{growth} or more"
                )


def _steps(part: Mapping[str, Any] | None) -> Iterator[Mapping[str, Any]]:
    """Yield the steps of a normaliser or pre-tokenizer, those of sequences one by one."""
    if part is None:
        return
    inner = [*part.get("normalizers", ()), *part.get("pretokenizers", ())]
    yield part
    for each in inner:
        yield from _steps(each)


def _growth(step: Mapping[str, Any]) -> int:
    """Return how many characters one character can become in a step."""
    kind = step.get("type")
    if kind == "Replace":  # an empty pattern is between all characters
        return 1 + len(step["content"])
    if kind == "Prepend":
        return 1 + len(step["prepend"])
    if kind == "Precompiled":
        content = b64decode(step["precompiled_charsmap"])
        texts = content[4 + int.from_bytes(content[:4], "little") :]
        return max(map(len, texts.split(b"\0")), default=1) or 1
    if kind in ("ByteLevel", "BertNormalizer", "Metaspace"):
        return GROWTH_OF_BYTES
    return 1
