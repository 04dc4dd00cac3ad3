"""Passages of free text: sentences of books, definitions of words, and random words."""

import json
import random
import re
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

# The end of a sentence, with the quotes and brackets that follow it.
END = re.compile(r"(?<=[.!?])(?<!Mr\.)(?<!Mrs\.)(?<!Dr\.)(?<!St\.)([\"'”’)]*)\s+(?=[\"'“‘(]?[A-Z])")
EXAMPLE = re.compile(r"\"([^\"]+)\"")

# Sentences of a passage; the share of each number is that of its occurrences.
GROUPS = (1, 1, 1, 1, 2, 3)
FEWEST_WORDS, MOST_WORDS = 3, 60

# Random words: how much more often frequent ones are drawn, words of a passage of such words alone,
# and words of a mixed passage, of which a third is random.
FREQUENCY_POWER = 0.25
FEWEST_RANDOM, MOST_RANDOM = 2, 16
MOST_MIXED = 30


def read_books(path: Path) -> list[str]:
    """Return the paragraphs of all books."""
    with zipfile.ZipFile(path) as archive:
        lines = archive.read("books.txt").decode().split("\n")
    return [line for line in lines if line.strip()]


def read_glosses(path: Path) -> list[str]:
    """Return the definitions, each after its word and before its examples."""
    with zipfile.ZipFile(path) as archive:
        lines = archive.read("texts.jsonl").decode().split("\n")
    return [json.loads(line)["text"] for line in lines if line.strip()]


def of_paragraph(paragraph: str, draw: random.Random) -> Iterator[str]:
    """Divide a paragraph into passages of one to three sentences."""
    sentences = END.sub("\\1\n", paragraph).split("\n")
    while sentences:
        size = draw.choice(GROUPS)
        words = " ".join(sentences[:size]).split()
        sentences = sentences[size:]
        for start in range(0, len(words), MOST_WORDS):
            yield " ".join(words[start : start + MOST_WORDS])


def of_gloss(gloss: str) -> Iterator[str]:
    """Divide a definition into the whole and its examples."""
    yield " ".join(gloss.replace('"', "").split()[:MOST_WORDS])
    yield from EXAMPLE.findall(gloss)


def load_passages(data: Path, stored: Path, seed: int = 0) -> list[str]:
    """Return all passages once and in random order; the first call writes the file ``stored``."""
    if not stored.exists():
        draw = random.Random(seed)
        found = [
            passage
            for paragraph in read_books(data / "free_books.zip")
            for passage in of_paragraph(paragraph, draw)
        ]
        for gloss in read_glosses(data / "free_wordnet_glosses.zip"):
            found += of_gloss(gloss)
        kept = list(dict.fromkeys(p for p in found if len(p.split()) >= FEWEST_WORDS))
        draw.shuffle(kept)
        stored.parent.mkdir(parents=True, exist_ok=True)
        partial = stored.with_suffix(".partial")
        partial.write_text("\n".join(kept))
        partial.replace(stored)
    return stored.read_text().split("\n")


def mix_passages(
    passages: Sequence[str], words: Mapping[str, int], n_passages: int, seed: int = 0
) -> list[str]:
    """Return passages of random words, and as many in which a third of the words is random.

    Rare words get more examples in this way, among words that do not occur with them in books.
    """
    draw, known = random.Random(seed), list(words)
    rates = np.array(list(words.values()), float) ** FREQUENCY_POWER
    drawn = np.random.default_rng(seed).choice(
        len(known), n_passages * MOST_RANDOM, p=rates / rates.sum()
    )
    mixed: list[str] = []
    for row in drawn.reshape(n_passages, MOST_RANDOM):
        chosen = [known[index] for index in row]
        if len(mixed) % 2:
            text = draw.choice(passages).split()[:MOST_MIXED]
            for place in draw.sample(range(len(text)), max(len(text) // 3, 1)):
                text[place] = chosen.pop()
        else:
            text = chosen[: draw.randint(FEWEST_RANDOM, MOST_RANDOM)]
        mixed.append(" ".join(text))
    return mixed
