"""Rows of texts have the same bits, whatever the other texts of a call are."""

import numpy as np
import pytest
import torch
from helpers.text_nets import text_backbone

from sktransfer import ActivationCache
from sktransfer.data import Text
from sktransfer.extraction import Prefix, RowsByLength, Tap, run_frozen, run_rows
from sktransfer.extraction.batch_sizes import resolve_batch_size

POOLED, WHOLE = Tap(3, "avg"), Tap(2)


@pytest.fixture(scope="module")
def backbone():
    return text_backbone(max_length=64).freeze_to(3).eval()


@pytest.fixture(scope="module")
def items():
    rng = np.random.default_rng(0)
    words = np.array([f"word{number}" for number in range(200)])
    return [Text(" ".join(rng.choice(words, n))) for n in rng.integers(0, 90, 300)]


def prefix_of(backbone, taps, batch_size="auto", cut=0):
    return Prefix(backbone, list(taps), torch.device("cpu"), torch.float32, batch_size, cut)


class Recording(Prefix):
    """A prefix that records the shape of each batch, in one list for all lengths."""

    def __init__(self, *args):
        super().__init__(*args)
        self.shapes = []

    def __call__(self, batch, taps=None):
        self.shapes.append(tuple(batch.shape))
        return super().__call__(batch, taps)


def recording(backbone, *taps, batch_size="auto"):
    return Recording(backbone, list(taps), torch.device("cpu"), torch.float32, batch_size)


def rows(frozen, tap=0):
    """Return the rows at a tap as one array, filled up with zeros."""
    found = frozen.rows[tap]
    return found[np.arange(len(found))]


@pytest.mark.parametrize("tap", [POOLED, WHOLE, Tap(1, "max"), Tap(3, "concat")])
@pytest.mark.parametrize("batch_size", ["auto", 7])
@pytest.mark.parametrize("cached", [False, True])
def test_rows_do_not_depend_on_order_and_neighbours(
    backbone, items, tap, batch_size, cached, tmp_path
):
    prefix = prefix_of(backbone, [tap], batch_size)
    expected = rows(run_frozen(prefix, items))
    order = np.random.default_rng(1).permutation(len(items))
    cache = ActivationCache(tmp_path) if cached else None
    for part in (order[:1], order[1:40], order):
        found = rows(run_frozen(prefix, [items[at] for at in part], cache=cache))
        width = found.shape[1]
        assert np.array_equal(found, expected[part][:, :width])
        assert (expected[part][:, width:] == 0).all()


def test_rows_do_not_depend_on_the_taps_and_on_cached_cuts(backbone, items, tmp_path):
    cache = ActivationCache(tmp_path)
    expected = rows(run_frozen(prefix_of(backbone, [POOLED]), items))
    both = run_frozen(prefix_of(backbone, [POOLED, WHOLE]), items[:200], cache=cache)
    assert np.array_equal(rows(both), expected[:200])
    run_frozen(prefix_of(backbone, [Tap(1)]), items[200:], cache=cache)
    again = run_frozen(prefix_of(backbone, [Tap(3, "max"), POOLED]), items, cache=cache)
    assert np.array_equal(rows(again, 1), expected)
    later = run_rows(prefix_of(backbone, [POOLED], cut=2), both.rows[1])[0]
    assert np.array_equal(later, expected[:200])


def test_a_batch_has_as_many_rows_as_its_length_allows(backbone, items):
    prefix = recording(backbone, POOLED)
    run_frozen(prefix, items)
    assert {length: n for n, length in prefix.shapes} == {
        length: 256 // length for length in {shape[1] for shape in prefix.shapes}
    }
    lengths = [shape[1] for shape in prefix.shapes]
    assert lengths == sorted(lengths, reverse=True)


@pytest.mark.parametrize(
    ("device", "length", "n_rows"),
    [
        ("cpu", None, 16),
        ("cuda", None, 64),
        ("cpu", 8, 32),
        ("cpu", 512, 1),
        ("cpu", 4096, 1),
        ("cuda", 512, 32),
    ],
)
def test_the_number_of_rows_depends_on_device_and_length(device, length, n_rows):
    assert resolve_batch_size("auto", torch.device(device), length) == n_rows
    assert resolve_batch_size(5, torch.device(device), length) == 5


def test_a_second_pass_runs_no_stage_and_no_tokenizer(backbone, items, tmp_path, monkeypatch):
    cache = ActivationCache(tmp_path)
    first = rows(run_frozen(prefix_of(backbone, [POOLED]), items, cache=cache))
    prefix = recording(backbone, POOLED)
    monkeypatch.setattr(type(backbone.preset.tokenizer), "encode", None)
    fresh = [Text(item.text) for item in items]
    assert np.array_equal(rows(run_frozen(prefix, fresh, cache=cache)), first)
    assert prefix.shapes == []


def test_pooled_rows_are_in_one_table_and_whole_rows_in_one_for_each_length(
    backbone, items, tmp_path
):
    cache = ActivationCache(tmp_path)
    n_lengths = len({backbone.preset.length_of(item) for item in items})
    run_frozen(prefix_of(backbone, [POOLED]), items, cache=cache)
    assert len(cache.info()) == 1
    frozen = run_frozen(prefix_of(backbone, [POOLED, WHOLE]), items, cache=cache)
    assert len(cache.info()) == 1 + n_lengths
    assert isinstance(frozen.rows[1], RowsByLength)
    assert frozen.rows[1].lengths.tolist() == [backbone.preset.length_of(item) for item in items]


def test_an_earlier_cut_is_used_for_the_texts_that_have_it(backbone, items, tmp_path):
    cache = ActivationCache(tmp_path)
    run_frozen(prefix_of(backbone, [WHOLE]), items, cache=cache)
    embeddings = []
    hook = backbone.stages["embed"].register_forward_hook(lambda *_: embeddings.append(1))
    try:
        found = rows(run_frozen(prefix_of(backbone, [POOLED]), items, cache=cache))
    finally:
        hook.remove()
    assert embeddings == []
    assert np.array_equal(found, rows(run_frozen(prefix_of(backbone, [POOLED]), items)))


def test_equal_texts_are_computed_once(backbone, items, tmp_path):
    prefix = recording(backbone, POOLED)
    found = rows(run_frozen(prefix, [items[0]] * 9, cache=ActivationCache(tmp_path)))
    assert len(prefix.shapes) == 1
    assert (found == found[0]).all()


def test_fingerprints_depend_on_what_decides_the_last_bits(backbone):
    prefix = prefix_of(backbone, [POOLED, WHOLE])
    long = prefix.of_length(64)
    assert long.fingerprint(POOLED) == prefix.fingerprint(POOLED)
    assert long.fingerprint(WHOLE) != prefix.of_length(48).fingerprint(WHOLE)
    assert prefix.sized(7).fingerprint(POOLED) != prefix.fingerprint(POOLED)
