"""Rows do not depend on other rows, and cached rows equal computed ones."""

import re
from io import BytesIO

import numpy as np
import pytest
import torch
from helpers.prefixes import made, plain, rows
from helpers.tiny import tiny_backbone
from PIL import Image

from sktransfer import ActivationCache
from sktransfer.exceptions import DecodeError
from sktransfer.extraction.prefix import Prefix
from sktransfer.extraction.run import run_frozen
from sktransfer.extraction.taps import Tap


def test_rows_are_those_of_the_plain_network(backbone, images):
    np.testing.assert_allclose(
        rows(made(backbone), images), plain(backbone, images), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("n", [2, 5, 20])
def test_neighbours_and_order_do_not_change_a_bit(backbone, images, n, rng):
    prefix = made(backbone)
    whole = rows(prefix, images)
    order = rng.permutation(21)[:n]
    assert np.array_equal(rows(prefix, [images[i] for i in order]), whole[order])


@pytest.mark.parametrize("n_jobs", [None, 1, 3, -1])
def test_the_number_of_decoding_threads_does_not_change_a_bit(backbone, images, n_jobs):
    prefix = made(backbone)
    assert np.array_equal(rows(prefix, images, n_jobs=n_jobs), rows(prefix, images))


def test_several_taps_are_filled_in_one_pass(backbone, images):
    taps = [Tap(1, "max"), Tap(3, "avg"), Tap(3, "logits"), Tap(3, "probabilities"), Tap(2)]
    frozen = run_frozen(made(backbone, *taps), images)
    assert [r.shape for r in frozen.rows] == [(21, 8), (21, 16), (21, 4), (21, 4), (21, 12, 4, 4)]
    np.testing.assert_allclose(frozen.rows[3].sum(1), 1, rtol=1e-6)
    for tap, expected in zip(taps, frozen.rows, strict=True):
        np.testing.assert_allclose(rows(made(backbone, tap), images), expected, rtol=1e-6)


def test_cached_rows_are_computed_rows_bit_for_bit(backbone, images, tmp_path):
    cache = ActivationCache(tmp_path)
    expected = rows(made(backbone), images)
    assert np.array_equal(rows(made(backbone), images[:9], cache=cache), expected[:9])
    assert np.array_equal(rows(made(backbone), images, cache=cache), expected)
    assert np.array_equal(rows(made(backbone), images[::-1], cache=cache), expected[::-1])


@pytest.mark.parametrize("cut", [1, 2])
def test_rows_computed_from_an_earlier_cut_have_the_same_bits(backbone, images, cut, tmp_path):
    for norm in (m for m in backbone.modules() if isinstance(m, torch.nn.BatchNorm2d)):
        norm.running_mean *= 300  # rounding errors near the tolerance of fusion
    cache = ActivationCache(tmp_path)
    expected = rows(made(backbone), images)
    run_frozen(made(backbone, Tap(cut)), images[:13], cache=cache)
    prefix = Counting(backbone, [Tap(3, "avg")], torch.device("cpu"), torch.float32, 4)
    assert np.array_equal(rows(prefix, images, cache=cache), expected)
    assert prefix.n_batches == 2  # of the eight photos that were not cached


def test_opportunistic_rows_are_cached_on_the_way(backbone, images, tmp_path):
    cache = ActivationCache(tmp_path)
    run_frozen(made(backbone), images, cache=cache, spare=[Tap(1), Tap(2)])
    prefix = made(backbone, Tap(1), Tap(2))
    expected = run_frozen(prefix, images).rows
    prefix._prepare = None  # no stage may run
    for found, row in zip(run_frozen(prefix, images, cache=cache).rows, expected, strict=True):
        assert np.array_equal(found, row)


class Counting(Prefix):
    """A prefix that counts its batches."""

    n_batches = 0

    def __call__(self, *args):
        self.n_batches += 1
        return super().__call__(*args)


def counting(backbone):
    return Counting(backbone, [Tap(3, "avg")], torch.device("cpu"), torch.float32, 4)


def test_a_warm_cache_runs_no_network(backbone, images, tmp_path):
    cache = ActivationCache(tmp_path)
    rows(counting(backbone), images, cache=cache)
    warm = counting(backbone)
    rows(warm, images, cache=cache)
    assert warm.n_batches == 0


def test_a_few_new_items_cost_one_padded_batch(backbone, images, tmp_path):
    cache = ActivationCache(tmp_path)
    rows(counting(backbone), images[:18], cache=cache)
    warm = counting(backbone)
    rows(warm, images, cache=cache)
    assert warm.n_batches == 1


def test_an_item_given_twice_is_computed_once(backbone, images, tmp_path):
    prefix = counting(backbone)
    found = rows(prefix, [images[0]] * 9, cache=ActivationCache(tmp_path))
    assert prefix.n_batches == 1
    assert np.array_equal(found, rows(made(backbone), images)[[0] * 9])


@pytest.mark.parametrize(
    "other",
    [
        lambda b: made(b, Tap(2, "avg")),
        lambda b: made(b, Tap(3, "max")),
        lambda b: made(b, batch_size=8),
        lambda b: made(b, dtype=torch.bfloat16),
        lambda b: made(thicker(b)),
        lambda b: made(larger(b)),
    ],
)
def test_another_function_of_the_item_has_another_fingerprint(backbone, other):
    prefix, different = made(backbone), other(tiny_backbone().freeze_to(3).eval())
    assert prefix.fingerprint(prefix.taps[0]) != different.fingerprint(different.taps[0])


def thicker(backbone):
    backbone.stages["layer2"][0].weight.data *= 2
    return backbone


def larger(backbone):
    backbone.preset = backbone.preset.at(32)
    return backbone


@pytest.fixture
def files(images, tmp_path):
    paths = []
    for index, image in enumerate(images):
        path = tmp_path / f"{index}.png"
        Image.fromarray(image).save(path)
        paths.append(path)
    for index in (2, 5):
        paths[index].write_bytes(b"no image")
    return paths


@pytest.mark.parametrize("cached", [False, True])
def test_items_that_cannot_be_decoded_are_named(backbone, files, tmp_path, cached):
    cache = ActivationCache(tmp_path / "cache") if cached else None
    with pytest.raises(DecodeError) as caught:
        run_frozen(made(backbone), files, cache=cache)
    message = str(caught.value)
    for index in (2, 5):
        assert f"X[{index}]: '{files[index]}' " in message


@pytest.mark.parametrize("cached", [False, True])
def test_the_error_lists_the_first_ten_of_many_bad_items(backbone, images, tmp_path, cached):
    cache = ActivationCache(tmp_path) if cached else None
    items = images[:6] + [b"no image %d" % i for i in range(15)]
    with pytest.raises(DecodeError) as caught:
        run_frozen(made(backbone), items, cache=cache)
    named = re.findall(r"X\[(\d+)\]", str(caught.value))
    assert named == [str(index) for index in range(6, 16)]


@pytest.mark.parametrize("cached", [False, True])
def test_bad_items_are_left_out_on_request(backbone, files, images, tmp_path, cached):
    cache = ActivationCache(tmp_path / "cache") if cached else None
    for _ in range(2):
        frozen = run_frozen(made(backbone), files, cache=cache, decode_error="ignore")
        assert sorted(frozen.failed) == [2, 5]
        good = [i for i in range(21) if i not in (2, 5)]
        assert frozen.kept.tolist() == good
        assert np.array_equal(frozen.rows[0], rows(made(backbone), images)[good])


def test_a_warning_lists_the_bad_items(backbone, files):
    with pytest.warns(UserWarning, match=r"(?s)X\[2\].*X\[5\].*Their rows are NaN."):
        run_frozen(made(backbone), files, decode_error="warn")


def test_progress_counts_every_item_once(backbone, images, tmp_path):
    seen = []
    cache = ActivationCache(tmp_path)
    run_frozen(made(backbone), images[:8], cache=cache, progress=seen.append)
    run_frozen(made(backbone), images, cache=cache, progress=seen.append)
    assert sum(seen[:-5]) == 8
    assert sum(seen) == 8 + 21


@pytest.mark.parametrize("cached", [False, True])
def test_the_error_of_an_item_keeps_no_half_decoded_image(backbone, images, tmp_path, cached):
    file = BytesIO()
    Image.fromarray(images[0]).save(file, "PNG")
    items = [file.getvalue(), file.getvalue()[:-40]]
    cache = ActivationCache(tmp_path) if cached else None
    (error,) = run_frozen(made(backbone), items, decode_error="ignore", cache=cache).failed.values()
    assert error.__traceback__ is error.__cause__ is error.__context__ is None
