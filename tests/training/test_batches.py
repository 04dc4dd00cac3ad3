"""An epoch has every row once, and its random draws depend only on the seed and the epoch."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from skorch.callbacks import Callback

from sktransfer import FineTuneClassifier, ImagePreset
from sktransfer.data.augmentation import resolve_augment
from sktransfer.extraction import RowsByLength
from sktransfer.tasks import find_classification, make_targets
from sktransfer.training.batches import Samples, read_ahead, split_rows
from sktransfer.training.sources import (
    DecodedItems,
    DrawnViews,
    FixedRows,
    ResidentRows,
    move_to_device,
)
from sktransfer.training.tail import Pooled


def targets_of(labels, sample_weight=None):
    """Return the encoded targets of a text of one-letter labels."""
    task = find_classification(list(labels), len(labels), "Model")
    return make_targets(task.encode(list(labels), len(labels)), sample_weight)


@given(st.integers(1, 200), st.integers(1, 64), st.integers(0, 99), st.integers(0, 9))
def test_an_epoch_has_every_row_once(n, batch_size, seed, epoch):
    parts = split_rows(n, batch_size, seed, epoch)
    assert_array_equal(np.sort(np.concatenate(parts)), np.arange(n))
    assert all(len(part) <= batch_size + 1 for part in parts)
    assert min(map(len, parts)) > 1 or n == 1 or batch_size == 1


@given(st.integers(20, 60), st.integers(0, 99), st.integers(0, 9))
def test_the_order_is_a_function_of_seed_and_epoch(n, seed, epoch):
    order = np.concatenate(split_rows(n, 8, seed, epoch))
    assert_array_equal(order, np.concatenate(split_rows(n, 16, seed, epoch)))
    assert not np.array_equal(order, np.concatenate(split_rows(n, 8, seed, epoch + 1)))
    assert not np.array_equal(order, np.concatenate(split_rows(n, 8, seed + 1, epoch)))


@given(st.integers(1, 400), st.integers(1, 16), st.integers(0, 99), st.integers(0, 9))
def test_an_epoch_of_several_lengths_has_every_row_once(n, batch_size, seed, epoch):
    lengths = np.random.default_rng(n).choice([8, 16, 32], n)
    parts = split_rows(n, batch_size, seed, epoch, lengths)
    assert_array_equal(np.sort(np.concatenate(parts)), np.arange(n))
    assert len(parts) == len(split_rows(n, batch_size, seed, epoch))
    assert min(map(len, parts)) > 1 or n == 1 or batch_size == 1


def test_batches_of_several_lengths_hold_rows_of_similar_length():
    lengths = np.random.default_rng(0).permutation(512)
    parts = split_rows(512, 32, 7, 0, lengths)
    assert max(np.ptp(lengths[part]) for part in parts) == 31
    starts = [lengths[part].max() for part in parts]
    assert starts != sorted(starts, reverse=True)
    other = split_rows(512, 32, 7, 1, lengths)
    assert not np.array_equal(np.concatenate(parts), np.concatenate(other))
    again = split_rows(512, 32, 7, 0, lengths)
    assert_array_equal(np.concatenate(parts), np.concatenate(again))


def test_the_order_of_validation_rows_does_not_depend_on_their_lengths():
    parts = split_rows(5, 2, None, 0, np.array([3, 1, 2, 5, 4]))
    assert_array_equal(np.concatenate(parts), np.arange(5))


def test_resident_rows_of_several_lengths_are_the_rows_of_the_source():
    parts = [(length, np.array([length]), np.ones((1, length + 1, 2))) for length in range(3)]
    rows = RowsByLength([(n + 1, at, rows) for n, at, rows in parts])
    source = FixedRows(rows, 0, rows.lengths)
    resident = move_to_device(source, torch.device("cpu"), 10**9)
    assert isinstance(resident, ResidentRows)
    for rows in ([0], [1, 0], [2, 1, 0]):
        assert torch.equal(resident.load(np.array(rows), 0), source.load(np.array(rows), 0))
    assert resident.lengths.tolist() == [1, 2, 3]


@pytest.mark.parametrize("unfreeze", ["all", 1])
def test_a_batch_of_texts_ends_with_the_last_token_of_its_longest_text(unfreeze):
    seen = []

    class Spy(Callback):
        def on_batch_begin(self, net, batch=None, training=False, **kwargs):
            seen.append(batch[0]["x"])

    texts = ["a lovely film", "dull", "a film of many words, and none of them is needed at all"] * 4
    how = {"max_epochs": 1, "batch_size": 2, "random_state": 0, "verbose": 0}
    model = FineTuneClassifier("builtin/text", unfreeze=unfreeze, skorch_callbacks=[Spy()], **how)
    model.fit(texts, ["good", "bad", "bad"] * 4)
    last = [x[:, -1] >= 0 if unfreeze == "all" else x[:, -1, -1] == 1 for x in seen]
    assert len(last) == 6
    assert all(is_token.any() for is_token in last)
    assert len({x.shape[1] for x in seen}) > 1


def test_each_epoch_draws_a_view_of_each_item():
    rows = np.arange(40.0, dtype=np.float32)[:, None]  # 10 items of 4 views
    source = DrawnViews(rows, 4, 0, seed=0)
    drawn = [source.load(np.arange(10), epoch)[:, 0].numpy() for epoch in range(50)]
    assert_array_equal(drawn[3], source.load(np.arange(10), 3)[:, 0].numpy())
    assert_array_equal(drawn[3][[7, 2]], source.load(np.array([7, 2]), 3)[:, 0].numpy())
    assert all((one // 4 == np.arange(10)).all() for one in drawn)
    assert {int(one[0]) for one in drawn} == {0, 1, 2, 3}


@pytest.mark.parametrize("n_jobs", [None, 1, 3])
def test_a_variant_depends_on_no_neighbour_and_no_thread(rng, n_jobs):
    preset = ImagePreset(size=32)
    items = list(rng.integers(0, 256, (6, 40, 50, 3), dtype=np.uint8))
    source = DecodedItems(preset, items, resolve_augment("light", preset), seed=3, n_jobs=n_jobs)
    batch = source.load(np.arange(6), 2)
    assert torch.equal(source.load(np.array([4, 1]), 2), batch[[4, 1]])
    assert not torch.equal(source.load(np.arange(6), 3), batch)


def test_weights_have_a_mean_of_one_over_all_rows():
    targets = targets_of("abab", [1, 2, 3, 2])
    samples = Samples(
        FixedRows(np.zeros((4, 3), np.float32), Pooled()), targets, np.array([*"abab"])
    )
    parts, labels = samples.batch(np.array([2, 0]), 0)
    assert parts["weight"].tolist() == [1.5, 0.5]
    assert parts["target"].tolist() == [[1, 0], [1, 0]]
    assert labels.tolist() == ["a", "a"]
    assert parts.entry == Pooled()


def test_samples_are_a_dataset_of_rows_and_labels():
    rows = np.arange(6, dtype=np.float32).reshape(2, 3)
    samples = Samples(FixedRows(rows, 0), targets_of("ab"), np.array([*"ab"]))
    assert samples.X is samples
    assert [(x.tolist(), str(label)) for x, label in samples] == [
        ([0, 1, 2], "a"),
        ([3, 4, 5], "b"),
    ]


CPU = torch.device("cpu")


def test_rows_that_stay_on_the_device_are_the_same_rows(rng):
    rows = rng.normal(size=(10, 4)).astype(np.float16)
    source = FixedRows(rows, 2)
    moved = move_to_device(source, CPU, free_bytes=10**6)
    assert isinstance(moved, ResidentRows)
    assert moved.entry == 2
    part = np.array([7, 0, 7])
    assert torch.equal(moved.load(part, 1), source.load(part, 1))
    samples = Samples(moved, targets_of("ab" * 5), np.array([*"ab" * 5]))
    assert_array_equal(next(iter(read_ahead(samples, [part], 0)))[0]["x"], rows[part])


def test_rows_take_at_most_a_quarter_of_the_free_memory():
    source = FixedRows(np.zeros((10, 4), np.float32), None)  # 160 bytes
    assert move_to_device(source, CPU, free_bytes=639) is source
    assert isinstance(move_to_device(source, CPU, free_bytes=640), ResidentRows)


def test_rows_of_a_cpu_and_random_views_are_not_moved():
    fixed = FixedRows(np.zeros((10, 4), np.float32), None)
    drawn = DrawnViews(np.zeros((10, 4), np.float32), 2, None, 0)
    assert move_to_device(fixed, CPU) is fixed
    assert move_to_device(drawn, CPU, free_bytes=10**6) is drawn


@pytest.mark.parametrize("in_memory", [True, False])
def test_reading_ahead_changes_no_batch(rng, in_memory):
    rows = rng.normal(size=(10, 4)).astype(np.float32)
    source = FixedRows(rows if in_memory else Lazy(rows), None)
    samples = Samples(source, targets_of("ab" * 5), np.array([*"ab" * 5]))
    parts = split_rows(10, 3, 0, 0)
    for (batch, _), part in zip(read_ahead(samples, parts, 0), parts, strict=True):
        assert_array_equal(batch["x"], rows[part])


def test_an_error_while_reading_ahead_is_raised():
    samples = Samples(FixedRows(Lazy(None), Pooled()), targets_of("ab"), np.array([*"ab"]))
    with pytest.raises(TypeError):
        list(read_ahead(samples, [np.array([0]), np.array([1])], 0))


class Lazy:
    """Rows that are not an array."""

    def __init__(self, rows):
        self.rows = rows

    def __getitem__(self, index):
        return self.rows[index]
