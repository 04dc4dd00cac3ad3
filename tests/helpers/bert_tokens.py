"""A small vocabulary of BERT, and the tokenizer of the package ``tokenizers`` for it."""

import string

import pytest

from sktransfer.data import WordPiece

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
WORDS = ("film", "the", "a", "play", "##ing", "##s", "un", "##believ", "##able", "isn", "deja")
# characters whose classes are easy to mistake, in both roles
OTHER = "σςßıéİǆ電影中あ가ﬁ２²€„…—।\u0301\u093e\u0bcd"
LETTERS = string.ascii_letters + string.digits + string.punctuation + OTHER
VOCABULARY = tuple(
    dict.fromkeys([*SPECIAL, *WORDS, *LETTERS, *(f"##{letter}" for letter in LETTERS)])
)


def word_piece(**options):
    """The tokenizer with the small vocabulary."""
    special = tuple((token, VOCABULARY.index(token)) for token in SPECIAL)
    return WordPiece(VOCABULARY, unknown=1, prefix=(2,), suffix=(3,), special=special, **options)


def of_the_package(tokenizer):
    """The tokenizer of the package ``tokenizers`` from the file that ours writes."""
    package = pytest.importorskip("tokenizers")
    return package.Tokenizer.from_str(tokenizer.to_bytes().decode())
