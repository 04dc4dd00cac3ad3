"""Frozen stages compute the same when they run fast, and have a fingerprint."""

import numpy as np
import pytest
import torch
from helpers.prefixes import made, plain, rows
from helpers.text_nets import text_backbone
from helpers.tiny import tiny_backbone

from sktransfer.extraction.run import run_frozen
from sktransfer.extraction.stages import estimate_works
from sktransfer.extraction.taps import Tap


def test_bfloat16_stays_near_and_comes_back_as_float32(backbone, images):
    found = rows(made(backbone, dtype=torch.bfloat16), images)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, rows(made(backbone), images), atol=0.05)


def test_batch_norm_is_not_fused_if_features_would_change(images):
    # A running variance near zero makes the fused weights so large that float32 loses its digits.
    backbone = tiny_backbone().freeze_to(3).eval()
    for stage in backbone.stages.values():
        stage[1].running_var[:] = 1e-30
        stage[1].eps = 1e-30
        stage[0].bias.data += 1e3
        stage[1].running_mean[:] = stage[0].bias.data
    np.testing.assert_allclose(rows(made(backbone), images), plain(backbone, images), rtol=1e-3)


def test_the_work_of_a_text_is_in_proportion_to_its_length():
    backbone = text_backbone()
    works = {}
    for length in (8, 24):
        prefix = made(backbone, Tap(2, "avg")).of_length(length)
        batch = torch.zeros(2, length, dtype=torch.int64)
        works[length] = prefix._work(0, batch)
        direct = estimate_works(list(backbone.stages.values())[:2], batch, backbone.layout)
        assert works[length] == pytest.approx(direct)
    assert works[24] == pytest.approx([3 * work for work in works[8]])


class Branching(torch.nn.Module):
    """A stage that uses the output of a convolution after and without batch norm."""

    def __init__(self, conv, norm):
        super().__init__()
        self.conv, self.norm = conv, norm

    def forward(self, x):
        y = self.conv(x)
        return y + self.norm(y)


def test_batch_norm_is_not_fused_if_its_input_is_used_elsewhere(backbone, images):
    stage = backbone.stages["layer1"]
    backbone.stages["layer1"] = Branching(stage[0], stage[1])
    np.testing.assert_allclose(
        rows(made(backbone), images), plain(backbone, images), rtol=1e-5, atol=1e-6
    )


def test_a_stage_that_cannot_be_fused_does_not_change_the_stages_before_it(backbone, images):
    layer1 = backbone.stages["layer1"]
    backbone.stages["layer1"] = Branching(layer1[0], layer1[1])
    both = run_frozen(made(backbone, Tap(1, "avg"), Tap(2, "avg")), images)
    assert np.array_equal(both.rows[0], rows(made(backbone, Tap(1, "avg")), images))


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (torch.backends.cpu, "get_cpu_capability"),
        (torch, "get_float32_matmul_precision"),
    ],
)
def test_another_machine_has_another_fingerprint(backbone, owner, name, monkeypatch):
    before = made(backbone).fingerprint(Tap(3, "avg"))
    monkeypatch.setattr(owner, name, lambda: "another")
    assert made(backbone).fingerprint(Tap(3, "avg")) != before
