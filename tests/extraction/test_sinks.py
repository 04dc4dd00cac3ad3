"""Computed rows are cached, and processes share the work."""

import numpy as np
import pytest
import torch
from helpers.prefixes import made, rows
from PIL import Image

from sktransfer import ActivationCache
from sktransfer.cache import Table
from sktransfer.exceptions import DecodeError
from sktransfer.extraction import sinks
from sktransfer.extraction.prefix import Prefix
from sktransfer.extraction.run import run_frozen
from sktransfer.extraction.taps import Tap


class Counting(Prefix):
    """A prefix that counts its batches."""

    n_batches = 0

    def __call__(self, *args):
        self.n_batches += 1
        return super().__call__(*args)


def counting(backbone):
    return Counting(backbone, [Tap(3, "avg")], torch.device("cpu"), torch.float32, 4)


def test_rows_computed_before_an_error_are_kept(backbone, images, tmp_path):
    cache = ActivationCache(tmp_path)

    class Stopping(Prefix):
        def __call__(self, *args):
            if self.backbone.preset.size == 16 and stop.pop():
                raise KeyboardInterrupt
            return super().__call__(*args)

    stop = [True, False, False]
    prefix = Stopping(backbone, [Tap(3, "avg")], torch.device("cpu"), torch.float32, 4)
    with pytest.raises(KeyboardInterrupt):
        run_frozen(prefix, images, cache=cache)
    warm = counting(backbone)
    rows(warm, images, cache=cache)
    assert warm.n_batches == 4  # 13 of the 21 remain


def test_rows_that_another_process_computes_meanwhile_are_not_computed_again(
    backbone, images, tmp_path
):
    other = counting(backbone)

    class Accompanied(Prefix):
        """Another process computes all missing rows before the second batch."""

        n_batches = 0

        def __call__(self, *args):
            self.n_batches += 1
            if self.n_batches == 2:
                rows(other, images, cache=ActivationCache(tmp_path))
            return super().__call__(*args)

    done = []
    ours = Accompanied(backbone, [Tap(3, "avg")], torch.device("cpu"), torch.float32, 4)
    found = rows(ours, images, cache=ActivationCache(tmp_path), progress=done.append)
    assert ours.n_batches == 2
    assert other.n_batches == 5  # of 6: our first batch was cached
    assert sum(done) == len(images)
    assert np.array_equal(found, rows(made(backbone), images))


def test_the_rows_that_are_looked_up_grow_as_the_items_do(backbone, images, tmp_path, monkeypatch):
    n_asked = 0
    missing = Table.missing

    def counted(table, digests):
        nonlocal n_asked
        n_asked += len(digests)
        return missing(table, digests)

    monkeypatch.setattr(Table, "missing", counted)
    monkeypatch.setattr(sinks, "SHARD_ROWS", 4)
    rows(made(backbone, Tap(1, "avg")), images * 2, cache=ActivationCache(tmp_path))
    # at the start, and as a row that was written
    assert n_asked == 2 * len(images)


def test_a_file_that_changes_while_it_is_read_is_not_cached(backbone, images, tmp_path):
    paths = [tmp_path / f"{index}.png" for index in range(6)]
    for path, image in zip(paths, images, strict=False):
        Image.fromarray(image).save(path)

    class Changing(ActivationCache):
        def digests(self, items, keys):
            names = super().digests(items, keys)
            Image.fromarray(images[9]).save(paths[3])
            return names

    original = paths[3].read_bytes()
    with pytest.raises(DecodeError, match=r"X\[3\]: .*3\.png' changed while it was read"):
        run_frozen(made(backbone), paths, cache=Changing(tmp_path / "cache"))
    paths[3].write_bytes(original)
    found = rows(made(backbone), paths, cache=ActivationCache(tmp_path / "cache"))
    assert np.array_equal(found, rows(made(backbone), images[:6]))
