"""Statistics of batch norm are a function of the set of items alone."""

import numpy as np
import pytest
import torch
from helpers.tiny import tiny_backbone
from torch import nn

from sktransfer import ActivationCache, Backbone, ImagePreset
from sktransfer.backbones import batch_norms
from sktransfer.exceptions import DecodeError
from sktransfer.extraction import Prefix, Tap, estimate_statistics, statistics

CPU = torch.device("cpu")


def prefix_of(backbone, cut=3, batch_size="auto"):
    return Prefix(backbone, [Tap(cut, "avg")], CPU, torch.float32, batch_size)


def estimate(items, batch_size="auto", **how):
    return estimate_statistics(prefix_of(tiny_backbone(), batch_size=batch_size), items, **how)


def equal(a, b):
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


@pytest.fixture
def photos(rng):
    """Photos for two batches and a part of a third."""
    return list(rng.integers(0, 256, (42, 20, 20, 3), dtype=np.uint8))


@pytest.fixture
def expected(photos):
    return estimate(photos)


def test_the_order_of_the_items_does_not_change_a_bit(photos, expected, rng):
    assert equal(estimate([photos[at] for at in rng.permutation(42)]), expected)


def test_duplicates_do_not_change_a_bit(photos, expected):
    assert equal(estimate([*photos[:30], *photos]), expected)


@pytest.mark.parametrize("how", [{"batch_size": 3}, {"n_jobs": 2}])
def test_batch_size_and_n_jobs_do_not_change_a_bit(photos, expected, how):
    assert equal(estimate(photos, **how), expected)


def test_the_number_of_threads_does_not_change_a_bit(photos, expected):
    torch.set_num_threads(2)
    try:
        assert equal(estimate(photos), expected)
    finally:
        torch.set_num_threads(1)


def test_one_thread_computes_the_batches(photos):
    backbone, seen = tiny_backbone(), set()

    class Watched(nn.Identity):
        def forward(self, x):
            if len(x) > 2:  # not an example
                seen.add(torch.get_num_threads())
            return x

    backbone.stages["stem"].append(Watched())
    torch.set_num_threads(2)
    try:
        estimate_statistics(prefix_of(backbone), photos)
    finally:
        torch.set_num_threads(1)
    assert seen == {1}


def test_another_item_changes_the_statistics(photos, expected):
    assert not equal(estimate(photos[1:]), expected)


def test_the_statistics_of_one_batch_are_those_of_torch(photos):
    backbone = tiny_backbone()
    first = backbone.stages["stem"][0]
    x = backbone.preset.collate([backbone.preset(item) for item in photos[:10]], 10)
    with torch.no_grad():
        y = first(x)
    found = estimate(photos[:10])
    assert np.allclose(found["stages.stem.1.running_mean"], y.mean((0, 2, 3)), atol=1e-5)
    assert np.allclose(found["stages.stem.1.running_var"], y.var((0, 2, 3)), rtol=1e-4)


def test_the_stages_before_the_cut_keep_their_statistics(photos):
    whole, tail = estimate(photos), estimate(photos, cut=1)
    assert [name for name in whole if name not in tail] == [
        "stages.stem.1.running_mean",
        "stages.stem.1.running_var",
    ]
    assert not np.allclose(
        whole["stages.layer1.1.running_mean"], tail["stages.layer1.1.running_mean"], atol=0.1
    )


def test_the_activations_at_the_cut_come_from_the_cache(photos, tmp_path):
    cache = ActivationCache(tmp_path)
    without = estimate(photos, cut=2)
    assert equal(estimate(photos, cut=2, cache=cache), without)
    abouts = [row["about"]["layer"] for row in cache.info().values() if "about" in row]
    assert abouts == ["layer1, not pooled"]


@pytest.mark.parametrize("cut", [0, 2])
def test_the_cache_keeps_the_statistics(photos, tmp_path, monkeypatch, cut):
    cache = ActivationCache(tmp_path)
    found = estimate(photos, cut=cut, cache=cache)
    monkeypatch.setattr(statistics, "_average", lambda *_: pytest.fail("computed again"))
    seen = []
    assert equal(estimate(photos[::-1], cut=cut, cache=cache, progress=seen.append), found)
    assert sum(seen) == 42
    assert cache.info()[statistics.KIND]["rows"] == 1


def test_the_progress_counts_each_item_once(photos):
    seen = []
    estimate([*photos, *photos[:5]], progress=seen.append)
    assert sum(seen) == 47


@pytest.mark.parametrize("cut", [0, 1])
def test_items_that_cannot_be_decoded_are_left_out(photos, cut):
    with pytest.warns(UserWarning, match=r"(?s)could not:\n  X\[1\]: .*They are left out"):
        found = estimate([photos[0], b"no image", *photos[1:]], cut=cut, decode_error="warn")
    assert equal(found, estimate(photos, cut=cut))
    again = estimate([photos[0], b"no image", *photos[1:]], cut=cut, decode_error="ignore")
    assert equal(again, found)


def test_the_error_lists_the_first_ten_items_that_cannot_be_decoded(photos):
    broken = [b"no image %d" % at for at in range(12)]
    with pytest.raises(DecodeError, match=r"(?s)X\[42\]: .*X\[51\].*leaves them out") as raised:
        estimate([*photos, *broken])
    assert "X[52]" not in str(raised.value)


def test_a_failure_is_not_cached(photos, tmp_path):
    cache = ActivationCache(tmp_path)
    estimate([*photos, b"no image"], cache=cache, decode_error="ignore")
    assert statistics.KIND not in cache.info()


def test_one_item_is_too_few_for_the_variance_of_one_position(photos):
    backbone = tiny_backbone()
    backbone.preset = ImagePreset(size=8, crop=1.0)
    with pytest.raises(ValueError, match="X must have at least two different items"):
        estimate_statistics(prefix_of(backbone), photos[:1] * 3)


def test_items_of_which_none_can_be_decoded_are_an_error():
    with pytest.raises(ValueError, match="X must have at least two different items"):
        estimate([b"no image"], decode_error="ignore")


def test_a_network_without_batch_norm_is_an_error(photos):
    backbone = Backbone({"stem": nn.Conv2d(3, 4, 3)}, ImagePreset(size=8))
    with pytest.raises(ValueError, match="The backbone must have batch norm with stored"):
        estimate_statistics(prefix_of(backbone, 1), photos)


def test_frozen_batch_norm_alone_is_an_error(photos):
    backbone = tiny_backbone()
    backbone.stages["layer2"] = nn.Conv2d(12, 16, 3)
    with pytest.raises(ValueError, match="must have batch norm after the frozen stages"):
        estimate_statistics(prefix_of(backbone), photos, cut=2)


def test_the_backbone_of_the_prefix_is_unchanged(photos):
    backbone = tiny_backbone()
    before = backbone.weights_fingerprint()
    estimate_statistics(prefix_of(backbone), photos)
    assert backbone.weights_fingerprint() == before
    assert all(norm.momentum == 0.1 for norm in batch_norms(backbone).values())
