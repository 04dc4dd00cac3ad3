"""Files of word vectors: GloVe, word2vec, fastText and safetensors.

The vectors are read in blocks, to an array that is as large as they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ..weights import read_weights

# Lines that are converted at once.
BLOCK = 4096

# The maximum length of a line or a word, in bytes.
MOST_LINE = 2**20
MOST_WORD = 2**12

SUFFIXES = (".bin", ".safetensors", ".txt", ".vec")


def read(path: Path) -> tuple[tuple[str, ...], np.ndarray]:
    """Return the words of a file, and their vectors: (n_words, width), float32.

    A word that occurs again is "", so that the first vector counts.

    Raises
    ------
    ValueError
        If the file is not one of word vectors.
    """
    if path.suffix.lower() == ".safetensors":
        words, vectors = _safetensors(path)
    else:
        with path.open("rb") as file:
            reader = _binary if path.suffix.lower() == ".bin" else _text
            words, vectors = reader(file, path)
    if not np.isfinite(vectors).all():
        raise ValueError(_damaged(path, "a value is not finite"))
    first = {word: index for index, word in reversed(list(enumerate(words)))}
    return tuple(word if first[word] == index else "" for index, word in enumerate(words)), vectors


def _text(file: BinaryIO, path: Path) -> tuple[list[str], np.ndarray]:
    """Read lines of a word and its values, of which the first may state their numbers."""
    n_lines, n_bytes = _count_lines(file)
    first = file.readline(MOST_LINE).split()
    has_header = len(first) == 2 and all(part.isdigit() for part in first)
    width = int(first[1]) if has_header else len(first) - 1
    n_words = n_lines - has_header
    if not has_header:
        file.seek(0)
    # each value takes two bytes or more
    if width < 1 or n_words < 1 or 2 * n_words * width > n_bytes:
        raise ValueError(_damaged(path, f"its first line is {b' '.join(first[:3])[:50]!r}"))
    vectors = np.empty((n_words, width), np.float32)
    words: list[str] = []
    for block in _blocks(file):
        pairs = [_divided(line, width) for line in block]
        try:
            rows = np.loadtxt([values for _, values in pairs], np.float32, comments=None, ndmin=2)
        except ValueError as error:
            raise ValueError(_damaged(path, f"{error}, after word {len(words)}")) from error
        if rows.shape[1] != width:
            raise ValueError(_damaged(path, f"{rows.shape[1]} values instead of {width}"))
        vectors[len(words) : len(words) + len(rows)] = rows
        words += [word for word, _ in pairs]
    return words, vectors[: len(words)]


def _count_lines(file: BinaryIO) -> tuple[int, int]:
    """Return the number of lines and bytes of a file, and go back to its start."""
    n_lines = n_bytes = 0
    last = b"\n"
    while part := file.read(2**24):
        n_lines, n_bytes, last = n_lines + part.count(b"\n"), n_bytes + len(part), part[-1:]
    file.seek(0)
    return n_lines + (last != b"\n"), n_bytes


def _blocks(file: BinaryIO) -> Iterator[list[bytes]]:
    lines = iter(lambda: file.readline(MOST_LINE), b"")
    while block := list(islice(lines, BLOCK)):
        yield block


def _divided(line: bytes, width: int) -> tuple[str, str]:
    """Divide a line into a word, which may contain spaces, and its values."""
    parts = line.rstrip().rsplit(b" ", width)
    return parts[0].decode(errors="replace"), b" ".join(parts[1:]).decode(errors="replace")


def _binary(file: BinaryIO, path: Path) -> tuple[list[str], np.ndarray]:
    """Read words and the bytes of their values, after a line with their numbers."""
    header = file.readline(100).split()
    if len(header) != 2 or not all(part.isdigit() for part in header):
        raise ValueError(_damaged(path, f"its first line is {b' '.join(header)[:50]!r}"))
    n_words, width = map(int, header)
    size = path.stat().st_size
    if n_words < 1 or width < 1 or n_words * (4 * width + 2) > size:
        raise ValueError(_damaged(path, f"{n_words} vectors of {width} values need more bytes"))
    vectors = np.empty((n_words, width), np.float32)
    words = []
    for row in vectors:
        words.append(_word(file, path).decode(errors="replace"))
        content = file.read(4 * width)
        if len(content) < 4 * width:
            raise ValueError(_damaged(path, f"it ends after word {len(words)}"))
        row[:] = np.frombuffer(content, "<f4")
    return words, vectors


def _word(file: BinaryIO, path: Path) -> bytes:
    """Read the bytes up to the next space; some files have an end of line before a word."""
    word = bytearray()
    while (byte := file.read(1)) != b" ":
        if not byte or len(word) > MOST_WORD:
            raise ValueError(_damaged(path, "a word does not end"))
        word += byte
    return bytes(word.lstrip(b"\n"))


def _safetensors(path: Path) -> tuple[list[str], np.ndarray]:
    """Read a matrix, with its words in the metadata, one a line."""
    file = read_weights(path)
    tables = [tensor for tensor in file.state.values() if tensor.ndim == 2]
    words = file.metadata.get("words", "").split("\n")
    if len(tables) != 1 or len(words) != len(tables[0]):
        raise ValueError(
            _damaged(path, "it must contain one matrix, and its words in the metadata 'words'")
        )
    return words, tables[0].float().numpy()


def _damaged(path: Path, cause: Any) -> str:
    return (
        "word vectors must be a text file of GloVe, word2vec or fastText, a .bin of word2vec, or a "
        f".safetensors; {str(path)!r} is not: {cause}."
    )
