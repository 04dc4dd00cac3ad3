"""A preset of texts gives rows of ids, whose length is a function of the text."""

import pickle
from types import SimpleNamespace

import pytest
import torch
from helpers.text_nets import Words
from hypothesis import given
from hypothesis import strategies as st

from sktransfer import ImagePreset, TextPreset
from sktransfer.data import Text, adapt, count_tokens, has_lengths, lengths_of

PRESET = TextPreset(Words(), max_length=20)
MANY = Text(" ".join(map(str, range(100))))


def ids(text, preset=PRESET):
    """Return the ids of the tokens of a text, without special tokens."""
    row = preset(Text(text))
    return row[row >= 0].tolist()[1:-1]


def test_a_row_holds_special_tokens_ids_and_padding():
    row = PRESET(Text("a fine film"))
    assert row.dtype == torch.int64
    assert row.tolist() == [0, *Words().encode("a fine film"), 1, -1, -1, -1]


@pytest.mark.parametrize(
    ("n_words", "length"), [(0, 8), (6, 8), (7, 12), (10, 12), (14, 16), (15, 20), (90, 20)]
)
def test_a_row_has_the_least_length_that_fits(n_words, length):
    item = Text("word " * n_words)
    assert PRESET.length_of(item) == len(PRESET(item)) == length


@given(st.text(max_size=80), st.sampled_from(["head", "tail", "ends"]), st.integers(3, 30))
def test_the_length_of_a_text_is_that_of_its_row(text, truncation, max_length):
    preset = TextPreset(Words(), max_length, truncation)
    row = preset(Text(text))
    assert preset.length_of(Text(text)) == len(row) <= max_length
    assert preset.n_tokens(Text(text)) == (row >= 0).sum()
    assert row[0] == 0
    assert row[row >= 0][-1] == 1


def test_truncation_keeps_the_head_the_tail_or_the_ends():
    whole = Words().encode(MANY.text)
    kept = {how: ids(MANY.text, TextPreset(Words(), 22, how)) for how in ("head", "tail", "ends")}
    assert kept == {
        "head": whole[:20],
        "tail": whole[-20:],
        "ends": whole[:5] + whole[-15:],
    }


def test_a_batch_is_as_long_as_its_longest_row():
    rows = [PRESET(Text("a")), PRESET(MANY)]
    batch = PRESET.collate(rows, 3)
    assert batch.shape == (3, 20)
    assert torch.equal(batch[1], rows[1])
    assert batch[0, 8:].tolist() == [-1] * 12
    assert (batch[2] == -1).all()
    assert PRESET.collate([], 2).tolist() == [[-1] * 8] * 2


def test_a_remark_counts_the_texts_that_are_cut():
    items = [Text("short"), MANY, Text("x" * 30), MANY]
    assert PRESET.remark(items).startswith(
        "2 of 4 texts are longer than max_length=20 tokens; the rest of them is not used "
        "('head' is kept). Pass preset={'truncation': 'ends'} to keep the beginning and the end, "
        "or a larger max_length, at most 512."
    )
    assert PRESET.remark(items[:1]) == ""
    most = TextPreset(Words(), max_length=8, lengths=(8,))
    assert most.remark([MANY]).endswith("to keep the beginning and the end.")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"max_length": 513}, "max_length must be from 3 to 512 tokens, .* got 513"),
        ({"max_length": 2}, "max_length must be from 3 to 512 tokens, .* got 2"),
        ({"max_length": 2.5}, "max_length must be an integer"),
        ({"truncation": "middle"}, "truncation must be one of 'head', 'tail', 'ends'"),
        ({"lengths": (8, 8)}, r"lengths must be increasing integers; got \(8, 8\)"),
        ({"lengths": ()}, r"lengths must be increasing integers; got \(\)"),
        ({"lengths": (0, 8)}, "a length must be an integer of at least 1"),
    ],
)
def test_a_wrong_field_is_an_error(fields, message):
    with pytest.raises(ValueError, match=message):
        TextPreset(Words(), **fields)


def test_presets_are_values():
    same = TextPreset(Words(), max_length=20, lengths=list(PRESET.lengths))
    assert same == PRESET
    assert hash(same) == hash(PRESET)
    assert pickle.loads(pickle.dumps(PRESET)) == PRESET
    assert same.fingerprint() == PRESET.fingerprint()


@pytest.mark.parametrize(
    "other",
    [
        TextPreset(Words(), max_length=21),
        TextPreset(Words(), max_length=20, truncation="tail"),
        TextPreset(Words(), max_length=20, lengths=(8, 512)),
        TextPreset(Words(n_words=400), max_length=20),
    ],
)
def test_presets_that_give_other_rows_have_other_fingerprints(other):
    assert other.fingerprint() != PRESET.fingerprint()


def test_only_rows_of_texts_have_lengths():
    assert has_lengths(PRESET)
    assert not has_lengths(ImagePreset())
    assert lengths_of(PRESET, [Text("a"), MANY]).tolist() == [8, 20]
    assert lengths_of(ImagePreset(), [b"a"]) is None


def test_the_tokens_of_a_row_are_counted_if_the_preset_tells_them():
    assert count_tokens(PRESET, [Text("a"), MANY]).tolist() == [3, 20]
    assert count_tokens(ImagePreset(), [b"a"]) is None
    other = SimpleNamespace(length_of=len)
    assert count_tokens(other, ["ab", "abc"]).tolist() == [2, 3]


def test_max_length_adapts_a_preset_of_texts_only():
    assert adapt(PRESET, max_length=9) == TextPreset(Words(), max_length=9)
    assert adapt(PRESET, {"truncation": "tail"}, max_length=9).truncation == "tail"
    with pytest.raises(ValueError, match=r"max_length must be None .* not texts; got 9 for a"):
        adapt(ImagePreset(), max_length=9)
    with pytest.raises(ValueError, match=r"image_size must be None .* got 9 for a TextPreset"):
        adapt(PRESET, image_size=9)
