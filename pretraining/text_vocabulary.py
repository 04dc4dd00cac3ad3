"""A vocabulary of pieces of words, learned from texts by byte-pair merges."""

import heapq
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from sktransfer.data import WordPiece, read_tokenizer
from sktransfer.data.words import split_words

# Ranks that are added to those of Zipf's law, where it is too steep.
RANK_SHIFT = 10

# Tokens that no text contains: what is unknown, and two that a language model needs.
SPECIAL = ("[UNK]", "[EOS]", "[MASK]")
MARK = "##"

# The least number of occurrences of a character, and of a word that pieces are learned from.
RARE_CHARACTER, RARE_WORD = 200, 3

Pair = tuple[str, str]


def count_words(texts: Iterable[str], weight: int = 1) -> Counter[str]:
    """Count the words of texts as the tokenizer separates them."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(
            split_words(text, lowercase=True, strip_accents=True, clean=True, split_chinese=True)
        )
    return Counter({word: weight * count for word, count in counts.items()})


def zipf_counts(words: Sequence[str], total: int) -> Counter[str]:
    """Return the counts in a text of ``total`` words in which words occur by Zipf's law.

    ``words`` begins with the most frequent word.
    """
    rates = [1 / (rank + RANK_SHIFT) for rank in range(1, len(words) + 1)]
    share = total / sum(rates)
    return Counter({word: round(share * rate) for word, rate in zip(words, rates, strict=True)})


def spell(word: str) -> list[str]:
    """Return the characters of a word as pieces; all but the first continue a word."""
    return [word[0], *(MARK + character for character in word[1:])]


def learn_pieces(counts: Mapping[str, int], size: int) -> list[str]:
    """Return ``size`` pieces: all common characters, then merges of the most frequent pairs."""
    characters: Counter[str] = Counter()
    for word, count in counts.items():
        characters.update(dict.fromkeys(spell(word), count))
    common = sorted(piece for piece, count in characters.items() if count >= RARE_CHARACTER)
    pieces = dict.fromkeys([*SPECIAL, *common])
    merges = Merges(
        {word: count for word, count in counts.items() if count >= RARE_WORD}, set(common)
    )
    while len(pieces) < size and (merged := merges.next()):
        pieces[merged] = None
    return list(pieces)


class Merges:
    """Words as lists of pieces, and the pair of neighbours that is the most frequent."""

    def __init__(self, counts: Mapping[str, int], known: set[str]):
        spelled = [(spell(word), count) for word, count in sorted(counts.items())]
        kept = [(pieces, count) for pieces, count in spelled if known.issuperset(pieces)]
        self.words = [pieces for pieces, _ in kept]
        self.counts = [count for _, count in kept]
        self.pairs: Counter[Pair] = Counter()
        self.places: defaultdict[Pair, set[int]] = defaultdict(set)
        for place in range(len(self.words)):
            self._add(place)
        self.heap = [(-count, pair) for pair, count in self.pairs.items()]
        heapq.heapify(self.heap)

    def next(self) -> str | None:
        """Merge the most frequent pair everywhere, and return the new piece."""
        while self.heap:
            count, pair = heapq.heappop(self.heap)
            if -count == self.pairs[pair] > 0:  # others have changed since they were pushed
                return self._merge(pair)
        return None

    def _merge(self, pair: Pair) -> str:
        merged = pair[0] + pair[1].removeprefix(MARK)
        changed: set[Pair] = set()
        for place in sorted(self.places[pair]):
            changed |= self._remove(place)
            self.words[place] = joined(self.words[place], pair, merged)
            changed |= self._add(place)
        for other in changed:
            heapq.heappush(self.heap, (-self.pairs[other], other))
        return merged

    def _add(self, place: int) -> set[Pair]:
        pairs = set(pairwise(self.words[place]))
        for pair in pairwise(self.words[place]):
            self.pairs[pair] += self.counts[place]
        for pair in pairs:
            self.places[pair].add(place)
        return pairs

    def _remove(self, place: int) -> set[Pair]:
        pairs = set(pairwise(self.words[place]))
        for pair in pairwise(self.words[place]):
            self.pairs[pair] -= self.counts[place]
        for pair in pairs:
            self.places[pair].discard(place)
        return pairs


def joined(pieces: list[str], pair: Pair, merged: str) -> list[str]:
    """Return the pieces of a word with each occurrence of a pair replaced."""
    result: list[str] = []
    place = 0
    while place < len(pieces):
        found = tuple(pieces[place : place + 2]) == pair
        result.append(merged if found else pieces[place])
        place += 2 if found else 1
    return result


def load_tokenizer(counts: Callable[[], Mapping[str, int]], size: int, stored: Path) -> WordPiece:
    """Return the tokenizer in the file ``stored``, which the first call learns and writes."""
    if not stored.exists():
        special = tuple((token, id_) for id_, token in enumerate(SPECIAL))[1:]
        learned = WordPiece(tuple(learn_pieces(counts(), size)), special=special)
        stored.parent.mkdir(parents=True, exist_ok=True)
        partial = stored.with_suffix(".partial")
        partial.write_bytes(learned.to_bytes())
        partial.replace(stored)
    tokenizer = read_tokenizer(stored.read_bytes(), str(stored))
    assert isinstance(tokenizer, WordPiece)
    return tokenizer
