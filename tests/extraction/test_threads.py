"""Small stages compute with one thread, and several batches of them at the same time."""

import threading
import time
from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from sktransfer import Backbone, FineTuneClassifier, ImagePreset, PretrainedFeatureExtractor
from sktransfer._support import threads
from sktransfer.exceptions import DecodeError
from sktransfer.extraction import batch_sizes, prefix


class Watched(nn.Conv2d):
    """A stage that records the threads with which it computes, except while it is prepared."""

    seen: list[tuple[int, int]] = []  # noqa: RUF012 - copies of the stage share it

    def forward(self, x):
        if len(x) > 2:
            self.seen.append((torch.get_num_threads(), threading.get_ident()))
            time.sleep(0.01)  # so that another thread can take the next batch
        return super().forward(x)


def watched_backbone():
    torch.manual_seed(0)
    return Backbone({"stem": Watched(3, 4, 3, padding=1)}, ImagePreset(size=8))


@pytest.fixture
def seen(monkeypatch):
    """Threads of each batch; torch has four threads, as on a machine with four processors."""
    monkeypatch.setattr(threads, "count_processors", lambda: 4)
    torch.set_num_threads(4)
    Watched.seen.clear()
    yield Watched.seen
    torch.set_num_threads(1)


@pytest.fixture
def photos(rng):
    return rng.integers(0, 256, (100, 8, 8, 3), dtype=np.uint8)


def extractor(**parameters):
    return PretrainedFeatureExtractor(watched_backbone, batch_size=8, verbose=0, **parameters)


def test_batches_of_a_small_network_run_at_the_same_time_with_one_thread_each(seen, photos):
    extractor().fit_transform(photos)
    assert {n for n, _ in seen} == {1}
    assert 1 < len({ident for _, ident in seen[1:]}) <= 4


def test_batches_of_a_large_network_share_all_threads(seen, photos, monkeypatch):
    monkeypatch.setattr(prefix, "SMALL", 0)
    extractor().fit_transform(photos)
    assert set(seen) == {(4, threading.get_ident())}


def test_a_gpu_computes_a_batch_while_another_one_is_copied_to_it(seen, photos, monkeypatch):
    monkeypatch.setattr(prefix, "SMALL", 0)
    expected = extractor().fit_transform(photos)
    monkeypatch.setitem(batch_sizes.AT_ONCE, "cpu", batch_sizes.AT_ONCE["cuda"])
    seen.clear()
    np.testing.assert_array_equal(extractor().fit_transform(photos), expected)
    assert len({ident for _, ident in seen[1:]}) == 2


def test_a_large_network_uses_no_more_threads_than_processors(seen, photos, monkeypatch):
    monkeypatch.setattr(prefix, "SMALL", 0)
    monkeypatch.setattr(threads, "count_processors", lambda: 2)
    extractor().fit_transform(photos)
    assert {n for n, _ in seen} == {2}


def test_a_single_batch_is_computed_in_the_thread_of_the_caller(seen, photos):
    extractor().fit_transform(photos[:4])
    assert set(seen) == {(1, threading.get_ident())}


def test_training_uses_no_more_threads_than_processors(seen, photos, monkeypatch):
    monkeypatch.setattr(threads, "count_processors", lambda: 3)
    model = FineTuneClassifier(watched_backbone, max_epochs=1, random_state=0, verbose=0)
    model.fit(photos, np.arange(100) % 2)
    assert {n for n, _ in seen} == {1, 3}  # of the frozen network, and in training
    assert torch.get_num_threads() == 4


@pytest.mark.parametrize("with_cache", [False, True])
def test_rows_do_not_depend_on_the_number_of_threads(seen, photos, tmp_path, with_cache):
    torch.set_num_threads(1)
    alone = extractor().fit_transform(photos)
    torch.set_num_threads(4)
    cache = tmp_path if with_cache else None
    np.testing.assert_array_equal(extractor(cache=cache).fit_transform(photos), alone)


def test_an_item_that_cannot_be_decoded_is_named_while_batches_run_at_the_same_time(seen, photos):
    images = [BytesIO() for _ in photos]
    for photo, file in zip(photos, images, strict=True):
        Image.fromarray(photo).save(file, "PNG")
    items = [file.getvalue() for file in images]
    expected = extractor().fit_transform(items)
    expected[40], items[40] = np.nan, b"no image"
    with pytest.raises(DecodeError, match=r"X\[40\]"):
        extractor().fit_transform(items)
    rows = extractor(decode_error="ignore").fit_transform(items)
    np.testing.assert_array_equal(rows, expected)


@pytest.mark.parametrize("address", ["builtin/mini", "torchvision/mobilenet_v2"])
def test_features_of_a_small_network_have_the_same_bits_with_any_number_of_threads(address, rng):
    photos = rng.integers(0, 256, (20, 64, 64, 3), dtype=np.uint8)
    weights = {} if address == "builtin/mini" else {"weights": None}
    rows = []
    try:
        for n in (1, 2, 3):
            torch.set_num_threads(n)
            model = PretrainedFeatureExtractor(address, image_size=64, verbose=0, **weights)
            rows.append(model.fit_transform(photos))
    finally:
        torch.set_num_threads(1)
    np.testing.assert_array_equal(rows[1], rows[0])
    np.testing.assert_array_equal(rows[2], rows[0])
